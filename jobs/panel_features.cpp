#include "jobs/panel_features.hpp"

#include <algorithm>
#include <numeric>

#include "kernels/bfloat16.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;

std::size_t to_size(std::int64_t value) { return static_cast<std::size_t>(value); }

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
  const std::int64_t inputs = network_.layers.front().packed.inputs();
  const std::vector<std::uint32_t>& used = network_.layers.front().inputs;
  const float* scale = network_.input_scale.empty() ? nullptr : network_.input_scale.data();
  const float* shift = network_.input_shift.empty() ? nullptr : network_.input_shift.data();
  const auto kept = [&](float x) { return network_.bfloat16 ? kernels::round_to_bfloat16(x) : x; };
  if (shift == nullptr) {
    std::fill_n(panel, inputs * kWidth, 0.0F);
  } else {
    for (std::int64_t local = 0; local < inputs; ++local) {
      const std::size_t feature = used.empty() ? to_size(local) : used[to_size(local)];
      std::fill_n(panel + local * kWidth, kWidth, kept(shift[feature]));
    }
  }
  for (std::size_t column = 0; column < ids.size(); ++column) {
    const std::int64_t begin = samples.pointers[to_size(ids[column])];
    const std::int64_t end = samples.pointers[to_size(ids[column]) + 1];
    for (std::int64_t k = begin; k < end; ++k) {
      const std::uint32_t feature = samples.indices[to_size(k)];
      const std::int32_t local = local_of_feature_[feature];
      if (local >= 0) {
        const float scaled =
            scale == nullptr ? samples.value(k) : samples.value(k) * scale[feature];
        panel[local * kWidth + static_cast<std::int64_t>(column)] =
            kept(shift == nullptr ? scaled : scaled + shift[feature]);
      }
    }
  }
}

}  // namespace espalier::jobs
