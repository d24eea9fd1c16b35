#include "io/side_file.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "framework/error.hpp"
#include "io/raw_file.hpp"

namespace espalier::io {
namespace {

[[noreturn]] void refuse(int error_number, const std::string& folder) {
  // A folder that is missing is an output's, not an input.
  throw_errno(error_number == ENOENT ? ENOTDIR : error_number, "making a temporary file in", folder,
              ExitStatus::kCannotCreate);
}

int open_nameless(const std::string& folder) {
  const std::string where = folder.empty() ? "." : folder;
  const int nameless = ::open(where.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (nameless >= 0) {
    return nameless;
  }
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
    refuse(errno, where);
  }
  // This file system makes files with names only (NFS, Lustre): the name goes at once.
  std::string name = where + "/.espalier-XXXXXX";
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named < 0) {
    refuse(errno, where);
  }
  ::unlink(name.c_str());
  return named;
}

}  // namespace

SideFile::SideFile(const std::string& folder, std::int64_t kept_bytes)
    : folder_(folder), kept_bytes_(kept_bytes) {
  expects(kept_bytes >= 0, "a side file keeps a number of bytes in memory");
}

std::string SideFile::what() const { return "a temporary file in " + folder_; }

SideFile::~SideFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

std::int64_t SideFile::append(std::span<const std::byte> bytes) {
  const std::int64_t begin = size_;
  const auto room = static_cast<std::size_t>(kept_bytes_ - std::ssize(kept_));
  const auto kept = bytes.first(std::min(room, bytes.size()));
  auto spilled = bytes.subspan(kept.size());
  if (!spilled.empty() && descriptor_ < 0) {
    descriptor_ = open_nameless(folder_);
  }
  std::int64_t at = std::max<std::int64_t>(0, begin - kept_bytes_);
  write_at(descriptor_, what(), at, spilled);
  if (kept_.capacity() == 0) {
    kept_.reserve(static_cast<std::size_t>(kept_bytes_));  // else it would be copied as it grows
  }
  kept_.insert(kept_.end(), kept.begin(), kept.end());
  size_ += std::ssize(bytes);
  return begin;
}

void SideFile::read(std::int64_t position, std::span<std::byte> out) const {
  expects(position >= 0 && position <= size_ && std::ssize(out) <= size_ - position,
          "only what was appended is read back");
  if (position < std::ssize(kept_) && !out.empty()) {
    const auto kept = std::span(kept_).subspan(static_cast<std::size_t>(position));
    const std::size_t length = std::min(kept.size(), out.size());
    std::memcpy(out.data(), kept.data(), length);
    position += static_cast<std::int64_t>(length);
    out = out.subspan(length);
  }
  read_at(descriptor_, what(), position - kept_bytes_, out);
}

}  // namespace espalier::io
