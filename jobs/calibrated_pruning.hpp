// Pruning that looks at what the layers are fed with: layer by layer, each on the inputs that the
// layers pruned before it give, or on what a file says of its inputs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "framework/log.hpp"
#include "jobs/calibration.hpp"
#include "jobs/candidates.hpp"
#include "jobs/job.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/unit_run.hpp"
#include "kernels/dense.hpp"

namespace espalier::jobs {

// Each of this rank's pieces of a layer is a unit of the run, and all ranks finish a layer
// together. Layers that earlier runs have finished only carry the samples on. Borrows everything.
//   exact    independent of ranks, pieces and threads
class CalibratedPruning {
 public:
  // What stays of this rank's piece by a method that needs no inputs; local. Empty if there is
  // none.
  using Mask = std::function<kernels::CsrRows(std::int64_t layer, std::int64_t round)>;

  CalibratedPruning(Context& context, const Pruning& pruning, const Pieces& pieces, UnitRun& run,
                    Mask mask);

  // How many of Pieces::items are needed, behind those of PruneReading.
  static std::int64_t passes(const PruneSettings& settings);

  // What a rank holds beside pieces, at most; 0 if nothing of this is asked for.
  //   throws   Error(kDoesNotFit) if that leaves too little of its memory
  static std::int64_t plan_bytes(const Pruning& pruning, int ranks, std::int64_t memory_bytes);

  // Decides on every layer.
  //   where    collective
  //   throws   SharedError as Calibration; kBadData if a changed weight or bias overflows;
  //            kStoppedEarly
  void run();

  const io::Network& network() const noexcept { return output_; }
  const std::vector<LayerOutcome>& outcomes() const noexcept { return outcomes_; }
  LayerPiece read(std::int64_t layer, std::int64_t round) const;  // local

 private:
  struct Weights;  // of a layer, dense

  static std::int64_t bytes(const Pruning& pruning, int ranks);
  static std::int64_t layer_bytes(const PruneSettings& settings, std::int64_t rows, std::int64_t n);
  InputStats exchange_stats(std::int64_t layer) const;
  std::vector<double> exchange_gram(std::int64_t layer) const;
  void measure_outliers();
  double outliers_of(std::int64_t layer) const;
  void spread_sparsities(const std::vector<double>& outliers);
  void prune_layers(int round);
  void prune_layer(std::int64_t layer, double share);
  void keep_layer(std::int64_t layer);
  void prune_by_scores(std::int64_t layer, double sparsity);
  void prune_by_blocks(std::int64_t layer, double sparsity, std::span<const double> gram);
  void prune_columns(std::int64_t layer, Range columns, double sparsity,
                     kernels::ConstDenseView factor, std::vector<Weights>& rounds);
  void update(std::int64_t layer, std::span<const double> gram);
  void count();
  void check_finite(std::int64_t layer, const kernels::CsrRows& rows) const;

  Range rows_of(std::int64_t layer, std::int64_t round) const;
  Range layer_items(std::int64_t pass, std::int64_t layer) const;
  Range all_items(std::int64_t pass) const;
  LayerPiece fetch(std::int64_t pass, std::int64_t layer, std::int64_t round) const;
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
  UnitRun& run_;
  Mask mask_;
  std::optional<Calibration> samples_;  // or there are statistics
  std::vector<double> sparsities_;
  std::int64_t first_pass_, pass_;  // that prunes; in work
  std::vector<LayerPiece> layer_;   // in work, by round of pieces
  std::vector<LayerOutcome> outcomes_;
  io::Network output_;
};

}  // namespace espalier::jobs
