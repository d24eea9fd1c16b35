// A plain output of one process, written from front to back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/part_file.hpp"

namespace espalier::io {

// Grows PATH.part through a buffer; finish() puts it in place, complete. Local.
//   throws   Error: as PartFile; kIoFailed if the disk is full
class FileWriter {
 public:
  FileWriter(const std::string& path, bool force) : file_(path, force) {}
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  // Replaces bytes that were appended before.
  void overwrite(std::int64_t position, std::span<const std::byte> bytes);
  std::int64_t size() const noexcept { return written_ + std::ssize(buffer_); }
  void finish();

 private:
  void flush();
  void write(std::int64_t position, std::span<const std::byte> bytes);

  PartFile file_;
  std::vector<std::byte> buffer_;
  std::int64_t written_ = 0;
};

}  // namespace espalier::io
