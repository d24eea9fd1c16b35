// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/dense_words.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dense_words.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Vectors after which counts in 16-bit lanes are taken out.
constexpr size_t kTurn = 16384;

template <class D, class V>
int64_t sum_counts(D d, V counts) {
  HWY_ALIGN hn::TFromD<D> parts[hn::MaxLanes(d)];
  hn::Store(counts, d, parts);
  int64_t sum = 0;
  for (size_t i = 0; i < hn::Lanes(d); ++i) {
    sum += parts[i];
  }
  return sum;
}

// See count_from; T is the signed type of the words: their magnitudes are never negative.
template <typename T>
int64_t count_words(const T* words, size_t size, T below) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const auto magnitude = hn::Set(d, hwy::LimitsMax<T>());
  const auto limit = hn::Set(d, below);
  int64_t count = 0;
  size_t i = 0;
  while (i + lanes <= size) {
    const size_t left = (size - i) / lanes;
    const size_t end = i + (left < kTurn ? left : kTurn) * lanes;
    auto found = hn::Zero(d);
    for (; i < end; i += lanes) {
      const auto word = hn::And(hn::LoadU(d, words + i), magnitude);
      found = hn::Sub(found, hn::VecFromMask(d, hn::Gt(word, limit)));
    }
    count += sum_counts(d, found);
  }
  for (; i < size; ++i) {
    count += (words[i] & hwy::LimitsMax<T>()) > below ? 1 : 0;
  }
  return count;
}

int64_t count_words16(const int16_t* words, size_t size, int16_t below) {
  return count_words(words, size, below);
}
int64_t count_words32(const int32_t* words, size_t size, int32_t below) {
  return count_words(words, size, below);
}

// Adds the squares of words to `sum`; even and odd words of 16 bits one after the other.
template <class VI, class VF>
HWY_INLINE VF add_squares(WordKind kind, VI words, VF sum) {
  const hn::ScalableTag<float> df;
  const hn::RebindToUnsigned<decltype(df)> du;
  const auto all = hn::BitCast(du, words);
  if (kind == WordKind::kFloat) {
    const auto one = hn::BitCast(df, all);
    return hn::MulAdd(one, one, sum);
  }
  if (kind == WordKind::kBfloat16) {
    const auto even = hn::BitCast(df, hn::ShiftLeft<16>(all));
    const auto odd = hn::BitCast(df, hn::And(all, hn::Set(du, 0xFFFF0000U)));
    return hn::MulAdd(odd, odd, hn::MulAdd(even, even, sum));
  }
  const auto scale = hn::Set(df, 0x1p112F);
  const auto low = hn::ShiftLeft<13>(hn::And(all, hn::Set(du, 0x7FFFU)));
  const auto high = hn::ShiftRight<3>(hn::And(all, hn::Set(du, 0x7FFF0000U)));
  const auto even = hn::Mul(hn::BitCast(df, low), scale);
  const auto odd = hn::Mul(hn::BitCast(df, high), scale);
  return hn::MulAdd(odd, odd, hn::MulAdd(even, even, sum));
}

// See keep_from; below >= 0. Whole vectors only: returns how many words are done.
template <typename T>
size_t keep_words(WordKind kind, T* words, size_t size, T below, int64_t* kept, double* squares) {
  const hn::ScalableTag<T> d;
  const hn::ScalableTag<float> df;
  const size_t lanes = hn::Lanes(d);
  const auto magnitude = hn::Set(d, hwy::LimitsMax<T>());
  const auto limit = hn::Set(d, below);
  auto sum = hn::Zero(df);
  size_t i = 0;
  while (i + lanes <= size) {
    const size_t left = (size - i) / lanes;
    const size_t end = i + (left < kTurn ? left : kTurn) * lanes;
    auto found = hn::Zero(d);
    for (; i < end; i += lanes) {
      const auto word = hn::LoadU(d, words + i);
      const auto stays = hn::VecFromMask(d, hn::Gt(hn::And(word, magnitude), limit));
      hn::StoreU(hn::And(word, stays), d, words + i);
      found = hn::Sub(found, stays);
      sum = add_squares(kind, hn::AndNot(stays, word), sum);
    }
    *kept += sum_counts(d, found);
  }
  *squares += static_cast<double>(hn::GetLane(hn::SumOfLanes(df, sum)));
  return i;
}

#if HWY_TARGET == HWY_SCALAR
// A vector of one word cannot be seen as two: the caller does them all.
size_t keep_words16(WordKind, int16_t*, size_t, int16_t, int64_t*, double*) { return 0; }
#else
size_t keep_words16(WordKind kind, int16_t* words, size_t size, int16_t below, int64_t* kept,
                    double* squares) {
  return kind == WordKind::kHalf
             ? keep_words(WordKind::kHalf, words, size, below, kept, squares)
             : keep_words(WordKind::kBfloat16, words, size, below, kept, squares);
}
#endif
size_t keep_words32(int32_t* words, size_t size, int32_t below, int64_t* kept, double* squares) {
  return keep_words(WordKind::kFloat, words, size, below, kept, squares);
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <array>
#include <bit>

#include "kernels/half.hpp"

namespace espalier::kernels {

HWY_EXPORT(count_words16);
HWY_EXPORT(count_words32);
HWY_EXPORT(keep_words16);
HWY_EXPORT(keep_words32);

namespace {

constexpr std::uint32_t kMagnitude16 = 0x7FFFU, kMagnitude32 = 0x7FFFFFFFU;

}  // namespace

std::uint32_t float_bits(WordKind kind, std::uint32_t magnitude) {
  switch (kind) {
    case WordKind::kBfloat16:
      return magnitude << 16U;
    case WordKind::kHalf:
      return std::bit_cast<std::uint32_t>(half_to_float(static_cast<std::uint16_t>(magnitude)));
    case WordKind::kFloat:
      break;
  }
  return magnitude;
}

namespace {

// The least magnitude whose bits as float32 are >= `bits`.
std::uint32_t least_of(WordKind kind, std::uint32_t bits) {
  std::uint32_t low = 0;
  std::uint32_t high = kind == WordKind::kFloat ? kMagnitude32 + 1 : kMagnitude16 + 1;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (float_bits(kind, middle) >= bits) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

float to_float(WordKind kind, std::uint32_t magnitude) {
  return std::bit_cast<float>(float_bits(kind, magnitude));
}

template <typename Word>
constexpr std::uint32_t magnitude_mask() {
  return sizeof(Word) == 2 ? kMagnitude16 : kMagnitude32;
}

std::size_t keep_vectors(WordKind kind, std::span<std::uint16_t> words, std::uint32_t least,
                         Left& left) {
  return HWY_DYNAMIC_DISPATCH(keep_words16)(kind, reinterpret_cast<std::int16_t*>(words.data()),
                                            words.size(), static_cast<std::int16_t>(least - 1),
                                            &left.kept, &left.removed_squares);
}
std::size_t keep_vectors(WordKind, std::span<std::uint32_t> words, std::uint32_t least,
                         Left& left) {
  return HWY_DYNAMIC_DISPATCH(keep_words32)(reinterpret_cast<std::int32_t*>(words.data()),
                                            words.size(), static_cast<std::int32_t>(least - 1),
                                            &left.kept, &left.removed_squares);
}

template <typename Word>
Left keep_all_from(WordKind kind, std::span<Word> words, std::uint32_t least) {
  Left left;
  if (least <= 1) {
    left.kept = count_from(std::span<const Word>(words), 1);
    return left;
  }
  for (std::size_t i = keep_vectors(kind, words, least, left); i < words.size(); ++i) {
    const std::uint32_t magnitude = words[i] & magnitude_mask<Word>();
    if (magnitude >= least) {
      ++left.kept;
    } else {
      const auto value = static_cast<double>(to_float(kind, magnitude));
      left.removed_squares += value * value;
      words[i] = 0;
    }
  }
  return left;
}

// The largest magnitude that at least `keep` words reach: looked for around `near` in growing
// steps, then by bisection.
template <typename Word>
std::uint32_t find_cut(std::span<const Word> words, std::int64_t keep, std::uint32_t near) {
  std::uint32_t low = 1;  // reached by enough
  std::uint32_t high = magnitude_mask<Word>() + 1;
  std::uint32_t step = sizeof(Word) == 2 ? 1 : 1U << 15U;
  std::uint32_t next = std::clamp(near, low + 1, high - 1);
  bool around = true;
  while (high - low > 1) {
    const bool reached = count_from(words, next) >= keep;
    (reached ? low : high) = next;
    // Until both sides have been met, further away.
    around = around && (low == 1 || high == magnitude_mask<Word>() + 1);
    const std::uint32_t middle = low + (high - low) / 2;
    next = !around   ? middle
           : reached ? std::min(low + step, middle)
                     : std::max(high - std::min(step, high - 1), middle);
    step *= 4;
  }
  return low;
}

template <typename Word>
Left keep_largest_of(WordKind kind, std::span<Word> words, std::int64_t keep, std::uint32_t& near) {
  const std::span<const Word> looked_at = words;
  if (keep <= 0) {
    return keep_from(kind, words, magnitude_mask<Word>() + 1);
  }
  if (count_from(looked_at, 1) <= keep) {
    return keep_from(kind, words, 0);
  }
  const std::uint32_t cut = near = find_cut(looked_at, keep, near);
  return keep_first(kind, words, cut, cut + 1, keep - count_from(looked_at, cut + 1));
}

}  // namespace

std::uint32_t least_word(WordKind kind, std::int64_t bin) {
  return least_of(kind, static_cast<std::uint32_t>(bin) << kBinShift);
}

std::uint32_t least_word_from(WordKind kind, float limit) {
  return limit == 0 ? 0 : least_of(kind, std::bit_cast<std::uint32_t>(limit));
}

std::uint32_t least_not_finite(WordKind kind) { return least_of(kind, 0x7F800000U); }

void count_bins(std::span<const std::uint32_t> floats, std::span<std::int64_t> counts) {
  for (const std::uint32_t word : floats) {
    ++counts[(word & kMagnitude32) >> kBinShift];
  }
}

void count_magnitudes(std::span<const std::uint16_t> words, std::span<std::int64_t> counts) {
  for (const std::uint16_t word : words) {
    ++counts[word & kMagnitude16];
  }
}

std::int64_t count_from(std::span<const std::uint16_t> words, std::uint32_t least) {
  return least == 0 ? std::ssize(words)
                    : HWY_DYNAMIC_DISPATCH(count_words16)(
                          reinterpret_cast<const std::int16_t*>(words.data()), words.size(),
                          static_cast<std::int16_t>(least - 1));
}

std::int64_t count_from(std::span<const std::uint32_t> words, std::uint32_t least) {
  return least == 0 ? std::ssize(words)
                    : HWY_DYNAMIC_DISPATCH(count_words32)(
                          reinterpret_cast<const std::int32_t*>(words.data()), words.size(),
                          static_cast<std::int32_t>(least - 1));
}

Left keep_from(WordKind kind, std::span<std::uint16_t> words, std::uint32_t least) {
  return keep_all_from(kind, words, least);
}

Left keep_from(WordKind kind, std::span<std::uint32_t> words, std::uint32_t least) {
  return keep_all_from(kind, words, least);
}

template <typename Word>
Left keep_first(WordKind kind, std::span<Word> words, std::uint32_t least, std::uint32_t above,
                std::int64_t equals) {
  // Up to the last of the equals that stay, all of them do; behind it, none.
  std::size_t end = 0;
  if (equals > 0) {
    const std::span<const Word> looked_at = words;
    const std::int64_t there = count_from(looked_at, least) - count_from(looked_at, above);
    if (equals >= there) {
      return keep_from(kind, words, least);
    }
    for (std::int64_t left = equals; left > 0; ++end) {
      const std::uint32_t magnitude = words[end] & magnitude_mask<Word>();
      left -= magnitude >= least && magnitude < above ? 1 : 0;
    }
  }
  Left left = keep_from(kind, words.first(end), least);
  left += keep_from(kind, words.subspan(end), above);
  return left;
}

template Left keep_first(WordKind, std::span<std::uint16_t>, std::uint32_t, std::uint32_t,
                         std::int64_t);
template Left keep_first(WordKind, std::span<std::uint32_t>, std::uint32_t, std::uint32_t,
                         std::int64_t);

Left keep_largest(WordKind kind, std::span<std::uint16_t> words, std::int64_t keep,
                  std::uint32_t& near) {
  return keep_largest_of(kind, words, keep, near);
}

Left keep_largest(WordKind kind, std::span<std::uint32_t> words, std::int64_t keep,
                  std::uint32_t& near) {
  return keep_largest_of(kind, words, keep, near);
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
