#include "io/triplet_lines.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/shard.hpp"
#include "io/input_file.hpp"
#include "io/triplet_piece.hpp"

namespace espalier::io {
namespace {

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

// What a rank has of all its pieces.
struct RankLines {
  TripletLines lines;
  std::vector<PieceOutcome> outcomes;
  std::map<std::size_t, std::string> faults;  // by position among the outcomes
  std::int64_t count = 0;                     // of lines

  void add(const TripletForm& form, TripletPiece piece) {
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
      TripletPiece piece = parse_piece(form, *file, range);
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
std::optional<FirstFault> first_fault(std::span<const PieceOutcome> outcomes,
                                      std::vector<std::int64_t>& first_line) {
  std::int64_t before = 1;
  std::int64_t empty_line = 0;
  for (std::size_t p = 0; p < outcomes.size(); ++p) {
    const PieceOutcome& outcome = outcomes[p];
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
std::vector<PieceOutcome> gather_outcomes(const Comm& comm, std::span<const PieceOutcome> mine,
                                          int count) {
  std::vector<PieceOutcome> outcomes(static_cast<std::size_t>(count));
  const auto ranks = static_cast<std::size_t>(comm.ranks());
  const auto gathered = comm.gather_all_bytes(std::as_bytes(mine));
  for (std::size_t p = 0; p < outcomes.size(); ++p) {
    std::memcpy(&outcomes[p], gathered[p % ranks].data() + p / ranks * sizeof(PieceOutcome),
                sizeof(PieceOutcome));
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
    std::string what = explain_line("", form);
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
