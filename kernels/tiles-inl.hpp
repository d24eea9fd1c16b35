// Tiles of rows that share their inputs, for each SIMD target.
#if defined(ESPALIER_KERNELS_TILES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_KERNELS_TILES_INL
#undef ESPALIER_KERNELS_TILES_INL
#else
#define ESPALIER_KERNELS_TILES_INL
#endif

#include <hwy/highway.h>

#include "kernels/avx2-inl.hpp"
#include "kernels/epilogue-inl.hpp"
#include "kernels/spmm_args.hpp"

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

// Inputs that all rows of a group go through before the next ones: 24 KiB of activations stay in
// the first-level cache. As many as half as much again are not cut.
constexpr int64_t kTileInputs = 96;
constexpr int64_t kMostTileInputs = kTileInputs * 3 / 2;

HWY_INLINE int64_t inputs_at_once(int64_t left) {
  return left < kMostTileInputs ? left : kTileInputs;
}

// Tiles that go through all inputs before the next ones: their sums, 128 KiB, stay in the
// second-level cache.
constexpr int64_t kSetTiles = 64;

// A tile, or some rows and inputs of it, ready to run.
struct TileView {
  const float* values;         // of the first input, one for each row
  int64_t value_step;          // to the next input's; 0 where one value serves for all
  const float* const* inputs;  // where they lie
  int64_t count;               // of them
  const uint32_t* rows;
  bool opens, closes;  // with the tile's first inputs, with its last ones
  bool plain;          // both, and its epilogue is store_rows
};

// The sums of these inputs and those before.
template <int kHeight, int kVectors>
HWY_INLINE void store_tile(const uint32_t* rows, const Vector (*sums)[kVectors], float* out) {
  const Tag d;
#pragma GCC unroll 16
  for (int r = 0; r < kHeight; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      hn::Store(sums[r][v], d,
                out + size_t{rows[r]} * kPanelWidth + static_cast<size_t>(v) * hn::Lanes(d));
    }
  }
}

// Bias and limits of the sums. With kPlain the caller knows that adds_always.
template <int kHeight, int kVectors, bool kPlain>
HWY_INLINE void close_rows(const SpmmArgs& a, const uint32_t* rows, const Vector (*sums)[kVectors],
                           size_t column) {
  const BitsTag du;
  float* out = a.out + column;
  BitsVector seen[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) seen[v] = hn::Zero(du);
  if constexpr (kPlain) {
    store_rows<kHeight, kVectors>(a.epilogue, sums, out, rows, seen);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < kHeight; ++r) {
      store_row<kVectors>(a.epilogue, sums[r], out + size_t{rows[r]} * kPanelWidth, rows[r], seen);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    uint32_t* bits = a.bits + column + static_cast<size_t>(v) * hn::Lanes(du);
    hn::Store(hn::Or(hn::Load(du, bits), seen[v]), du, bits);
  }
}

// Adds all inputs to the sums of kHeight rows, whose first weights lie at `w`.
template <int kHeight, int kVectors>
HWY_INLINE void add_inputs(const TileView& tile, const float* w, size_t column,
                           Vector (*sums)[kVectors]) {
#ifdef ESPALIER_AVX2_BY_HAND
  if constexpr (kHeight == 4 && (kVectors == 2 || kVectors == 3)) {
    return add_to_four_rows<kVectors>(tile.inputs, tile.count, column, w, tile.value_step, sums);
  }
#endif
  const Tag d;
  for (int64_t k = 0; k < tile.count; ++k) {
    const float* x = tile.inputs[k] + column;
    Vector xs[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      xs[v] = hn::Load(d, x + static_cast<size_t>(v) * hn::Lanes(d));
    }
#pragma GCC unroll 16
    for (int r = 0; r < kHeight; ++r) {
      const auto weight = hn::Set(d, w[r]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(weight, xs[v], sums[r][v]);
    }
    w += tile.value_step;
  }
}

// Columns [column, column + kVectors vectors) of kHeight rows from `row` of the tile on.
template <int kHeight, int kVectors, bool kPlain>
HWY_INLINE void tile_columns(const SpmmArgs& a, const TileView& tile, int64_t row, size_t column) {
  const Tag d;
  const uint32_t* rows = tile.rows + row;
  Vector sums[kHeight][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kHeight; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  if (!kPlain && !tile.opens) {
#pragma GCC unroll 16
    for (int r = 0; r < kHeight; ++r) {
      const float* so_far = a.out + column + size_t{rows[r]} * kPanelWidth;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = hn::Load(d, so_far + static_cast<size_t>(v) * hn::Lanes(d));
      }
    }
  }
  add_inputs<kHeight, kVectors>(tile, tile.values + (tile.count > 0 ? row : 0), column, sums);
  if (kPlain || (tile.closes && a.epilogue.curve == 0)) {
    close_rows<kHeight, kVectors, kPlain>(a, rows, sums, column);
  } else {
    store_tile<kHeight, kVectors>(rows, sums, a.out + column);
  }
}

// Not inlined: each height keeps the registers to itself.
template <int kHeight, int kVectors>
HWY_NOINLINE void run_plain_columns(const SpmmArgs& a, const TileView& tile, int64_t row,
                                    size_t column) {
  tile_columns<kHeight, kVectors, true>(a, tile, row, column);
}

template <int kHeight, int kVectors>
HWY_NOINLINE void run_other_columns(const SpmmArgs& a, const TileView& tile, int64_t row,
                                    size_t column) {
  tile_columns<kHeight, kVectors, false>(a, tile, row, column);
}

template <int kHeight, int kVectors>
HWY_INLINE void run_columns(const SpmmArgs& a, const TileView& tile, int64_t row, size_t column) {
  if (tile.plain) return run_plain_columns<kHeight, kVectors>(a, tile, row, column);
  run_other_columns<kHeight, kVectors>(a, tile, row, column);
}

// Activations that are computed value by value, once a tile's sums are complete.
HWY_INLINE void finish_rows(const SpmmArgs& a, const TileView& tile, int64_t begin, int64_t end) {
  if (!tile.closes || a.epilogue.curve == 0) return;
  for (int64_t row = begin; row < end; ++row) {
    float* out = a.out + size_t{tile.rows[row]} * kPanelWidth;
    finish_row(out, a.epilogue, tile.rows[row]);
    or_row_bits(out, a.bits);
  }
}

HWY_INLINE const float* input_at(const SpmmArgs& a, int64_t index) {
  const size_t input = a.narrow != nullptr ? a.narrow[index] : a.wide[index];
  return a.in + input * kPanelWidth;
}

// The same for `count` indices in a row, by vectors.
template <class Index>
HWY_INLINE void find_inputs(const float* in, const Index* indices, int64_t count,
                            const float** inputs) {
  for (int64_t k = 0; k < count; ++k) inputs[k] = in + size_t{indices[k]} * kPanelWidth;
}

// What is read and written after the tile at hand, fetched a few lines after each of its passes.
struct TilesAhead {
  // The next group's inputs and outputs.
  int64_t index = 0;    // of its next input
  int64_t left = 0;     // of its inputs
  int64_t at_once = 0;  // of them, after a pass
  const Tile* tile = nullptr;
  const Tile* tile_end = nullptr;
  uint32_t row = 0;  // of the tile
  // The next tile's weights of the same inputs, which lie too far from this one's for hardware to
  // look ahead.
  const float* values = nullptr;
  const float* values_end = nullptr;

  // Those of `count` inputs from `from` on, `step` values each.
  HWY_INLINE void fetch_values(const float* all, const Tile& next, int64_t from, int64_t count,
                               int64_t step) {
    values = all + next.first_value + from * step;
    values_end = values + count * step;
  }

  HWY_INLINE void fetch(const SpmmArgs& a) {
    for (int64_t n = HWY_MIN(at_once, left); n > 0; --n, --left) {
      const float* x = input_at(a, index++);
      for (int line = 0; line < kPanelWidth; line += 16) __builtin_prefetch(x + line, 0, 3);
    }
    for (int n = 0; n < 2 && tile < tile_end; ++n) {
      const float* y = a.out + size_t{tile->rows[row]} * kPanelWidth;
      for (int line = 0; line < kPanelWidth; line += 16) __builtin_prefetch(y + line, 1, 3);
      if (++row < tile->height) continue;
      row = 0;
      ++tile;
    }
    for (int n = 0; n < 24 && values < values_end; ++n, values += 16) {
      __builtin_prefetch(values, 0, 3);
    }
  }
};

// Inputs from which on a panel is beyond a second-level cache of 512 KiB. With less, fetching ahead
// costs more than it saves.
constexpr int64_t kFarInputs = 2048;

// For the tiles [next, end), whose group follows one of `tiles` tiles.
HWY_INLINE TilesAhead group_ahead(const SpmmArgs& a, int64_t next, int64_t tiles) {
  TilesAhead ahead;
  if (a.inputs < kFarInputs || next >= a.tile_count) return ahead;
  ahead.index = a.tiles[next].first_index;
  ahead.left = a.tiles[next].count;
  ahead.at_once = ahead.left / (4 * tiles) + 1;
  ahead.tile = a.tiles + next;
  ahead.tile_end = a.tiles + HWY_MIN(a.tile_count, next + tiles);
  return ahead;
}

template <int kHeight, int kVectors>
HWY_INLINE void run_rows(const SpmmArgs& a, const TileView& tile, int64_t row, TilesAhead& ahead) {
  const size_t step = kVectors * hn::Lanes(Tag());
  for (size_t column = 0; column < static_cast<size_t>(a.columns); column += step) {
    run_columns<kHeight, kVectors>(a, tile, row, column);
    ahead.fetch(a);
  }
  finish_rows(a, tile, row, row + kHeight);
}

// Sixteen registers hold twelve sums, four rows x three vectors: each activation loaded serves four
// multiply-adds, each weight three. All rows of a tile go through some columns before the next.
template <int kHeight>
HWY_INLINE void run_rows_by_threes(const SpmmArgs& a, const TileView& tile, int64_t begin,
                                   int64_t end, TilesAhead& ahead) {
  constexpr int kVectors = 3;
  constexpr int kRest = static_cast<int>(kPanelWidth / hn::MaxLanes(Tag())) % kVectors;
  const size_t step = kVectors * hn::Lanes(Tag());
  const auto columns = static_cast<size_t>(a.columns);
  size_t column = 0;
  for (; column < columns && column + step <= kPanelWidth; column += step) {
    for (int64_t row = begin; row < end; row += kHeight) {
      run_columns<kHeight, kVectors>(a, tile, row, column);
      ahead.fetch(a);
    }
  }
  for (int64_t row = begin; kRest > 0 && column < columns && row < end; row += kHeight) {
    run_columns<kHeight, HWY_MAX(kRest, 1)>(a, tile, row, column);
  }
  finish_rows(a, tile, begin, end);
}

// As many rows at once as the target's registers hold accumulators for; the more, the fewer
// vectors of samples beside one another. Returns where the next ones begin.
HWY_INLINE int64_t run_some_rows(const SpmmArgs& a, const TileView& tile, int64_t row, int64_t end,
                                 TilesAhead& ahead) {
  const int64_t left = end - row;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_ARCH_ARM_A64
  constexpr int kFew = 4;  // vectors for four rows and less, of 32 registers
  if (left >= 8) return run_rows<8, 2>(a, tile, row, ahead), row + 8;
  if (left >= 4) return run_rows<4, kFew>(a, tile, row, ahead), row + 4;
  if (left == 3) return run_rows<3, kFew>(a, tile, row, ahead), end;
#else
  if (left >= 4) {
    const int64_t fours = row + left / 4 * 4;
    return run_rows_by_threes<4>(a, tile, row, fours, ahead), fours;
  }
  if (left == 3) return run_rows_by_threes<3>(a, tile, row, end, ahead), end;
#endif
  if (left == 2) return run_rows<2, 4>(a, tile, row, ahead), end;
  return run_rows<1, 4>(a, tile, row, ahead), end;
}

// Rows of a tile that a range of rows cuts through are done one by one.
HWY_INLINE void run_tile(const SpmmArgs& a, const Tile& tile, const TileView& view,
                         TilesAhead& ahead) {
  const int64_t height = tile.height;
  if (tile.rows[0] >= a.row_begin && tile.rows[height - 1] < a.row_end) {
    for (int64_t row = 0; row < height;) row = run_some_rows(a, view, row, height, ahead);
    return;
  }
  for (int64_t row = 0; row < height; ++row) {
    if (tile.rows[row] < a.row_begin || tile.rows[row] >= a.row_end) continue;
    run_rows<1, 4>(a, view, row, ahead);
  }
}

// The tiles [begin, end), which have the same inputs, through all of them.
HWY_INLINE void run_set(const SpmmArgs& a, int64_t begin, int64_t end, TilesAhead& ahead) {
  const int64_t first_index = a.tiles[begin].first_index, count = a.tiles[begin].count;
  const bool plain = a.epilogue.curve == 0 && adds_always(a.epilogue);
  const float* inputs[kMostTileInputs];
  int64_t from = 0;
  do {  // once also where there are no inputs
    const int64_t some = inputs_at_once(count - from);
    const int64_t first = first_index + from;
    a.narrow != nullptr ? find_inputs(a.in, a.narrow + first, some, inputs)
                        : find_inputs(a.in, a.wide + first, some, inputs);
    for (int64_t t = begin; t < end; ++t) {
      const Tile& tile = a.tiles[t];
      const int64_t step = a.iso ? 0 : int64_t{tile.height};
      const TileView view = {a.values + tile.first_value + from * step,
                             step,
                             inputs,
                             some,
                             tile.rows,
                             from == 0,
                             from + some == count,
                             plain && some == count};
      if (some < count && t + 1 < end) {
        ahead.fetch_values(a.values, a.tiles[t + 1], from, some, step);
      }
      run_tile(a, tile, view, ahead);
    }
    from += some;
  } while (from < count);
}

// The tiles of a group, which have the same inputs, follow one another.
HWY_INLINE void run_tiles(const SpmmArgs& a) {
  for (int64_t begin = 0, end = 0; begin < a.tile_count; begin = end) {
    while (end < a.tile_count && a.tiles[end].first_index == a.tiles[begin].first_index &&
           a.tiles[end].count == a.tiles[begin].count) {
      ++end;
    }
    TilesAhead ahead = group_ahead(a, end, end - begin);
    for (int64_t set = begin; set < end; set += kSetTiles) {
      run_set(a, set, HWY_MIN(end, set + kSetTiles), ahead);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
