// The profile owl: how sparse each layer becomes, by its inputs.
#include <algorithm>

#include "framework/agree.hpp"
#include "jobs/calibrated_pruning.hpp"
#include "jobs/unit_bytes.hpp"
#include "kernels/exact_sum.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;
using kernels::ExactSum;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

// Sparsities that spare layers with many weights far beyond the mean of |w| ||x||.
//   source   Yin et al., "Outlier weighed layerwise sparsity (OWL)", 2024
void CalibratedPruning::measure_outliers() {
  const std::int64_t pass = first_pass_ - 1;
  const bool measured = run_.finished(all_items(pass));
  std::vector<double> shares(sparsities_.size(), 0);
  if (!measured && samples_) {
    samples_->restart();
  }
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    double& share = shares[to_size(layer)];
    const Range unit = layer_items(pass, layer);
    if (run_.finished(unit)) {
      locally(comm_, "reading back outliers", [&] {
        const auto bytes = run_.record().read_whole(unit);
        std::span<const std::byte> rest = bytes;
        share = take_array<double>(rest, 1)[0];
      });
    } else {
      const bool excluded = pruning_.targets.excluded[to_size(layer)];
      run_.attempt([&] { share = excluded ? 0 : outliers_of(layer); });
      on_root(comm_, "keeping outliers", [&] {
        std::vector<std::byte> bytes;
        put_array(bytes, std::vector<double>{share});
        run_.record().add(unit, bytes);
      });
      run_.after_unit();
    }
    if (!measured && samples_ && layer + 1 < pieces_.layers()) {
      run_.attempt([&] {
        samples_->exchange_layer(layer, pieces_.rounds(layer), [&](std::int64_t round) {
          return LayerPiece{rows_before(layer, round), bias_before(layer, round)};
        });
      });
    }
  }
  spread_sparsities(shares);
}

// Which share of a layer's weights lies far beyond the mean.
double CalibratedPruning::outliers_of(std::int64_t layer) const {
  const io::MatrixInfo& weight = pruning_.network().layers[to_size(layer)].weight;
  const InputStats stats = exchange_stats(layer);
  const auto for_scores = [&](const std::function<void(float)>& use) {
    locally(comm_, "looking for outliers", [&] {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        run_.check_time();
        const CsrRows rows = rows_before(layer, round);
        for (std::int64_t k = 0; k < rows.nnz(); ++k) {
          use(kernels::magnitude_of(
              score_key(rows.value(k), stats.norm[rows.indices[to_size(k)]])));
        }
      }
    });
  };
  std::vector<std::int64_t> limbs(ExactSum::kLimbs, 0);
  for_scores([&](float score) { ExactSum::add(limbs, score); });
  comm_.sum(limbs);
  const auto size = static_cast<double>(weight.rows * weight.cols);
  const double limit = settings_.outlier * ExactSum::value(limbs) / size;
  std::int64_t outliers = 0;
  for_scores([&](float score) { outliers += static_cast<double>(score) > limit ? 1 : 0; });
  return static_cast<double>(comm_.sum(outliers)) / size;
}

// The more outliers, the less of a layer goes.
void CalibratedPruning::spread_sparsities(const std::vector<double>& outliers) {
  std::vector<double> shares(outliers.size(), 0), positions(outliers.size(), 0);
  double least = 1, most = 0, all = 0;
  for (std::size_t id = 0; id < shares.size(); ++id) {
    if (!pruning_.targets.excluded[id]) {
      const io::MatrixInfo& weight = pruning_.network().layers[id].weight;
      shares[id] = outliers[id];
      positions[id] = static_cast<double>(weight.rows * weight.cols);
      least = std::min(least, shares[id]);
      most = std::max(most, shares[id]);
      all += positions[id];
    }
  }
  double mean = 0;
  for (std::size_t id = 0; id < shares.size(); ++id) {
    shares[id] = most > least ? (shares[id] - least) / (most - least) * 2 * settings_.spread : 0;
    mean += shares[id] * positions[id] / all;
  }
  for (std::size_t id = 0; id < shares.size(); ++id) {
    sparsities_[id] = std::clamp(sparsities_[id] - (shares[id] - mean), 0.0, 1.0);
  }
}

}  // namespace espalier::jobs
