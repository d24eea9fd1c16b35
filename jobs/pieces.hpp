// A network's weights dealt to ranks piece by piece, so that memory stays bounded.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
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

// The same where neither groups nor samples need a share: finished pieces have it.
//   where    pure
PieceMemory plan_pieces_alone(std::int64_t memory_per_rank);

// How a layer is cut.
struct PieceCut {
  std::int64_t row_step = 1;  // pieces begin at multiples of it
  // Pieces of each layer, as an earlier run with the same `entries_before` and `row_step` has cut
  // them: it may have had another number of ranks and other memory. Empty for a first run.
  std::vector<std::int64_t> pieces;
};

// Pieces are whole rows. In each round the ranks hold consecutive pieces of a layer in rank order,
// and rounds follow one another: so pieces in the order (layer, round, rank) are in row order.
// Where rounds x ranks are more than the pieces, the last ones are empty.
class Pieces {
 public:
  // `entries_before(layer, row)`: stored weights to be held for rows < row; ascending, local.
  //   where    local; the same on every rank
  //   throws   Error: kDoesNotFit naming the layer if so few rows are beyond a piece; kBadData if
  //            `cut` is none of this network
  Pieces(const io::Network& network, int ranks, const PieceMemory& memory,
         const std::function<std::int64_t(std::int64_t layer, std::int64_t row)>& entries_before,
         const PieceCut& cut = {});

  std::int64_t layers() const noexcept { return static_cast<std::int64_t>(bounds_.size()); }
  std::int64_t rounds(std::int64_t layer) const;
  Range rows(std::int64_t layer, std::int64_t round, int rank) const;
  Range rows(std::int64_t layer, std::int64_t round) const;  // of all ranks
  // Rounds of all layers, and the number of one among them.
  std::int64_t count() const noexcept { return first_.back(); }
  std::int64_t number(std::int64_t layer, std::int64_t round) const;
  // For PieceCut of later runs.
  const std::vector<std::int64_t>& pieces() const noexcept { return pieces_; }

  // The rows of all layers counted through, once for each pass over them: what a piece, or a whole
  // layer, is among the items of a job.
  std::int64_t all_rows() const noexcept { return rows_before_.back(); }
  Range items(std::int64_t pass, std::int64_t layer, Range rows) const;

 private:
  void check_fit(const std::string& name, std::int64_t layer, const PieceMemory& memory,
                 const std::function<std::int64_t(std::int64_t layer, std::int64_t row)>&
                     entries_before) const;

  int ranks_;
  std::vector<std::int64_t> pieces_;
  std::vector<std::vector<std::int64_t>> bounds_;  // by layer: rounds x ranks + 1 rows
  std::vector<std::int64_t> first_ = {0};          // by layer: rounds before it
  std::vector<std::int64_t> rows_before_ = {0};    // by layer: rows of those before it
};

}  // namespace espalier::jobs
