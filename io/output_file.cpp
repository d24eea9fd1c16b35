#include "io/output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {

OutputFile::OutputFile(std::string name)
    : name_(std::move(name)),
      descriptor_(::open(name_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW)) {
  if (descriptor_ < 0) {
    throw_errno(errno, "opening", name_, ExitStatus::kIoFailed);
  }
}

OutputFile::~OutputFile() { ::close(descriptor_); }

void OutputFile::write(std::int64_t position, std::span<const std::byte> bytes) const {
  const std::int64_t begin = position;
  const auto length = std::ssize(bytes);
  if (length == 0) {
    return;
  }
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(descriptor_, bytes.data(), bytes.size(), position);
    if (done < 0 && errno == EINTR) {
      continue;
    }
    if (done <= 0) {
      throw_errno(done < 0 ? errno : ENOSPC, "writing", name_, ExitStatus::kIoFailed);
    }
    position += done;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  // Advice: where it cannot be taken, sync does all of it.
  ::sync_file_range(descriptor_, begin, length, SYNC_FILE_RANGE_WRITE);
}

void OutputFile::sync() const {
  if (::fsync(descriptor_) != 0) {
    throw_errno(errno, "syncing", name_, ExitStatus::kIoFailed);
  }
}

}  // namespace espalier::io
