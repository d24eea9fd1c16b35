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
#include "io/raw_file.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".safetensors";
constexpr const char* kRecord = "espalier.json";
// What all ranks together, and one at least, may have on its way to the disk.
constexpr std::int64_t kMostBacklog = INT64_C(256) << 20;
constexpr std::int64_t kLeastBacklog = INT64_C(16) << 20;

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

[[noreturn]] void cannot_resume(const std::string& why) {
  throw Error(ExitStatus::kBadData, text("cannot resume: ", why, "; --no-resume starts afresh"));
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
  State(const Comm& comm_of_all, std::string path_of_model, PlannedModel plan, OutputOptions given,
        bool resumes)
      : comm(comm_of_all),
        path(trimmed(std::move(path_of_model))),
        part(path + ".part"),
        folder(!path.ends_with(kSuffix)),
        planned(std::move(plan)),
        options(given),
        resume(resumes),
        kept(resumes),
        backlog(std::max(kMostBacklog / comm.ranks(), kLeastBacklog)) {}
  ~State();

  std::string name(std::size_t number) const {
    return folder ? part + "/" + planned.names[number] : part;
  }
  std::int64_t size(std::size_t number) const {
    return planned.headers[number].data_start() + planned.headers[number].data_bytes();
  }
  void take_folder();
  void check_left() const;
  void create_file(std::size_t number);
  void create();
  void open_files();
  void put_down(const Provenance& provenance) const;

  const Comm& comm;
  const std::string path, part;
  const bool folder;
  const PlannedModel planned;
  const OutputOptions options;
  const bool resume;
  bool kept;                     // even if it is not finished
  std::optional<PartFile> file;  // of rank 0, if the output is a file
  int lock = -1;                 // of rank 0, on the folder
  std::vector<int> descriptors;
  std::atomic<std::int64_t> written{0};
  Backlog backlog;
};

ModelOutput::State::~State() {
  for (const int descriptor : descriptors) {
    ::close(descriptor);
  }
  if (lock >= 0) {  // not finished
    std::error_code code;
    if (!kept) {
      fs::remove_all(part, code);
    }
    ::close(lock);
  }
  if (file && kept) {
    file->keep();
  }
}

// Makes PATH.part, or takes over what a killed run has left: nothing of it, or what is planned.
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
    const bool ours = std::find(planned.names.begin(), planned.names.end(),
                                entry.path().filename().string()) != planned.names.end();
    if (!resume || !ours) {
      fs::remove_all(entry.path());
    }
  }
}

// That the files an earlier run has made are there and of the right size.
void ModelOutput::State::check_left() const {
  for (std::size_t f = 0; f < planned.names.size(); ++f) {
    struct stat status {};
    if (::lstat(name(f).c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
      cannot_resume(text(name(f), " is gone"));
    }
    if (status.st_size != size(f)) {
      cannot_resume(text(name(f), " has ", status.st_size, " bytes, ", size(f), " would be right"));
    }
  }
}

void ModelOutput::State::create_file(std::size_t number) {
  const int descriptor = open_file(name(number), resume ? O_RDWR : O_RDWR | O_CREAT);
  descriptors.push_back(descriptor);
  const std::string header = spell_tensor_header(planned.headers[number]);
  if (resume) {
    std::string found(header.size(), '\0');
    read_at(descriptor, name(number), 0, std::as_writable_bytes(std::span(found)));
    if (found != header) {
      cannot_resume(text("the header of ", name(number), " is damaged"));
    }
    return;
  }
  reserve_file(descriptor, name(number), size(number));
  write_at(descriptor, name(number), 0, std::as_bytes(std::span(header)));
  written += std::ssize(header);
}

void ModelOutput::State::create() {
  check_place_of_model(path, options);
  if (resume) {
    check_left();
  }
  if (folder) {
    take_folder();
  } else {
    file.emplace(path, options.force, resume);
  }
  for (std::size_t f = 0; f < planned.names.size(); ++f) {
    create_file(f);
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
                         OutputOptions options, bool resume)
    : state_(std::make_unique<State>(comm, std::move(path), std::move(planned), options, resume)) {
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
  const std::string name = state_->name(file);
  write_at(state_->descriptors[file], name, position, bytes);
  state_->backlog.add(state_->descriptors[file], name, position, std::ssize(bytes));
  state_->written += std::ssize(bytes);
}

void ModelOutput::read(std::size_t file, std::int64_t position, std::span<std::byte> out) const {
  read_at(state_->descriptors[file], state_->name(file), position, out);
}

std::string ModelOutput::name(std::size_t file) const { return state_->name(file); }

void ModelOutput::sync() const {
  for (std::size_t f = 0; f < state_->descriptors.size(); ++f) {
    if (::fdatasync(state_->descriptors[f]) != 0) {
      throw_errno(errno, "syncing", state_->name(f), ExitStatus::kIoFailed);
    }
  }
  if (state_->folder) {
    sync_folder(state_->part);
  }
  sync_folder(folder_of(state_->path));
}

void ModelOutput::keep() noexcept { state_->kept = true; }

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
