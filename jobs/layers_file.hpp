// The graph of a model's layers, stated by the user (io/FORMAT.md, "Layers file").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/network_file.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

struct StatedLayer {
  std::string weight;               // name of its tensor
  std::optional<std::string> bias;  // of its bias; empty: none; absent: the weight's companion
  kernels::Epilogue epilogue;
  std::vector<std::int64_t> inputs;  // none: the graph is not known
};

//   where    collective over `comm`: rank 0 reads
//   throws   SharedError: kNoInput, kNoPermission; kBadData naming file, layer and key
std::vector<StatedLayer> read_layers_file(const Comm& comm, const std::string& file);
// The same from its text; pure.
//   throws   Error(kBadData)
std::vector<StatedLayer> parse_layers_file(const std::string& file, const std::string& spelled);

// Whether the layers, in which everything is filled in, read what others give.
//   throws   Error(kBadData) naming the file and the layer
void check_stated_widths(const std::string& file, const io::Network& network);

}  // namespace espalier::jobs
