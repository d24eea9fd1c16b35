#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <numeric>

#include "kernels/pack.hpp"

namespace espalier::kernels {
namespace {

constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();

template <class Index>
void note_order(const Storage<Index>& indices, std::vector<std::uint32_t>& places,
                std::uint32_t& next) {
  for (const Index input : indices) {
    if (places[input] == kNowhere) places[input] = next++;
  }
}

// Gives a tile its rows' places, ascending again, and its values that order.
void renumber_tile(Tile& tile, std::span<const std::uint32_t> places, float* values) {
  std::vector<std::uint32_t> order(tile.height);
  std::iota(order.begin(), order.end(), 0U);
  const auto place_of = [&](std::uint32_t r) { return places[tile.rows[r]]; };
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return place_of(a) < place_of(b); });
  std::array<std::uint32_t, kTileRows> rows{};
  for (std::uint32_t r = 0; r < tile.height; ++r) rows[r] = place_of(order[r]);
  std::copy_n(rows.begin(), tile.height, tile.rows);
  if (values == nullptr) return;
  std::array<float, kTileRows> before{};
  for (std::uint32_t k = 0; k < tile.count; ++k, values += tile.height) {
    std::copy_n(values, tile.height, before.begin());
    for (std::uint32_t r = 0; r < tile.height; ++r) values[r] = before[order[r]];
  }
}

}  // namespace

std::vector<std::uint32_t> PackedLayer::reading_order() const {
  std::vector<std::uint32_t> places(static_cast<std::size_t>(inputs_), kNowhere);
  std::uint32_t next = 0;
  note_order(tiled_.narrow, places, next);
  note_order(tiled_.wide, places, next);
  for (std::uint32_t& place : places) {
    if (place == kNowhere) place = next++;
  }
  return places;
}

void PackedLayer::renumber_inputs(std::span<const std::uint32_t> places) {
  for (std::uint16_t& input : tiled_.narrow) input = static_cast<std::uint16_t>(places[input]);
  for (std::uint32_t& input : tiled_.wide) input = places[input];
}

void PackedLayer::renumber_rows(std::span<const std::uint32_t> places) {
  for (Tile& tile : tiled_.tiles) {
    renumber_tile(tile, places, iso_ ? nullptr : tiled_.values.data() + tile.first_value);
  }
  if (bias_.size() > 1) {
    std::vector<float> moved(bias_.size());
    for (std::size_t row = 0; row < bias_.size(); ++row) moved[places[row]] = bias_[row];
    bias_ = std::move(moved);
  }
}

}  // namespace espalier::kernels
