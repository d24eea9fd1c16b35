// A network's weights dealt to ranks piece by piece, so that memory stays bounded.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "framework/shard.hpp"
#include "io/network_file.hpp"

namespace espalier::jobs {

// What a rank may hold at a time.
struct PieceMemory {
  std::int64_t piece_entries = 0;  // stored weights of one piece
  std::int64_t kept_bytes = 0;     // of finished pieces, before they go to the disk
  std::int64_t group_bytes = 0;    // of what is known of groups of weights
};
// Bytes that a stored weight of a piece takes while it is read, decided on and written.
inline constexpr std::int64_t kEntryBytes = 40;

// Divides a rank's memory between pieces in work and finished ones.
//   where    pure
//   throws   Error(kDoesNotFit) if hardly anything would be left for them
PieceMemory plan_pieces(std::int64_t memory_per_rank);

// Pieces are whole rows. In each round the ranks hold consecutive pieces of a layer in rank order,
// and rounds follow one another: so pieces in the order (layer, round, rank) are in row order.
class Pieces {
 public:
  // `entries_before(layer, row)`: stored weights to be held for rows < row; ascending, local.
  // Pieces begin at multiples of `row_step`.
  //   where    local; the same on every rank
  //   throws   Error(kDoesNotFit) naming the layer if so few rows are beyond a piece
  Pieces(const io::Network& network, int ranks, const PieceMemory& memory,
         const std::function<std::int64_t(std::int64_t layer, std::int64_t row)>& entries_before,
         std::int64_t row_step = 1);

  std::int64_t layers() const noexcept { return static_cast<std::int64_t>(bounds_.size()); }
  std::int64_t rounds(std::int64_t layer) const;
  Range rows(std::int64_t layer, std::int64_t round, int rank) const;
  // Rounds of all layers, and the number of one among them.
  std::int64_t count() const noexcept { return first_.back(); }
  std::int64_t number(std::int64_t layer, std::int64_t round) const;

 private:
  int ranks_;
  std::vector<std::vector<std::int64_t>> bounds_;  // by layer: rounds x ranks + 1 rows
  std::vector<std::int64_t> first_ = {0};          // by layer: rounds before it
};

}  // namespace espalier::jobs
