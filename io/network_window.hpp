// Kind and window of a layer: its attributes, read and written (source: io/FORMAT.md, "Convolution,
// pooling, flatten").
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "io/network_file.hpp"

namespace espalier::io {

std::string to_string(LayerKind kind);  // "connections", "convolution", "max_pool", …

// Where a layer's attributes are: in a network file, or in a text that states them.
struct LayerAttributes {
  std::string place;                                            // for messages: "net.h5: layer 3"
  std::function<const nlohmann::json*(const char* name)> find;  // null: absent
};
LayerAttributes attributes_of(const Catalog& catalog, std::int64_t layer);  // borrows `catalog`

// The layer's kind, as its attribute `kind` says.
//   where    pure
//   throws   Error(kBadData) naming file and layer
LayerKind parse_kind(const LayerAttributes& attributes);

// The window of a layer of another kind than kConnections; ranges and products are checked, so that
// neurons and connections can be counted in 64 bits. `weight` has been parsed already and is 0 x 1
// where the kind has none.
//   where    pure
//   throws   Error(kBadData) naming file, layer, attribute, what was found, what would be right
kernels::Window parse_window(const LayerAttributes& attributes, LayerKind kind,
                             const MatrixInfo& weight);

// The window's attributes, as parse_window reads them.
void add_window_attributes(StagedFile& file, const std::string& group, const Layer& layer);

}  // namespace espalier::io
