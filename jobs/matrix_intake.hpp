// Foreign matrices on their way into a file of ours: read once or twice, round by round.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "io/matrix_source.hpp"
#include "jobs/job.hpp"
#include "jobs/rounds.hpp"
#include "jobs/row_spool.hpp"

namespace espalier::jobs {

// Use: add() every matrix, join(), create the output from info(), then read() round by round.
// A dense matrix that has its rows in order is read when it is written, and not before. Of all
// others, the rows wait in a side file until it is known how many of their entries are not zero.
class MatrixIntake {
 public:
  struct Info {
    const io::MatrixSource* source = nullptr;  // borrowed
    Rounds rounds;
    std::int64_t nnz = -1;     // of all ranks; -1: dense, not known
    std::optional<float> iso;  // the one value of all non-zeros of a sparse matrix
  };

  MatrixIntake(Context& context, const std::string& output)
      : context_(context), folder_(folder_for(output)), spool_(folder_) {}

  // The next matrix, numbered from 0.
  //   where    collective
  //   throws   SharedError: kBadData as the source; kDoesNotFit if a row is too large for memory
  void add(const io::MatrixSource& source);
  //   where    collective, after the last add()
  void join();
  const Info& info(std::size_t matrix) const { return infos_[matrix]; }

  // This rank's rows of a round, ascending.
  //   where    local
  //   throws   Error as the source
  kernels::CsrRows read(std::size_t matrix, std::int64_t round) const;

 private:
  static std::string folder_for(const std::string& output);
  Rounds plan_rounds(const io::MatrixSource& source) const;

  Context& context_;
  std::string folder_;
  RowSpool spool_;
  std::vector<Info> infos_;
  std::vector<MatrixTotals> totals_;
  std::vector<std::optional<std::size_t>> first_piece_;  // in the spool, if it was needed
};

}  // namespace espalier::jobs
