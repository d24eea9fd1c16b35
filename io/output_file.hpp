// A file that is there at its full size, filled by several ranks and threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace espalier::io {

// All members are local.
//   throws   Error(kIoFailed)
class OutputFile {
 public:
  explicit OutputFile(std::string name);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Bytes from `position` on. The disk begins with them at once, so that it is not idle until sync.
  void write(std::int64_t position, std::span<const std::byte> bytes) const;
  void sync() const;

 private:
  std::string name_;
  int descriptor_;
};

}  // namespace espalier::io
