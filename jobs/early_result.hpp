// A result that is written while it is computed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "framework/comm.hpp"
#include "io/result_file.hpp"
#include "jobs/outcome_piece.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Writes the outcome of each wave to the result file at once, as long as no full output is zero:
// then all sizes are known before the last wave, and the disk is not idle until it. At the first
// zero, or if the file cannot be made or written, it leaves nothing behind; the result is then
// written at the end, as if nothing had been.
class EarlyResult {
 public:
  struct Plan {
    std::string path;
    io::Result result;  // with full outputs, all of them stored, and all samples in the categories
    io::Provenance provenance;
    io::OutputOptions options;
  };
  // Touches no file.
  explicit EarlyResult(Plan plan);

  // Writes what this rank keeps of a wave (may be nothing). A rank's waves ascend.
  //   where    collective over `world`, which is borrowed
  //   owns     `piece` is the same afterwards
  //   cost     one allreduce more than ResultWriter
  void add(const Comm& world, OutcomePiece& piece);

  // The writer of a result that lacks alive and sample ids only; null if it was given up, or
  // nothing was added.
  std::unique_ptr<io::ResultWriter> take() noexcept { return std::move(writer_); }

 private:
  void open(const Comm& world);
  void write(OutcomePiece& piece);

  Plan plan_;
  bool given_up_ = false;
  std::unique_ptr<io::ResultWriter> writer_;
  kernels::CsrRows rows_;
};

}  // namespace espalier::jobs
