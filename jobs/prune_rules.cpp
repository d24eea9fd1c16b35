#include "jobs/prune_rules.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "framework/random.hpp"
#include "io/checksum.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Uniform in [0, 2^32): depends on its arguments only.
std::uint32_t random_word(std::uint64_t seed, std::int64_t layer, std::int64_t row,
                          std::uint32_t column) {
  constexpr std::uint32_t kWords = 4;
  const auto low = static_cast<std::uint64_t>(layer) << 32U | column / kWords;
  return philox(seed, static_cast<std::uint64_t>(row), low)[column % kWords];
}

// Exponential waiting times with the magnitudes as rates: the first k to come are a sample without
// replacement in which a weight's chance to stay grows with its magnitude.
//   source   Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006
std::uint32_t waiting_key(std::uint32_t word, float weight) {
  const double unit = (static_cast<double>(word) + 0.5) / 4294967296.0;
  const double rate = std::abs(static_cast<double>(weight)) / -std::log(unit);
  return kernels::magnitude_key(static_cast<float>(std::min(rate, 3e38)));
}

std::vector<std::uint32_t> random_keys(const PruneSettings& settings, std::int64_t layer,
                                       const CsrRows& rows) {
  std::vector<std::uint32_t> keys(to_size(rows.nnz()));
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t k = rows.pointers[to_size(row)]; k < rows.pointers[to_size(row) + 1]; ++k) {
      const std::uint32_t word =
          random_word(settings.seed, layer, rows.first_row + row, rows.indices[to_size(k)]);
      keys[to_size(k)] = settings.probabilistic ? waiting_key(word, rows.value(k)) : word;
    }
  }
  return keys;
}

std::vector<std::uint32_t> score_keys(const Pruning& pruning, std::int64_t layer,
                                      const CsrRows& rows) {
  const CsrRows scores =
      pruning.other.reader->read_rows(layer, {rows.first_row, rows.first_row + rows.rows()});
  std::vector<std::uint32_t> keys;
  for (const float score : kernels::values_at(rows, scores)) {
    keys.push_back(kernels::ordered_key(score));
  }
  return keys;
}

// |w| times the norm of its input. Pieces come layer by layer, so the norms of one are kept.
KeyRule norm_rule(const Pruning& pruning) {
  std::int64_t of = -1;
  std::vector<float> norms;
  return [&pruning, of, norms](std::int64_t layer, const CsrRows& rows) mutable {
    if (pruning.targets.excluded[to_size(layer)]) {
      return kernels::magnitude_keys(rows);
    }
    if (of != layer) {
      norms = pruning.stats->norms(pruning.network().layers[to_size(layer)].name, rows.cols);
      of = layer;
    }
    std::vector<std::uint32_t> keys;
    keys.reserve(to_size(rows.nnz()));
    for (std::int64_t k = 0; k < rows.nnz(); ++k) {
      keys.push_back(
          score_key(rows.value(k), static_cast<double>(norms[rows.indices[to_size(k)]])));
    }
    return keys;
  };
}

}  // namespace

void open_stats(const Comm& comm, Pruning& pruning) {
  if (!pruning.settings.stats.empty()) {
    pruning.stats.emplace(comm, pruning.settings.stats);
  }
}

void check_stats(const Pruning& pruning) {
  for (std::size_t id = 0; pruning.stats && id < pruning.network().layers.size(); ++id) {
    const io::Layer& layer = pruning.network().layers[id];
    if (pruning.targets.excluded[id]) {
      continue;
    }
    if (pruning.settings.method == PruneMethod::kWanda) {
      pruning.stats->norms(layer.name, layer.weight.cols);
    }
    if (pruning.settings.needs_gram()) {
      pruning.stats->gram(layer.name, layer.weight.cols, {0, 0});
    }
  }
}

std::vector<std::string> stats_digests(const Comm& comm, const Pruning& pruning) {
  return pruning.stats ? std::vector{io::digest_files(comm, {pruning.settings.stats})}
                       : std::vector<std::string>();
}

std::uint32_t score_key(float weight, double factor) {
  const double score = std::abs(static_cast<double>(weight)) * factor;
  return std::max(kernels::magnitude_key(static_cast<float>(std::min(score, 3e38))), 1U);
}

KeyRule key_rule(const Pruning& pruning) {
  if (pruning.settings.method == PruneMethod::kRandom) {
    return [&pruning](std::int64_t layer, const CsrRows& rows) {
      return random_keys(pruning.settings, layer, rows);
    };
  }
  if (pruning.settings.method == PruneMethod::kScores) {
    return [&pruning](std::int64_t layer, const CsrRows& rows) {
      return score_keys(pruning, layer, rows);
    };
  }
  return pruning.settings.method == PruneMethod::kWanda ? norm_rule(pruning) : KeyRule();
}

void apply_rule(const Pruning& pruning, std::int64_t layer, KeyedRows& keyed) {
  const PruneSettings& settings = pruning.settings;
  CsrRows& rows = keyed.rows;
  if (settings.scope == PruneScope::kRow) {
    const std::int64_t keep =
        settings.keep ? *settings.keep
                      : kernels::kept_of(rows.cols, pruning.targets.sparsities[to_size(layer)]);
    kernels::keep_per_row(rows, keyed.keys.empty() ? kernels::magnitude_keys(rows) : keyed.keys,
                          keep);
  } else if (settings.method == PruneMethod::kNm) {
    kernels::keep_n_of_m(rows, settings.keep_n, settings.of_m);
  } else if (settings.method == PruneMethod::kMask) {
    kernels::keep_where(rows, pruning.other.reader->read_rows(
                                  layer, {rows.first_row, rows.first_row + rows.rows()}));
  } else if (settings.shrinks()) {
    kernels::apply_step(rows, kernels::ProximalStep(settings.penalty, *settings.threshold));
  } else {
    kernels::keep_from(rows, *settings.threshold);
  }
  // What is left stays: its keys no longer matter.
  keyed.keys.clear();
}

}  // namespace espalier::jobs
