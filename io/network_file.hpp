// A network: its layers' non-zero weights, biases, activations and graph (source: io/FORMAT.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/shard.hpp"
#include "io/binsparse.hpp"
#include "io/data_file.hpp"
#include "io/matrix_rows.hpp"
#include "io/staged_file.hpp"
#include "kernels/conv.hpp"
#include "kernels/layout.hpp"

namespace espalier::io {

inline constexpr std::int64_t kNetworkInput = -1;  // in Layer::inputs: the network's own input

enum class BiasKind { kNone, kIso, kFull };

enum class LayerKind { kConnections, kConvolution, kMaxPool, kAveragePool, kFlatten };

struct Layer {
  std::string name;
  // Of kConnections rows = outputs, cols = inputs. Of a convolution rows = output channels, cols =
  // (input channel of the group, y, x) of the filters. Else there is none: 0 x 1.
  MatrixInfo weight;
  BiasKind bias = BiasKind::kNone;
  kernels::Epilogue epilogue;
  std::vector<std::int64_t> inputs;  // layers whose outputs, one after the other, are the input
  LayerKind kind = LayerKind::kConnections;
  kernels::Window window;  // of all kinds but kConnections; kFlatten has one of a single tap

  bool has_weights() const noexcept {
    return kind == LayerKind::kConnections || kind == LayerKind::kConvolution;
  }
  std::int64_t outputs() const noexcept;  // neurons
  std::int64_t width() const noexcept;    // input neurons
  // Pairs of neurons that the layer connects: each stored weight as often as it is used.
  std::int64_t connections() const noexcept;
  // The same for layers with weights, 0 for others: multiply-adds of a sample.
  std::int64_t edges() const noexcept { return has_weights() ? connections() : 0; }
};

// Per-feature y = x * scale + shift of the network's inputs or outputs; absent means identity.
struct FeatureScaling {
  bool input_scale = false, input_shift = false, output_scale = false, output_shift = false;
};

struct Network {
  std::vector<Layer> layers;
  FeatureScaling scaling;

  // Width of the network's input: what layer 0 is wide beyond the other layers it reads.
  std::int64_t inputs() const;
  std::int64_t outputs() const { return layers.back().outputs(); }
  std::int64_t nnz() const;    // stored weights
  std::int64_t edges() const;  // of all layers
  // Layer k reads layer k-1 only, the first one the network's input.
  bool is_chain() const;
};

std::string group_of_layer(std::int64_t layer);  // "/layers/000012"
std::string to_string(kernels::Activation activation);
std::optional<kernels::Activation> parse_activation(std::string_view name);

// Reads and checks everything but the data.
//   where    pure
//   throws   Error(kBadData) naming file, layer, what was found and what would be right; also
//            if the file is no network (says what it is)
Network parse_network(const Catalog& catalog);

// Local, independent reads of one network. `catalog` is borrowed.
class NetworkReader {
 public:
  explicit NetworkReader(const Catalog& catalog);
  const Network& network() const noexcept { return network_; }
  const DataFile& data() const noexcept { return data_; }
  // The weights as they are stored, by rows of Layer::weight: as io::nnz_before; what a layer in
  // CSC has cost is kept until the next such layer.
  std::int64_t nnz_before(std::int64_t layer, std::int64_t row) const;
  // `reuse` are rows that are done with: their memory is used again.
  kernels::CsrRows read_rows(std::int64_t layer, Range rows, kernels::CsrRows reuse = {}) const;
  // One value a row, one value for all (kIso), or none.
  std::vector<float> read_bias(std::int64_t layer, Range rows) const;

  // The layer as sparse rows over neurons, whatever its kind: what connects output neurons
  // `neurons` with input neurons. For kConnections the same as read_rows.
  kernels::CsrRows read_connections(std::int64_t layer, Range neurons,
                                    kernels::CsrRows reuse = {}) const;
  // About how many connections neurons < neuron have: ascending, never less than 0 or more than
  // there are weights x positions, the same on every rank.
  std::int64_t connections_before(std::int64_t layer, std::int64_t neuron) const;
  // As read_bias, by output neuron.
  std::vector<float> read_neuron_bias(std::int64_t layer, Range neurons) const;
  // The vector of a present scale or shift: "input_scale", …
  std::vector<float> read_scaling(const std::string& name) const;

 private:
  Network network_;
  DataFile data_;
  mutable std::int64_t counted_layer_ = -1;  // in CSC
  mutable std::vector<std::int64_t> counted_before_;
};

// Writes one network: all sizes first, then rows layer by layer.
class NetworkWriter {
 public:
  // `network` with weight.format (not kDvec), rows, cols, stored, iso (and block sizes) of each
  // layer. `comm` is borrowed.
  //   where    collective over `comm`
  //   throws   as StagedFile::create
  NetworkWriter(const Comm& comm, const std::string& path, const Network& network,
                Provenance provenance, OutputOptions options);

  // This rank's rows of a layer's weight, and their biases (one a row; for kIso the single value,
  // the same on every rank; for kNone empty). Layers without weights need no call. May be called
  // again for the same layer with later rows: then the rows of a call follow those of the call
  // before, and ranks hold theirs in rank order.
  //   where    collective
  // A layer in CSC takes columns as if they were rows, and its biases by write_bias.
  void write_layer(std::int64_t layer, const kernels::CsrRows& rows, std::span<const float> bias);
  // This rank's part of a layer's biases in full, from `first` on.
  //   where    collective
  void write_bias(std::int64_t layer, std::int64_t first, std::span<const float> bias);
  // All scalings of the network that is read; `network` has the same ones.
  //   where    collective
  void copy_scalings(const NetworkReader& from);
  // A whole vector, the same on every rank.
  void write_scaling(const std::string& name, std::span<const float> values);
  void finish();
  std::int64_t bytes_written() const noexcept { return file_.bytes_written(); }

 private:
  Network network_;
  StagedFile file_;
  std::vector<std::optional<MatrixWriter>> weights_;
  std::vector<int> biases_;
  struct Progress {
    std::int64_t stored = 0;  // values of the calls so far
    bool iso_bias = false;    // the one bias is written
  };
  std::vector<Progress> progress_;  // by layer
  std::map<std::string, int> scalings_;
};

}  // namespace espalier::io
