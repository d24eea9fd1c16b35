// The graph of a model's layers, stated by the user (io/FORMAT.md, "Layers file").
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/network_file.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

struct StatedLayer {
  std::string weight;               // name of its tensor; empty for kinds without weights
  std::string name;                 // of a layer of those kinds
  std::optional<std::string> bias;  // of its bias; empty: none; absent: the weight's companion
  kernels::Epilogue epilogue;
  std::vector<std::int64_t> inputs;  // none: the graph is not known
  io::LayerKind kind = io::LayerKind::kConnections;
  nlohmann::json entry;  // all that is stated
};

//   where    collective over `comm`: rank 0 reads
//   throws   SharedError: kNoInput, kNoPermission; kBadData naming file, layer and key
std::vector<StatedLayer> read_layers_file(const Comm& comm, const std::string& file);
// The same from its text; pure.
//   throws   Error(kBadData)
std::vector<StatedLayer> parse_layers_file(const std::string& file, const std::string& spelled);

// The window of a layer of another kind than kConnections. What is not stated: its image is what
// the one layer before it gives, the taps of a convolution are the last dimensions of its tensor.
//   shapes   layer: with its weight and inputs; tensor: dimensions of that weight, or none; before:
//            the one layer that it reads, or null
//   where    pure
//   throws   Error(kBadData) beginning with `place`
kernels::Window stated_window(const std::string& place, const StatedLayer& stated,
                              const io::Layer& layer, const std::vector<std::int64_t>& tensor,
                              const io::Layer* before);

// Whether the layers, in which everything is filled in, read what others give.
//   throws   Error(kBadData) naming the file and the layer
void check_stated_widths(const std::string& file, const io::Network& network);

}  // namespace espalier::jobs
