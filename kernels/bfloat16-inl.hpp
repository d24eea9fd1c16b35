// Pairs of bfloat16 weights, each pair one instruction, where a machine has it (AVX-512 BF16); for
// each SIMD target.
#if defined(ESPALIER_KERNELS_BFLOAT16_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_BFLOAT16_INL
#undef ESPALIER_KERNELS_BFLOAT16_INL
#else
#define ESPALIER_KERNELS_BFLOAT16_INL
#endif

#include <hwy/highway.h>

#include "kernels/rungs-inl.hpp"

#undef ESPALIER_BFLOAT16_PAIRS
#if defined(ESPALIER_FOUR_ROWS) && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG)
#define ESPALIER_BFLOAT16_PAIRS
#endif

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

#ifdef ESPALIER_BFLOAT16_PAIRS

using ShortTag = hn::Repartition<uint16_t, Tag>;
using ShortVector = hn::Vec<ShortTag>;
constexpr size_t kShortLanes = hn::MaxLanes(ShortTag());
constexpr int kShortVectors = static_cast<int>(kPanelWidth / kShortLanes);

// Of each number of 32 bits the upper halves' product is added first, then the lower halves': each
// with one rounding, as by two multiply-adds, but denormals count as zero.
HWY_INLINE Vector add_pairs(Vector sums, ShortVector x, ShortVector weights) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sums.raw) : "v"(x.raw), "v"(weights.raw));
  return sums;
}

// One block's slice of a panel in bfloat16, a line of the cache for 32 samples.
struct ShortSlice {
  alignas(64) uint16_t values[kMostShortInputs * kPanelWidth];
  int64_t first_input = -1;
  // Whether all inputs of the group's blocks so far are zero, or finite and least_input or more,
  // and no others than bfloat16 has; in the columns that count.
  bool tame = true;

  HWY_INLINE void fill(const SpmmArgs& a, const BlockPart& part) {
    if (part.first_input < first_input) tame = true;  // another group of rows begins
    first_input = part.first_input;
    if (tame) tame = turn(a);
  }

 private:
  // Four neighbours of one vector stand beside four of the next: interleaved with another input's,
  // the lower and the upper halves of these are the samples in order.
  HWY_INLINE bool turn(const SpmmArgs& a) {
    constexpr int kVectors = kRowVectors;
    const BitsTag du;
    constexpr size_t kLanes = hn::MaxLanes(BitsTag());
    const auto one = hn::Set(du, 1U);
    BitsVector all[kVectors], most[kVectors], least[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      all[v] = most[v] = hn::Zero(du);
      least[v] = hn::Set(du, 0xFFFFFFFFU);  // of magnitudes - 1, so that a zero is the largest
    }
    const float* x = a.in + first_input * kPanelWidth;
    const int64_t inputs = HWY_MIN(a.block_inputs, a.inputs - first_input);
    uint16_t* to = values;
    for (int64_t i = 0; i < inputs; ++i, x += kPanelWidth, to += kPanelWidth) {
      BitsVector upper[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const auto bits = hn::BitCast(du, hn::Load(Tag(), x + static_cast<size_t>(v) * kLanes));
        const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFFU));
        all[v] = hn::Or(all[v], bits);
        most[v] = hn::Max(most[v], magnitude);
        least[v] = hn::Min(least[v], hn::Sub(magnitude, one));
        upper[v] = hn::ShiftRight<16>(bits);
      }
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v += 2) {
        const ShortVector both{_mm512_packus_epi32(upper[v].raw, upper[v + 1].raw)};
        hn::Store(both, ShortTag(), to + static_cast<size_t>(v) * kLanes);
      }
    }
    const auto smallest = hn::BitCast(du, hn::Set(Tag(), a.least_input));
    const auto infinity = hn::BitCast(du, hn::Inf(Tag()));
    bool result = true;
    for (int v = 0; v < kVectors; ++v) {
      const int64_t columns = a.columns - v * static_cast<int64_t>(kLanes);
      if (columns <= 0) break;
      const auto counts = hn::FirstN(du, HWY_MIN(static_cast<size_t>(columns), kLanes));
      const auto too_small = hn::Lt(least[v], hn::Sub(smallest, one));
      const auto too_large = hn::Gt(most[v], hn::Sub(infinity, one));
      const auto too_long = hn::TestBit(all[v], hn::Set(du, 0xFFFFU));
      const auto wild = hn::Or(hn::Or(too_small, too_large), too_long);
      result = result && hn::AllFalse(du, hn::And(counts, wild));
    }
    return result;
  }
};

// The two products of each sample's pair: the input `x`, which comes first, and `y`.
HWY_INLINE void add_pair_to_row(ShortVector weights, const ShortVector* x, const ShortVector* y,
                                Vector* sums) {
  const ShortTag d;
#pragma GCC unroll 2
  for (int v = 0; v < kShortVectors; ++v) {
    sums[2 * v] = add_pairs(sums[2 * v], hn::InterleaveLower(d, y[v], x[v]), weights);
    sums[2 * v + 1] = add_pairs(sums[2 * v + 1], hn::InterleaveUpper(d, y[v], x[v]), weights);
  }
}

HWY_INLINE void load_input(const uint16_t* x, ShortVector* values) {
#pragma GCC unroll 2
  for (int v = 0; v < kShortVectors; ++v) {
    values[v] = hn::Load(ShortTag(), x + static_cast<size_t>(v) * kShortLanes);
  }
}

HWY_INLINE void add_weights(ShortVector weights, const uint16_t* x, const uint16_t* y,
                            Vector* sums) {
  ShortVector of_x[kShortVectors], of_y[kShortVectors];
  load_input(x, of_x);
  load_input(y, of_y);
  add_pair_to_row(weights, of_x, of_y, sums);
}

// An odd weight's partner is nothing: zero times zero.
HWY_INLINE void add_last_weight(uint16_t weight, const uint16_t* x, Vector* sums) {
  const auto weights = hn::BitCast(ShortTag(), hn::Set(BitsTag(), uint32_t{weight} << 16U));
  ShortVector of_x[kShortVectors], zeros[kShortVectors];
  load_input(x, of_x);
#pragma GCC unroll 2
  for (int v = 0; v < kShortVectors; ++v) zeros[v] = hn::Zero(ShortTag());
  add_pair_to_row(weights, of_x, zeros, sums);
}

// Four rows side by side. Two weights of each row are one load for all rows, spread in registers.
HWY_INLINE void add_four_short_rows(const uint16_t* in, const uint16_t* indices,
                                    const uint16_t* values, uint32_t count,
                                    Vector (*sums)[kRowVectors]) {
  const hn::Repartition<uint8_t, Tag> d8;
  const auto pick = [&](uint8_t r) HWY_ATTR {
    const uint8_t low = static_cast<uint8_t>(2 * (r + kRowsBeside)), high = 2 * r;
    const uint8_t l1 = low + 1, h1 = high + 1;
    alignas(16) const uint8_t bytes[16] = {low, l1, high, h1, low, l1, high, h1,
                                           low, l1, high, h1, low, l1, high, h1};
    return hn::LoadDup128(d8, bytes);
  };
  const auto pick0 = pick(0), pick1 = pick(1), pick2 = pick(2), pick3 = pick(3);
  const auto spread = [&](hn::Vec<decltype(d8)> weights, hn::Vec<decltype(d8)> of_row) HWY_ATTR {
    return hn::BitCast(ShortTag(), hn::TableLookupBytes(weights, of_row));
  };
  auto at_hand = IndicesOfFour::load(indices);
  uint32_t k = 0;
  for (; k + 2 <= count; k += 2) {
    const auto weights = hn::LoadDup128(d8, reinterpret_cast<const uint8_t*>(values));
    values += 2 * kRowsBeside;
    indices += 2 * kRowsBeside;
    const auto next = IndicesOfFour::load(indices);
    const uint64_t x = at_hand.first, y = at_hand.second;
    add_weights(spread(weights, pick0), input_of_row(in, x, 0), input_of_row(in, y, 0), sums[0]);
    add_weights(spread(weights, pick1), input_of_row(in, x, 1), input_of_row(in, y, 1), sums[1]);
    add_weights(spread(weights, pick2), input_of_row(in, x, 2), input_of_row(in, y, 2), sums[2]);
    add_weights(spread(weights, pick3), input_of_row(in, x, 3), input_of_row(in, y, 3), sums[3]);
    at_hand = next;
  }
  if (k == count) return;
#pragma GCC unroll 4
  for (int r = 0; r < kRowsBeside; ++r) {
    add_last_weight(values[r], input_of_row(in, at_hand.first, r), sums[r]);
  }
}

HWY_INLINE void add_short_row(const uint16_t* in, const uint16_t* indices, const uint16_t* values,
                              uint32_t count, Vector* sums) {
  const auto input = [&](uint32_t k) HWY_ATTR { return in + size_t{indices[k]} * kPanelWidth; };
  uint32_t k = 0;
  for (; k + 2 <= count; k += 2) {
    const uint32_t both = uint32_t{values[k]} << 16U | values[k + 1];
    const auto weights = hn::BitCast(ShortTag(), hn::Set(BitsTag(), both));
    add_weights(weights, input(k), input(k + 1), sums);
  }
  if (k < count) add_last_weight(values[k], input(k), sums);
}

// A part all of whose rows are in the range, on tame inputs.
template <bool kOpens, bool kCloses>
HWY_NOINLINE void run_pairs(const SpmmArgs& a, const BlockPart& part, const ShortSlice& slice,
                            SliceAhead& ahead) {
  const uint32_t* row = a.rung_rows + part.first_place;
  const uint16_t* indices = a.block_indices + part.first_weight;
  const uint16_t* values = a.block_shorts + part.first_weight;
  for (int64_t r = part.begin; r < part.end; ++r) {
    const uint32_t count = a.rungs[r].count;
    for (uint32_t left = a.rungs[r].rows; left > 0;) {
      const uint32_t rows = rows_at_once(a, left);
      const Stream<uint16_t> stream = {indices, values, size_t{rows} * count};
      fetch_ahead(a, stream, row, rows, ahead);
      Vector sums[kRowsBeside][kRowVectors];
      if (rows > 1) {
#pragma GCC unroll 4
        for (int n = 0; n < kRowsBeside; ++n) {
          load_sums<kOpens>(a.out + size_t{row[n]} * kPanelWidth, sums[n]);
        }
        add_four_short_rows(slice.values, indices, values, count, sums);
#pragma GCC unroll 4
        for (int n = 0; n < kRowsBeside; ++n) {
          store_sums<kCloses>(a, sums[n], a.out + size_t{row[n]} * kPanelWidth, row[n], 0);
        }
      } else {
        float* const out = a.out + size_t{*row} * kPanelWidth;
        load_sums<kOpens>(out, *sums);
        add_short_row(slice.values, indices, values, count, *sums);
        store_sums<kCloses>(a, *sums, out, *row, 0);
      }
      for (uint32_t n = 0; n < rows; ++n) finish_curve<kCloses>(a, row[n]);
      row += rows;
      left -= rows;
      indices += size_t{rows} * count;
      values += size_t{rows} * count;
    }
  }
}

HWY_INLINE void run_short_part(const SpmmArgs& a, const BlockPart& part, ShortSlice& slice,
                               SliceAhead& ahead) {
  if (part.first_input != slice.first_input) slice.fill(a, part);
  if (!slice.tame || !is_whole(a, part)) {
    return run_singly(a, part, a.block_shorts + part.first_weight);
  }
  with_ends(part, [&](auto opens, auto closes) HWY_ATTR {
    run_pairs<decltype(opens)::value, decltype(closes)::value>(a, part, slice, ahead);
  });
}

#endif  // ESPALIER_BFLOAT16_PAIRS

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
