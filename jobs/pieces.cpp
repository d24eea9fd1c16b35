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
constexpr std::int64_t kMostKeptBytes = INT64_C(1) << 30;

}  // namespace

PieceMemory plan_pieces(std::int64_t memory_per_rank) {
  const std::int64_t left = memory_per_rank - kProgramBytes;
  const PieceMemory memory{std::min(kMostEntries, left / 2 / kEntryBytes),
                           std::min(kMostKeptBytes, left / 4), left / 4};
  if (memory.piece_entries < kLeastEntries) {
    throw Error(ExitStatus::kDoesNotFit,
                text("--memory-per-rank ", spelled_bytes(memory_per_rank), " is too little: ",
                     spelled_bytes(kProgramBytes), " are taken by MPI and HDF5, and ",
                     spelled_bytes(2 * kEntryBytes * kLeastEntries), " at least by weights"));
  }
  return memory;
}

Pieces::Pieces(
    const io::Network& network, int ranks, const PieceMemory& memory,
    const std::function<std::int64_t(std::int64_t layer, std::int64_t row)>& entries_before,
    std::int64_t row_step)
    : ranks_(ranks) {
  // Half of what fits: a piece may be longer than planned by one row.
  const std::int64_t wanted = memory.piece_entries / 2;
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    const auto layer = static_cast<std::int64_t>(id);
    const std::int64_t rows = network.layers[id].weight.rows;
    const std::int64_t entries = entries_before(layer, rows);
    const std::int64_t rounds = (entries + rows) / (ranks * wanted) + 1;
    const std::int64_t steps = (rows - 1) / row_step + 1;
    const auto row_of = [&](std::int64_t step) { return step == steps ? rows : step * row_step; };
    bounds_.push_back(split_by_nnz(steps, narrow<int>(rounds * ranks), [&](std::int64_t step) {
      return entries_before(layer, row_of(step));
    }));
    std::transform(bounds_.back().begin(), bounds_.back().end(), bounds_.back().begin(), row_of);
    first_.push_back(first_.back() + rounds);
    std::int64_t before = 0;
    for (const std::int64_t bound : bounds_.back()) {
      const std::int64_t here = entries_before(layer, bound);
      if (here - before > memory.piece_entries) {
        throw Error(ExitStatus::kDoesNotFit,
                    text("layer ", id, " (", network.layers[id].name,
                         "): ", row_step > 1 ? "a row of blocks" : "a row", " with ",
                         grouped(here - before), " weights needs ",
                         spelled_bytes((here - before) * kEntryBytes), ", but ",
                         spelled_bytes(memory.piece_entries * kEntryBytes),
                         " are left for it; a larger --memory-per-rank would be right"));
      }
      before = here;
    }
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

std::int64_t Pieces::number(std::int64_t layer, std::int64_t round) const {
  return first_.at(static_cast<std::size_t>(layer)) + round;
}

}  // namespace espalier::jobs
