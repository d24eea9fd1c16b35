#include "io/model_output.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/provenance.hpp"
#include "io/json_text.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".safetensors";
constexpr const char* kRecord = "espalier.json";

// Without slashes at its end.
std::string trimmed(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) {
    path.pop_back();
  }
  return path;
}

std::string record_path(const std::string& path) {
  return path.ends_with(kSuffix) ? path + "." + kRecord : path + "/" + kRecord;
}

[[noreturn]] void cannot_create(const std::string& path, const std::string& why) {
  throw Error(ExitStatus::kCannotCreate, text("cannot create ", path, ": ", why));
}

// A folder that may be replaced: one of plain files, a model among them.
bool is_model_folder(const std::string& path) {
  bool model = false;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (!entry.is_regular_file()) {
      return false;
    }
    model = model || entry.path().extension() == kSuffix;
  }
  return model;
}

void check_place_of_folder(const std::string& path, const OutputOptions& options) {
  // The folder around it is looked at as for any file; what stands in its place is not.
  check_place(path + ".part.probe", true);
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return;
  }
  if (!S_ISDIR(status.st_mode)) {
    cannot_create(path, "it is no folder; a model of several files is written to a folder");
  }
  if (!options.force) {
    cannot_create(path,
                  "the folder exists and is not what this job would write; --force replaces "
                  "it");
  }
  if (!is_model_folder(path)) {
    cannot_create(path, "the folder holds more than a model; --force does not replace it");
  }
}

void check_place_of_model(const std::string& path, const OutputOptions& options) {
  if (path.ends_with(kSuffix)) {
    check_place(path, options.force);
  } else {
    check_place_of_folder(path, options);
  }
}

void write_at(int descriptor, const std::string& name, std::int64_t position,
              std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor, bytes.data(), bytes.size(), position);
    if (written < 0 && errno != EINTR) {
      throw_errno(errno, "writing", name, ExitStatus::kIoFailed);
    }
    if (written > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
      position += written;
    }
  }
}

int open_file(const std::string& name, int flags) {
  const int descriptor = ::open(name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor < 0) {
    throw_errno(errno, "cannot create", name, ExitStatus::kCannotCreate);
  }
  return descriptor;
}

// Gives a new file its length and the room for it.
void reserve(int descriptor, const std::string& name, std::int64_t bytes) {
  if (bytes > 0 && ::fallocate(descriptor, 0, 0, bytes) != 0) {
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO) {
      throw Error(ExitStatus::kIoFailed, text("no space for ", name, ": it needs ", bytes,
                                              " bytes: ", std::generic_category().message(errno)));
    }
    if (::ftruncate(descriptor, bytes) != 0) {
      throw_errno(errno, "extending", name, ExitStatus::kIoFailed);
    }
  }
}

void copy_file(const std::string& from, const std::string& to) {
  const InputFile source(from);
  const int target = open_file(to, O_WRONLY | O_CREAT | O_TRUNC);
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  try {
    for (std::int64_t at = 0; at < source.size();) {
      const auto length = std::min(std::ssize(buffer), source.size() - at);
      const auto part = std::span(buffer).first(static_cast<std::size_t>(length));
      source.read(at, part);
      write_at(target, to, at, part);
      at += length;
    }
    if (::fsync(target) != 0) {
      throw_errno(errno, "syncing", to, ExitStatus::kIoFailed);
    }
  } catch (...) {
    ::close(target);
    throw;
  }
  ::close(target);
}

void sync_folder(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);  // some file systems cannot
    ::close(descriptor);
  }
}

// Folders are replaced in two renames; if the second fails, the first is taken back.
void put_in_place(const std::string& part, const std::string& path) {
  const std::string old = path + ".old";
  std::error_code code;
  const bool replaces = fs::is_directory(path, code);
  if (replaces) {
    fs::remove_all(old, code);
    fs::rename(path, old, code);
  }
  if (::rename(part.c_str(), path.c_str()) != 0) {
    const int why = errno;
    if (replaces) {
      fs::rename(old, path, code);
    }
    throw_errno(why, text("renaming ", part, " to"), path, ExitStatus::kIoFailed);
  }
  if (replaces) {
    fs::remove_all(old, code);
  }
}

}  // namespace

struct ModelOutput::State {
  State(const Comm& comm_of_all, std::string path_of_model, PlannedModel plan, OutputOptions given)
      : comm(comm_of_all),
        path(trimmed(std::move(path_of_model))),
        part(path + ".part"),
        folder(!path.ends_with(kSuffix)),
        planned(std::move(plan)),
        options(given) {}
  ~State();

  std::string name(std::size_t number) const {
    return folder ? part + "/" + planned.names[number] : part;
  }
  std::int64_t size(std::size_t number) const {
    return planned.headers[number].data_start() + planned.headers[number].data_bytes();
  }
  void take_folder();
  void create();
  void open_files();
  void put_down(const Provenance& provenance) const;

  const Comm& comm;
  const std::string path, part;
  const bool folder;
  const PlannedModel planned;
  const OutputOptions options;
  std::optional<PartFile> file;  // of rank 0, if the output is a file
  int lock = -1;                 // of rank 0, on the folder
  std::vector<int> descriptors;
  std::atomic<std::int64_t> written{0};
};

ModelOutput::State::~State() {
  for (const int descriptor : descriptors) {
    ::close(descriptor);
  }
  if (lock >= 0) {  // not finished
    std::error_code code;
    fs::remove_all(part, code);
    ::close(lock);
  }
}

// Makes PATH.part, or takes over what a killed run has left.
void ModelOutput::State::take_folder() {
  if (::mkdir(part.c_str(), 0777) != 0 && errno != EEXIST) {
    throw_errno(errno, "cannot create", part, ExitStatus::kCannotCreate);
  }
  const int opened = ::open(part.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (opened < 0) {
    cannot_create(path, text(part, " is in the way"));
  }
  if (::flock(opened, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(opened);
    cannot_create(path, text("another run is writing ", part));
  }
  lock = opened;
  for (const auto& entry : fs::directory_iterator(part)) {
    fs::remove_all(entry.path());
  }
}

void ModelOutput::State::create() {
  check_place_of_model(path, options);
  if (folder) {
    take_folder();
  } else {
    file.emplace(path, options.force);
  }
  for (std::size_t f = 0; f < planned.names.size(); ++f) {
    const int descriptor = open_file(name(f), O_RDWR | O_CREAT);
    descriptors.push_back(descriptor);
    reserve(descriptor, name(f), size(f));
    const std::string header = spell_tensor_header(planned.headers[f]);
    write_at(descriptor, name(f), 0, std::as_bytes(std::span(header)));
    written += std::ssize(header);
  }
  for (const std::string& side : planned.side_files) {
    if (folder && side != kRecord) {
      copy_file(planned.side_folder + "/" + side, part + "/" + side);
    }
  }
}

void ModelOutput::State::open_files() {
  if (comm.rank() != 0) {
    for (std::size_t f = 0; f < planned.names.size(); ++f) {
      descriptors.push_back(open_file(name(f), O_RDWR));
    }
  }
}

void ModelOutput::State::put_down(const Provenance& provenance) const {
  const nlohmann::json record = {{"format", kFormat},       {"inputs", provenance.inputs},
                                 {"job", provenance.job},   {"job_digest", job_digest(provenance)},
                                 {"kind", provenance.kind}, {"options", provenance.options},
                                 {"version", version()}};
  const std::string name = folder ? part + "/" + kRecord : record_path(path);
  const std::string spelled =
      record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const int descriptor = open_file(name, O_WRONLY | O_CREAT | O_TRUNC);
  try {
    write_at(descriptor, name, 0, std::as_bytes(std::span(spelled)));
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::fsync(descriptor);
  ::close(descriptor);
}

void check_model_place(const Comm& comm, const std::string& path, const OutputOptions& options) {
  on_root(comm, "checking the output", [&] { check_place_of_model(trimmed(path), options); });
}

std::string stored_model_digest(const Comm& comm, const std::string& path) {
  std::string digest;
  if (comm.rank() == 0) {
    std::ifstream file(record_path(trimmed(path)), std::ios::binary);
    const std::string spelled{std::istreambuf_iterator<char>(file), {}};
    const nlohmann::json record = parse_json(spelled);
    if (record.is_object() && record.contains("job_digest") && record["job_digest"].is_string()) {
      digest = record["job_digest"].get<std::string>();
    }
  }
  return comm.broadcast_string(digest, 0);
}

ModelOutput::ModelOutput(const Comm& comm, std::string path, PlannedModel planned,
                         OutputOptions options)
    : state_(std::make_unique<State>(comm, std::move(path), std::move(planned), options)) {
  on_root(comm, "creating a model", [&] {
    expects(state_->planned.names.size() == state_->planned.headers.size() &&
                (state_->folder || state_->planned.names.size() == 1),
            "a model of one file or a folder is planned");
    state_->create();
  });
  locally(comm, "opening the output", [&] { state_->open_files(); });
}

ModelOutput::~ModelOutput() = default;

void ModelOutput::write(std::size_t file, std::int64_t position, std::span<const std::byte> bytes) {
  expects(position >= 0 && std::ssize(bytes) <= state_->size(file) - position,
          "bytes of the model are written");
  write_at(state_->descriptors[file], state_->name(file), position, bytes);
  // Lets the disk begin now, so that it is not idle until the end.
  ::sync_file_range(state_->descriptors[file], position, std::ssize(bytes), SYNC_FILE_RANGE_WRITE);
  state_->written += std::ssize(bytes);
}

void ModelOutput::finish(const Provenance& provenance) {
  State& state = *state_;
  locally(state.comm, "syncing a model", [&] {
    for (std::size_t f = 0; f < state.descriptors.size(); ++f) {
      struct stat status {};
      if (::fsync(state.descriptors[f]) != 0 || ::fstat(state.descriptors[f], &status) != 0) {
        throw_errno(errno, "syncing", state.name(f), ExitStatus::kIoFailed);
      }
      if (status.st_size != state.size(f)) {
        throw Error(ExitStatus::kIoFailed, text(state.name(f), " has ", status.st_size, " bytes, ",
                                                state.size(f), " would be right"));
      }
    }
  });
  on_root(state.comm, "putting a model in place", [&] {
    state.put_down(provenance);
    if (state.folder) {
      sync_folder(state.part);
      put_in_place(state.part, state.path);
      sync_folder(folder_of(state.path));
      ::close(std::exchange(state.lock, -1));
    } else {
      state.file->commit();
    }
  });
}

std::int64_t ModelOutput::bytes_written() const noexcept { return state_->written; }

}  // namespace espalier::io
