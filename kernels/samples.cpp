#include "kernels/samples.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace espalier::kernels {
namespace {

void fill(std::span<float> outputs, float value) {
  std::fill(outputs.begin(), outputs.end(), value);
}

}  // namespace

bool ranks_before(const Ranked& a, const Ranked& b) noexcept {
  const bool a_nan = std::isnan(a.value);
  const bool b_nan = std::isnan(b.value);
  if (a_nan != b_nan) return b_nan;
  if (!a_nan && a.value != b.value) return a.value > b.value;
  return a.index < b.index;
}

void softmax(std::span<float> outputs) {
  if (outputs.empty()) return;
  float largest = outputs[0];
  for (const float x : outputs) {
    if (std::isnan(x)) return fill(outputs, x);
    largest = std::max(largest, x);
  }
  if (std::isinf(largest)) {
    // exp(inf - inf) has no value: the limit shares 1 among the infinite outputs.
    std::int64_t ties = 0;
    for (const float x : outputs) ties += x == largest ? 1 : 0;
    for (float& x : outputs) x = x == largest ? 1.0F / static_cast<float>(ties) : 0.0F;
    return;
  }
  double sum = 0;
  for (const float x : outputs) {
    sum += std::exp(static_cast<double>(x) - static_cast<double>(largest));
  }
  for (float& x : outputs) {
    x = static_cast<float>(std::exp(static_cast<double>(x) - static_cast<double>(largest)) / sum);
  }
}

void top_k(std::span<const float> outputs, std::span<std::int64_t> index, std::span<float> value) {
  const std::size_t k = std::min({index.size(), value.size(), outputs.size()});
  if (k == 0) return;
  // A heap whose top is the weakest of the k best so far: most outputs cost one comparison.
  std::vector<Ranked> best;
  best.reserve(k);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Ranked candidate{outputs[i], static_cast<std::int64_t>(i)};
    if (best.size() < k) {
      best.push_back(candidate);
      std::push_heap(best.begin(), best.end(), ranks_before);
    } else if (ranks_before(candidate, best.front())) {
      std::pop_heap(best.begin(), best.end(), ranks_before);
      best.back() = candidate;
      std::push_heap(best.begin(), best.end(), ranks_before);
    }
  }
  std::sort_heap(best.begin(), best.end(), ranks_before);
  for (std::size_t i = 0; i < k; ++i) {
    index[i] = best[i].index;
    value[i] = best[i].value;
  }
}

}  // namespace espalier::kernels
