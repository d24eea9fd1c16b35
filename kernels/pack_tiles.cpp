#include <algorithm>
#include <array>
#include <cstddef>

#include "kernels/local_rows.hpp"

namespace espalier::kernels {
namespace {

constexpr std::int64_t kNarrowInputs = 65536;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Values of a tile, those of one input side by side.
void put_values(const LocalRows& rows, const Tile& tile, float* to) {
  std::array<const float*, kTileRows> from{};
  for (std::uint32_t r = 0; r < tile.height; ++r) {
    from[r] = rows.values.data() + rows.begin(tile.rows[r]);
  }
  if (tile.height == kTileRows) {  // a height known beforehand is unrolled
    for (std::size_t k = 0; k < tile.count; ++k, to += kTileRows) {
      for (std::size_t r = 0; r < kTileRows; ++r) to[r] = from[r][k];
    }
    return;
  }
  for (std::size_t k = 0; k < tile.count; ++k, to += tile.height) {
    for (std::size_t r = 0; r < tile.height; ++r) to[r] = from[r][k];
  }
}

// What the groups of more than one row need in all.
struct Sizes {
  std::int64_t tiles = 0;
  std::int64_t indices = 0;
  std::int64_t weights = 0;
};

Sizes measure(const LocalRows& rows, const RowGroups& groups) {
  Sizes sizes;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto group = groups.group(g);
    if (group.size() == 1) continue;
    const auto height = static_cast<std::int64_t>(group.size());
    sizes.tiles += (height + kTileRows - 1) / kTileRows;
    sizes.indices += rows.count(group.front());
    sizes.weights += rows.count(group.front()) * height;
  }
  return sizes;
}

// Fills arrays that have their sizes, group after group.
class Filler {
 public:
  Filler(const LocalRows& rows, TiledRows& tiled) : rows_(rows), tiled_(tiled) {}

  // The tiles of a group share one list of indices and follow one another, so its activations
  // are still in the first-level cache for the second tile. False if a weight is zero.
  bool add(std::span<const std::uint32_t> group) {
    const auto indices = rows_.row_indices(group.front());
    const std::int64_t first_value = value_;
    for (std::size_t begin = 0; begin < group.size(); begin += kTileRows) {
      Tile tile;
      tile.first_index = index_;
      tile.first_value = rows_.iso ? 0 : value_;
      tile.count = static_cast<std::uint32_t>(indices.size());
      tile.height =
          static_cast<std::uint32_t>(std::min<std::size_t>(kTileRows, group.size() - begin));
      std::copy_n(group.data() + begin, tile.height, tile.rows);
      if (!rows_.iso) put_values(rows_, tile, tiled_.values.data() + value_);
      value_ += std::int64_t{tile.count} * tile.height;
      tiled_.tiles.push_back(tile);
    }
    if (rows_.inputs > kNarrowInputs) {
      std::copy(indices.begin(), indices.end(), tiled_.wide.begin() + index_);
    } else {
      std::transform(indices.begin(), indices.end(), tiled_.narrow.begin() + index_,
                     [](std::uint32_t index) { return static_cast<std::uint16_t>(index); });
    }
    index_ += static_cast<std::int64_t>(indices.size());
    return rows_.iso ||
           !any_zero(std::span(tiled_.values).subspan(at(first_value), at(value_ - first_value)));
  }

 private:
  const LocalRows& rows_;
  TiledRows& tiled_;
  std::int64_t index_ = 0;
  std::int64_t value_ = 0;
};

}  // namespace

std::optional<TiledRows> pack_tiles(const LocalRows& rows, const RowGroups& groups) {
  TiledRows tiled;
  const Sizes sizes = measure(rows, groups);
  tiled.tiles.reserve(at(sizes.tiles));
  (rows.inputs > kNarrowInputs ? tiled.wide.resize(at(sizes.indices))
                               : tiled.narrow.resize(at(sizes.indices)));
  // A copy for each row of a tile, so that the kernel need not know; rows stay rows of their own.
  if (rows.iso && rows.nnz() > 0) tiled.values.assign(kTileRows, rows.values[0]);
  if (!rows.iso) tiled.values.resize(at(sizes.weights));
  Filler filler(rows, tiled);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (groups.group(g).size() > 1 && !filler.add(groups.group(g))) return std::nullopt;
  }
  return tiled;
}

}  // namespace espalier::kernels
