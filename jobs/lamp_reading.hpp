// The first reading of layers that LAMP compares, and what is decided on after the second.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "framework/log.hpp"
#include "jobs/candidates.hpp"
#include "jobs/first_reading.hpp"
#include "jobs/job.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/unit_run.hpp"
#include "kernels/lamp.hpp"

namespace espalier::jobs {

// Counts the magnitudes of each layer, coarsely; each piece is a unit of the run. That brackets the
// cut of each layer; finer counts of what lies between are taken later. Borrows everything.
//   exact    independent of ranks, pieces and earlier runs
class LampReading : public FirstReading {
 public:
  LampReading(Context& context, const Pruning& pruning, const Pieces& pieces, UnitRun& run,
              std::int64_t pass);

  //   where    collective
  //   throws   SharedError; kStoppedEarly
  void run(const RowsRead& read, Progress& progress);

  // From which magnitude key on weights of a layer may stay, and from which on they do.
  std::uint32_t least(std::int64_t layer) const { return narrowing_.least(number_of(layer)); }
  std::uint32_t above(std::int64_t layer) const { return narrowing_.above(number_of(layer)); }

  // Narrows the cuts to magnitudes. `count` adds this rank's weights of a layer between least and
  // above, and any others; local. Excluded layers have no verdict.
  //   where    collective
  std::vector<LayerVerdict> settle(
      const std::function<void(std::int64_t layer, kernels::LampTally& tally)>& count);

 private:
  template <typename Count>
  void narrow(Count&& count);
  void count_piece(std::int64_t layer, std::int64_t round, const RowsRead& read,
                   kernels::LampTally& tally);
  std::size_t number_of(std::int64_t layer) const;
  const std::vector<std::int64_t>& layers() const { return pruning_.targets.groups[0].layers; }

  kernels::LampSelect narrowing_;
};

// Adds the magnitudes of weights.
void add_magnitudes(const KeyedView& found, kernels::LampTally& tally);

}  // namespace espalier::jobs
