#include "io/input_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // Without O_NONBLOCK a named pipe would wait for a writer that may never come.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    throw_errno(errno, "cannot open", path_, ExitStatus::kNoInput);
  }
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw Error(ExitStatus::kNoInput,
                text(path_, S_ISDIR(status.st_mode) ? " is a folder" : " is no ordinary file",
                     ", right is the path of a file"));
  }
  size_ = status.st_size;
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(std::int64_t position, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), out.size(), position);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      throw_errno(errno, "reading", path_, ExitStatus::kIoFailed);
    }
    if (got == 0) {
      throw Error(ExitStatus::kBadData,
                  text(path_, " ends at byte ", position, ", but ", out.size(),
                       " more should be there: it is truncated or has been changed meanwhile"));
    }
    position += got;
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

void InputFile::will_read(std::int64_t position, std::int64_t bytes) const {
  // Linux cuts one request to what the device takes at a time.
  constexpr std::int64_t kRequestBytes = std::int64_t{512} << 10;
  const std::int64_t end = std::min(size_, position + bytes);
  for (; position < end; position += kRequestBytes) {
    ::posix_fadvise(descriptor_, position, std::min(kRequestBytes, end - position),
                    POSIX_FADV_WILLNEED);
  }
}

std::string in_quotes(std::string_view found, std::size_t limit) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : found.substr(0, limit)) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else if (code < 0x20 || code >= 0x7f) {
      out += {'\\', 'x', kHex[code >> 4U], kHex[code & 15U]};
    } else {
      out += c;
    }
  }
  return out + (found.size() > limit ? "...\"" : "\"");
}

}  // namespace espalier::io
