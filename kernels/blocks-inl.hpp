// Rows with inputs of their own, two at a time inside a block of inputs, for each SIMD target.
#if defined(ESPALIER_KERNELS_BLOCKS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_BLOCKS_INL
#undef ESPALIER_KERNELS_BLOCKS_INL
#else
#define ESPALIER_KERNELS_BLOCKS_INL
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "kernels/epilogue-inl.hpp"
#include "kernels/spmm_args.hpp"

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// Where a pair's weights lie, and the block they belong to.
struct PairView {
  const uint16_t* indices;
  const float* values;
  int64_t value_step;  // 1, or 0 where one value serves for all
  const float* in;     // the block's slice of the panel
  bool opens, closes;
};

constexpr int kPairVectors = 4;

// A row's sums so far; zero in its first block.
HWY_INLINE void load_sums(const float* out, bool opens, Vector* sums) {
  const Tag d;
#pragma GCC unroll 4
  for (int v = 0; v < kPairVectors; ++v) {
    sums[v] = opens ? hn::Zero(d) : hn::Load(d, out + static_cast<size_t>(v) * hn::Lanes(d));
  }
}

// The sums so far, or in the row's last block the outputs.
HWY_INLINE void store_sums(const SpmmArgs& a, bool closes, const Vector* sums, int64_t row,
                           size_t column) {
  const Tag d;
  const BitsTag du;
  const size_t lanes = hn::Lanes(d);
  float* out = a.out + row * kPanelWidth + column;
  if (!closes || a.epilogue.curve != 0) {
#pragma GCC unroll 4
    for (int v = 0; v < kPairVectors; ++v) {
      hn::Store(sums[v], d, out + static_cast<size_t>(v) * lanes);
    }
    return;
  }
  BitsVector seen[kPairVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kPairVectors; ++v) {
    seen[v] = hn::LoadU(du, a.bits + column + static_cast<size_t>(v) * lanes);
  }
  store_row<kPairVectors>(a.epilogue, sums, out, row, seen);
#pragma GCC unroll 4
  for (int v = 0; v < kPairVectors; ++v) {
    hn::StoreU(seen[v], du, a.bits + column + static_cast<size_t>(v) * lanes);
  }
}

// Keeps the compiler from folding an address into each of its four uses: an instruction with two
// address registers takes two slots of the front end.
HWY_INLINE const float* in_register(const float* address) {
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
  asm("" : "+r"(address));
#endif
  return address;
}

HWY_INLINE void add_weight(float value, const float* x, Vector* sums) {
  const Tag d;
  const auto weight = hn::Set(d, value);
#pragma GCC unroll 4
  for (int v = 0; v < kPairVectors; ++v) {
    sums[v] = hn::MulAdd(weight, hn::Load(d, x + static_cast<size_t>(v) * hn::Lanes(d)), sums[v]);
  }
}

// One weight of each row of a pair.
HWY_INLINE void add_both(const float* in, const uint16_t* indices, const float* values,
                         int64_t value_step, Vector* first, Vector* second) {
  // One load for two indices: the load ports are what the loop is bound by.
  uint32_t both;
  __builtin_memcpy(&both, indices, sizeof(both));
  const float* x = in_register(in + size_t{both & 0xFFFFU} * kPanelWidth);
  const float* y = in_register(in + size_t{both >> 16U} * kPanelWidth);
  add_weight(values[0], x, first);
  add_weight(values[value_step], y, second);
}

// Both rows of a pair: eight chains keep two multiply-add ports busy where four do not.
HWY_INLINE void pair_columns(const SpmmArgs& a, const PairView& view, const RowPair& pair,
                             size_t column) {
  Vector first[kPairVectors];
  Vector second[kPairVectors];
  load_sums(a.out + size_t{pair.rows[0]} * kPanelWidth + column, view.opens, first);
  load_sums(a.out + size_t{pair.rows[1]} * kPanelWidth + column, view.opens, second);
  const float* in = view.in + column;
  const uint16_t* i = view.indices;
  const float* w = view.values;
  uint32_t left = pair.common;
  for (; left >= 4; left -= 4) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      add_both(in, i + 2 * k, w + 2 * k * view.value_step, view.value_step, first, second);
    }
    i += 8;
    w += 8 * view.value_step;
  }
  for (; left > 0; --left) {
    add_both(in, i, w, view.value_step, first, second);
    i += 2;
    w += 2 * view.value_step;
  }
  for (uint32_t k = 0; k < pair.tail; ++k) {
    add_weight(*w, in + size_t{i[k]} * kPanelWidth, second);
    w += view.value_step;
  }
  store_sums(a, view.closes, first, pair.rows[0], column);
  store_sums(a, view.closes, second, pair.rows[1], column);
}

// One row of a pair: where a range cuts through, or where there is no partner.
HWY_INLINE void single_columns(const SpmmArgs& a, const PairView& view, const RowPair& pair,
                               int which, size_t column) {
  Vector sums[kPairVectors];
  load_sums(a.out + size_t{pair.rows[which]} * kPanelWidth + column, view.opens, sums);
  const float* in = view.in + column;
  const uint16_t* i = view.indices + which;
  const float* w = view.values + which * view.value_step;
  for (uint32_t k = 0; k < pair.common; ++k) {
    add_weight(*w, in + size_t{*i} * kPanelWidth, sums);
    i += 2;
    w += 2 * view.value_step;
  }
  i = view.indices + size_t{2} * pair.common;
  w = view.values + int64_t{2} * pair.common * view.value_step;
  for (uint32_t k = 0; which == 1 && k < pair.tail; ++k) {
    add_weight(*w, in + size_t{i[k]} * kPanelWidth, sums);
    w += view.value_step;
  }
  store_sums(a, view.closes, sums, pair.rows[which], column);
}

HWY_INLINE void finish_curve(const SpmmArgs& a, const PairView& view, int64_t row) {
  if (!view.closes || a.epilogue.curve == 0) return;
  finish_row(a.out + row * kPanelWidth, a.epilogue, row);
  or_row_bits(a.out + row * kPanelWidth, a.bits);
}

HWY_NOINLINE void run_pair(const SpmmArgs& a, const PairView& view, const RowPair& pair) {
  const size_t step = kPairVectors * hn::Lanes(Tag());
  for (size_t column = 0; column < kPanelWidth; column += step) {
    pair_columns(a, view, pair, column);
  }
  finish_curve(a, view, pair.rows[0]);
  finish_curve(a, view, pair.rows[1]);
}

HWY_NOINLINE void run_singles(const SpmmArgs& a, const PairView& view, const RowPair& pair) {
  const size_t step = kPairVectors * hn::Lanes(Tag());
  for (int which = 0; which < 2; ++which) {
    const int64_t row = pair.rows[which];
    if (pair.rows[which] == kNoRow || row < a.row_begin || row >= a.row_end) continue;
    for (size_t column = 0; column < kPanelWidth; column += step) {
      single_columns(a, view, pair, which, column);
    }
    finish_curve(a, view, row);
  }
}

// The rows of a part are sorted by count, so their sums lie where no hardware looks ahead. Only a
// part's first pair may lack a row, and that one is never fetched ahead.
HWY_INLINE void fetch_sums(const SpmmArgs& a, const RowPair& pair) {
  for (int r = 0; r < 2; ++r) {
    const float* out = a.out + size_t{pair.rows[r]} * kPanelWidth;
    hwy::Prefetch(out);
    hwy::Prefetch(out + 16);
    hwy::Prefetch(out + 32);
    hwy::Prefetch(out + 48);
  }
}

// What is left to fetch of the next block's slice while this block's rows are worked through: a
// slice is read in no order, which no hardware looks ahead of.
struct SliceAhead {
  const float* next;
  const float* end;
  int64_t lines;  // at each pair

  HWY_INLINE void fetch() {
    for (int64_t line = 0; line < lines && next < end; ++line, next += kLineFloats) {
      __builtin_prefetch(next, 0, 2);
    }
  }
  static constexpr int64_t kLineFloats = 16;
};

HWY_INLINE SliceAhead slice_ahead(const SpmmArgs& a, int64_t p) {
  const int64_t here = a.parts[p].first_input;
  for (int64_t q = p + 1; q < a.part_count; ++q) {
    const int64_t next = a.parts[q].first_input;
    if (next == here) continue;
    const float* begin = a.in + next * kPanelWidth;
    const int64_t floats = HWY_MIN(a.block_inputs, a.inputs - next) * kPanelWidth;
    const int64_t pairs = HWY_MAX(int64_t{1}, HWY_MIN(a.row_end - a.row_begin, kGroupRows) / 2);
    return {begin, begin + floats, floats / SliceAhead::kLineFloats / pairs + 1};
  }
  return {nullptr, nullptr, 0};
}

HWY_INLINE PairView first_view(const SpmmArgs& a, const BlockPart& part) {
  const int64_t step = a.iso ? 0 : 1;
  return {a.block_indices + part.first_weight,
          a.block_values + part.first_weight * step,
          step,
          a.in + part.first_input * kPanelWidth,
          part.opens,
          part.closes};
}

// Any part and any range.
HWY_NOINLINE void run_part_with_care(const SpmmArgs& a, const BlockPart& part) {
  PairView view = first_view(a, part);
  for (int64_t p = part.pair_begin; p < part.pair_end; ++p) {
    const RowPair& pair = a.pairs[p];
    const bool inside = pair.rows[0] != kNoRow && pair.rows[0] >= a.row_begin &&
                        pair.rows[0] < a.row_end && pair.rows[1] >= a.row_begin &&
                        pair.rows[1] < a.row_end;
    if (inside) {
      run_pair(a, view, pair);
    } else {
      run_singles(a, view, pair);
    }
    const int64_t weights = int64_t{2} * pair.common + pair.tail;
    view.indices += weights;
    view.values += weights * view.value_step;
  }
}

// A part that lies inside the range and does not close its rows: nearly all the work of a large
// layer, so everything that a pair needs stays in registers.
template <bool kOpens, int kStep>
HWY_NOINLINE void run_whole_part(const SpmmArgs& a, const BlockPart& part, SliceAhead& ahead) {
  constexpr int64_t kAhead = 2;
  const size_t step = kPairVectors * hn::Lanes(Tag());
  const RowPair* pair = a.pairs + part.pair_begin;
  const RowPair* const end = a.pairs + part.pair_end;
  const PairView start = first_view(a, part);
  const uint16_t* indices = start.indices;
  const float* values = start.values;
  if (pair->rows[0] == kNoRow) {
    run_singles(a, start, *pair);
    indices += pair->tail;
    values += int64_t{kStep} * pair->tail;
    ++pair;
  }
  for (; pair < end; ++pair) {
    if (!kOpens && end - pair > kAhead) fetch_sums(a, pair[kAhead]);
    ahead.fetch();
    const PairView view = {indices, values, kStep, start.in, kOpens, false};
    for (size_t column = 0; column < kPanelWidth; column += step) {
      pair_columns(a, view, *pair, column);
    }
    const int64_t weights = int64_t{2} * pair->common + pair->tail;
    indices += weights;
    values += kStep * weights;
  }
}

HWY_INLINE void run_pair_part(const SpmmArgs& a, const BlockPart& part, SliceAhead& ahead) {
  const bool whole = part.row_begin >= a.row_begin && part.row_end <= a.row_end;
  if (!whole || part.closes) {
    run_part_with_care(a, part);
  } else if (part.opens) {
    a.iso ? run_whole_part<true, 0>(a, part, ahead) : run_whole_part<true, 1>(a, part, ahead);
  } else {
    a.iso ? run_whole_part<false, 0>(a, part, ahead) : run_whole_part<false, 1>(a, part, ahead);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
