#include "io/output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "framework/error.hpp"
#include "io/raw_file.hpp"

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
  if (bytes.empty()) {
    return;
  }
  write_at(descriptor_, name_, position, bytes);
  // Advice: where it cannot be taken, sync does all of it.
  ::sync_file_range(descriptor_, position, std::ssize(bytes), SYNC_FILE_RANGE_WRITE);
}

void OutputFile::sync() const {
  if (::fsync(descriptor_) != 0) {
    throw_errno(errno, "syncing", name_, ExitStatus::kIoFailed);
  }
}

}  // namespace espalier::io
