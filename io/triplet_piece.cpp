#include "io/triplet_piece.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <system_error>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {
namespace {

constexpr int kMostDigits = 18;                 // of an index: more would overflow 64 bits
constexpr std::size_t kLongestRemembered = 32;  // of a value's text

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Parses well-formed lines; whatever else it finds is put into words by explain_line().
class LineParser {
 public:
  explicit LineParser(const TripletForm& form)
      : limits_{static_cast<std::uint64_t>(form.limits[0]),
                static_cast<std::uint64_t>(form.limits[1])},
        row_field_(form.row_field) {}

  // Reads the line at `text`; the lines up to `end` end with LF, and LineFeeder::kSlack bytes can
  // be read behind them. Returns the beginning of the next line, or nullptr if this is no triplet.
  const char* parse(const char* text, const char* end, Triplet& triplet) {
    std::uint64_t i = 0, j = 0;
    const char* at = parse_index(text, i, limits_[0]);
    if (at == nullptr || *at != '\t') {
      return nullptr;
    }
    at = parse_index(at + 1, j, limits_[1]);
    if (at == nullptr || *at != '\t') {
      return nullptr;
    }
    at = parse_value(at + 1, end);
    if (at == nullptr) {
      return nullptr;
    }
    triplet.row = static_cast<std::uint32_t>((row_field_ == 0 ? i : j) - 1);
    triplet.col = static_cast<std::uint32_t>((row_field_ == 0 ? j : i) - 1);
    triplet.value = value_;
    return at;
  }

 private:
  static const char* parse_index(const char* text, std::uint64_t& index, std::uint64_t limit) {
    const char* at = text;
    for (; is_digit(*at) && at - text < kMostDigits; ++at) {
      index = index * 10 + static_cast<std::uint64_t>(*at - '0');
    }
    return index >= 1 && index <= limit ? at : nullptr;
  }

  // The value and the line's end behind it. Most files repeat one text for all values.
  const char* parse_value(const char* text, const char* lines_end) {
    if (remembered_ > 0 && std::memcmp(text, memory_, remembered_) == 0) {
      const char* after = after_line_end(text + remembered_);
      if (after != nullptr) {
        return after;
      }
    }
    const auto* line_end = static_cast<const char*>(
        std::memchr(text, '\n', static_cast<std::size_t>(lines_end - text)));
    const auto [end, error] = std::from_chars(text, line_end, value_);
    const char* after = error == std::errc() ? after_line_end(end) : nullptr;
    if (after == nullptr || !std::isfinite(value_)) {
      return nullptr;
    }
    const auto length = static_cast<std::size_t>(end - text);
    remembered_ = length <= kLongestRemembered ? length : 0;
    std::memcpy(memory_, text, remembered_);
    return after;
  }

  static const char* after_line_end(const char* at) {
    at += *at == '\r' ? 1 : 0;
    return *at == '\n' ? at + 1 : nullptr;
  }

  std::uint64_t limits_[2];
  int row_field_;
  float value_ = 0;
  std::size_t remembered_ = 0;
  char memory_[kLongestRemembered];
};

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  std::size_t begin = 0;
  for (std::size_t tab; (tab = line.find('\t', begin)) != std::string_view::npos; begin = tab + 1) {
    fields.push_back(line.substr(begin, tab - begin));
  }
  fields.push_back(line.substr(begin));
  return fields;
}

std::string what_is_right(const TripletForm& form) {
  return text("right is ", form.names[0], "<TAB>", form.names[1], "<TAB>", form.names[2], " with ",
              form.names[0], " in 1..", form.limits[0], " and ", form.names[1], " in 1..",
              form.limits[1]);
}

std::string explain_index(std::string_view field, const std::string& name) {
  for (const char c : field) {
    if (!is_digit(c)) {
      return text("found ", in_quotes(field), " in place of the ", name, " (a whole number)");
    }
  }
  return field.empty() ? text("the ", name, " is missing")
                       : text(name, " ", in_quotes(field), " is out of range");
}

std::string explain_value(std::string_view field, const std::string& name) {
  float value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (field.empty()) {
    return text("the ", name, " is missing");
  }
  if (end != field.data() + field.size() || error == std::errc::invalid_argument) {
    return text("found ", in_quotes(field), " in place of the ", name, " (a number)");
  }
  return text(name, " ", in_quotes(field),
              error == std::errc() ? " is not finite" : " does not fit into float32");
}

// Parses a range, line by line.
class RangeParser {
 public:
  explicit RangeParser(const TripletForm& form) : form_(form), parser_(form) {}

  // Returns false once a line is wrong.
  bool take(std::string_view piece) {
    const char* at = piece.data();
    const char* const end = at + piece.size();
    while (at != end) {
      Triplet triplet;
      const char* next = outcome_.trailing < 0 ? parser_.parse(at, end, triplet) : nullptr;
      if (next == nullptr) {
        next = static_cast<const char*>(std::memchr(at, '\n', static_cast<std::size_t>(end - at)));
        if (!take_odd({at, static_cast<std::size_t>(next - at)})) {
          return false;
        }
        at = next + 1;
        continue;
      }
      triplet.line = static_cast<std::uint32_t>(outcome_.lines++);
      triplets.push_back(triplet);
      at = next;
    }
    if (outcome_.lines > kMostLines) {
      throw Error(ExitStatus::kDoesNotFit,
                  text(form_.path, " has more than ", kMostLines, " lines a rank; use more ranks"));
    }
    return true;
  }

  void refuse_long_line(std::string_view beginning) {
    if (outcome_.trailing >= 0) {
      fail(outcome_.trailing, explain_line("", form_));
    } else {
      fail(outcome_.lines, text("longer than ", LineFeeder::kLongestLine, " bytes (",
                                in_quotes(beginning), "), ", what_is_right(form_)));
    }
  }

  PieceOutcome outcome() const {
    PieceOutcome outcome = outcome_;
    outcome.has_content = outcome.fault_line >= 0 || !triplets.empty() ? 1 : 0;
    return outcome;
  }

  std::vector<Triplet> triplets;
  std::string fault;

 private:
  // A line the parser did not take, or one behind an empty line.
  bool take_odd(std::string_view line) {
    if (line.empty() || line == "\r") {
      outcome_.trailing = outcome_.trailing < 0 ? outcome_.lines : outcome_.trailing;
      ++outcome_.lines;
      return true;
    }
    const bool behind_empty = outcome_.trailing >= 0;
    return fail(behind_empty ? outcome_.trailing : outcome_.lines,
                explain_line(behind_empty ? "" : line, form_));
  }

  bool fail(std::int64_t line, std::string message) {
    outcome_.fault_line = line;
    fault = std::move(message);
    return false;
  }

  const TripletForm& form_;
  LineParser parser_;
  PieceOutcome outcome_;
};

}  // namespace

std::string explain_line(std::string_view line, const TripletForm& form) {
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  if (line.empty()) {
    return "empty, but lines follow it; only the end of the file may have empty lines";
  }
  const auto fields = fields_of(line);
  if (fields.size() != 3) {
    return text("found ", fields.size(), fields.size() == 1 ? " field (" : " fields (",
                in_quotes(line), "), ", what_is_right(form));
  }
  for (std::size_t f = 0; f < 2; ++f) {
    std::uint64_t index = 0;
    const auto [end, error] =
        std::from_chars(fields[f].data(), fields[f].data() + fields[f].size(), index);
    const bool whole = error == std::errc() && end == fields[f].data() + fields[f].size();
    if (!whole || fields[f].size() > kMostDigits || index < 1 ||
        index > static_cast<std::uint64_t>(form.limits[f])) {
      return text(explain_index(fields[f], form.names[f]), "; ", what_is_right(form));
    }
  }
  return text(explain_value(fields[2], form.names[2]), "; ", what_is_right(form));
}

TripletPiece parse_piece(const TripletForm& form, const InputFile& file, Range range) {
  LineFeeder feeder(file, range);
  RangeParser parser(form);
  // Most lines are longer than 20 bytes; where they are not, growing costs a copy.
  parser.triplets.reserve(static_cast<std::size_t>(range.size() / 20 + 1));
  bool sound = true;
  for (auto piece = feeder.next(); sound && !piece.empty(); piece = feeder.next()) {
    sound = parser.take(piece);
  }
  if (sound && !feeder.too_long().empty()) {
    parser.refuse_long_line(feeder.too_long());
  }
  return {parser.outcome(), std::move(parser.triplets), std::move(parser.fault),
          feeder.bytes_read()};
}

std::vector<std::byte> pack_piece(const TripletPiece& piece) {
  std::vector<std::byte> bytes(sizeof piece.outcome + piece.triplets.size() * sizeof(Triplet));
  std::memcpy(bytes.data(), &piece.outcome, sizeof piece.outcome);
  if (!piece.triplets.empty()) {
    std::memcpy(bytes.data() + sizeof piece.outcome, piece.triplets.data(),
                piece.triplets.size() * sizeof(Triplet));
  }
  return bytes;
}

TripletPiece unpack_piece(const TripletForm& form, std::span<const std::byte> bytes) {
  TripletPiece piece;
  expects(bytes.size() >= sizeof piece.outcome &&
              (bytes.size() - sizeof piece.outcome) % sizeof(Triplet) == 0,
          "a kept piece has whole triplets");
  std::memcpy(&piece.outcome, bytes.data(), sizeof piece.outcome);
  bytes = bytes.subspan(sizeof piece.outcome);
  piece.triplets.resize(bytes.size() / sizeof(Triplet));
  if (!bytes.empty()) {
    std::memcpy(piece.triplets.data(), bytes.data(), bytes.size());
  }
  const auto rows = static_cast<std::uint64_t>(form.limits[form.row_field == 0 ? 0 : 1]);
  const auto cols = static_cast<std::uint64_t>(form.limits[form.row_field == 0 ? 1 : 0]);
  expects(std::all_of(piece.triplets.begin(), piece.triplets.end(),
                      [&](const Triplet& t) { return t.row < rows && t.col < cols; }),
          "kept triplets are those of the file");
  return piece;
}

}  // namespace espalier::io
