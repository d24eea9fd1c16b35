#include "jobs/pieces.hpp"

#include <algorithm>

#include "framework/error.hpp"
#include "jobs/plan.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

// Beyond this a larger piece saves nothing that can be measured.
constexpr std::int64_t kMostEntries = INT64_C(1) << 22;
constexpr std::int64_t kLeastEntries = INT64_C(1) << 12;
constexpr std::int64_t kMostKeptBytes = INT64_C(256) << 20;
// Layers are cut into so many pieces, if those are not too small, so that more ranks than those of
// the first run find work in them.
constexpr std::int64_t kWantedPieces = 16;
constexpr std::int64_t kWantedEntries = INT64_C(1) << 18;
// Beyond one piece a row, a first run may have as many more as it has ranks.
constexpr std::int64_t kMostRanks = INT64_C(1) << 20;

}  // namespace

PieceMemory plan_pieces(std::int64_t memory_per_rank) {
  const std::int64_t left = memory_per_rank - kProgramBytes;
  const PieceMemory memory{std::min(kMostEntries, left / 2 / kEntryBytes),
                           std::min(kMostKeptBytes, left / 8), left / 4};
  if (memory.piece_entries < kLeastEntries) {
    throw Error(ExitStatus::kDoesNotFit,
                text("--memory-per-rank ", spelled_bytes(memory_per_rank), " is too little: ",
                     spelled_bytes(kProgramBytes), " are taken by MPI and HDF5, and ",
                     spelled_bytes(2 * kEntryBytes * kLeastEntries), " at least by weights"));
  }
  return memory;
}

PieceMemory plan_pieces_alone(std::int64_t memory_per_rank) {
  PieceMemory memory = plan_pieces(memory_per_rank);
  const std::int64_t left = memory_per_rank - kProgramBytes - memory.piece_entries * kEntryBytes;
  // An eighth may be lost between pieces.
  memory.kept_bytes = std::max(memory.kept_bytes, left - left / 8);
  memory.group_bytes = 0;
  return memory;
}

Pieces::Pieces(
    const io::Network& network, int ranks, const PieceMemory& memory,
    const std::function<std::int64_t(std::int64_t layer, std::int64_t row)>& entries_before,
    const PieceCut& cut)
    : ranks_(ranks), pieces_(cut.pieces) {
  if (!pieces_.empty() && pieces_.size() != network.layers.size()) {
    throw Error(ExitStatus::kBadData, text("cannot resume: what is finished is of ", pieces_.size(),
                                           " layers, not ", network.layers.size()));
  }
  // Half of what fits: a piece may be longer than planned by one row.
  const std::int64_t wanted = memory.piece_entries / 2;
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    const auto layer = static_cast<std::int64_t>(id);
    const std::int64_t rows = network.layers[id].weight.rows;
    const std::int64_t entries = entries_before(layer, rows);
    const std::int64_t steps = (rows - 1) / cut.row_step + 1;
    if (cut.pieces.empty()) {
      const std::int64_t least = std::min(kWantedPieces, (entries + rows) / kWantedEntries);
      const std::int64_t rounds =
          std::max((entries + rows) / (ranks * wanted) + 1, (least + ranks - 1) / ranks);
      pieces_.push_back(rounds * ranks);
    } else if (pieces_[id] < 1 || pieces_[id] > steps + kMostRanks) {
      throw Error(ExitStatus::kBadData, text("cannot resume: layer ", id, " of ", rows,
                                             " rows is not cut into ", pieces_[id], " pieces"));
    }
    const auto row_of = [&](std::int64_t step) {
      return step == steps ? rows : step * cut.row_step;
    };
    bounds_.push_back(split_by_nnz(steps, narrow<int>(pieces_[id]), [&](std::int64_t step) {
      return entries_before(layer, row_of(step));
    }));
    std::vector<std::int64_t>& bounds = bounds_.back();
    std::transform(bounds.begin(), bounds.end(), bounds.begin(), row_of);
    const std::int64_t rounds = (pieces_[id] - 1) / ranks + 1;
    bounds.resize(static_cast<std::size_t>(rounds * ranks + 1), rows);
    first_.push_back(first_.back() + rounds);
    rows_before_.push_back(rows_before_.back() + rows);
    check_fit(network.layers[id].name, layer, memory, entries_before);
  }
}

void Pieces::check_fit(
    const std::string& name, std::int64_t layer, const PieceMemory& memory,
    const std::function<std::int64_t(std::int64_t layer, std::int64_t row)>& entries_before) const {
  std::int64_t before = 0;
  std::int64_t first = 0;
  for (const std::int64_t bound : bounds_.back()) {
    const std::int64_t here = entries_before(layer, bound);
    if (here - before > memory.piece_entries) {
      const std::string which = bound - first > 1
                                    ? text("rows ", first, " to ", bound - 1, " need ")
                                    : text("row ", first, " needs ");
      throw Error(
          ExitStatus::kDoesNotFit,
          text("layer ", layer, " (", name, "): ", which,
               spelled_bytes((here - before) * kEntryBytes), " for ", grouped(here - before),
               " weights, but ", spelled_bytes(memory.piece_entries * kEntryBytes),
               " are left for them; a larger --memory-per-rank would be right"));
    }
    before = here;
    first = bound;
  }
}

std::int64_t Pieces::rounds(std::int64_t layer) const {
  const auto id = static_cast<std::size_t>(layer);
  return first_.at(id + 1) - first_[id];
}

Range Pieces::rows(std::int64_t layer, std::int64_t round, int rank) const {
  const auto& bounds = bounds_.at(static_cast<std::size_t>(layer));
  const auto at = static_cast<std::size_t>(round * ranks_ + rank);
  return {bounds.at(at), bounds.at(at + 1)};
}

Range Pieces::rows(std::int64_t layer, std::int64_t round) const {
  return {rows(layer, round, 0).begin, rows(layer, round, ranks_ - 1).end};
}

Range Pieces::items(std::int64_t pass, std::int64_t layer, Range rows) const {
  const std::int64_t before = pass * all_rows() + rows_before_.at(static_cast<std::size_t>(layer));
  return {before + rows.begin, before + rows.end};
}

std::int64_t Pieces::number(std::int64_t layer, std::int64_t round) const {
  return first_.at(static_cast<std::size_t>(layer)) + round;
}

}  // namespace espalier::jobs
