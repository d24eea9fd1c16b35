#include "io/unit_record.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/provenance.hpp"
#include "io/checksum.hpp"
#include "io/part_file.hpp"

namespace espalier::io {
namespace {

using nlohmann::json;

constexpr std::int64_t kMostPending = std::int64_t{64} << 20;
constexpr std::size_t kNumbersAUnit = 7;
constexpr const char* kManifest = "/manifest";

json describe(const Provenance& provenance) {
  return {{"inputs", provenance.inputs},
          {"job", provenance.job},
          {"job_digest", job_digest(provenance)},
          {"options", provenance.options},
          {"version", version()}};
}

std::string crc_line(std::string_view content) {
  char line[16];
  std::snprintf(line, sizeof line, "%08x\n", crc32(std::as_bytes(std::span(content))));
  return line;
}

void write_at(int descriptor, std::span<const std::byte> bytes, std::int64_t at,
              const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(descriptor, bytes.data(), bytes.size(), at);
    if (done < 0 && errno != EINTR) {
      throw_errno(errno, "writing", name, ExitStatus::kIoFailed);
    }
    const auto written = static_cast<std::size_t>(std::max<ssize_t>(done, 0));
    at += static_cast<std::int64_t>(written);
    bytes = bytes.subspan(written);
  }
}

// Empty if there is none.
std::string read_text(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Only what a record consists of: whatever else lies there is not ours.
void remove_folder(const std::string& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> ours;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("manifest") || (name.starts_with("run-") && name.ends_with(".units"))) {
      ours.push_back(entry.path());
    }
  }
  // The manifest first: without it nothing is taken for saved.
  std::sort(ours.begin(), ours.end());
  for (const auto& path : ours) {
    std::filesystem::remove(path, error);
  }
  ::rmdir(folder.c_str());
}

}  // namespace

void OwnDescriptor::reset(int other) noexcept {
  const int before = std::exchange(value, other);
  if (before >= 0) {
    ::close(before);
  }
}

UnitRecord::UnitRecord(const Comm& comm, Job job)
    : comm_(comm), job_(std::move(job)), folder_(folder_of_output(job_.path)) {
  std::int64_t exists = 0;
  on_root(comm_, "looking for finished units", [&] {
    struct stat status {};
    if (::stat(folder_.c_str(), &status) == 0) {
      lock();
      if (!job_.resume) {
        remove_folder(folder_);
        lock_.reset();
      }
      exists = job_.resume ? 1 : 0;
    }
  });
  if (comm_.max(exists) != 0) {
    load();
  }
}

std::string UnitRecord::name_of(std::int64_t run, std::int64_t rank) const {
  char name[64];
  std::snprintf(name, sizeof name, "/run-%04lld-rank-%05lld.units", static_cast<long long>(run),
                static_cast<long long>(rank));
  return folder_ + name;
}

void UnitRecord::refuse(const std::string& what) const {
  throw Error(ExitStatus::kBadData,
              text("cannot resume from ", folder_, ": ", what, "; --no-resume starts afresh"));
}

// Makes the folder if need be, and keeps other runs of the job away from it.
void UnitRecord::lock() {
  if (::mkdir(folder_.c_str(), 0777) != 0 && errno != EEXIST) {
    throw_errno(errno, "making the folder", folder_, ExitStatus::kCannotCreate);
  }
  lock_.reset(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock_.value < 0) {
    throw_errno(errno, "opening the folder", folder_, ExitStatus::kCannotCreate);
  }
  if (::flock(lock_.value, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw Error(ExitStatus::kCannotCreate,
                text("cannot create ", job_.path, ": another run is at ", folder_));
  }
}

void UnitRecord::load() {
  std::string manifest;
  on_root(comm_, "reading finished units", [&] { manifest = read_text(folder_ + kManifest); });
  manifest = comm_.broadcast_string(manifest, 0);
  if (manifest.empty()) {
    return;  // killed before its first save
  }
  locally(comm_, "reading finished units", [&] {
    const auto line = manifest.find('\n');
    const std::string content = manifest.substr(0, line);
    const json found = json::parse(content, nullptr, false);
    if (line == std::string::npos || manifest.substr(line + 1) != crc_line(content) ||
        !found.is_object()) {
      refuse("its manifest is damaged");
    }
    check_same_job(found);
    earlier_runs_ = found.at("runs").get<std::int64_t>();
    parse_units(found.at("units"));
  });
  locally(comm_, "checking finished units", [&] {
    for (const Entry& entry : mine_) {
      check_bytes(entry);
    }
  });
}

// The manifest is whole, so what follows holds unless it was made by another program.
void UnitRecord::parse_units(const json& units) {
  std::vector<Entry> all;
  for (const json& unit : units) {
    const auto n = unit.get<std::vector<std::int64_t>>();
    if (n.size() != kNumbersAUnit) {
      refuse("its manifest is damaged");
    }
    all.push_back({n[0], n[1], n[2], n[3], n[4], n[5], n[6]});
  }
  std::sort(all.begin(), all.end(),
            [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  std::int64_t end = 0;
  for (const Entry& entry : all) {
    if (entry.begin < end || entry.end <= entry.begin || entry.end > job_.items ||
        entry.offset < 0 || entry.bytes < 0) {
      refuse(
          text("its manifest lists items ", entry.begin, " to ", entry.end - 1, " out of place"));
    }
    end = entry.end;
    finished_.push_back({entry.begin, entry.end});
  }
  const Range part = split_evenly(std::ssize(all), comm_.ranks(), comm_.rank());
  mine_.assign(all.begin() + part.begin, all.begin() + part.end);
  if (comm_.rank() == 0) {
    all_saved_ = std::move(all);
  }
}

void UnitRecord::check_same_job(const json& found) const {
  const json now = describe(job_.provenance);
  if (found.value("job_digest", "") == now["job_digest"]) {
    return;
  }
  for (const char* key : {"job", "version"}) {
    if (found.value(key, "") != now[key]) {
      refuse(text("it was left by another ", key, " (", found.value(key, ""), ", now ",
                  now[key].get<std::string>(), ")"));
    }
  }
  const json options = found.value("options", json::object());
  for (const auto& [name, value] : now["options"].items()) {
    const json before = options.value(name, json());
    if (before != value) {
      refuse(text("it was left with another ", name, " (", before.dump(), ", now ", value.dump(),
                  ")"));
    }
  }
  const json inputs = found.value("inputs", json::array());
  for (std::size_t i = 0; i < now["inputs"].size(); ++i) {
    if (i >= inputs.size() || inputs[i] != now["inputs"][i]) {
      refuse(text("input ", i + 1, " has changed since"));
    }
  }
  refuse("it was left by another job");
}

void UnitRecord::check_bytes(const Entry& entry) const {
  std::vector<std::byte> bytes(static_cast<std::size_t>(entry.bytes));
  read_saved(entry, 0, bytes);
  if (crc32(bytes) != entry.crc) {
    refuse(text(name_of(entry.run, entry.rank), " is damaged: bytes ", entry.offset, " to ",
                entry.offset + entry.bytes - 1, " have another checksum than they had"));
  }
}

void UnitRecord::read_saved(const Entry& entry, std::int64_t position,
                            std::span<std::byte> out) const {
  const std::string name = name_of(entry.run, entry.rank);
  OwnDescriptor file;
  file.reset(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.value < 0) {
    refuse(text(name, " cannot be opened: ", std::strerror(errno)));
  }
  std::int64_t at = entry.offset + position;
  ssize_t got = 1;
  while (!out.empty() && got > 0) {
    got = ::pread(file.value, out.data(), out.size(), at);
    at += got;
    out = out.subspan(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  }
  if (got < 0) {
    throw_errno(errno, "reading", name, ExitStatus::kIoFailed);
  }
  if (!out.empty()) {
    refuse(text(name, " ends too early"));
  }
}

void UnitRecord::add(Range items, std::span<const std::byte> bytes) {
  expects(!items.empty() ? items.begin >= 0 && items.end <= job_.items : bytes.empty(),
          "units lie within the job");
  if (!items.empty()) {
    mine_.push_back({items.begin, items.end, earlier_runs_ + 1, comm_.rank(),
                     file_bytes_ + std::ssize(pending_), std::ssize(bytes), crc32(bytes)});
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    ++not_saved_;
  }
}

bool UnitRecord::wants_save() const noexcept { return std::ssize(pending_) > kMostPending; }

void UnitRecord::flush() {
  if (pending_.empty()) {
    return;
  }
  const std::string name = name_of(earlier_runs_ + 1, comm_.rank());
  if (file_.value < 0) {
    file_.reset(::open(name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (file_.value < 0 && errno == ENOENT) {
      throw Error(
          ExitStatus::kCannotCreate,
          text("cannot create ", job_.path, ": rank ", comm_.rank(), " does not see ", folder_,
               ", which rank 0 has made; outputs need a folder that all nodes "
               "share"));
    }
    if (file_.value < 0) {
      throw_errno(errno, "creating", name, ExitStatus::kCannotCreate);
    }
  }
  write_at(file_.value, pending_, file_bytes_, name);
  if (::fdatasync(file_.value) != 0) {
    throw_errno(errno, "syncing", name, ExitStatus::kIoFailed);
  }
  file_bytes_ += std::ssize(pending_);
  pending_ = {};
}

// The old manifest stands until the new one is on the disk.
void UnitRecord::write_manifest() const {
  json content = describe(job_.provenance);
  content["format"] = kFormat;
  content["items"] = job_.items;
  content["runs"] = earlier_runs_ + 1;
  json& units = content["units"] = json::array();
  for (const Entry& e : all_saved_) {
    units.push_back({e.begin, e.end, e.run, e.rank, e.offset, e.bytes, e.crc});
  }
  const std::string line = content.dump(-1, ' ', false, json::error_handler_t::replace);
  const std::string whole = line + "\n" + crc_line(line);
  const std::string name = folder_ + kManifest;
  const std::string fresh = name + ".new";
  OwnDescriptor file;
  file.reset(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.value < 0) {
    throw_errno(errno, "creating", fresh, ExitStatus::kCannotCreate);
  }
  write_at(file.value, std::as_bytes(std::span(whole)), 0, fresh);
  sync_file(fresh);
  if (::rename(fresh.c_str(), name.c_str()) != 0) {
    throw_errno(errno, "renaming to", name, ExitStatus::kIoFailed);
  }
  ::fsync(lock_.value);
}

void UnitRecord::save() {
  if (comm_.sum(static_cast<std::int64_t>(not_saved_)) == 0) {
    return;
  }
  on_root(comm_, "saving finished units", [&] {
    if (lock_.value < 0) {
      lock();
    }
  });
  locally(comm_, "saving finished units", [&] { flush(); });
  const auto fresh = std::span(mine_).last(not_saved_);
  for (const auto& bytes : comm_.gather_all_bytes(std::as_bytes(fresh))) {
    if (comm_.rank() == 0 && !bytes.empty()) {
      const std::size_t before = all_saved_.size();
      all_saved_.resize(before + bytes.size() / sizeof(Entry));
      std::memcpy(all_saved_.data() + before, bytes.data(), bytes.size());
    }
  }
  on_root(comm_, "saving finished units", [&] { write_manifest(); });
  not_saved_ = 0;
}

Range UnitRecord::items(std::size_t unit) const {
  return {mine_.at(unit).begin, mine_.at(unit).end};
}

std::int64_t UnitRecord::bytes(std::size_t unit) const { return mine_.at(unit).bytes; }

void UnitRecord::read(std::size_t unit, std::int64_t position, std::span<std::byte> out) const {
  const Entry& entry = mine_.at(unit);
  expects(position >= 0 && std::ssize(out) <= entry.bytes - position, "a unit is read within it");
  const bool own = entry.run == earlier_runs_ + 1;
  if (own && entry.offset >= file_bytes_) {
    const auto at = static_cast<std::size_t>(entry.offset - file_bytes_ + position);
    std::copy_n(pending_.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  } else {
    read_saved(entry, position, out);
  }
}

void UnitRecord::remove() {
  file_.reset();
  comm_.barrier();
  on_root(comm_, "removing finished units", [&] {
    if (lock_.value >= 0) {
      remove_folder(folder_);
      lock_.reset();
    }
  });
}

void UnitRecord::remove_leftover(const Comm& comm, const std::string& path,
                                 const std::string& job_digest) {
  on_root(comm, "removing finished units", [&] {
    const std::string folder = folder_of_output(path);
    const std::string manifest = read_text(folder + kManifest);
    const json found = json::parse(manifest.substr(0, manifest.find('\n')), nullptr, false);
    if (found.is_object() && found.value("job_digest", "") == job_digest) {
      remove_folder(folder);
    }
  });
}

}  // namespace espalier::io
