// Tiles of rows that share their inputs, for each SIMD target.
#if defined(ESPALIER_KERNELS_TILES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_TILES_INL
#undef ESPALIER_KERNELS_TILES_INL
#else
#define ESPALIER_KERNELS_TILES_INL
#endif

#include <hwy/highway.h>

#include "kernels/epilogue-inl.hpp"
#include "kernels/spmm_args.hpp"

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// A tile, or some rows and inputs of it, ready to run.
struct TileView {
  const float* values;  // of the first input, one for each row
  int64_t value_step;   // to the next input's; 0 where one value serves for all
  const uint32_t* rows;
  int64_t count;
  bool opens, closes;  // with the tile's first inputs, with its last ones

  // Its rows from `row` on.
  TileView from(int64_t row) const {
    return {count == 0 ? values : values + row, value_step, rows + row, count, opens, closes};
  }
};

// Inputs that all rows of a group go through before the next ones: 24 KiB of activations stay in
// the first-level cache.
constexpr int64_t kTileInputs = 96;

// Bias and limits of the sums; the plain sums where more inputs or a curve follow.
template <int kHeight, int kVectors>
HWY_INLINE void store_tile(const SpmmArgs& a, const TileView& tile, const Vector (*sums)[kVectors],
                           size_t column) {
  const Tag d;
  const BitsTag du;
  const size_t lanes = hn::Lanes(d);
  float* out = a.out + column;
  if (!tile.closes || a.epilogue.curve != 0) {
#pragma GCC unroll 16
    for (int r = 0; r < kHeight; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        hn::Store(sums[r][v], d,
                  out + size_t{tile.rows[r]} * kPanelWidth + static_cast<size_t>(v) * lanes);
      }
    }
    return;
  }
  BitsVector seen[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    seen[v] = hn::LoadU(du, a.bits + column + static_cast<size_t>(v) * lanes);
  }
  if (adds_always(a.epilogue)) {
    store_rows<kHeight, kVectors>(a.epilogue, sums, out, tile.rows, seen);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < kHeight; ++r) {
      float* row = out + size_t{tile.rows[r]} * kPanelWidth;
      store_row<kVectors>(a.epilogue, sums[r], row, tile.rows[r], seen);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    hn::StoreU(seen[v], du, a.bits + column + static_cast<size_t>(v) * lanes);
  }
}

// Columns [column, column + kVectors vectors) of kHeight rows.
template <int kHeight, int kVectors, class Index>
HWY_INLINE void tile_columns(const SpmmArgs& a, const TileView& tile, const Index* indices,
                             size_t column) {
  const Tag d;
  const size_t lanes = hn::Lanes(d);
  Vector sums[kHeight][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kHeight; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  if (!tile.opens) {
#pragma GCC unroll 16
    for (int r = 0; r < kHeight; ++r) {
      const float* so_far = a.out + column + size_t{tile.rows[r]} * kPanelWidth;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = hn::Load(d, so_far + static_cast<size_t>(v) * lanes);
      }
    }
  }
  const float* in = a.in + column;
  const float* w = tile.values;
  for (int64_t k = 0; k < tile.count; ++k) {
    const float* x = in + static_cast<size_t>(indices[k]) * kPanelWidth;
    Vector xs[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) xs[v] = hn::Load(d, x + static_cast<size_t>(v) * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < kHeight; ++r) {
      const auto weight = hn::Set(d, w[r]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(weight, xs[v], sums[r][v]);
    }
    w += tile.value_step;
  }
  store_tile<kHeight, kVectors>(a, tile, sums, column);
}

// Not inlined: each height keeps the registers to itself.
template <int kHeight, int kVectors, class Index>
HWY_NOINLINE void run_rows(const SpmmArgs& a, const TileView& tile, const Index* indices) {
  const size_t step = kVectors * hn::Lanes(Tag());
  for (size_t column = 0; column < static_cast<size_t>(a.columns); column += step) {
    tile_columns<kHeight, kVectors>(a, tile, indices, column);
  }
  if (!tile.closes || a.epilogue.curve == 0) return;
  for (int r = 0; r < kHeight; ++r) {
    float* row = a.out + static_cast<size_t>(tile.rows[r]) * kPanelWidth;
    finish_row(row, a.epilogue, tile.rows[r]);
    or_row_bits(row, a.bits);
  }
}

// What the next group of rows reads and writes, fetched a few lines after each pass of this one.
template <class Index>
struct GroupAhead {
  const Index* inputs = nullptr;
  int64_t left = 0;     // of the inputs
  int64_t at_once = 0;  // after a pass
  const Tile* tile = nullptr;
  const Tile* tile_end = nullptr;
  uint32_t row = 0;  // of the tile

  HWY_INLINE void fetch(const SpmmArgs& a) {
    for (int64_t n = HWY_MIN(at_once, left); n > 0; --n, --left) {
      const float* x = a.in + static_cast<size_t>(*inputs++) * kPanelWidth;
      for (int line = 0; line < kPanelWidth; line += 16) __builtin_prefetch(x + line, 0, 3);
    }
    for (int n = 0; n < 2 && tile < tile_end; ++n) {
      const float* y = a.out + size_t{tile->rows[row]} * kPanelWidth;
      for (int line = 0; line < kPanelWidth; line += 16) __builtin_prefetch(y + line, 1, 3);
      if (++row < tile->height) continue;
      row = 0;
      ++tile;
    }
  }
};

// Inputs from which on a panel is beyond a second-level cache of 512 KiB. With less, fetching ahead
// costs more than it saves.
constexpr int64_t kFarInputs = 2048;

// For the tiles [next, end), whose group follows one of `tiles` tiles.
template <class Index>
HWY_INLINE GroupAhead<Index> group_ahead(const SpmmArgs& a, const Index* all_indices, int64_t next,
                                         int64_t tiles) {
  if (a.inputs < kFarInputs || next >= a.tile_count) return {};
  const int64_t end = HWY_MIN(a.tile_count, next + tiles);
  const int64_t count = a.tiles[next].count;
  return {all_indices + a.tiles[next].first_index,
          count,
          count / (4 * tiles) + 1,
          a.tiles + next,
          a.tiles + end,
          0};
}

// Some columns of some rows. Not inlined either.
template <int kHeight, int kVectors, class Index>
HWY_NOINLINE void run_columns(const SpmmArgs& a, const TileView& tile, const Index* indices,
                              size_t column) {
  tile_columns<kHeight, kVectors>(a, tile, indices, column);
}

// Sixteen registers hold twelve sums, four rows x three vectors: each activation loaded serves four
// multiply-adds, each weight three. All rows of a tile go through some columns before the next.
template <int kHeight, class Index>
HWY_INLINE void run_rows_by_threes(const SpmmArgs& a, const TileView& tile, int64_t passes,
                                   const Index* indices, GroupAhead<Index>& ahead) {
  constexpr int kVectors = 3;
  constexpr int kRest = static_cast<int>(kPanelWidth / hn::MaxLanes(Tag())) % kVectors;
  const size_t step = kVectors * hn::Lanes(Tag());
  const auto end = static_cast<size_t>(a.columns);
  size_t column = 0;
  for (; column < end && column + step <= kPanelWidth; column += step) {
    for (int64_t pass = 0; pass < passes; ++pass) {
      run_columns<kHeight, kVectors>(a, tile.from(pass * kHeight), indices, column);
      ahead.fetch(a);
    }
  }
  for (int64_t pass = 0; kRest > 0 && column < end && pass < passes; ++pass) {
    run_columns<kHeight, HWY_MAX(kRest, 1)>(a, tile.from(pass * kHeight), indices, column);
  }
  if (!tile.closes || a.epilogue.curve == 0) return;
  for (int64_t row = 0; row < passes * kHeight; ++row) {
    float* out = a.out + static_cast<size_t>(tile.rows[row]) * kPanelWidth;
    finish_row(out, a.epilogue, tile.rows[row]);
    or_row_bits(out, a.bits);
  }
}

// As many rows at once as the target's registers hold accumulators for; the more, the fewer
// vectors of samples beside one another. Returns how many rows it did.
template <class Index>
HWY_INLINE uint32_t run_some_rows(const SpmmArgs& a, const TileView& tile, uint32_t left,
                                  const Index* indices, [[maybe_unused]] GroupAhead<Index>& ahead) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_ARCH_ARM_A64
  constexpr int kFew = 4;  // vectors for four rows and less, of 32 registers
  if (left >= 8) return run_rows<8, 2>(a, tile, indices), 8;
  if (left >= 4) return run_rows<4, kFew>(a, tile, indices), 4;
  if (left == 3) return run_rows<3, kFew>(a, tile, indices), 3;
#else
  if (left >= 4) return run_rows_by_threes<4>(a, tile, left / 4, indices, ahead), left / 4 * 4;
  if (left == 3) return run_rows_by_threes<3>(a, tile, 1, indices, ahead), 3;
#endif
  if (left == 2) return run_rows<2, 4>(a, tile, indices), 2;
  return run_rows<1, 4>(a, tile, indices), 1;
}

// Inputs [from, from + inputs) of a tile.
HWY_INLINE TileView view_of(const SpmmArgs& a, const Tile& tile, int64_t from, int64_t inputs) {
  const int64_t step = a.iso ? 0 : int64_t{tile.height};
  return {a.values + tile.first_value + from * step, step, tile.rows, inputs, from == 0,
          from + inputs == int64_t{tile.count}};
}

// Rows of a tile that a range of rows cuts through are done one by one.
template <class Index>
HWY_INLINE void run_tile(const SpmmArgs& a, const Tile& tile, const TileView& view,
                         const Index* indices, GroupAhead<Index>& ahead) {
  if (tile.rows[0] >= a.row_begin && tile.rows[tile.height - 1] < a.row_end) {
    for (uint32_t r = 0; r < tile.height;) {
      r += run_some_rows(a, view.from(r), tile.height - r, indices, ahead);
    }
    return;
  }
  for (uint32_t r = 0; r < tile.height; ++r) {
    if (tile.rows[r] < a.row_begin || tile.rows[r] >= a.row_end) continue;
    run_rows<1, 4>(a, view.from(r), indices);
  }
}

// The tiles of a group, which have the same inputs, follow one another.
template <class Index>
HWY_INLINE void run_tiles(const SpmmArgs& a, const Index* all_indices) {
  for (int64_t begin = 0, end = 0; begin < a.tile_count; begin = end) {
    const int64_t first_index = a.tiles[begin].first_index, count = a.tiles[begin].count;
    while (end < a.tile_count && a.tiles[end].first_index == first_index &&
           a.tiles[end].count == count) {
      ++end;
    }
    const Index* indices = all_indices + first_index;
    GroupAhead<Index> ahead = group_ahead(a, all_indices, end, end - begin);
    int64_t from = 0;
    do {  // once also where there are no inputs
      const int64_t left = count - from;
      const int64_t inputs = left < kTileInputs * 3 / 2 ? left : kTileInputs;
      for (int64_t t = begin; t < end; ++t) {
        run_tile(a, a.tiles[t], view_of(a, a.tiles[t], from, inputs), indices + from, ahead);
      }
      from += inputs;
    } while (from < count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
