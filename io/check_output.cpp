// What stands where an output shall go, and the small outputs that are no HDF5 files.
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/catalog.hpp"
#include "io/file_kind.hpp"
#include "io/part_file.hpp"
#include "io/staged_file.hpp"

namespace espalier::io {
namespace {

// The job_digest a finished output carries, if `path` is one.
std::optional<std::string> stored_job_digest(const Comm& comm, const std::string& path) {
  try {
    const Catalog catalog = read_catalog(comm, path);
    const nlohmann::json origin = origin_of(catalog);
    if (origin.contains("job_digest") && origin["job_digest"].is_string()) {
      return origin["job_digest"].get<std::string>();
    }
    return std::nullopt;
  } catch (const SharedError& error) {
    // Whatever it is that stands there, it is not this job's output.
    if (error.status() == ExitStatus::kBadData || error.status() == ExitStatus::kNoInput ||
        error.status() == ExitStatus::kNoPermission) {
      return std::nullopt;
    }
    throw;
  }
}

void write_all(const PartFile& file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.descriptor(), bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      throw_errno(errno, "writing", file.name(), ExitStatus::kIoFailed);
    }
    if (written > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
}

}  // namespace

bool output_exists(const Comm& comm, const std::string& path) {
  std::int64_t exists = 0;
  if (comm.rank() == 0) {
    exists = ::access(path.c_str(), F_OK) == 0 ? 1 : 0;
  }
  return comm.max(exists) != 0;
}

OutputState check_output(const Comm& comm, const std::string& path, const std::string& job_digest,
                         const OutputOptions& options) {
  if (!options.force && output_exists(comm, path)) {
    on_root(comm, "checking the output", [&] { check_place(path, true); });
    if (stored_job_digest(comm, path) == job_digest) {
      return OutputState::kAlreadyDone;
    }
    throw SharedError(ExitStatus::kCannotCreate,
                      text("cannot create ", path,
                           ": the file exists and is not what this job would write; --force "
                           "replaces it"),
                      comm.rank(), comm.ranks());
  }
  on_root(comm, "checking the output", [&] { check_place(path, options.force); });
  return OutputState::kFree;
}

void write_whole_file(const Comm& comm, const std::string& path, std::span<const std::byte> bytes,
                      const OutputOptions& options) {
  on_root(comm, "writing a file", [&] {
    PartFile part(path, options.force);
    part.reserve(std::ssize(bytes));
    write_all(part, bytes);
    part.commit();
  });
}

}  // namespace espalier::io
