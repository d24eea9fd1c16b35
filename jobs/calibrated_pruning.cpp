#include "jobs/calibrated_pruning.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "framework/agree.hpp"
#include "jobs/layer_cut.hpp"
#include "jobs/plan.hpp"
#include "jobs/spelling.hpp"
#include "kernels/exact_sum.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;
using kernels::ExactSum;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

std::vector<std::uint32_t> score_keys(const CsrRows& rows, const std::vector<double>& factors) {
  std::vector<std::uint32_t> keys;
  keys.reserve(to_size(rows.nnz()));
  for (std::int64_t k = 0; k < rows.nnz(); ++k) {
    keys.push_back(score_key(rows.value(k), factors[rows.indices[to_size(k)]]));
  }
  return keys;
}

double square_of(float value) { return static_cast<double>(value) * static_cast<double>(value); }

}  // namespace

CalibratedPruning::CalibratedPruning(Context& context, const Pruning& pruning, const Pieces& pieces,
                                     Mask mask, const std::string& folder, std::int64_t kept_bytes)
    : context_(context),
      comm_(context.world),
      pruning_(pruning),
      settings_(pruning.settings),
      pieces_(pieces),
      mask_(std::move(mask)),
      folder_(folder),
      kept_bytes_(kept_bytes),
      sparsities_(pruning.targets.sparsities),
      biases_after_(to_size(pieces.count())),
      output_(pruning.network()) {
  if (pruning.has_batch()) {
    samples_.emplace(comm_, *pruning.input.reader, *pruning.batch.reader);
  }
}

std::int64_t CalibratedPruning::bytes(const Pruning& pruning, int ranks) {
  std::int64_t most = 0;
  for (std::size_t id = 0; id < pruning.network().layers.size(); ++id) {
    const io::MatrixInfo& weight = pruning.network().layers[id].weight;
    const std::int64_t rows = weight.rows / ranks + 1;
    most = std::max(most, pruning.targets.excluded[id]
                              ? rows * weight.cols * 8
                              : layer_bytes(pruning.settings, rows, weight.cols));
  }
  return most + (pruning.has_batch()
                     ? Calibration::bytes(pruning.network(),
                                          pruning.batch.reader->batch().samples(), ranks)
                     : 0);
}

std::int64_t CalibratedPruning::plan_bytes(const Pruning& pruning, int ranks,
                                           std::int64_t memory_bytes) {
  if (!pruning.settings.calibrated() && !pruning.settings.update) {
    return 0;
  }
  const std::int64_t needed = bytes(pruning, ranks);
  if (needed > memory_bytes - 2 * kProgramBytes) {
    throw Error(ExitStatus::kDoesNotFit,
                text("samples, sums over them and a layer's rows need ", spelled_bytes(needed),
                     " beside the ", spelled_bytes(2 * kProgramBytes),
                     " for all else, but --memory-per-rank is ", spelled_bytes(memory_bytes),
                     "; fewer samples or more ranks would be right"));
  }
  return needed;
}

Range CalibratedPruning::rows_of(std::int64_t layer, std::int64_t round) const {
  return pieces_.rows(layer, round, comm_.rank());
}

CsrRows CalibratedPruning::rows_before(std::int64_t layer, std::int64_t round) const {
  if (before_) {
    return before_->read(to_size(pieces_.number(layer, round)));
  }
  CsrRows rows = pruning_.weights->read_rows(layer, rows_of(layer, round));
  kernels::drop_zeros(rows);
  return rows;
}

std::vector<float> CalibratedPruning::bias_before(std::int64_t layer, std::int64_t round) const {
  if (before_) {
    return biases_before_[to_size(pieces_.number(layer, round))];
  }
  return pruning_.input.reader ? pruning_.input.reader->read_bias(layer, rows_of(layer, round))
                               : std::vector<float>();
}

// Sums over samples of x x^T; of a file its upper triangle.
std::vector<double> CalibratedPruning::exchange_gram(std::int64_t layer) const {
  if (samples_) {
    return samples_->exchange_gram();
  }
  constexpr std::int64_t kAtATime = 64;
  return locally(comm_, "reading activation statistics", [&] {
    const io::Layer& of = pruning_.network().layers[to_size(layer)];
    const std::int64_t n = of.weight.cols;
    std::vector<double> gram(to_size(n * n));
    for (std::int64_t begin = 0; begin < n; begin += kAtATime) {
      const Range rows{begin, std::min(begin + kAtATime, n)};
      const std::vector<float> some = pruning_.stats->gram(of.name, n, rows);
      std::copy(some.begin(), some.end(), gram.begin() + begin * n);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < i; ++j) {
        gram[to_size(i * n + j)] = gram[to_size(j * n + i)];
      }
    }
    return gram;
  });
}

std::int64_t CalibratedPruning::keep_of(std::int64_t positions, double sparsity) const {
  return settings_.keep ? *settings_.keep : kernels::kept_of(positions, sparsity);
}

void CalibratedPruning::run(const std::function<void()>& after_layer) {
  if (settings_.profile == PruneProfile::kOwl) {
    measure_outliers();
  }
  Progress progress("pruning layers", settings_.rounds * pieces_.layers(), "layers");
  for (int round = 1; round <= settings_.rounds; ++round) {
    const double done = static_cast<double>(round) / settings_.rounds;
    const double share = settings_.cubic ? 1 - std::pow(1 - done, 3) : done;
    if (round > 1) {
      samples_->restart();
    }
    after_ = std::make_unique<RowSpool>(folder_, kept_bytes_ / 2);
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      prune_layer(layer, share);
      after_layer();
      progress.done((round - 1) * pieces_.layers() + layer + 1);
    }
    before_ = std::move(after_);
    biases_before_ = biases_after_;
  }
  count();
}

// What stays of one layer, into the spool; and the samples through it.
void CalibratedPruning::prune_layer(std::int64_t layer, double share) {
  const bool excluded = pruning_.targets.excluded[to_size(layer)];
  const double sparsity = sparsities_[to_size(layer)] * share;
  std::vector<double> gram;
  layer_.assign(to_size(pieces_.rounds(layer)), {});
  {
    const PhaseTimer timer(context_.times, Phase::kExchange);
    if (!excluded && settings_.needs_gram()) {
      gram = exchange_gram(layer);
    }
  }
  const PhaseTimer timer(context_.times, Phase::kCompute);
  locally(comm_, "reading a layer", [&] {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      LayerPiece& piece = layer_[to_size(round)];
      piece.rows = mask_ && !excluded ? mask_(layer, round) : rows_before(layer, round);
      piece.bias = bias_before(layer, round);
    }
  });
  if (!excluded && settings_.method == PruneMethod::kSparseGpt) {
    prune_by_blocks(layer, sparsity, gram);
  } else if (!excluded && !mask_) {
    prune_by_scores(layer, sparsity);
  }
  if (!excluded && settings_.update) {
    update(layer, gram);
  }
  locally(comm_, "setting a layer aside", [&] {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      check_finite(layer, layer_[to_size(round)].rows);
      after_->append(layer_[to_size(round)].rows);
      biases_after_[to_size(pieces_.number(layer, round))] = layer_[to_size(round)].bias;
    }
  });
  if (samples_ && layer + 1 < pieces_.layers()) {
    samples_->exchange_layer(layer, pieces_.rounds(layer),
                             [&](std::int64_t round) { return layer_[to_size(round)]; });
  }
}

void CalibratedPruning::check_finite(std::int64_t layer, const CsrRows& rows) const {
  kernels::CsrFault fault;
  if (kernels::find_fault(rows, fault)) {
    throw Error(ExitStatus::kBadData,
                text(pruning_.weights->file(), ": layer ", layer, ": the weight of row ", fault.row,
                     ", column ", fault.column,
                     " has grown beyond float32; less sparsity or other samples would be right"));
  }
}

// By the magnitude of each weight times the size of its input, or times how much that varies.
void CalibratedPruning::prune_by_scores(std::int64_t layer, double sparsity) {
  const bool makes_up = settings_.method == PruneMethod::kCompensate;
  const InputStats stats = samples_->exchange_stats();
  const std::vector<double>& factors = makes_up ? stats.deviation : stats.norm;
  const io::MatrixInfo& weight = pruning_.network().layers[to_size(layer)].weight;
  std::vector<std::vector<std::uint32_t>> keys;
  locally(comm_, "weighing weights", [&] {
    for (const LayerPiece& piece : layer_) {
      keys.push_back(score_keys(piece.rows, factors));
    }
  });
  LayerCut cut;
  const bool by_row = settings_.scope == PruneScope::kRow;
  if (!by_row) {
    cut = exchange_cut(
        comm_, std::ssize(layer_), keep_of(weight.rows * weight.cols, sparsity),
        [&](std::int64_t round) { return std::span(std::as_const(keys[to_size(round)])); });
  }
  locally(comm_, "pruning", [&] {
    for (std::size_t round = 0; round < layer_.size(); ++round) {
      LayerPiece& piece = layer_[round];
      const CsrRows before = makes_up ? piece.rows : CsrRows();
      if (by_row) {
        kernels::keep_per_row(piece.rows, keys[round], keep_of(weight.cols, sparsity));
      } else {
        kernels::keep_above(piece.rows, keys[round], {cut.key, cut.equals[round]});
      }
      if (makes_up) {
        make_up(layer, before, piece.rows, stats.mean, piece.bias);
      }
    }
  });
}

// Adds what the weights that went gave on average, in input order after the bias itself.
void CalibratedPruning::make_up(std::int64_t layer, const CsrRows& before, const CsrRows& after,
                                std::span<const double> mean, std::vector<float>& bias) const {
  bias.resize(to_size(before.rows()), bias.empty() ? 0.0F : bias[0]);
  const std::vector<float> stays = kernels::values_at(before, after);
  for (std::int64_t row = 0; row < before.rows(); ++row) {
    auto sum = static_cast<double>(bias[to_size(row)]);
    for (std::int64_t k = before.pointers[to_size(row)]; k < before.pointers[to_size(row) + 1];
         ++k) {
      if (stays[to_size(k)] == 0) {
        sum += static_cast<double>(before.value(k)) * mean[before.indices[to_size(k)]];
      }
    }
    bias[to_size(row)] = static_cast<float>(sum);
    if (!std::isfinite(bias[to_size(row)])) {
      throw Error(
          ExitStatus::kBadData,
          text(pruning_.input.catalog.file, ": layer ", layer, ", neuron ", before.first_row + row,
               ": its bias with what went is ", sum, "; a finite float32 would be right"));
    }
  }
}

// Sparsities that spare layers with many weights far beyond the mean of |w| ||x||.
//   source   Yin et al., "Outlier weighed layerwise sparsity (OWL)", 2024
void CalibratedPruning::measure_outliers() {
  std::vector<double> shares(sparsities_.size(), 0), positions(sparsities_.size(), 0);
  double least = 1, most = 0, all = 0;
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    const io::MatrixInfo& weight = pruning_.network().layers[to_size(layer)].weight;
    const std::int64_t rounds = pieces_.rounds(layer);
    const InputStats stats = samples_->exchange_stats();
    const auto for_scores = [&](const std::function<void(float)>& use) {
      locally(comm_, "looking for outliers", [&] {
        for (std::int64_t round = 0; round < rounds; ++round) {
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
    outliers = comm_.sum(outliers);
    if (!pruning_.targets.excluded[to_size(layer)]) {
      shares[to_size(layer)] = static_cast<double>(outliers) / size;
      positions[to_size(layer)] = size;
      least = std::min(least, shares[to_size(layer)]);
      most = std::max(most, shares[to_size(layer)]);
      all += size;
    }
    if (layer + 1 < pieces_.layers()) {
      samples_->exchange_layer(layer, rounds, [&](std::int64_t round) {
        return LayerPiece{rows_before(layer, round), bias_before(layer, round)};
      });
    }
  }
  samples_->restart();
  double mean = 0;
  for (std::size_t id = 0; id < shares.size(); ++id) {
    shares[id] = most > least ? (shares[id] - least) / (most - least) * 2 * settings_.spread : 0;
    mean += shares[id] * positions[id] / all;
  }
  for (std::size_t id = 0; id < shares.size(); ++id) {
    sparsities_[id] = std::clamp(sparsities_[id] - (shares[id] - mean), 0.0, 1.0);
  }
}

// What has come out of it, against the network as it was.
void CalibratedPruning::count() {
  std::vector<MatrixTotals> totals(to_size(pieces_.layers()));
  std::vector<double> squares(totals.size(), 0);
  locally(comm_, "counting weights", [&] {
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      const auto id = to_size(layer);
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        const CsrRows left = before_->read(to_size(pieces_.number(layer, round)));
        const CsrRows whole = pruning_.weights->read_rows(layer, rows_of(layer, round));
        const std::vector<float> stays = kernels::values_at(whole, left);
        for (std::int64_t k = 0; k < whole.nnz(); ++k) {
          squares[id] += stays[to_size(k)] == 0 ? square_of(whole.value(k)) : 0;
        }
        totals[id].add(left);
      }
    }
  });
  MatrixTotals::join(comm_, totals);
  squares = exchange_sums(comm_, squares);
  for (std::size_t id = 0; id < totals.size(); ++id) {
    outcomes_.push_back({totals[id].nnz(), squares[id], totals[id].iso()});
    io::Layer& layer = output_.layers[id];
    layer.weight.format = settings_.layout;
    layer.weight.stored = totals[id].nnz();
    layer.weight.iso = totals[id].iso().has_value();
    const bool pruned = !pruning_.targets.excluded[id];
    if (pruned && settings_.moves()) {
      layer.weight.value_type = io::kFloat32;
    }
    if (pruned && settings_.method == PruneMethod::kCompensate) {
      layer.bias = io::BiasKind::kFull;
    }
  }
}

LayerPiece CalibratedPruning::read(std::int64_t layer, std::int64_t round) const {
  const auto number = to_size(pieces_.number(layer, round));
  LayerPiece piece{before_->read(number), biases_before_[number]};
  spell_values(piece.rows, outcomes_[to_size(layer)].iso);
  return piece;
}

}  // namespace espalier::jobs
