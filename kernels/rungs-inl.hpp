// Rows with inputs of their own, one at a time inside a block of inputs, rows of equal count one
// after another, for each SIMD target.
#if defined(ESPALIER_KERNELS_RUNGS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_RUNGS_INL
#undef ESPALIER_KERNELS_RUNGS_INL
#else
#define ESPALIER_KERNELS_RUNGS_INL
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "kernels/avx2-inl.hpp"
#include "kernels/blocks-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// Eight chains of sums: what latency 4 x 2 ports needs, and a whole row of a panel with 256 bits.
constexpr int kRowVectors = HWY_MIN(8, static_cast<int>(kPanelWidth / hn::MaxLanes(Tag())));
constexpr size_t kRowColumns = kRowVectors * hn::MaxLanes(Tag());

// One row's weights inside a block.
struct RowView {
  const uint16_t* indices;
  const float* values;
  uint32_t count;
};

HWY_INLINE void add_to_row(Vector weight, const float* in, uint32_t index, Vector* sums) {
  const Tag d;
  const float* x = in_register(in + size_t{index} * kPanelWidth);
#pragma GCC unroll 8
  for (int v = 0; v < kRowVectors; ++v) {
    sums[v] = hn::MulAdd(weight, hn::Load(d, x + static_cast<size_t>(v) * hn::Lanes(d)), sums[v]);
  }
}

// Every multiply-add needs a load of its own, so four weights are one load, spread in registers.
template <bool kIso>
HWY_INLINE void add_row(const float* in, const RowView& row, Vector* sums) {
#ifdef ESPALIER_AVX2_BY_HAND
  if constexpr (!kIso) return add_to_one_row(in, row.indices, row.values, row.count, sums);
#endif
  const Tag d;
  uint32_t k = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (!kIso) {
    for (; k + 4 <= row.count; k += 4) {
      const auto weights = hn::LoadDup128(d, row.values + k);
      add_to_row(hn::Broadcast<0>(weights), in, row.indices[k], sums);
      add_to_row(hn::Broadcast<1>(weights), in, row.indices[k + 1], sums);
      add_to_row(hn::Broadcast<2>(weights), in, row.indices[k + 2], sums);
      add_to_row(hn::Broadcast<3>(weights), in, row.indices[k + 3], sums);
    }
  }
#endif
  for (; k < row.count; ++k) {
    add_to_row(hn::Set(d, row.values[kIso ? 0 : k]), in, row.indices[k], sums);
  }
}

// Bias and limits of a row's sums, four vectors at a time: more bits would not fit the registers.
HWY_INLINE void close_row(const SpmmArgs& a, const Vector* sums, float* out, int64_t row,
                          size_t column) {
  constexpr int kSome = HWY_MIN(4, kRowVectors);
  const BitsTag du;
  const size_t lanes = hn::Lanes(Tag());
#pragma GCC unroll 2
  for (int first = 0; first < kRowVectors; first += kSome) {
    BitsVector seen[kSome];
    uint32_t* bits = a.bits + column + static_cast<size_t>(first) * lanes;
#pragma GCC unroll 4
    for (int v = 0; v < kSome; ++v) seen[v] = hn::LoadU(du, bits + static_cast<size_t>(v) * lanes);
    store_row<kSome>(a.epilogue, sums + first, out + static_cast<size_t>(first) * lanes, row, seen);
#pragma GCC unroll 4
    for (int v = 0; v < kSome; ++v) hn::StoreU(seen[v], du, bits + static_cast<size_t>(v) * lanes);
  }
}

// Some columns of one row: from its sums so far to those with this block, or to its outputs.
template <bool kOpens, bool kCloses, bool kIso>
HWY_INLINE void row_columns(const SpmmArgs& a, const float* in, const RowView& view, int64_t row,
                            size_t column) {
  const Tag d;
  const size_t lanes = hn::Lanes(d);
  float* out = a.out + row * kPanelWidth + column;
  Vector sums[kRowVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kRowVectors; ++v) {
    sums[v] = kOpens ? hn::Zero(d) : hn::Load(d, out + static_cast<size_t>(v) * lanes);
  }
  add_row<kIso>(in + column, view, sums);
  if (kCloses && a.epilogue.curve == 0) return close_row(a, sums, out, row, column);
#pragma GCC unroll 8
  for (int v = 0; v < kRowVectors; ++v) {
    hn::Store(sums[v], d, out + static_cast<size_t>(v) * lanes);
  }
}

template <bool kOpens, bool kCloses, bool kIso>
HWY_NOINLINE void run_rungs(const SpmmArgs& a, const BlockPart& part, SliceAhead& ahead) {
  const float* in = a.in + part.first_input * kPanelWidth;
  const uint32_t* row = a.rung_rows + part.first_place;
  RowView view = {a.block_indices + part.first_weight,
                  a.block_values + (kIso ? 0 : part.first_weight), 0};
  const bool whole = part.row_begin >= a.row_begin && part.row_end <= a.row_end;
  for (int64_t r = part.pair_begin; r < part.pair_end; ++r) {
    view.count = a.rungs[r].count;
    const uint32_t* const end = row + a.rungs[r].rows;
    for (; row < end; ++row) {
      if (whole || (*row >= a.row_begin && *row < a.row_end)) {
        // The rows are sorted by count, so their sums lie where no hardware looks ahead.
        const float* sums_ahead = a.out + size_t{row[kRungAhead]} * kPanelWidth;
        for (size_t line = 0; !kOpens && line < kPanelWidth; line += 16) {
          hwy::Prefetch(sums_ahead + line);
        }
        ahead.fetch();
        for (size_t column = 0; column < kPanelWidth; column += kRowColumns) {
          row_columns<kOpens, kCloses, kIso>(a, in, view, *row, column);
        }
        if (kCloses && a.epilogue.curve != 0) {
          finish_row(a.out + size_t{*row} * kPanelWidth, a.epilogue, *row);
          or_row_bits(a.out + size_t{*row} * kPanelWidth, a.bits);
        }
      }
      view.indices += view.count;
      view.values += kIso ? 0 : view.count;
    }
  }
}

template <bool kIso>
HWY_INLINE void run_rung_part(const SpmmArgs& a, const BlockPart& part, SliceAhead& ahead) {
  if (part.opens) {
    part.closes ? run_rungs<true, true, kIso>(a, part, ahead)
                : run_rungs<true, false, kIso>(a, part, ahead);
  } else {
    part.closes ? run_rungs<false, true, kIso>(a, part, ahead)
                : run_rungs<false, false, kIso>(a, part, ahead);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
