#include "jobs/prune_rules.hpp"

#include <algorithm>
#include <cmath>

#include "framework/random.hpp"
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

}  // namespace

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
  return {};
}

void apply_rule(const Pruning& pruning, std::int64_t layer, KeyedRows& keyed) {
  const PruneSettings& settings = pruning.settings;
  CsrRows& rows = keyed.rows;
  if (settings.scope == PruneScope::kRow) {
    const std::int64_t keep =
        settings.keep ? *settings.keep : kernels::kept_of(rows.cols, settings.sparsity.value_or(0));
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
