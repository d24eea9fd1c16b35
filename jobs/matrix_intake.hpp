// Foreign matrices on their way into a file of ours: read once or twice, round by round.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/matrix_source.hpp"
#include "jobs/job.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/rounds.hpp"
#include "jobs/unit_run.hpp"

namespace espalier::jobs {

// Use: fill(), create the output from info(), then take() round by round with after_round() behind
// each, finish(). Each rank's rows of a round are a unit of the run, and stay cut as the first run
// has cut them. A dense matrix that has its rows in order is read when it is written, and not
// before. The rows of all others wait in the record until it is known how many of their entries are
// not zero.
class MatrixIntake {
 public:
  struct Info {
    const io::MatrixSource* source = nullptr;  // borrowed
    Rounds rounds;
    std::int64_t first_row = 0;  // rows of the matrices before it
    std::int64_t nnz = -1;       // of all ranks; -1: dense, not known
    std::optional<float> iso;    // the one value of all non-zeros of a sparse matrix
  };

  //   where    collective, after begin_output()
  //   throws   SharedError: kDoesNotFit if a row is too large for memory; as UnitRun
  MatrixIntake(Context& context, const OutputPlan& plan,
               const std::vector<const io::MatrixSource*>& sources);

  //   where    collective
  //   throws   SharedError: kBadData as the sources; kStoppedEarly
  void fill();
  const Info& info(std::size_t matrix) const { return infos_[matrix]; }

  // This rank's rows of a round, ascending.
  //   where    local
  //   throws   Error as the source
  kernels::CsrRows take(std::size_t matrix, std::int64_t round);
  // Saves or stops if it is time to.
  //   where    collective
  //   throws   SharedError: kStoppedEarly
  void after_round(std::size_t matrix, std::int64_t round);
  // The output is complete.
  //   where    collective
  void finish() { run_.finish(); }

 private:
  static std::vector<Info> plan(const Context& context,
                                const std::vector<const io::MatrixSource*>& sources);
  static UnitJob job_of(const OutputPlan& plan, const std::vector<Info>& infos);
  void cut_as_before();
  void fill(std::size_t matrix, MatrixTotals& totals);
  Range rows_of(const Info& info, std::int64_t round, int rank) const;

  Context& context_;
  std::string folder_;
  std::vector<Info> infos_;
  UnitRun run_;
};

}  // namespace espalier::jobs
