// One rank's part of a network: its packed rows of every layer, and who needs which of its outputs.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "framework/grid.hpp"
#include "framework/shard.hpp"
#include "framework/timer.hpp"
#include "io/network_file.hpp"
#include "kernels/pack.hpp"

namespace espalier::jobs {

// What one shard exchanges with another before a layer.
struct Halo {
  std::vector<std::uint32_t> send;  // my rows of the layer before (local) that the other needs
  Range receive;                    // positions in my `inputs` that the other owns
};

// Values that a layer lets pass, for later ones (see boundaries.hpp).
struct Passing {
  std::int64_t row;    // local row behind the layer that takes the first one; packed as empty rows
  std::int64_t input;  // local input that it stands at
  std::int64_t count;
};

// A shard's rows of one layer, packed in pieces of consecutive rows: one, unless they are many.
class PackedRows {
 public:
  void add(kernels::PackedLayer piece);

  std::int64_t rows() const noexcept { return bounds_.back(); }
  std::int64_t inputs() const noexcept { return pieces_.empty() ? 0 : pieces_.front().inputs(); }
  std::int64_t nnz() const noexcept;
  std::int64_t bytes() const noexcept;
  // As of the piece that asks for most.
  std::int64_t row_granularity() const noexcept;
  std::string block_names() const;

  std::int64_t pieces() const noexcept { return std::ssize(pieces_); }
  kernels::PackedLayer& piece(std::int64_t number) {
    return pieces_[static_cast<std::size_t>(number)];
  }
  const kernels::PackedLayer& piece(std::int64_t number) const {
    return pieces_[static_cast<std::size_t>(number)];
  }
  Range rows_of(std::int64_t number) const {
    const auto n = static_cast<std::size_t>(number);
    return {bounds_[n], bounds_[n + 1]};
  }

 private:
  std::vector<kernels::PackedLayer> pieces_;
  std::vector<std::int64_t> bounds_ = {0};
};

// The rows of a layer are the values behind it: its outputs, and of networks with skip connections
// also what is passing.
struct ShardLayer {
  PackedRows packed;
  std::int64_t edges = 0;             // multiply-adds of a sample: none for pooling and flatten
  std::vector<Passing> passing;       // ascending rows
  Range rows;                         // global rows of this shard
  std::vector<std::int64_t> bounds;   // rows of all shards: row_shards + 1
  std::vector<std::uint32_t> inputs;  // global inputs in local order; empty: all, in order
  std::vector<Halo> halos;            // by shard; empty on one shard and before the first layer
  bool zero_to_zero = false;          // this layer and all later ones map zero to zero
};

// The layers in order, plus the scaling of features (empty: none).
struct ShardedNetwork {
  std::vector<ShardLayer> layers;
  std::vector<float> input_scale, input_shift, output_scale, output_shift;
  std::int64_t inputs = 0, outputs = 0;
  bool softmax = false;
  bool bfloat16 = false;  // features, weights and activations between layers are rounded to it
  bool streams_outputs = false;  // the last layer's pieces are small, its outputs never held

  // Outputs must be looked at as whole samples before one knows whether they are zero.
  bool finishes_samples() const noexcept {
    return softmax || !output_scale.empty() || !output_shift.empty();
  }
};

// What the shard's rows [begin, end) of a layer are for one panel of inputs.
//   shapes   in (local inputs x kPanelWidth), out (rows x kPanelWidth), nonzero (kPanelWidth), each
//            or-ed with the bits of what is not zero. Columns from `samples` on need not be
//            computed
void compute_rows(const ShardLayer& layer, const float* in, float* out, Range rows,
                  std::uint32_t* nonzero, std::int64_t samples = kernels::kPanelWidth);

// Lets what lies between two layers stand in the order in which the later one reads it, where both
// can (see PackedLayer::renumbers): values of one shard, none of them passing.
void number_boundaries(ShardedNetwork& network);

struct ReadOptions {
  std::function<void()> before_layer;  // called before each layer is read, and may throw
  bool bfloat16 = false;
  bool streams_outputs = false;  // see plan.hpp
};

// Reads this rank's rows of every layer, packs them, and agrees on the halos with its group.
// With one shard local inputs are the global ones and nothing is exchanged.
//   where    collective over `world`, whose ranks form `grid`
//   throws   SharedError: what NetworkReader throws; kBadData if a layer reads a later one
//   cost     every weight is read once a group; of shards that are packed in several pieces,
//            twice. Peak memory is the packed rows plus one piece as read
ShardedNetwork read_and_pack(const Comm& world, const ProcessGrid& grid,
                             const io::NetworkReader& reader, PhaseTimes& times,
                             const ReadOptions& options);

}  // namespace espalier::jobs
