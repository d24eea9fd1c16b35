// What lies between the layers of a network with skip connections, so that it runs like a chain.
#pragma once

#include <cstdint>
#include <vector>

#include "io/network_file.hpp"

namespace espalier::jobs {

// Values behind a layer that stand next to each other: outputs of that layer, or of an earlier
// source (a layer, or io::kNetworkInput) that are carried past it.
struct Segment {
  std::int64_t source = 0;
  std::int64_t width = 0;
  std::int64_t first = 0;  // position of its first value behind the layer
  std::int64_t from = -1;  // where it stands before the layer, if it is carried
  bool carried() const noexcept { return from >= 0; }
};

// All values behind a layer: first what the next layer reads, in the order of its columns, then
// what only later ones read.
struct Boundary {
  std::vector<Segment> segments;
  std::int64_t width = 0;
};

// The boundaries behind each layer; behind the last one its outputs. Behind the layers of a chain
// there are just their outputs.
//   where    pure
//   throws   Error(kBadData) naming the layer if one reads itself or a later one
std::vector<Boundary> plan_boundaries(const io::Network& network);

}  // namespace espalier::jobs
