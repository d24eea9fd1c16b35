// Pruning that looks at what the layers are fed with: layer by layer, each on the inputs that the
// layers pruned before it give, or on what a file says of its inputs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/log.hpp"
#include "jobs/calibration.hpp"
#include "jobs/candidates.hpp"
#include "jobs/job.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/row_spool.hpp"
#include "kernels/dense.hpp"

namespace espalier::jobs {

// Borrows everything.
//   exact    independent of ranks, pieces and threads
class CalibratedPruning {
 public:
  // What stays of this rank's piece by a method that needs no inputs; local. Empty if there is
  // none.
  using Mask = std::function<kernels::CsrRows(std::int64_t layer, std::int64_t round)>;

  CalibratedPruning(Context& context, const Pruning& pruning, const Pieces& pieces, Mask mask,
                    const std::string& folder, std::int64_t kept_bytes);

  // What a rank holds beside pieces, at most; 0 if nothing of this is asked for.
  //   throws   Error(kDoesNotFit) if that leaves too little of its memory
  static std::int64_t plan_bytes(const Pruning& pruning, int ranks, std::int64_t memory_bytes);

  // Decides on every layer; `after_layer` is called after each, on all ranks.
  //   where    collective
  //   throws   SharedError as Calibration; kBadData if a changed weight or bias overflows
  void run(const std::function<void()>& after_layer);

  const io::Network& network() const noexcept { return output_; }
  const std::vector<LayerOutcome>& outcomes() const noexcept { return outcomes_; }
  LayerPiece read(std::int64_t layer, std::int64_t round) const;  // local

 private:
  struct Weights;  // of a layer, dense

  static std::int64_t bytes(const Pruning& pruning, int ranks);
  static std::int64_t layer_bytes(const PruneSettings& settings, std::int64_t rows, std::int64_t n);
  std::vector<double> exchange_gram(std::int64_t layer) const;
  void measure_outliers();
  void prune_layer(std::int64_t layer, double share);
  void prune_by_scores(std::int64_t layer, double sparsity);
  void prune_by_blocks(std::int64_t layer, double sparsity, std::span<const double> gram);
  void prune_columns(std::int64_t layer, Range columns, double sparsity,
                     kernels::ConstDenseView factor, std::vector<Weights>& rounds);
  void update(std::int64_t layer, std::span<const double> gram);
  void count();
  void check_finite(std::int64_t layer, const kernels::CsrRows& rows) const;

  Range rows_of(std::int64_t layer, std::int64_t round) const;
  kernels::CsrRows rows_before(std::int64_t layer, std::int64_t round) const;
  std::vector<float> bias_before(std::int64_t layer, std::int64_t round) const;
  std::int64_t keep_of(std::int64_t positions, double sparsity) const;
  void make_up(std::int64_t layer, const kernels::CsrRows& before, const kernels::CsrRows& after,
               std::span<const double> mean, std::vector<float>& bias) const;

  Context& context_;
  const Comm& comm_;
  const Pruning& pruning_;
  const PruneSettings& settings_;
  const Pieces& pieces_;
  Mask mask_;
  std::string folder_;
  std::int64_t kept_bytes_;
  std::optional<Calibration> samples_;  // or there are statistics
  std::vector<double> sparsities_;
  // Of the layer in work, by round; of the sweep before and of this one, by piece number.
  std::vector<LayerPiece> layer_;
  std::unique_ptr<RowSpool> before_, after_;
  std::vector<std::vector<float>> biases_before_, biases_after_;
  std::vector<LayerOutcome> outcomes_;
  io::Network output_;
};

}  // namespace espalier::jobs
