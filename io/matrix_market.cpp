#include "io/matrix_market.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/error.hpp"
#include "io/input_file.hpp"
#include "io/line_feeder.hpp"
#include "io/smtx.hpp"
#include "io/triplet_lines.hpp"

namespace espalier::io {
namespace {

enum class Symmetry { kGeneral, kSymmetric, kSkew };

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// Words between blanks.
std::string_view next_word(std::string_view& rest) {
  while (!rest.empty() && is_blank(rest.front())) {
    rest.remove_prefix(1);
  }
  const auto* end = std::find_if(rest.begin(), rest.end(), is_blank);
  const std::string_view word = rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
  rest.remove_prefix(word.size());
  return word;
}

std::string lower(std::string_view word) {
  std::string out(word);
  for (char& c : out) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

std::optional<std::int64_t> whole(std::string_view word) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc() && end == word.data() + word.size() ? std::optional(value)
                                                                  : std::nullopt;
}

std::optional<float> number(std::string_view word) {
  if (word.starts_with('+')) {
    word.remove_prefix(1);
  }
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() ||
      !std::isfinite(static_cast<float>(value))) {
    return std::nullopt;
  }
  return static_cast<float>(value);
}

// The number of the first line that begins at or behind `position`, counted from 1.
std::int64_t line_number(const InputFile& file, std::int64_t position) {
  std::vector<std::byte> piece(1 << 18);
  std::int64_t number = 1;
  for (std::int64_t at = 0; at < position;) {
    const auto part = std::span(piece).first(
        static_cast<std::size_t>(std::min(std::ssize(piece), position - at)));
    file.read(at, part);
    number += std::count(part.begin(), part.end(), std::byte{'\n'});
    at += std::ssize(part);
    number += at == position && part.back() != std::byte{'\n'} ? 1 : 0;
  }
  return number;
}

// A file's lines one by one, from a range of its bytes.
class Lines {
 public:
  Lines(const InputFile& file, Range range) : file_(file), range_(range), feeder_(file, range) {}

  // The next line without its end; nothing behind the last.
  std::optional<std::string_view> next() {
    if (piece_.empty()) {
      piece_ = feeder_.next();
      if (piece_.empty()) {
        if (!feeder_.too_long().empty()) {
          ++count_;
          refuse(text("is longer than ", LineFeeder::kLongestLine, " bytes"));
        }
        return std::nullopt;
      }
    }
    const std::size_t end = piece_.find('\n');
    const std::string_view line = piece_.substr(0, end);
    piece_.remove_prefix(end + 1);
    bytes_ += static_cast<std::int64_t>(end) + 1;
    ++count_;
    return line;
  }
  // Bytes of the lines so far.
  std::int64_t bytes() const { return bytes_; }

  // Complains about the line that next() gave last.
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ExitStatus::kBadData,
                at_line(file_.path(), line_number(file_, range_.begin) + count_ - 1) + what);
  }

 private:
  const InputFile& file_;
  Range range_;
  LineFeeder feeder_;
  std::string_view piece_;
  std::int64_t bytes_ = 0, count_ = 0;
};

class MarketSource : public MatrixSource {
 public:
  explicit MarketSource(const std::string& path) : file_(path) {
    name = path;
    Lines lines(file_, {0, file_.size()});
    read_banner(lines);
    read_sizes(lines);
    begin_ = std::min(lines.bytes(), file_.size());
    vector = array_ && cols == 1;
    check_shape(*this);
    check_count(lines);
  }

  bool by_rows() const override { return false; }
  std::unique_ptr<EntryStream> entries(int part, int parts) const override;

 private:
  class Stream;

  void read_banner(Lines& lines) {
    std::string_view rest = lines.next().value_or("");
    const std::string banner(rest);
    std::array<std::string, 5> words;
    for (std::string& word : words) {
      word = lower(next_word(rest));
    }
    const auto need = [&](bool right, const std::string& found, const std::string& expected) {
      if (!right) {
        lines.refuse(
            text("found ", in_quotes(found.empty() ? banner : found), ", right is ", expected));
      }
    };
    need(words[0] == "%%matrixmarket" && words[1] == "matrix", "",
         "%%MatrixMarket matrix coordinate|array real|integer|pattern "
         "general|symmetric|skew-symmetric");
    array_ = words[2] == "array";
    pattern_ = words[3] == "pattern";
    need(array_ || words[2] == "coordinate", words[2], "coordinate or array");
    need(words[3] == "real" || words[3] == "integer" || (pattern_ && !array_), words[3],
         "real, integer or (of coordinates) pattern");
    need(words[4] == "general" || words[4] == "symmetric" || words[4] == "skew-symmetric", words[4],
         "general, symmetric or skew-symmetric");
    symmetry_ = words[4] == "general"     ? Symmetry::kGeneral
                : words[4] == "symmetric" ? Symmetry::kSymmetric
                                          : Symmetry::kSkew;
    dense = array_;
  }

  void read_sizes(Lines& lines) {
    for (auto line = lines.next(); line; line = lines.next()) {
      std::string_view rest = *line;
      const std::string_view first = next_word(rest);
      if (first.empty() || first.starts_with('%')) {
        continue;
      }
      const auto height = whole(first), width = whole(next_word(rest));
      const auto count = array_ ? std::optional<std::int64_t>(0) : whole(next_word(rest));
      if (!height || !width || !count || *count < 0 || !next_word(rest).empty()) {
        lines.refuse(text("found ", in_quotes(*line), ", right is rows, columns",
                          array_ ? "" : " and entries"));
      }
      rows = *height;
      cols = *width;
      stored = *count;
      return;
    }
    throw Error(ExitStatus::kBadData, text(name, " ends before the line of its sizes"));
  }

  // What is promised must be able to be there.
  void check_count(const Lines& lines) {
    if (symmetry_ != Symmetry::kGeneral && rows != cols) {
      lines.refuse(text("a symmetric matrix of ", rows, " x ", cols, ", right is a square one"));
    }
    if (array_) {
      stored = symmetry_ == Symmetry::kGeneral     ? rows * cols
               : symmetry_ == Symmetry::kSymmetric ? rows * (rows + 1) / 2
                                                   : rows * (rows - 1) / 2;
    }
    const std::int64_t shortest = array_ ? 2 : pattern_ ? 4 : 6;  // "1", "1 1", "1 1 1" and LF
    const std::int64_t most = (file_.size() + 1 - begin_) / shortest;
    if (stored > most) {
      lines.refuse(text("promises ", stored, " entries, but what follows has room for at most ",
                        most, ": the file is truncated, or its header lies"));
    }
  }

  InputFile file_;
  bool array_ = false, pattern_ = false;
  Symmetry symmetry_ = Symmetry::kGeneral;
  std::int64_t begin_ = 0;  // of the entries
};

// The entries of the lines that begin in a range of bytes.
class MarketSource::Stream : public EntryStream {
 public:
  Stream(const MarketSource& source, Range range)
      : source_(source), range_(range), lines_(source.file_, range) {}

  bool read(std::vector<Entry>& out) override {
    if (source_.array_ && passed_ == 0) {
      seek_array();
    }
    const std::int64_t before = passed_;
    while (passed_ - before < static_cast<std::int64_t>(kAtATime)) {
      const auto line = lines_.next();
      if (!line) {
        break;
      }
      std::string_view rest = *line;
      std::string_view first = next_word(rest);
      if (first.empty() || first.starts_with('%')) {
        continue;
      }
      const Entry entry = source_.array_ ? array_entry(first) : coordinate(*line, first, rest);
      if (!next_word(rest).empty()) {
        refuse(*line);
      }
      ++passed_;
      emit(entry, out);
    }
    return passed_ > before;
  }
  std::int64_t passed() const override { return passed_; }

 private:
  [[noreturn]] void refuse(std::string_view line) const {
    const std::string value = source_.pattern_ ? "" : " and a finite value";
    lines_.refuse(text("found ", in_quotes(line), ", right is ",
                       source_.array_
                           ? "one finite value"
                           : text("row 1..", source_.rows, ", column 1..", source_.cols, value)));
  }

  Entry coordinate(std::string_view line, std::string_view first, std::string_view& rest) const {
    const auto row = whole(first), col = whole(next_word(rest));
    const auto value = source_.pattern_ ? std::optional(1.0F) : number(next_word(rest));
    if (!row || !col || !value || *row < 1 || *row > source_.rows || *col < 1 ||
        *col > source_.cols) {
      refuse(line);
    }
    return {static_cast<std::uint32_t>(*row - 1), static_cast<std::uint32_t>(*col - 1), *value};
  }

  Entry array_entry(std::string_view word) {
    const auto value = number(word);
    if (!value) {
      refuse(word);
    }
    if (col_ >= source_.cols) {
      lines_.refuse(text("comes after all ", source_.stored, " values of a matrix of ",
                         source_.rows, " x ", source_.cols));
    }
    const Entry entry{static_cast<std::uint32_t>(row_), static_cast<std::uint32_t>(col_), *value};
    ++row_;
    turn_columns();
    return entry;
  }

  // Of what is stored of a column.
  std::int64_t first_row(std::int64_t col) const {
    return source_.symmetry_ == Symmetry::kGeneral     ? 0
           : source_.symmetry_ == Symmetry::kSymmetric ? col
                                                       : col + 1;
  }

  // Beyond a column's end the next one begins that has values; the last of a skew one has none.
  void turn_columns() {
    while (col_ < source_.cols && row_ >= source_.rows) {
      row_ = first_row(++col_);
    }
  }

  // Where the range's first value belongs: there is no telling but by counting those before it.
  void seek_array() {
    Lines before(source_.file_, {source_.begin_, range_.begin});
    col_ = 0;
    row_ = first_row(0);
    turn_columns();
    if (range_.begin <= source_.begin_) {
      return;
    }
    for (auto line = before.next(); line && col_ < source_.cols; line = before.next()) {
      std::string_view rest = *line;
      const std::string_view first = next_word(rest);
      if (first.empty() || first.starts_with('%')) {
        continue;
      }
      ++row_;
      turn_columns();
    }
  }

  void emit(const Entry& entry, std::vector<Entry>& out) const {
    out.push_back(entry);
    if (source_.symmetry_ == Symmetry::kGeneral || entry.row == entry.col) {
      return;
    }
    const float mirrored = source_.symmetry_ == Symmetry::kSkew ? -entry.value : entry.value;
    out.push_back({entry.col, entry.row, mirrored});
  }

  const MarketSource& source_;
  Range range_;
  Lines lines_;
  std::int64_t passed_ = 0;
  std::int64_t row_ = 0, col_ = 0;  // of the next value of an array
};

std::unique_ptr<EntryStream> MarketSource::entries(int part, int parts) const {
  const Range range = split_evenly(file_.size() - begin_, parts, part);
  return std::make_unique<Stream>(*this, Range{begin_ + range.begin, begin_ + range.end});
}

}  // namespace

std::unique_ptr<MatrixSource> open_matrix_market(const std::string& path) {
  if (is_smtx(path)) {
    return open_smtx(path);
  }
  return std::make_unique<MarketSource>(path);
}

}  // namespace espalier::io
