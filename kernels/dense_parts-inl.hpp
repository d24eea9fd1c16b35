// Rows that have nearly all inputs of a block, for each SIMD target: as tiles, whose gaps are
// zeros.
#if defined(ESPALIER_KERNELS_DENSE_PARTS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_DENSE_PARTS_INL
#undef ESPALIER_KERNELS_DENSE_PARTS_INL
#else
#define ESPALIER_KERNELS_DENSE_PARTS_INL
#endif

#include <hwy/highway.h>

#include "kernels/rungs-inl.hpp"
#include "kernels/tiles-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// Whether zero times any of these changes no sum: they are finite, and products with weights of
// kLeastDenseWeight and more do not underflow, so that no sum is a negative zero.
HWY_INLINE bool gaps_change_nothing(const float* x, int64_t floats) {
  const Tag d;
  const auto least = hn::Set(d, kLeastDenseWeight);
  const auto infinity = hn::Inf(d);
  for (int64_t i = 0; i < floats; i += kPanelWidth) {
    auto all = hn::Eq(hn::Zero(d), hn::Zero(d));
    for (size_t v = 0; v < kPanelWidth; v += hn::Lanes(d)) {
      const auto magnitude = hn::Abs(hn::Load(d, x + i + v));
      const auto usual = hn::And(hn::Ge(magnitude, least), hn::Lt(magnitude, infinity));
      all = hn::And(all, hn::Or(usual, hn::Eq(magnitude, hn::Zero(d))));
    }
    if (!hn::AllTrue(d, all)) return false;
  }
  return true;
}

// How many inputs, from the first on, are known to be so. Those before a dense part count as well:
// a negative zero that they leave would be changed there.
struct TameInputs {
  int64_t count = 0;
  bool ended = false;

  HWY_INLINE bool reach(const SpmmArgs& a, int64_t end) {
    if (!ended && count < end) {
      ended = !gaps_change_nothing(a.in + count * kPanelWidth, (end - count) * kPanelWidth);
      if (!ended) count = end;
    }
    return count >= end;
  }
};

// One row, weight by weight, without its gaps.
HWY_NOINLINE void run_gapped_row(const SpmmArgs& a, const Tile& tile, uint32_t r, const float* in) {
  const int64_t row = tile.rows[r];
  for (size_t column = 0; column < kPanelWidth; column += kRowColumns) {
    float* const out = a.out + row * kPanelWidth + column;
    Vector sums[kRowVectors];
    load_sums<false>(out, sums);
    const float* w = a.dense_values + tile.first_value + r;
    for (uint32_t k = 0; k < tile.count; ++k, w += tile.height) {
      if (*w == 0) continue;
      add_to_row(hn::Set(Tag(), *w), in + size_t{k} * kPanelWidth + column, sums);
    }
    store_sums<false>(a, sums, out, row, column);
  }
}

// Adds a block's inputs to the sums of such rows; other parts begin and close them.
HWY_NOINLINE void run_dense_part(const SpmmArgs& a, const BlockPart& part, TameInputs& tame) {
  const Tile* const begin = a.dense_tiles + part.begin;
  const Tile* const end = a.dense_tiles + part.end;
  const float* in = a.in + part.first_input * kPanelWidth;
  const int64_t count = begin->count;
  if (!tame.reach(a, part.first_input + count)) {
    for (const Tile* tile = begin; tile < end; ++tile) {
      for (uint32_t r = 0; r < tile->height; ++r) {
        const int64_t row = tile->rows[r];
        if (row >= a.row_begin && row < a.row_end) run_gapped_row(a, *tile, r, in);
      }
    }
    return;
  }
  TilesAhead ahead;
  const float* inputs[kMostTileInputs];
  for (int64_t from = 0; from < count;) {
    const int64_t some = inputs_at_once(count - from);
    for (int64_t k = 0; k < some; ++k) inputs[k] = in + (from + k) * kPanelWidth;
    for (const Tile* tile = begin; tile < end; ++tile) {
      const int64_t step = tile->height;
      if (tile + 1 < end) ahead.fetch_values(a.dense_values, tile[1], from, some, tile[1].height);
      run_tile(a, *tile,
               {a.dense_values + tile->first_value + from * step, step, inputs, some, tile->rows,
                false, false, false},
               ahead);
    }
    from += some;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
