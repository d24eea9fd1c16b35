#include "jobs/group_selection.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/agree.hpp"
#include "jobs/candidates.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/unit_bytes.hpp"
#include "kernels/exact_sum.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;
using kernels::ExactSum;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

GroupSelection::GroupSelection(const PruneSettings& settings, const PruneTargets& targets,
                               const io::Network& network, const Pieces& pieces)
    : settings_(settings),
      targets_(targets),
      network_(network),
      pieces_(pieces),
      keys_(to_size(pieces.count())),
      stays_(to_size(pieces.count())),
      cuts_(network.layers.size()),
      groups_(network.layers.size(), -1) {}

std::int64_t GroupSelection::block_cols(std::int64_t layer) const {
  const io::Layer& of = network_.layers[to_size(layer)];
  const std::int64_t cols = of.weight.cols;
  if (settings_.group.filters && of.kind == io::LayerKind::kConvolution) {
    return of.window.taps();
  }
  return settings_.group.cols == 0 ? cols : std::min(settings_.group.cols, cols);
}

std::size_t GroupSelection::groups_across(std::int64_t layer) const {
  return to_size((network_.layers[to_size(layer)].weight.cols - 1) / block_cols(layer) + 1);
}

std::int64_t GroupSelection::bytes(const Comm& comm) const {
  constexpr std::int64_t kGroupBytes = sizeof(std::uint32_t) + sizeof(std::uint8_t);
  constexpr std::int64_t kColumnBytes = sizeof(std::int64_t) * ExactSum::kLimbs;
  std::int64_t groups = 0, widest = 0;
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    const auto across = static_cast<std::int64_t>(groups_across(layer));
    std::int64_t down = by_column() ? 1 : 0;
    for (std::int64_t round = 0; !by_column() && round < pieces_.rounds(layer); ++round) {
      const std::int64_t rows = pieces_.rows(layer, round, comm.rank()).size();
      down += (rows + settings_.group.rows - 1) / settings_.group.rows;
    }
    groups += down * across;
    widest = std::max(widest, by_column() ? across : 0);
  }
  return groups * kGroupBytes + widest * kColumnBytes;
}

std::uint32_t GroupSelection::key_of(double total, double largest, std::int64_t positions) const {
  double size = largest;
  if (settings_.norm != GroupNorm::kMax) {
    size = total / static_cast<double>(positions);
  }
  if (settings_.norm == GroupNorm::kTwo) {
    size = std::sqrt(size);
  }
  return kernels::magnitude_key(static_cast<float>(size));
}

void GroupSelection::note_columns(const CsrRows& rows) {
  const bool largest = settings_.norm == GroupNorm::kMax;
  const std::size_t limbs = largest ? 1 : ExactSum::kLimbs;
  columns_.resize(to_size(rows.cols) * limbs, 0);
  for (std::int64_t k = 0; k < rows.nnz(); ++k) {
    const auto sum = std::span(columns_).subspan(rows.indices[to_size(k)] * limbs, limbs);
    if (largest) {
      sum[0] = std::max<std::int64_t>(sum[0], kernels::magnitude_key(rows.value(k)));
    } else if (settings_.norm == GroupNorm::kOne) {
      ExactSum::add(sum, rows.value(k));
    } else {
      ExactSum::add_square(sum, rows.value(k));
    }
  }
}

void GroupSelection::note(std::int64_t layer, std::int64_t round, const CsrRows& rows) {
  if (by_column()) {
    note_columns(rows);
    return;
  }
  const std::int64_t height = settings_.group.rows, width = block_cols(layer);
  const std::size_t across = groups_across(layer);
  std::vector<std::uint32_t>& keys = keys_[to_size(pieces_.number(layer, round))];
  std::vector<double> totals(across), largest(across);
  for (std::int64_t top = 0; top < rows.rows(); top += height) {
    const std::int64_t bottom = std::min(top + height, rows.rows());
    std::fill(totals.begin(), totals.end(), 0);
    std::fill(largest.begin(), largest.end(), 0);
    for (std::int64_t k = rows.pointers[to_size(top)]; k < rows.pointers[to_size(bottom)]; ++k) {
      const auto group = to_size(rows.indices[to_size(k)] / width);
      const double size = std::abs(static_cast<double>(rows.value(k)));
      totals[group] += settings_.norm == GroupNorm::kTwo ? size * size : size;
      largest[group] = std::max(largest[group], size);
    }
    for (std::size_t group = 0; group < across; ++group) {
      const std::int64_t left = static_cast<std::int64_t>(group) * width;
      const std::int64_t positions = (bottom - top) * std::min(width, rows.cols - left);
      keys.push_back(key_of(totals[group], largest[group], positions));
    }
  }
}

void GroupSelection::close_layer(const Comm& comm, std::int64_t layer) {
  if (!by_column()) {
    return;
  }
  const bool largest = settings_.norm == GroupNorm::kMax;
  const std::size_t limbs = largest ? 1 : ExactSum::kLimbs;
  const io::MatrixInfo& weight = network_.layers[to_size(layer)].weight;
  columns_.resize(to_size(weight.cols) * limbs, 0);
  if (largest) {
    comm.max(columns_);
  } else {
    comm.sum(columns_);
  }
  std::vector<std::uint32_t>& keys = keys_[to_size(pieces_.number(layer, 0))];
  for (std::size_t column = 0; column < to_size(weight.cols); ++column) {
    const auto sum = std::span(columns_).subspan(column * limbs, limbs);
    keys.push_back(largest ? static_cast<std::uint32_t>(sum[0])
                           : key_of(ExactSum::value(sum), 0, weight.rows));
  }
  columns_.clear();
}

std::span<const std::byte> GroupSelection::noted(std::int64_t layer, std::int64_t round) const {
  return std::as_bytes(std::span(keys_[to_size(pieces_.number(layer, round))]));
}

void GroupSelection::restore(std::int64_t layer, std::int64_t round,
                             std::span<const std::byte> bytes) {
  keys_[to_size(pieces_.number(layer, round))] =
      take_array<std::uint32_t>(bytes, std::ssize(bytes) / std::int64_t{sizeof(std::uint32_t)});
}

// The pieces of a layer whose groups this rank counts.
std::vector<std::int64_t> GroupSelection::numbers_of(std::int64_t layer) const {
  std::vector<std::int64_t> numbers;
  for (std::int64_t round = 0; round < (by_column() ? 1 : pieces_.rounds(layer)); ++round) {
    numbers.push_back(pieces_.number(layer, round));
  }
  return numbers;
}

void GroupSelection::decide_counts(const Comm& comm, const PruneGroup& group, std::int64_t number) {
  std::vector<std::int64_t> counts(kernels::kDigitValues, 0);
  const bool counting = !by_column() || comm.rank() == 0;  // all ranks hold the same columns
  // A step takes its cut, the largest size that goes, from those that stay.
  kernels::RadixSelect narrowing(group.keep + (settings_.prox ? 1 : 0));
  const auto for_keys = [&](auto&& use) {
    for (const std::int64_t layer : counting ? group.layers : std::vector<std::int64_t>()) {
      for (const std::int64_t piece : numbers_of(layer)) {
        use(keys_[to_size(piece)]);
      }
    }
  };
  for_keys([&](const std::vector<std::uint32_t>& keys) {
    kernels::count_upper(std::span<const std::uint32_t>(keys), counts);
    counts[0] -= std::count(keys.begin(), keys.end(), 0U);
  });
  comm.sum(counts);
  narrowing.narrow_upper(counts);
  std::fill(counts.begin(), counts.end(), 0);
  for_keys([&](const std::vector<std::uint32_t>& keys) {
    kernels::count_lower(keys, narrowing.upper(), counts);
    if (narrowing.upper() == 0) {
      counts[0] -= std::count(keys.begin(), keys.end(), 0U);
    }
  });
  comm.sum(counts);
  narrowing.narrow_lower(counts);
  for (const std::int64_t layer : group.layers) {
    cuts_[to_size(layer)] = narrowing.cut();
    cuts_[to_size(layer)].equals = settings_.prox ? 0 : narrowing.cut().equals;
    groups_[to_size(layer)] = number;
  }
}

void GroupSelection::decide(const Comm& comm) {
  for (std::size_t number = 0; number < targets_.groups.size(); ++number) {
    decide_counts(comm, targets_.groups[number], static_cast<std::int64_t>(number));
  }
  if (settings_.threshold) {
    const auto least = static_cast<float>(*settings_.threshold);
    // Equal to the threshold stays, also where it lies between two float32 values.
    const bool above = settings_.prox ? static_cast<double>(least) <= *settings_.threshold
                                      : static_cast<double>(least) < *settings_.threshold;
    std::fill(cuts_.begin(), cuts_.end(),
              kernels::Cut{kernels::magnitude_key(least), above ? 0 : kernels::Cut{}.equals});
  }
  std::vector<LayerVerdict> verdicts(cuts_.size());
  std::vector<std::int64_t> equals(keys_.size(), 0);
  for (std::size_t id = 0; id < cuts_.size(); ++id) {
    verdicts[id].group = groups_[id];
    verdicts[id].cut = cuts_[id];
    const bool counting = !by_column() || comm.rank() == 0;
    for (const std::int64_t piece : numbers_of(static_cast<std::int64_t>(id))) {
      const auto& keys = keys_[to_size(piece)];
      equals[to_size(piece)] = counting ? std::count(keys.begin(), keys.end(), cuts_[id].key) : 0;
    }
  }
  std::vector<std::int64_t> stay = share_equals(comm, pieces_, equals, verdicts);
  if (by_column()) {
    comm.max(stay);  // rank 0 has been told for all
  }
  for (std::size_t id = 0; id < cuts_.size(); ++id) {
    for (const std::int64_t piece : numbers_of(static_cast<std::int64_t>(id))) {
      std::int64_t left = settings_.threshold ? cuts_[id].equals : stay[to_size(piece)];
      for (const std::uint32_t key : keys_[to_size(piece)]) {
        const bool stays = key > cuts_[id].key || (key == cuts_[id].key && left-- > 0);
        stays_[to_size(piece)].push_back(stays ? 1 : 0);
      }
    }
  }
}

// What a proximal step takes from the size of a group.
double GroupSelection::shrinks_by(std::int64_t layer) const {
  return settings_.threshold
             ? *settings_.threshold
             : static_cast<double>(kernels::magnitude_of(cuts_[to_size(layer)].key));
}

void GroupSelection::apply(std::int64_t layer, std::int64_t round, CsrRows& rows) const {
  const auto& stays = stays_[to_size(pieces_.number(layer, by_column() ? 0 : round))];
  const auto& keys = keys_[to_size(pieces_.number(layer, by_column() ? 0 : round))];
  const auto width = static_cast<std::uint32_t>(block_cols(layer));
  const std::size_t across = groups_across(layer);
  const double step = settings_.prox ? shrinks_by(layer) : 0;
  if (settings_.prox) {
    spell_values(rows, std::nullopt);
  }
  std::size_t row = 0;
  kernels::RowFilter::apply(rows, [&](std::int64_t k) {
    while (rows.pointers[row + 1] <= k) {
      ++row;
    }
    const std::size_t down = by_column() ? 0 : row / to_size(settings_.group.rows);
    const std::size_t group = down * across + rows.indices[to_size(k)] / width;
    if (settings_.prox && stays[group] != 0) {
      const double share = 1 - step / static_cast<double>(kernels::magnitude_of(keys[group]));
      float& value = rows.values[to_size(k)];
      const auto left = static_cast<float>(static_cast<double>(value) * share);
      value = left != 0 ? left : std::copysign(std::numeric_limits<float>::denorm_min(), value);
    }
    return stays[group] != 0;
  });
}

}  // namespace espalier::jobs
