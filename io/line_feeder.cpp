#include "io/line_feeder.hpp"

#include <algorithm>
#include <cstring>
#include <span>

namespace espalier::io {
namespace {

// How much is read beyond the range's end at a time, to find the end of the last line.
constexpr std::int64_t kLookAhead = 256;

}  // namespace

LineFeeder::LineFeeder(const InputFile& file, Range range)
    : file_(file),
      range_(range),
      capacity_(static_cast<std::size_t>(
          std::min(static_cast<std::int64_t>(kLongestLine), file.size() + 1))),
      buffer_(capacity_ + 1 + kSlack),
      position_(range.begin) {
  if (range_.begin > 0 && !range_.empty()) {
    skip_to_line_start();
  }
}

void LineFeeder::skip_to_line_start() {
  --position_;
  while (position_ < range_.end) {
    begin_ = filled_ = 0;
    read_more(range_.end - position_ + kLookAhead);
    const auto* found = static_cast<const char*>(std::memchr(buffer_.data(), '\n', filled_));
    if (found != nullptr) {
      begin_ = static_cast<std::size_t>(found - buffer_.data()) + 1;
      return;
    }
  }
  begin_ = filled_;
}

void LineFeeder::read_more(std::int64_t at_most) {
  const std::int64_t room = static_cast<std::int64_t>(capacity_ - filled_);
  const std::int64_t count = std::min({at_most, room, file_.size() - position_});
  const std::span<char> place(buffer_.data() + filled_, static_cast<std::size_t>(count));
  file_.read(position_, std::as_writable_bytes(place));
  filled_ += place.size();
  position_ += count;
  bytes_read_ += count;
}

std::string_view LineFeeder::next() {
  const std::int64_t start = position_ - static_cast<std::int64_t>(filled_ - begin_);
  if (done_ || start >= range_.end) {
    return {};
  }
  std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
            buffer_.begin() + static_cast<std::ptrdiff_t>(filled_), buffer_.begin());
  filled_ -= begin_;
  begin_ = 0;
  std::size_t end = 0;
  while (end == 0) {
    const bool full = filled_ == capacity_;
    if (!full && !at_end_of_file()) {
      read_more(std::max<std::int64_t>(range_.end - position_, 0) + kLookAhead);
    }
    end = end_of_lines();
    if (end == 0 && full) {
      end = whole_lines_so_far();
      if (end == 0) {
        done_ = true;
        too_long_ = {buffer_.data(), filled_};
        return {};
      }
    }
  }
  begin_ = end;
  return {buffer_.data(), end};
}

std::size_t LineFeeder::end_of_lines() {
  const std::int64_t start = position_ - static_cast<std::int64_t>(filled_);
  std::size_t end = 0;
  if (position_ < range_.end) {
    end = whole_lines_so_far();
  } else {
    // The last line of this range is the one that holds the byte before the range's end.
    const auto offset = static_cast<std::size_t>(range_.end - 1 - start);
    const auto* found =
        static_cast<const char*>(std::memchr(buffer_.data() + offset, '\n', filled_ - offset));
    end = found == nullptr ? 0 : static_cast<std::size_t>(found - buffer_.data()) + 1;
  }
  if (end == 0 && at_end_of_file()) {
    buffer_[filled_] = '\n';
    end = filled_ + 1;
    filled_ = end;
    done_ = true;
  }
  return end;
}

std::size_t LineFeeder::whole_lines_so_far() const {
  const auto* found = static_cast<const char*>(::memrchr(buffer_.data(), '\n', filled_));
  return found == nullptr ? 0 : static_cast<std::size_t>(found - buffer_.data()) + 1;
}

}  // namespace espalier::io
