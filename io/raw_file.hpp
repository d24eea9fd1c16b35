// Bytes of files that are written and read in their places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>

namespace espalier::io {

// Everything here is local and throws Error(kIoFailed) with the file's name, if not said otherwise.

// Opens a file, never through a link; `flags` as of open(2).
//   throws   Error: kCannotCreate, kNoPermission
int open_file(const std::string& name, int flags);
// Gives a new file its length and the room for it.
void reserve_file(int descriptor, const std::string& name, std::int64_t bytes);
void write_at(int descriptor, const std::string& name, std::int64_t position,
              std::span<const std::byte> bytes);
void read_at(int descriptor, const std::string& name, std::int64_t position,
             std::span<std::byte> out);
// Copies a file and syncs it.
void copy_file(const std::string& from, const std::string& to);
// Makes the names in a folder safe, as far as the file system can. Never fails.
void sync_folder(const std::string& folder);

// What has been written and may still be on its way to the disk. Several threads may use it.
class Backlog {
 public:
  explicit Backlog(std::int64_t most_bytes) : most_bytes_(most_bytes) {}

  // Lets the disk begin with these bytes now, so that it is not idle until the end; waits for the
  // oldest where there are more than most_bytes.
  void add(int descriptor, const std::string& name, std::int64_t position, std::int64_t bytes);

 private:
  struct Stretch {
    int descriptor;
    std::int64_t position, bytes;
  };
  static void sync_range(const Stretch& stretch, const std::string& name, unsigned int what);

  std::int64_t most_bytes_, bytes_ = 0;
  std::mutex mutex_;
  std::deque<Stretch> stretches_;
};

}  // namespace espalier::io
