// PATH.part: where an output grows until it is complete.
#pragma once

#include <cstdint>
#include <string>

namespace espalier::io {

// The folder that holds `path`: "." for a bare name.
std::string folder_of(const std::string& path);

// Checks that `path` can be put in place: the folder is there and writable, and nothing else
// stands there unless `force` allows a file to be replaced.
//   where    local
//   throws   Error: kCannotCreate, kNoPermission
void check_place(const std::string& path, bool force);

// A process's own PATH.part, locked against other runs; removed unless committed. Local.
class PartFile {
 public:
  // Creates it, or takes over what a killed run has left: empty, or with `resume` as it is.
  //   throws   Error: kCannotCreate (also if another run is writing it), kNoPermission
  PartFile(const std::string& path, bool force, bool resume = false);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  const std::string& name() const noexcept { return name_; }
  int descriptor() const noexcept { return descriptor_; }
  std::int64_t size_bytes() const;

  // Makes the file system set aside room for `bytes`; the file's length stays.
  //   throws   Error(kIoFailed) with the bytes needed and free
  void reserve(std::int64_t bytes);

  // From now on it stays if it is not committed. Local, never fails.
  void keep() noexcept { kept_ = true; }

  // Gives back what is reserved beyond the end, syncs, renames to PATH, syncs the folder.
  //   throws   Error: kIoFailed, kCannotCreate
  void commit();

 private:
  bool lock();
  void check_free(std::int64_t bytes) const;

  std::string path_, name_;
  bool force_, kept_;
  int descriptor_ = -1;
};

// Waits until what this node has of `file` is on the disk.
//   throws   Error(kIoFailed)
void sync_file(const std::string& file);

}  // namespace espalier::io
