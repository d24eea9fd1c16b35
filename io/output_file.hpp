// A file that is there at its full size, filled by several ranks and threads at once.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <thread>

namespace espalier::io {

// All members are local.
//   throws   Error(kIoFailed)
class OutputFile {
 public:
  explicit OutputFile(std::string name);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Bytes from `position` on. The disk begins with them at once, and a thread of the file's own
  // syncs it every kSyncBytes: neither the disk nor its cache then has much to do in sync().
  void write(std::int64_t position, std::span<const std::byte> bytes);
  // Everything is safe afterwards; the last call before the end.
  void sync();

  static constexpr std::int64_t kSyncBytes = std::int64_t{16} << 20;

 private:
  void ask_for_sync(std::int64_t bytes);
  void sync_when_asked(const std::stop_token& stop);

  std::string name_;
  int descriptor_;
  std::mutex mutex_;  // of all below
  std::condition_variable_any wake_;
  std::int64_t unsynced_bytes_ = 0;
  bool asked_ = false;
  int failure_ = 0;  // errno of a sync that failed: it is told to one caller only
  std::jthread syncer_;
};

}  // namespace espalier::io
