// Groups of weights that stay or go together: whole rows, whole columns, blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "framework/comm.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_settings.hpp"
#include "kernels/layout.hpp"
#include "kernels/select.hpp"

namespace espalier::jobs {

// Life: note every piece of a layer, close the layer, … , decide once, then apply to every piece.
// Borrows everything. Pieces begin at rows that begin groups.
//   exact    sums that cross ranks are exact, others taken in row order on one rank: the same
//            groups stay for any number of ranks
class GroupSelection {
 public:
  GroupSelection(const PruneSettings& settings, const PruneTargets& targets,
                 const io::Network& network, const Pieces& pieces);

  // What this rank keeps in memory, at most.
  std::int64_t bytes(const Comm& comm) const;

  void note(std::int64_t layer, std::int64_t round, const kernels::CsrRows& rows);   // local
  void close_layer(const Comm& comm, std::int64_t layer);                            // collective
  void decide(const Comm& comm);                                                     // collective
  void apply(std::int64_t layer, std::int64_t round, kernels::CsrRows& rows) const;  // local

  // Whole columns: all of a layer are noted together, at its first piece.
  bool by_column() const noexcept { return settings_.group.rows == 0; }
  // What was noted of a piece (of columns: of a closed layer), as bytes; and instead of noting it
  // (and closing the layer), what another run has noted.
  //   where    local
  std::span<const std::byte> noted(std::int64_t layer, std::int64_t round) const;
  void restore(std::int64_t layer, std::int64_t round, std::span<const std::byte> bytes);

 private:
  std::int64_t block_cols(std::int64_t layer) const;
  std::size_t groups_across(std::int64_t layer) const;
  std::uint32_t key_of(double total, double largest, std::int64_t positions) const;
  void note_columns(const kernels::CsrRows& rows);
  double shrinks_by(std::int64_t layer) const;
  void decide_counts(const Comm& comm, const PruneGroup& group, std::int64_t number);
  std::vector<std::int64_t> numbers_of(std::int64_t layer) const;

  const PruneSettings& settings_;
  const PruneTargets& targets_;
  const io::Network& network_;
  const Pieces& pieces_;
  // By piece number: the key of each group, row of groups by row. All columns of a layer stand at
  // its first piece, on every rank.
  std::vector<std::vector<std::uint32_t>> keys_;
  std::vector<std::vector<std::uint8_t>> stays_;
  std::vector<std::int64_t> columns_;  // of the layer that is noted: sums, or the largest keys
  std::vector<kernels::Cut> cuts_;     // by layer
  std::vector<std::int64_t> groups_;   // by layer: the number of its PruneGroup
};

}  // namespace espalier::jobs
