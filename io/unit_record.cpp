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
#include "io/checksum.hpp"
#include "io/json_text.hpp"
#include "io/part_file.hpp"
#include "io/raw_file.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kCheckedAtOnce = std::size_t{1} << 20;
constexpr std::int64_t kLeastSlabBytes = std::int64_t{64} << 10;
constexpr std::int64_t kMostSlabBytes = std::int64_t{16} << 20;
constexpr const char* kManifest = "/manifest";

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
    : comm_(comm),
      job_(std::move(job)),
      folder_(folder_of_output(job_.path)),
      pending_(std::clamp(job_.most_pending_bytes / 8, kLeastSlabBytes, kMostSlabBytes)) {
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
  std::string spelled;
  on_root(comm_, "reading finished units", [&] { spelled = read_text(folder_ + kManifest); });
  spelled = comm_.broadcast_string(spelled, 0);
  if (spelled.empty()) {
    return;  // killed before its first save
  }
  locally(comm_, "reading finished units", [&] {
    UnitManifest manifest;
    std::string different;
    try {
      manifest = parse_manifest(spelled);
      different = difference_of_jobs(manifest.job, describe_job(job_.provenance));
    } catch (const Error& error) {
      refuse(error.what());
    }
    if (different.empty() && manifest.items != job_.items) {
      different = text("it counts ", manifest.items, " items, now ", job_.items);
    }
    if (!different.empty()) {
      refuse(different);
    }
    earlier_runs_ = manifest.runs;
    job_.cut = manifest.cut;
    for (const UnitEntry& entry : manifest.entries) {
      finished_.push_back({entry.begin, entry.end});
      known_.emplace(entry.begin, entry);
    }
    const auto& all = manifest.entries;
    const Range part = split_evenly(std::ssize(all), comm_.ranks(), comm_.rank());
    mine_.assign(all.begin() + part.begin, all.begin() + part.end);
    if (comm_.rank() == 0) {
      all_saved_ = all;
    }
  });
  shared_ = true;
  locally(comm_, "checking finished units", [&] {
    for (const UnitEntry& entry : mine_) {
      check_bytes(entry);
    }
  });
}

void UnitRecord::check_bytes(const UnitEntry& entry) const {
  std::vector<std::byte> bytes(std::min(static_cast<std::size_t>(entry.bytes), kCheckedAtOnce));
  std::uint32_t crc = 0;
  for (std::int64_t at = 0; at < entry.bytes; at += std::ssize(bytes)) {
    const auto piece = std::span(bytes).first(
        static_cast<std::size_t>(std::min<std::int64_t>(std::ssize(bytes), entry.bytes - at)));
    read_saved(entry, at, piece);
    crc = crc32(piece, crc);
  }
  if (crc != entry.crc) {
    refuse(text(name_of(entry.run, entry.rank), " is damaged: bytes ", entry.offset, " to ",
                entry.offset + entry.bytes - 1, " have another checksum than they had"));
  }
}

void UnitRecord::read_saved(const UnitEntry& entry, std::int64_t position,
                            std::span<std::byte> out) const {
  const std::string name = name_of(entry.run, entry.rank);
  OwnDescriptor other;
  if (entry.run != earlier_runs_ + 1) {
    other.reset(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  }
  const OwnDescriptor& file = entry.run == earlier_runs_ + 1 ? file_ : other;
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

void UnitRecord::add(Range items, std::initializer_list<std::span<const std::byte>> parts) {
  std::int64_t bytes = 0;
  std::uint32_t crc = 0;
  for (const auto part : parts) {
    bytes += std::ssize(part);
    crc = crc32(part, crc);
  }
  expects(!items.empty() ? items.begin >= 0 && items.end <= job_.items : bytes == 0,
          "units lie within the job");
  if (items.empty()) {
    return;
  }
  const UnitEntry entry{
      items.begin, items.end, earlier_runs_ + 1, comm_.rank(), file_bytes_ + pending_.append(parts),
      bytes,       crc};
  expects(known_.emplace(items.begin, entry).second, "a unit is added once");
  mine_.push_back(entry);
  ++not_saved_;
  if (shared_ && wants_save()) {
    spill();
  }
}

bool UnitRecord::wants_save() const noexcept { return pending_.bytes() > job_.most_pending_bytes; }

// Writes what is held in memory; that it is safe is another matter.
void UnitRecord::spill() {
  if (pending_.bytes() == 0) {
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
  pending_.for_each([&](std::int64_t position, std::span<const std::byte> bytes) {
    write_at(file_.value, name, file_bytes_ + position, bytes);
  });
  file_bytes_ += pending_.bytes();
  pending_.clear();
}

// The old manifest stands until the new one is on the disk.
void UnitRecord::write_manifest() const {
  const std::string whole = spell_manifest(
      {describe_job(job_.provenance), job_.items, earlier_runs_ + 1, job_.cut, all_saved_});
  const std::string name = folder_ + kManifest;
  const std::string fresh = name + ".new";
  OwnDescriptor file;
  file.reset(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.value < 0) {
    throw_errno(errno, "creating", fresh, ExitStatus::kCannotCreate);
  }
  write_at(file.value, fresh, 0, std::as_bytes(std::span(whole)));
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
  locally(comm_, "saving finished units", [&] {
    spill();
    if (file_.value >= 0 && ::fdatasync(file_.value) != 0) {
      throw_errno(errno, "syncing", name_of(earlier_runs_ + 1, comm_.rank()),
                  ExitStatus::kIoFailed);
    }
  });
  shared_ = true;
  const auto fresh = std::span(mine_).last(not_saved_);
  for (const auto& bytes : comm_.gather_all_bytes(std::as_bytes(fresh))) {
    if (comm_.rank() == 0 && !bytes.empty()) {
      const std::size_t before = all_saved_.size();
      all_saved_.resize(before + bytes.size() / sizeof(UnitEntry));
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
  read_entry(mine_.at(unit), position, out);
}

void UnitRecord::read_entry(const UnitEntry& entry, std::int64_t position,
                            std::span<std::byte> out) const {
  expects(position >= 0 && std::ssize(out) <= entry.bytes - position, "a unit is read within it");
  if (out.empty()) {
    return;
  }
  if (is_pending(entry)) {
    const auto waiting = pending_.at(entry.offset - file_bytes_, entry.bytes);
    std::copy_n(waiting.begin() + static_cast<std::ptrdiff_t>(position), out.size(), out.begin());
  } else {
    read_saved(entry, position, out);
  }
}

bool UnitRecord::is_pending(const UnitEntry& entry) const noexcept {
  return entry.run == earlier_runs_ + 1 && entry.offset >= file_bytes_;
}

bool UnitRecord::has(Range items) const {
  const auto found = known_.find(items.begin);
  if (found != known_.end() && found->second.end != items.end) {
    refuse(text("its manifest lists items ", items.begin, " to ", found->second.end - 1,
                " out of place"));
  }
  return found != known_.end();
}

std::vector<std::byte> UnitRecord::read_whole(Range items) const {
  std::vector<std::byte> bytes;
  const auto found = look_at(items, bytes);
  if (found.data() != bytes.data()) {
    bytes.assign(found.begin(), found.end());
  }
  return bytes;
}

std::span<const std::byte> UnitRecord::look_at(Range items, std::vector<std::byte>& room) const {
  expects(has(items), "a unit that is finished is read");
  const UnitEntry& entry = known_.at(items.begin);
  if (entry.bytes > 0 && is_pending(entry)) {
    return pending_.at(entry.offset - file_bytes_, entry.bytes);
  }
  room.resize(static_cast<std::size_t>(entry.bytes));
  read_entry(entry, 0, room);
  return room;
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
    const nlohmann::json found = parse_json(manifest.substr(0, manifest.find('\n')));
    if (found.is_object() && found.value("job_digest", "") == job_digest) {
      remove_folder(folder);
    }
  });
}

}  // namespace espalier::io
