// One call of spmm as plain data, for code compiled for many targets.
#pragma once

#include <cstdint>

#include "kernels/blocks.hpp"
#include "kernels/epilogue.hpp"

namespace espalier::kernels {

struct SpmmArgs {
  const Tile* tiles = nullptr;
  std::int64_t tile_count = 0;
  const std::uint16_t* narrow = nullptr;  // indices of the tiles, one of the two is null
  const std::uint32_t* wide = nullptr;
  const float* values = nullptr;  // of the tiles
  const BlockPart* parts = nullptr;
  std::int64_t part_count = 0;
  const Rung* rungs = nullptr;
  const std::uint32_t* rung_rows = nullptr;
  int rows_beside = 1;
  const std::uint16_t* block_indices = nullptr;
  const float* block_values = nullptr;
  const std::uint16_t* block_shorts = nullptr;  // instead of them, or null
  float least_input = 0;
  const Tile* dense_tiles = nullptr;
  const float* dense_values = nullptr;
  const std::int64_t* maxima_pointers = nullptr;  // null: rows are sums
  const std::uint32_t* maxima_indices = nullptr;
  bool iso = false;  // values of tiles and blocks are copies of one
  const float* in = nullptr;
  std::int64_t inputs = 0;
  std::int64_t block_inputs = 0;
  float* out = nullptr;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  std::int64_t columns = 0;       // of the panel, from the first on, that must be computed
  std::uint32_t* bits = nullptr;  // kPanelWidth, OR of the outputs' bits, signs included
  EpilogueArgs epilogue;
};

}  // namespace espalier::kernels
