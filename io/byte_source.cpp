#include "io/byte_source.hpp"

#include <utility>

#include "framework/error.hpp"

namespace espalier::io {

FileBytes::FileBytes(std::shared_ptr<const InputFile> file, Range range)
    : file_(std::move(file)), range_(range) {
  if (range.begin < 0 || range.begin > range.end || range.end > file_->size()) {
    throw Error(ExitStatus::kBadData,
                text(file_->path(), ": bytes ", range.begin, " to ", range.end,
                     " are needed, but the file has ", file_->size()));
  }
}

void FileBytes::read(std::int64_t position, std::span<std::byte> out) const {
  if (position < 0 || position > size() || std::ssize(out) > size() - position) {
    throw Error(ExitStatus::kBadData, text(file_->path(), ": ", out.size(), " bytes at ", position,
                                           " are needed, but there are only ", size()));
  }
  file_->read(range_.begin + position, out);
}

}  // namespace espalier::io
