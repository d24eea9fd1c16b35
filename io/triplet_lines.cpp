#include "io/triplet_lines.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/shard.hpp"
#include "io/input_file.hpp"
#include "io/line_feeder.hpp"

namespace espalier::io {
namespace {

constexpr int kMostDigits = 18;  // of an index: more would overflow 64 bits
// Line numbers in a range have 32 bits; one more piece must still fit.
constexpr std::int64_t kMostLines =
    std::numeric_limits<std::uint32_t>::max() - std::int64_t{LineFeeder::kLongestLine};
constexpr std::size_t kLongestRemembered = 32;  // of a value's text

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Parses well-formed lines; whatever else it finds is put into words by explain().
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

// Says what is wrong with a line that LineParser did not take.
std::string explain(std::string_view line, const TripletForm& form) {
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

// What one rank found in its range. Lines are counted from 0.
struct RangeOutcome {
  std::int64_t lines = 0;        // up to and without a faulty one
  std::int64_t trailing = -1;    // the first of the empty lines at the end, -1 if none
  std::int64_t fault_line = -1;  // -1: none
  std::int64_t has_content = 0;  // lines that are not empty
};

// Parses one rank's range, line by line.
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
      fail(outcome_.trailing, explain("", form_));
    } else {
      fail(outcome_.lines, text("longer than ", LineFeeder::kLongestLine, " bytes (",
                                in_quotes(beginning), "), ", what_is_right(form_)));
    }
  }

  RangeOutcome outcome() const {
    RangeOutcome outcome = outcome_;
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
                explain(behind_empty ? "" : line, form_));
  }

  bool fail(std::int64_t line, std::string message) {
    outcome_.fault_line = line;
    fault = std::move(message);
    return false;
  }

  const TripletForm& form_;
  LineParser parser_;
  RangeOutcome outcome_;
};

void refuse_gzip(const InputFile& file) {
  std::array<std::byte, 2> magic{};
  if (file.size() >= 2) {
    file.read(0, magic);
    if (magic[0] == std::byte{0x1f} && magic[1] == std::byte{0x8b}) {
      throw Error(ExitStatus::kBadData,
                  text(file.path(), " is compressed with gzip; unpack it first (gunzip)"));
    }
  }
}

// A piece of the file, parsed.
struct Piece {
  RangeOutcome outcome;
  std::vector<Triplet> triplets;
  std::string fault;
  std::int64_t bytes_read = 0;
};

Piece parse_piece(const TripletForm& form, const InputFile& file, Range range) {
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

std::vector<std::byte> pack_piece(const Piece& piece) {
  std::vector<std::byte> bytes;
  const auto put = [&](std::span<const std::byte> more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
  };
  bytes.reserve(sizeof piece.outcome + piece.triplets.size() * sizeof(Triplet));
  put(std::as_bytes(std::span(&piece.outcome, 1)));
  put(std::as_bytes(std::span(piece.triplets)));
  return bytes;
}

Piece unpack_piece(const TripletForm& form, std::span<const std::byte> bytes) {
  Piece piece;
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

// What a rank has of all its pieces.
struct RankLines {
  TripletLines lines;
  std::vector<RangeOutcome> outcomes;
  std::map<std::size_t, std::string> faults;  // by position among the outcomes
  std::int64_t count = 0;                     // of lines

  void add(const TripletForm& form, Piece piece) {
    if (count + piece.outcome.lines > kMostLines) {
      throw Error(ExitStatus::kDoesNotFit,
                  text(form.path, " has more than ", kMostLines, " lines a rank; use more ranks"));
    }
    for (Triplet& triplet : piece.triplets) {
      triplet.line += static_cast<std::uint32_t>(count);
    }
    if (lines.triplets.empty()) {
      lines.triplets = std::move(piece.triplets);
    } else {
      lines.triplets.insert(lines.triplets.end(), piece.triplets.begin(), piece.triplets.end());
    }
    if (!piece.fault.empty()) {
      faults[outcomes.size()] = std::move(piece.fault);
    }
    outcomes.push_back(piece.outcome);
    count += piece.outcome.lines;
    lines.bytes_read += piece.bytes_read;
  }
};

RankLines parse_pieces(const Comm& comm, const TripletForm& form, const TripletPieces& pieces,
                       int count) {
  RankLines mine;
  std::optional<InputFile> file;
  locally(comm, "reading " + form.path, [&] {
    file.emplace(form.path);
    refuse_gzip(*file);
  });
  for (int first = 0; first < count; first += comm.ranks()) {
    const int number = first + comm.rank();
    locally(comm, "reading " + form.path, [&] {
      if (number >= count) {
        return;
      }
      const Range range = split_evenly(file->size(), count, number);
      const auto kept = pieces.find ? pieces.find(range) : std::vector<std::byte>();
      if (!kept.empty()) {
        mine.add(form, unpack_piece(form, kept));
        return;
      }
      Piece piece = parse_piece(form, *file, range);
      if (pieces.keep && piece.fault.empty()) {
        pieces.keep(range, pack_piece(piece));
      }
      mine.add(form, std::move(piece));
    });
    if (pieces.after_round) {
      const int last = std::min(first + comm.ranks(), count) - 1;
      pieces.after_round({split_evenly(file->size(), count, first).begin,
                          split_evenly(file->size(), count, last).end});
    }
  }
  return mine;
}

// The first line of the whole file that is wrong, as every rank sees it.
struct FirstFault {
  std::int64_t line;  // 1-based
  // The piece whose text says what is wrong, -1: an empty line before the lines of another.
  std::int64_t piece;
};

// `first_line` gets the number of each piece's first line, up to the fault.
std::optional<FirstFault> first_fault(std::span<const RangeOutcome> outcomes,
                                      std::vector<std::int64_t>& first_line) {
  std::int64_t before = 1;
  std::int64_t empty_line = 0;
  for (std::size_t p = 0; p < outcomes.size(); ++p) {
    const RangeOutcome& outcome = outcomes[p];
    first_line.push_back(before);
    if (outcome.has_content != 0 && empty_line > 0) {
      return FirstFault{empty_line, -1};
    }
    if (outcome.fault_line >= 0) {
      return FirstFault{before + outcome.fault_line, static_cast<std::int64_t>(p)};
    }
    if (outcome.trailing >= 0 && empty_line == 0) {
      empty_line = before + outcome.trailing;
    }
    before += outcome.lines;
  }
  return std::nullopt;
}

// Of all pieces, in file order: they were dealt in turns.
std::vector<RangeOutcome> gather_outcomes(const Comm& comm, std::span<const RangeOutcome> mine,
                                          int count) {
  std::vector<RangeOutcome> outcomes(static_cast<std::size_t>(count));
  const auto ranks = static_cast<std::size_t>(comm.ranks());
  const auto gathered = comm.gather_all_bytes(std::as_bytes(mine));
  for (std::size_t p = 0; p < outcomes.size(); ++p) {
    std::memcpy(&outcomes[p], gathered[p % ranks].data() + p / ranks * sizeof(RangeOutcome),
                sizeof(RangeOutcome));
  }
  return outcomes;
}

}  // namespace

std::string at_line(const std::string& path, std::int64_t line) {
  return text(path, ": line ", line, ": ");
}

std::int64_t TripletLines::number_of(std::size_t rank, std::int64_t line) const {
  const std::vector<Stretch>& mine = stretches.at(rank);
  const auto after =
      std::upper_bound(mine.begin(), mine.end(), line,
                       [](std::int64_t value, const Stretch& s) { return value < s.begin; });
  expects(after != mine.begin(), "a line lies in a stretch");
  return std::prev(after)->first_line + line - std::prev(after)->begin;
}

TripletLines read_triplet_lines(const Comm& comm, const TripletForm& form,
                                const TripletPieces& pieces) {
  const int count = pieces.count > 0 ? pieces.count : comm.ranks();
  RankLines mine = parse_pieces(comm, form, pieces, count);
  const auto outcomes = gather_outcomes(comm, mine.outcomes, count);
  const auto ranks = static_cast<std::size_t>(comm.ranks());
  std::vector<std::int64_t> first_line;
  if (const auto fault = first_fault(outcomes, first_line)) {
    std::string what = explain("", form);
    if (fault->piece >= 0) {
      const auto piece = static_cast<std::size_t>(fault->piece);
      what = comm.broadcast_string(mine.faults[piece / ranks], static_cast<int>(piece % ranks));
    }
    throw SharedError(ExitStatus::kBadData, at_line(form.path, fault->line) + what, comm.rank(),
                      comm.ranks());
  }
  std::vector<std::int64_t> begin(ranks, 0);
  mine.lines.stretches.resize(ranks);
  for (std::size_t p = 0; p < outcomes.size(); ++p) {
    mine.lines.stretches[p % ranks].push_back({begin[p % ranks], first_line[p]});
    begin[p % ranks] += outcomes[p].lines;
  }
  return std::move(mine.lines);
}

}  // namespace espalier::io
