// Finished pieces whose final place is not known yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace espalier::io {

// A nameless file in a folder of the user's choice (the output's), gone with the process. The
// first `kept_bytes` stay in memory, so that small jobs touch no disk.
//   where    local
//   throws   Error(kIoFailed) if the disk is full or reading fails, kNoPermission, kCannotCreate
class SideFile {
 public:
  explicit SideFile(const std::string& folder, std::int64_t kept_bytes = 64 << 20);
  ~SideFile();
  SideFile(const SideFile&) = delete;
  SideFile& operator=(const SideFile&) = delete;

  // Appends and returns the position of the first byte.
  std::int64_t append(std::span<const std::byte> bytes);
  void read(std::int64_t position, std::span<std::byte> out) const;
  std::int64_t size() const noexcept { return size_; }

 private:
  std::string what() const;  // for messages

  std::string folder_;
  std::int64_t kept_bytes_;
  std::vector<std::byte> kept_;
  std::int64_t size_ = 0;
  int descriptor_ = -1;
};

}  // namespace espalier::io
