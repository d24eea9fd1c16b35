#include "io/file_writer.hpp"

#include "framework/error.hpp"
#include "io/raw_file.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;

}  // namespace

void FileWriter::append(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    flush();
  }
  if (bytes.size() > kBufferBytes) {
    write(written_, bytes);
    written_ += std::ssize(bytes);
    return;
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void FileWriter::overwrite(std::int64_t position, std::span<const std::byte> bytes) {
  flush();
  expects(position >= 0 && position + std::ssize(bytes) <= written_, "written bytes are replaced");
  write(position, bytes);
}

void FileWriter::finish() {
  flush();
  file_.commit();
}

void FileWriter::flush() {
  write(written_, buffer_);
  written_ += std::ssize(buffer_);
  buffer_.clear();
}

void FileWriter::write(std::int64_t position, std::span<const std::byte> bytes) {
  write_at(file_.descriptor(), file_.name(), position, bytes);
}

}  // namespace espalier::io
