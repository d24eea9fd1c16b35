// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/top.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/top.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The first row of [row, end) with a number that is not at most its column's limit, or `end`.
int64_t find_candidate(const float* rows, int64_t row, int64_t end, const float* limits) {
  const hn::CappedTag<float, 16> d;
  for (; row < end; ++row) {
    const float* x = rows + row * kPanelWidth;
    auto within = hn::Le(hn::Load(d, x), hn::Load(d, limits));
    for (size_t i = hn::Lanes(d); i < kPanelWidth; i += hn::Lanes(d)) {
      within = hn::And(within, hn::Le(hn::Load(d, x + i), hn::Load(d, limits + i)));
    }
    if (!hn::AllTrue(d, within)) break;
  }
  return row;
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <limits>

namespace espalier::kernels {

HWY_EXPORT(find_candidate);

TopPanel::TopPanel(std::int64_t k, std::int64_t samples)
    : k_(k), samples_(samples), best_(static_cast<std::size_t>(samples)) {
  std::fill_n(limits_, samples, std::numeric_limits<float>::quiet_NaN());
  std::fill(limits_ + samples, limits_ + kPanelWidth, std::numeric_limits<float>::infinity());
}

void TopPanel::add(const float* rows, std::int64_t count, std::int64_t first) {
  const auto next = [&](std::int64_t row) {
    return HWY_DYNAMIC_DISPATCH(find_candidate)(rows, row, count, limits_);
  };
  for (std::int64_t row = next(0); row < count; row = next(row + 1)) {
    const float* x = rows + row * kPanelWidth;
    for (std::int64_t column = 0; column < samples_; ++column) {
      if (!(x[column] <= limits_[column])) offer(column, {x[column], first + row});
    }
  }
}

void TopPanel::offer(std::int64_t column, const Ranked& candidate) {
  std::vector<Ranked>& best = best_[static_cast<std::size_t>(column)];
  if (std::ssize(best) == k_) {
    if (!ranks_before(candidate, best.front())) return;
    std::pop_heap(best.begin(), best.end(), ranks_before);
    best.pop_back();
  }
  best.push_back(candidate);
  std::push_heap(best.begin(), best.end(), ranks_before);
  if (std::ssize(best) == k_) limits_[column] = best.front().value;
}

std::span<const Ranked> TopPanel::best(std::int64_t column) const {
  return best_[static_cast<std::size_t>(column)];
}

void best_of(std::span<Ranked> candidates, std::span<std::int64_t> index, std::span<float> value) {
  const auto k = static_cast<std::ptrdiff_t>(index.size());
  std::partial_sort(candidates.begin(), candidates.begin() + k, candidates.end(), ranks_before);
  for (std::size_t i = 0; i < index.size(); ++i) {
    index[i] = candidates[i].index;
    value[i] = candidates[i].value;
  }
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
