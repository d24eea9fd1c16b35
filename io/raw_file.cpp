#include "io/raw_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

#include "framework/error.hpp"
#include "io/input_file.hpp"

namespace espalier::io {

void write_at(int descriptor, const std::string& name, std::int64_t position,
              std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor, bytes.data(), bytes.size(), position);
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      throw_errno(written < 0 ? errno : ENOSPC, "writing", name, ExitStatus::kIoFailed);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    position += written;
  }
}

void read_at(int descriptor, const std::string& name, std::int64_t position,
             std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor, out.data(), out.size(), position);
    if (got < 0 && errno != EINTR) {
      throw_errno(errno, "reading", name, ExitStatus::kIoFailed);
    }
    if (got == 0) {
      throw Error(ExitStatus::kIoFailed, text(name, " ends at byte ", position));
    }
    if (got > 0) {
      out = out.subspan(static_cast<std::size_t>(got));
      position += got;
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

void reserve_file(int descriptor, const std::string& name, std::int64_t bytes) {
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

void Backlog::add(int descriptor, const std::string& name, std::int64_t position,
                  std::int64_t bytes) {
  sync_range({descriptor, position, bytes}, name, SYNC_FILE_RANGE_WRITE);
  std::vector<Stretch> old;
  {
    const std::lock_guard lock(mutex_);
    stretches_.push_back({descriptor, position, bytes});
    for (bytes_ += bytes; bytes_ > most_bytes_; stretches_.pop_front()) {
      old.push_back(stretches_.front());
      bytes_ -= old.back().bytes;
    }
  }
  for (const Stretch& stretch : old) {
    sync_range(stretch, name,
               SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  }
}

// An error of the disk is told to one caller only, so it has to be looked at here, too.
void Backlog::sync_range(const Stretch& stretch, const std::string& name, unsigned int what) {
  if (::sync_file_range(stretch.descriptor, stretch.position, stretch.bytes, what) != 0 &&
      (errno == EIO || errno == ENOSPC || errno == EDQUOT)) {
    throw_errno(errno, "writing", name, ExitStatus::kIoFailed);
  }
}

}  // namespace espalier::io
