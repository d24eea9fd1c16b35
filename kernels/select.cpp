// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/select.hpp"

#include "kernels/kept_first.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/select.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// See collect_dense; least >= 1; returns the count.
int64_t collect(const float* row, size_t cols, uint32_t least, uint32_t* indices, float* values,
                double* squares) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const size_t lanes = hn::Lanes(d);
  const auto below = hn::Set(du, least - 1);
  const auto step = hn::Set(du, static_cast<uint32_t>(lanes));
  auto columns = hn::Iota(du, 0);
  auto squared = hn::Zero(d);
  size_t found = 0;
  size_t i = 0;
  for (; i + lanes <= cols; i += lanes) {
    const auto weights = hn::LoadU(d, row + i);
    const auto keys = hn::ShiftLeft<1>(hn::BitCast(du, weights));
    const auto keep = hn::Gt(keys, below);
    // Moved together in registers and stored whole: stores under a mask cost many times as much on
    // some machines. No more is written than has been read.
#if HWY_TARGET == HWY_AVX2
    // The library's own table is copied to the stack for each use.
    uint8_t bits[8];
    hn::StoreMaskBits(du, keep, bits);
    const hn::Rebind<uint8_t, decltype(du)> bytes;
    const auto order = hn::PromoteTo(du, hn::LoadU(bytes, kKeptFirst.of[bits[0]]));
    hn::StoreU(hn::TableLookupLanes(columns, hn::IndicesFromVec(du, order)), du, indices + found);
    hn::StoreU(hn::TableLookupLanes(weights, hn::IndicesFromVec(d, order)), d, values + found);
#else
    hn::StoreU(hn::Compress(columns, keep), du, indices + found);
    hn::StoreU(hn::Compress(weights, hn::RebindMask(d, keep)), d, values + found);
#endif
    found += hn::CountTrue(du, keep);
    const auto rest = hn::IfThenZeroElse(hn::RebindMask(d, keep), weights);
    squared = hn::MulAdd(rest, rest, squared);
    columns = hn::Add(columns, step);
  }
  double rest = static_cast<double>(hn::GetLane(hn::SumOfLanes(d, squared)));
  for (; i < cols; ++i) {
    const float weight = row[i];
    uint32_t bits;
    hwy::CopySameSize(&weight, &bits);
    if (bits << 1U >= least) {
      indices[found] = static_cast<uint32_t>(i);
      values[found] = weight;
      ++found;
    } else {
      rest += static_cast<double>(weight) * static_cast<double>(weight);
    }
  }
  *squares = rest;
  return static_cast<int64_t>(found);
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <cmath>

namespace espalier::kernels {

HWY_EXPORT(collect);

namespace {

// Digits are taken out in runs that the compiler can do with vectors; the counting itself cannot.
constexpr std::size_t kRun = 512;

double square_of(float value) { return static_cast<double>(value) * static_cast<double>(value); }

std::uint16_t upper_digit(std::uint32_t key) { return static_cast<std::uint16_t>(key >> 16U); }

template <typename T, typename Digit>
void count_digits(std::span<const T> items, std::span<std::int64_t> counts, Digit&& digit) {
  std::array<std::uint16_t, kRun> digits;
  for (std::size_t begin = 0; begin < items.size(); begin += kRun) {
    const auto run = items.subspan(begin, std::min(kRun, items.size() - begin));
    for (std::size_t i = 0; i < run.size(); ++i) {
      digits[i] = digit(run[i]);
    }
    for (std::size_t i = 0; i < run.size(); ++i) {
      ++counts[digits[i]];
    }
  }
}

}  // namespace

void count_upper(std::span<const float> weights, std::span<std::int64_t> counts) {
  std::int64_t zeros = 0;
  for (const float weight : weights) {
    zeros += weight == 0 ? 1 : 0;
  }
  count_digits(weights, counts, [](float weight) { return upper_digit(magnitude_key(weight)); });
  counts[0] -= zeros;
}

void count_upper(std::span<const std::uint32_t> keys, std::span<std::int64_t> counts) {
  count_digits(keys, counts, upper_digit);
}

void count_lower(std::span<const std::uint32_t> keys, std::uint32_t upper,
                 std::span<std::int64_t> counts) {
  for (const std::uint32_t key : keys) {
    if (key >> 16U == upper) {
      ++counts[key & 0xFFFFU];
    }
  }
}

CutTally tally_cut(std::span<const float> weights, std::uint32_t key) {
  CutTally tally;
  tally.least_above = std::numeric_limits<std::int32_t>::max();
  tally.most_above = std::numeric_limits<std::int32_t>::min();
  const auto limit = static_cast<std::int32_t>(key >> 1U);
  for (std::size_t begin = 0; begin < weights.size(); begin += kRun) {
    const auto run = weights.subspan(begin, std::min(kRun, weights.size() - begin));
    std::int32_t above = 0, equal = 0;
    std::int32_t least = tally.least_above, most = tally.most_above;
    std::array<float, kRun> below;
    for (std::size_t i = 0; i < run.size(); ++i) {
      const auto bits = std::bit_cast<std::int32_t>(run[i]);
      const std::int32_t magnitude = bits & 0x7FFFFFFF;
      const bool is_above = magnitude > limit;
      above += is_above ? 1 : 0;
      equal += magnitude == limit ? 1 : 0;
      least = std::min(least, is_above ? bits : std::numeric_limits<std::int32_t>::max());
      most = std::max(most, is_above ? bits : std::numeric_limits<std::int32_t>::min());
      below[i] = magnitude < limit ? run[i] : 0.0F;
    }
    std::array<double, 4> sums{};
    std::size_t i = 0;
    for (; i + 4 <= run.size(); i += 4) {
      for (std::size_t lane = 0; lane < 4; ++lane) {
        sums[lane] += square_of(below[i + lane]);
      }
    }
    for (; i < run.size(); ++i) {
      sums[0] += square_of(below[i]);
    }
    tally.above += above;
    tally.equal += equal;
    tally.least_above = least;
    tally.most_above = most;
    tally.below_squares += (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  return tally;
}

// The digit that holds the last kept key; keep_ becomes what is to be kept of it.
std::uint32_t RadixSelect::narrow(std::span<const std::int64_t> counts) {
  std::size_t digit = counts.size();
  while (digit-- > 0) {
    if (keep_ <= counts[digit]) {
      return static_cast<std::uint32_t>(digit);
    }
    keep_ -= counts[digit];
  }
  return 0;
}

void RadixSelect::narrow_upper(std::span<const std::int64_t> counts) {
  std::int64_t total = 0;
  for (const std::int64_t count : counts) {
    total += count;
  }
  settled_ = keep_ <= 0 || keep_ >= total;
  if (!settled_) {
    cut_.key = narrow(counts) << 16U;
  } else if (keep_ < total) {
    cut_ = {std::numeric_limits<std::uint32_t>::max(), 0};
  }
}

void RadixSelect::narrow_lower(std::span<const std::int64_t> counts) {
  if (!settled_) {
    cut_.key |= narrow(counts);
    cut_.equals = keep_;
  }
}

Collected collect_dense(std::span<const float> row, std::uint32_t least, std::uint32_t* indices,
                        float* values) {
  Collected collected;
  least = std::max(least, std::uint32_t{2});
  // Keys are even, so 2 is the least of a non-zero weight.
  collected.count = HWY_DYNAMIC_DISPATCH(collect)(row.data(), row.size(), least, indices, values,
                                                  &collected.left_out_squares);
  if (!std::isfinite(collected.left_out_squares)) {
    collected.left_out_squares = 0;
    for (const float weight : row) {
      collected.left_out_squares += magnitude_key(weight) < least ? square_of(weight) : 0;
    }
  }
  return collected;
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
