#include "jobs/panel_features.hpp"

#include <algorithm>
#include <numeric>

#include "kernels/bfloat16.hpp"
#include "kernels/turn.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;

std::size_t to_size(std::int64_t value) { return static_cast<std::size_t>(value); }

// Columns that share a line of a panel.
constexpr std::size_t kTogether = 16;

std::int64_t features_of(const kernels::CsrRows& samples, std::int64_t id) {
  return samples.pointers[to_size(id) + 1] - samples.pointers[to_size(id)];
}

bool all_zero(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return value == 0; });
}

}  // namespace

PanelFeatures::PanelFeatures(const ShardedNetwork& network)
    : network_(network),
      may_drop_empty_(network.layers.front().zero_to_zero && all_zero(network.input_shift)) {
  const std::vector<std::uint32_t>& used = network.layers.front().inputs;
  local_of_feature_.assign(to_size(network.inputs), -1);
  if (used.empty() && network.layers.front().packed.inputs() == network.inputs) {
    std::iota(local_of_feature_.begin(), local_of_feature_.end(), 0);
  }
  for (std::size_t local = 0; local < used.size(); ++local) {
    local_of_feature_[used[local]] = static_cast<std::int32_t>(local);
  }
  as_they_are_ = network.input_scale.empty() && network.input_shift.empty() && !network.bfloat16;
  takes_all_ = as_they_are_;
  for (std::size_t feature = 0; takes_all_ && feature < local_of_feature_.size(); ++feature) {
    takes_all_ = local_of_feature_[feature] == static_cast<std::int32_t>(feature);
  }
}

std::vector<std::int64_t> PanelFeatures::samples_to_compute(const kernels::CsrRows& samples) const {
  std::vector<std::int64_t> ids;
  for (std::int64_t sample = 0; sample < samples.rows(); ++sample) {
    bool zero = may_drop_empty_;
    for (std::int64_t k = samples.pointers[to_size(sample)];
         zero && k < samples.pointers[to_size(sample) + 1]; ++k) {
      zero = samples.value(k) == 0;
    }
    if (!zero) {
      ids.push_back(sample);
    }
  }
  return ids;
}

void PanelFeatures::fill(const kernels::CsrRows& samples, std::span<const std::int64_t> ids,
                         float* panel) const {
  const auto all_whole = [&](std::span<const std::int64_t> some) {
    return std::all_of(some.begin(), some.end(), [&](std::int64_t id) {
      return features_of(samples, id) == network_.inputs;
    });
  };
  if (std::ssize(ids) < kWidth || !all_whole(ids)) {
    fill_absent(panel);
  }
  for (std::size_t column = 0; column < ids.size();) {
    const auto some = ids.subspan(column, std::min(kTogether, ids.size() - column));
    float* const to = panel + column;
    if (!all_whole(some)) {
      for (std::size_t i = 0; i < some.size(); ++i) {
        fill_sparse(samples, some[i], to + i);
      }
    } else if (takes_all_ && !samples.iso) {
      turn_whole(samples, some, to);
    } else {
      fill_whole(samples, some, to);
    }
    column += some.size();
  }
}

float PanelFeatures::scaled(std::uint32_t feature, float x) const {
  if (as_they_are_) return x;
  const float y = network_.input_scale.empty() ? x : x * network_.input_scale[feature];
  const float z = network_.input_shift.empty() ? y : y + network_.input_shift[feature];
  return network_.bfloat16 ? kernels::round_to_bfloat16(z) : z;
}

// What features become that a sample does not have.
void PanelFeatures::fill_absent(float* panel) const {
  const std::int64_t inputs = network_.layers.front().packed.inputs();
  if (network_.input_shift.empty()) {
    std::fill_n(panel, inputs * kWidth, 0.0F);
    return;
  }
  const std::vector<std::uint32_t>& used = network_.layers.front().inputs;
  for (std::int64_t local = 0; local < inputs; ++local) {
    const std::size_t feature = used.empty() ? to_size(local) : used[to_size(local)];
    const float shift = network_.input_shift[feature];
    std::fill_n(panel + local * kWidth, kWidth,
                network_.bfloat16 ? kernels::round_to_bfloat16(shift) : shift);
  }
}

void PanelFeatures::fill_sparse(const kernels::CsrRows& samples, std::int64_t id,
                                float* column) const {
  const std::int64_t end = samples.pointers[to_size(id) + 1];
  for (std::int64_t k = samples.pointers[to_size(id)]; k < end; ++k) {
    const std::uint32_t feature = samples.indices[to_size(k)];
    const std::int32_t local = local_of_feature_[feature];
    if (local >= 0) {
      column[local * kWidth] = scaled(feature, samples.value(k));
    }
  }
}

// Samples that have all features, where all are taken as they are; neighbours together.
void PanelFeatures::turn_whole(const kernels::CsrRows& samples, std::span<const std::int64_t> ids,
                               float* columns) const {
  for (std::size_t i = 0; i < ids.size();) {
    std::size_t end = i + 1;
    while (end < ids.size() && ids[end] == ids[end - 1] + 1) {
      ++end;
    }
    kernels::turn(samples.values.data() + samples.pointers[to_size(ids[i])], columns + i,
                  {static_cast<std::int64_t>(end - i), network_.inputs, network_.inputs, kWidth});
    i = end;
  }
}

// Samples that have all features, in squares: a line of the cache is read at once, because lines of
// several samples often share their place in the cache.
void PanelFeatures::fill_whole(const kernels::CsrRows& samples, std::span<const std::int64_t> ids,
                               float* columns) const {
  const auto side = static_cast<std::int64_t>(kTogether);
  for (std::int64_t first = 0; first < network_.inputs; first += side) {
    const std::int64_t end = std::min(first + side, network_.inputs);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::int64_t begin = samples.pointers[to_size(ids[i])];
      for (std::int64_t feature = first; feature < end; ++feature) {
        const std::int32_t local = local_of_feature_[to_size(feature)];
        if (local >= 0) {
          columns[local * kWidth + static_cast<std::int64_t>(i)] =
              scaled(static_cast<std::uint32_t>(feature), samples.value(begin + feature));
        }
      }
    }
  }
}

}  // namespace espalier::jobs
