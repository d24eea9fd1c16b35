// The first reading of weights that stay or go in groups.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/log.hpp"
#include "jobs/first_reading.hpp"
#include "jobs/group_selection.hpp"
#include "jobs/job.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/unit_run.hpp"

namespace espalier::jobs {

// Measures groups and decides which of them stay. Each piece is a unit of the run; of columns,
// which go through all pieces, each layer. Borrows everything.
//   exact    independent of ranks, pieces and earlier runs
class GroupReading : public FirstReading {
 public:
  GroupReading(Context& context, const Pruning& pruning, const Pieces& pieces, UnitRun& run,
               std::int64_t pass);
  //   throws   Error(kDoesNotFit) if the groups of this rank need more memory (local)
  void check_fit(std::int64_t group_bytes) const;

  //   where    collective, within UnitRun::attempt
  //   throws   SharedError; kStoppedEarly
  void run(const RowsRead& read, Progress& progress);

  // Leaves those weights of a piece that stay. Local.
  void apply(std::int64_t layer, std::int64_t round, kernels::CsrRows& rows) const {
    groups_.apply(layer, round, rows);
  }

 private:
  void measure_pieces(std::int64_t layer, const RowsRead& read, Progress& progress);
  void measure_columns(std::int64_t layer, const RowsRead& read, Progress& progress);
  void measure(std::int64_t layer, std::int64_t round, const RowsRead& read);
  void restore_columns(std::int64_t layer);
  std::vector<std::uint32_t> gather_crcs(std::int64_t layer) const;

  GroupSelection groups_;
};

}  // namespace espalier::jobs
