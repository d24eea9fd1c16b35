// A foreign file, read where one asks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace espalier::io {

// An open ordinary file. All members are local; ranks read independently.
class InputFile {
 public:
  //   throws   Error: kNoInput if it is missing or no ordinary file, kNoPermission
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::int64_t size() const noexcept { return size_; }
  // Bytes [position, position + out.size()).
  //   throws   Error: kIoFailed if reading fails, kBadData if the file ends before
  void read(std::int64_t position, std::span<std::byte> out) const;
  // Lets the system fetch bytes that will be read soon; returns at once and never fails.
  void will_read(std::int64_t position, std::int64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

// Up to `limit` characters of `found` in quotes, everything unprintable escaped: for messages.
std::string in_quotes(std::string_view found, std::size_t limit = 40);

}  // namespace espalier::io
