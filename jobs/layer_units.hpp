// Layers that are read one after the other while their sizes are not known yet.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/comm.hpp"
#include "framework/shard.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/unit_run.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Each rank's rows of a layer are a unit of the run; the items are the rows of all layers counted
// through. The ranks add a layer together: what earlier runs have left are whole layers, cut for
// their number of ranks. Borrows everything.
class LayerUnits {
 public:
  // `rows`: of each layer.
  //   where    local; the same on every rank
  //   throws   Error(kBadData) if the record holds a part of a layer
  LayerUnits(const Comm& comm, UnitRun& run, const std::vector<std::int64_t>& rows);

  // Whether an earlier run has finished it; the same on every rank.
  bool finished(std::int64_t layer) const { return finished_[static_cast<std::size_t>(layer)]; }

  // Adds this rank's rows of an unfinished layer, evenly split, and saves or stops if it is time.
  //   where    collective
  //   throws   SharedError: kStoppedEarly; as UnitRun::after_unit
  void add(std::int64_t layer, const kernels::CsrRows& rows);

  // Of all layers, once all are finished.
  //   where    collective
  std::vector<MatrixTotals> exchange_totals() const;

  // This rank's units of a layer, one a round: in rank order, rounds after each other.
  //   where    local
  std::int64_t rounds(std::int64_t layer) const;
  kernels::CsrRows read(std::int64_t layer, std::int64_t round) const;

 private:
  Range items(std::int64_t layer, std::int64_t round) const;

  const Comm& comm_;
  UnitRun& run_;
  std::vector<std::vector<Range>> units_;  // by layer, of all ranks: items
  std::vector<bool> finished_;
};

}  // namespace espalier::jobs
