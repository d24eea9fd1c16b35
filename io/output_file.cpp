#include "io/output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "framework/error.hpp"
#include "io/raw_file.hpp"

namespace espalier::io {
namespace {

// Returns the errno, 0 if all is well.
int sync_data(int descriptor) {
  int code = 0;
  do {
    code = ::fdatasync(descriptor);
  } while (code != 0 && errno == EINTR);
  return code == 0 ? 0 : errno;
}

}  // namespace

OutputFile::OutputFile(std::string name)
    : name_(std::move(name)),
      descriptor_(::open(name_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW)) {
  if (descriptor_ < 0) {
    throw_errno(errno, "opening", name_, ExitStatus::kIoFailed);
  }
}

OutputFile::~OutputFile() {
  syncer_ = {};
  ::close(descriptor_);
}

void OutputFile::write(std::int64_t position, std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return;
  }
  write_at(descriptor_, name_, position, bytes);
  // Advice: where it cannot be taken, sync does all of it.
  ::sync_file_range(descriptor_, position, std::ssize(bytes), SYNC_FILE_RANGE_WRITE);
  ask_for_sync(std::ssize(bytes));
}

void OutputFile::ask_for_sync(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  unsynced_bytes_ += bytes;
  if (unsynced_bytes_ < kSyncBytes) {
    return;
  }
  unsynced_bytes_ = 0;
  asked_ = true;
  try {
    if (!syncer_.joinable()) {
      syncer_ = std::jthread([this](const std::stop_token& stop) { sync_when_asked(stop); });
    }
  } catch (const std::system_error&) {
    return;  // no more threads: advice again
  }
  wake_.notify_one();
}

void OutputFile::sync_when_asked(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return asked_; }) && failure_ == 0) {
    asked_ = false;
    lock.unlock();
    const int failure = sync_data(descriptor_);
    lock.lock();
    failure_ = failure;
  }
}

void OutputFile::sync() {
  syncer_ = {};
  const int failure = failure_ != 0 ? failure_ : sync_data(descriptor_);
  if (failure != 0) {
    throw_errno(failure, "syncing", name_, ExitStatus::kIoFailed);
  }
}

}  // namespace espalier::io
