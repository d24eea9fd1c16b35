// Whole lines of a byte range of a text file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "framework/shard.hpp"
#include "io/input_file.hpp"

namespace espalier::io {

// Feeds the lines that begin in [range), in pieces. `file` is borrowed.
class LineFeeder {
 public:
  static constexpr std::size_t kLongestLine = 1 << 20;  // bytes, its end included
  static constexpr std::size_t kSlack = 64;             // readable bytes behind each piece

  //   throws   as InputFile::read
  LineFeeder(const InputFile& file, Range range);

  // The next piece: one or more lines, each ended by LF (the file's last one too, whatever it ends
  // with); valid until the next call. Empty after the last line. If a line is too long, the rest
  // of the file is not fed: the piece is empty and `too_long` its beginning.
  std::string_view next();
  std::string_view too_long() const noexcept { return too_long_; }
  std::int64_t bytes_read() const noexcept { return bytes_read_; }

 private:
  void skip_to_line_start();
  void read_more(std::int64_t at_most);
  // Bytes of the unread text that are whole lines of this range, 0 if that is not known yet.
  std::size_t end_of_lines();
  std::size_t whole_lines_so_far() const;
  bool at_end_of_file() const noexcept { return position_ == file_.size(); }

  const InputFile& file_;
  Range range_;
  std::size_t capacity_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, filled_ = 0;  // unread text is buffer_[begin_, filled_)
  std::int64_t position_ = 0;           // in the file, of buffer_[filled_]
  std::int64_t bytes_read_ = 0;
  bool done_ = false;
  std::string_view too_long_;
};

}  // namespace espalier::io
