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

// Registers of the target; tiles are cut so that accumulators never leave them.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_ARCH_ARM_A64
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

// Vectors of samples beside one another for tiles of `height` rows.
constexpr int tile_vectors(int height) { return kRegisters == 32 || height <= 2 ? 4 : 2; }

// A tile, or one row of it, ready to run.
struct TileView {
  const float* values;  // of the first input, one for each row
  int64_t value_step;   // to the next input's; 0 where one value serves for all
  const uint32_t* rows;
  int64_t count;
};

// Columns [column, column + kVectors vectors) of a tile.
template <int kHeight, int kVectors, class Index>
HWY_INLINE void tile_columns(const SpmmArgs& a, const TileView& tile, const Index* indices,
                             size_t column) {
  const Tag d;
  const BitsTag du;
  const size_t lanes = hn::Lanes(d);
  Vector sums[kHeight][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kHeight; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  const float* in = a.in + column;
  const float* w = tile.values;
  for (int64_t k = 0; k < tile.count; ++k) {
    const float* x = in + static_cast<size_t>(indices[k]) * kPanelWidth;
    Vector xs[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) xs[v] = hn::Load(d, x + static_cast<size_t>(v) * lanes);
#pragma GCC unroll 4
    for (int r = 0; r < kHeight; ++r) {
      const auto weight = hn::Set(d, w[r]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(weight, xs[v], sums[r][v]);
    }
    w += tile.value_step;
  }
  const bool straight = a.epilogue.curve == 0;
  BitsVector seen[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    seen[v] =
        straight ? hn::LoadU(du, a.bits + column + static_cast<size_t>(v) * lanes) : hn::Zero(du);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kHeight; ++r) {
    float* out = a.out + static_cast<size_t>(tile.rows[r]) * kPanelWidth + column;
    if (straight) {
      store_row<kVectors>(a.epilogue, sums[r], out, tile.rows[r], seen);
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        hn::Store(sums[r][v], d, out + static_cast<size_t>(v) * lanes);
      }
    }
  }
  if (!straight) return;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    hn::StoreU(seen[v], du, a.bits + column + static_cast<size_t>(v) * lanes);
  }
}

// Not inlined: each height keeps the registers to itself.
template <int kHeight, class Index>
HWY_NOINLINE void run_tile(const SpmmArgs& a, const TileView& tile, const Index* indices) {
  constexpr int kVectors = tile_vectors(kHeight);
  const size_t step = kVectors * hn::Lanes(Tag());
  for (size_t column = 0; column < kPanelWidth; column += step) {
    tile_columns<kHeight, kVectors>(a, tile, indices, column);
  }
  if (a.epilogue.curve == 0) return;
  for (int r = 0; r < kHeight; ++r) {
    float* row = a.out + static_cast<size_t>(tile.rows[r]) * kPanelWidth;
    finish_row(row, a.epilogue, tile.rows[r]);
    or_row_bits(row, a.bits);
  }
}

// Rows of a tile that a range cuts through are done one by one.
template <class Index>
HWY_INLINE void run_part(const SpmmArgs& a, const Tile& tile, TileView view, const Index* indices) {
  for (uint32_t r = 0; r < tile.height; ++r) {
    const int64_t row = tile.rows[r];
    if (row < a.row_begin || row >= a.row_end) continue;
    const TileView one = {view.values + r, view.value_step, view.rows + r, view.count};
    run_tile<1>(a, one, indices);
  }
}

template <class Index>
HWY_INLINE void run_tiles(const SpmmArgs& a, const Index* all_indices) {
  for (int64_t t = 0; t < a.tile_count; ++t) {
    const Tile& tile = a.tiles[t];
    const Index* indices = all_indices + tile.first_index;
    const TileView view = {a.values + tile.first_value, a.iso ? 0 : int64_t{tile.height}, tile.rows,
                           int64_t{tile.count}};
    if (tile.rows[0] < a.row_begin || tile.rows[tile.height - 1] >= a.row_end) {
      run_part(a, tile, view, indices);
    } else if (tile.height == 4) {
      run_tile<4>(a, view, indices);
    } else if (tile.height == 3) {
      run_tile<3>(a, view, indices);
    } else if (tile.height == 2) {
      run_tile<2>(a, view, indices);
    } else {
      run_tile<1>(a, view, indices);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
