#include "jobs/calibrated_pruning.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "framework/agree.hpp"
#include "jobs/layer_cut.hpp"
#include "jobs/plan.hpp"
#include "jobs/prune_reading.hpp"
#include "jobs/spelling.hpp"
#include "jobs/unit_bytes.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

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
                                     UnitRun& run, Mask mask)
    : context_(context),
      comm_(context.world),
      pruning_(pruning),
      settings_(pruning.settings),
      pieces_(pieces),
      run_(run),
      mask_(std::move(mask)),
      sparsities_(pruning.targets.sparsities),
      first_pass_(passes_of(settings_) - settings_.rounds),
      pass_(first_pass_),
      output_(pruning.network()) {
  if (pruning.has_batch()) {
    samples_.emplace(comm_, *pruning.input.reader, *pruning.batch.reader,
                     [&run] { run.check_time(); });
  }
}

// owl measures first.
std::int64_t CalibratedPruning::passes(const PruneSettings& settings) {
  const bool any = settings.calibrated() || settings.update;
  return any ? settings.rounds + (settings.profile == PruneProfile::kOwl ? 1 : 0) : 0;
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

Range CalibratedPruning::layer_items(std::int64_t pass, std::int64_t layer) const {
  return pieces_.items(pass, layer, {0, pruning_.network().layers[to_size(layer)].weight.rows});
}

Range CalibratedPruning::all_items(std::int64_t pass) const {
  return {pass * pieces_.all_rows(), (pass + 1) * pieces_.all_rows()};
}

// A piece as a pass has left it.
LayerPiece CalibratedPruning::fetch(std::int64_t pass, std::int64_t layer,
                                    std::int64_t round) const {
  const Range rows = rows_of(layer, round);
  LayerPiece piece;
  piece.rows.first_row = rows.begin;
  piece.rows.cols = pruning_.network().layers[to_size(layer)].weight.cols;
  if (!rows.empty()) {
    const auto bytes = run_.record().read_whole(pieces_.items(pass, layer, rows));
    std::span<const std::byte> rest = bytes;
    piece.rows = take_rows(rest);
    piece.bias = take_array<float>(rest, take_array<std::int64_t>(rest, 1)[0]);
  }
  return piece;
}

CsrRows CalibratedPruning::rows_before(std::int64_t layer, std::int64_t round) const {
  if (pass_ > first_pass_) {
    return fetch(pass_ - 1, layer, round).rows;
  }
  CsrRows rows = pruning_.weights->read_rows(layer, rows_of(layer, round));
  kernels::drop_zeros(rows);
  return rows;
}

std::vector<float> CalibratedPruning::bias_before(std::int64_t layer, std::int64_t round) const {
  if (pass_ > first_pass_) {
    return fetch(pass_ - 1, layer, round).bias;
  }
  return pruning_.input.reader ? pruning_.input.reader->read_bias(layer, rows_of(layer, round))
                               : std::vector<float>();
}

// Of a file norms alone.
InputStats CalibratedPruning::exchange_stats(std::int64_t layer) const {
  if (samples_) {
    return samples_->exchange_stats();
  }
  return locally(comm_, "reading activation statistics", [&] {
    const io::Layer& of = pruning_.network().layers[to_size(layer)];
    const std::vector<float> norms = pruning_.stats->norms(of.name, of.weight.cols);
    return InputStats{{}, {norms.begin(), norms.end()}, {}};
  });
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
      run_.check_time();
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

void CalibratedPruning::run() {
  if (settings_.profile == PruneProfile::kOwl) {
    measure_outliers();
  }
  for (int round = 1; round <= settings_.rounds; ++round, ++pass_) {
    if (!run_.finished(all_items(pass_))) {
      prune_layers(round);
    }
  }
  run_.attempt([&] { count(); });
}

// One pass over all layers, each followed by the samples.
void CalibratedPruning::prune_layers(int round) {
  const double done = static_cast<double>(round) / settings_.rounds;
  const double share = settings_.cubic ? 1 - std::pow(1 - done, 3) : done;
  if (samples_) {
    samples_->restart();
  }
  Progress progress("pruning layers", settings_.rounds * pieces_.layers(), "layers");
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    if (!run_.finished(layer_items(pass_, layer))) {
      run_.attempt([&] { prune_layer(layer, share); });
      keep_layer(layer);
    }
    if (samples_ && layer + 1 < pieces_.layers()) {
      run_.attempt([&] {
        samples_->exchange_layer(layer, pieces_.rounds(layer),
                                 [&](std::int64_t part) { return fetch(pass_, layer, part); });
      });
    }
    progress.done((round - 1) * pieces_.layers() + layer + 1);
  }
}

// What stays of one layer.
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
}

void CalibratedPruning::keep_layer(std::int64_t layer) {
  locally(comm_, "keeping a layer", [&] {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      const LayerPiece& piece = layer_[to_size(round)];
      check_finite(layer, piece.rows);
      const Range rows = rows_of(layer, round);
      if (!rows.empty()) {
        std::vector<std::byte> bytes;
        put_rows(bytes, piece.rows);
        put_array(bytes, std::vector<std::int64_t>{std::ssize(piece.bias)});
        put_array(bytes, piece.bias);
        run_.record().add(pieces_.items(pass_, layer, rows), bytes);
      }
    }
  });
  layer_.clear();
  run_.after_unit();
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
  const InputStats stats = exchange_stats(layer);
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

// What has come out of it, against the network as it was.
void CalibratedPruning::count() {
  std::vector<MatrixTotals> totals(to_size(pieces_.layers()));
  std::vector<double> squares(totals.size(), 0);
  locally(comm_, "counting weights", [&] {
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      const auto id = to_size(layer);
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        run_.check_time();
        const CsrRows left = fetch(pass_ - 1, layer, round).rows;
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
  LayerPiece piece = fetch(pass_ - 1, layer, round);
  spell_values(piece.rows, outcomes_[to_size(layer)].iso);
  return piece;
}

}  // namespace espalier::jobs
