// Samples that are read piece by piece while the size of their matrix is not known yet.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "jobs/job.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/rounds.hpp"
#include "jobs/unit_run.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Each piece of samples is a unit of the run, and stays cut as the first run has cut it. Borrows
// everything.
class SampleUnits {
 public:
  // Into how many pieces a first run cuts samples: UnitJob::cut.
  //   where    pure
  static std::vector<std::int64_t> plan_cut(std::int64_t samples, int ranks, std::int64_t most);

  //   where    local; the same on every rank
  //   throws   Error(kBadData) if the record is cut in another way
  SampleUnits(const Context& context, UnitRun& run);

  const Rounds& rounds() const noexcept { return rounds_; }

  // Makes the rows of all samples that are not finished yet; `make` is local.
  //   where    collective
  //   throws   SharedError: kStoppedEarly
  //   returns  totals of all samples
  MatrixTotals fill(const std::string& doing, const std::string& things,
                    const std::function<kernels::CsrRows(Range samples)>& make);

  // This rank's piece of a round; made, and kept, if it is not finished yet.
  //   where    local
  kernels::CsrRows take(std::int64_t round,
                        const std::function<kernels::CsrRows(Range samples)>& make);
  kernels::CsrRows read(std::int64_t round) const;
  // Of all ranks.
  Range samples(std::int64_t round) const;

 private:
  const Context& context_;
  UnitRun& run_;
  Rounds rounds_;
};

}  // namespace espalier::jobs
