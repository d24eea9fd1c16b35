// A chain of layers carried out layer by layer on this rank's own samples, with the plain sums in
// sight: for looking into a network. Everything here is local.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "framework/memory.hpp"
#include "framework/shard.hpp"
#include "io/batch_file.hpp"
#include "io/network_file.hpp"
#include "kernels/layout.hpp"
#include "kernels/pack.hpp"

namespace espalier::jobs {

// Neurons x samples, in panels of kPanelWidth samples.
struct Panels {
  std::int64_t rows = 0, samples = 0;
  AlignedBuffer<float> values;

  Panels() = default;
  Panels(std::int64_t rows_of, std::int64_t samples_of);
  std::int64_t panels() const noexcept;
  float* panel(std::int64_t number) noexcept;
  const float* panel(std::int64_t number) const noexcept;
  float at(std::int64_t row, std::int64_t sample) const noexcept;
};

// Borrows the reader of a chain.
class LayerWalk {
 public:
  //   throws   Error(kBadData) if the network is no chain or takes another number of inputs
  LayerWalk(const io::NetworkReader& reader, std::int64_t features);

  // The most samples at a time that leave room for the largest layer of each of `walks` networks.
  //   throws   Error(kDoesNotFit) if there is none for a single panel
  static std::int64_t samples_at_a_time(const std::vector<const LayerWalk*>& walks,
                                        std::int64_t memory_per_rank);

  std::int64_t layers() const noexcept;
  // The first layer's input: features, scaled and shifted.
  Panels start(const kernels::CsrRows& samples) const;
  // A layer without bias and activation.
  kernels::PackedLayer read_layer(std::int64_t layer) const;
  // layer x in, on this rank's threads.
  static Panels multiply(const kernels::PackedLayer& layer, const Panels& in);
  // Turns plain sums into the layer's outputs: bias, activation, clamp, and after the last layer
  // softmax, scale and shift.
  //   throws   Error(kBadData) naming layer and neuron if one is not finite
  void finish(std::int64_t layer, std::int64_t first_sample, Panels& sums) const;
  // The same with these biases, one a row, instead of the file's.
  void finish(std::int64_t layer, std::int64_t first_sample, const std::vector<float>& bias,
              Panels& sums) const;

 private:
  std::int64_t sample_bytes() const;
  std::int64_t layer_bytes() const;
  void finish_samples(Panels& outputs) const;

  const io::NetworkReader& reader_;
  std::vector<float> input_scale_, input_shift_, output_scale_, output_shift_;
};

// All outputs of one sample.
std::vector<float> outputs_of(const Panels& outputs, std::int64_t sample);

}  // namespace espalier::jobs
