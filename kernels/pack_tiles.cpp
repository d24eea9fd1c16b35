#include <algorithm>
#include <cstddef>

#include "kernels/local_rows.hpp"

namespace espalier::kernels {
namespace {

constexpr std::int64_t kNarrowInputs = 65536;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

void append_indices(TiledRows& tiled, const LocalRows& rows, std::uint32_t row) {
  const auto indices = rows.row_indices(row);
  if (rows.inputs > kNarrowInputs) {
    tiled.wide.insert(tiled.wide.end(), indices.begin(), indices.end());
    return;
  }
  for (const std::uint32_t index : indices) {
    tiled.narrow.push_back(static_cast<std::uint16_t>(index));
  }
}

void append_values(TiledRows& tiled, const LocalRows& rows, const Tile& tile) {
  if (rows.iso) return;
  const std::size_t begin = tiled.values.size();
  tiled.values.resize(begin + std::size_t{tile.count} * tile.height);
  for (std::uint32_t r = 0; r < tile.height; ++r) {
    const float* from = rows.values.data() + rows.begin(tile.rows[r]);
    float* to = tiled.values.data() + begin + r;
    for (std::uint32_t k = 0; k < tile.count; ++k) to[std::size_t{k} * tile.height] = from[k];
  }
}

}  // namespace

TiledRows pack_tiles(const LocalRows& rows, std::span<const std::vector<std::uint32_t>> groups) {
  TiledRows tiled;
  std::int64_t weights = 0;
  std::int64_t indices = 0;
  for (const auto& group : groups) {
    indices += rows.count(group.front());
    weights += rows.count(group.front()) * static_cast<std::int64_t>(group.size());
  }
  (rows.inputs > kNarrowInputs ? tiled.wide.reserve(at(indices))
                               : tiled.narrow.reserve(at(indices)));
  // A copy for each row of a tile, so that the kernel need not know; rows stay rows of their own.
  if (rows.iso && rows.nnz() > 0) tiled.values.assign(kTileRows, rows.values[0]);
  if (!rows.iso) tiled.values.reserve(at(weights));
  for (const auto& group : groups) {
    // The tiles of a group share one list of indices and follow one another, so its activations
    // are still in the first-level cache for the second tile.
    const auto first_index = static_cast<std::int64_t>(tiled.narrow.size() + tiled.wide.size());
    append_indices(tiled, rows, group.front());
    for (std::size_t begin = 0; begin < group.size(); begin += kTileRows) {
      Tile tile;
      tile.first_index = first_index;
      tile.first_value = rows.iso ? 0 : static_cast<std::int64_t>(tiled.values.size());
      tile.count = static_cast<std::uint32_t>(rows.count(group.front()));
      tile.height =
          static_cast<std::uint32_t>(std::min<std::size_t>(kTileRows, group.size() - begin));
      std::copy_n(group.data() + begin, tile.height, tile.rows);
      append_values(tiled, rows, tile);
      tiled.tiles.push_back(tile);
    }
  }
  return tiled;
}

}  // namespace espalier::kernels
