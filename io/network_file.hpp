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
#include "kernels/layout.hpp"

namespace espalier::io {

inline constexpr std::int64_t kNetworkInput = -1;  // in Layer::inputs: the network's own input

enum class BiasKind { kNone, kIso, kFull };

struct Layer {
  std::string name;
  MatrixInfo weight;  // rows = outputs, cols = inputs
  BiasKind bias = BiasKind::kNone;
  kernels::Epilogue epilogue;
  std::vector<std::int64_t> inputs;  // layers whose outputs, one after the other, are the input
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
  std::int64_t outputs() const { return layers.back().weight.rows; }
  std::int64_t nnz() const;
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
  // As io::nnz_before; what a layer in CSC has cost is kept until the next such layer.
  std::int64_t nnz_before(std::int64_t layer, std::int64_t row) const;
  // `reuse` are rows that are done with: their memory is used again.
  kernels::CsrRows read_rows(std::int64_t layer, Range rows, kernels::CsrRows reuse = {}) const;
  // One value a row, one value for all (kIso), or none.
  std::vector<float> read_bias(std::int64_t layer, Range rows) const;
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

  // This rank's rows of a layer, and their biases (one a row; for kIso the single value, the same
  // on every rank; for kNone empty). May be called again for the same layer with later rows: then
  // the rows of a call follow those of the call before, and ranks hold theirs in rank order.
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
  std::vector<MatrixWriter> weights_;
  std::vector<int> biases_;
  struct Progress {
    std::int64_t stored = 0;  // values of the calls so far
    bool iso_bias = false;    // the one bias is written
  };
  std::vector<Progress> progress_;  // by layer
  std::map<std::string, int> scalings_;
};

}  // namespace espalier::io
