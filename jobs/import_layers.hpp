// The end of every import of layers: from matrices of any format to a network file.
#pragma once

#include <functional>
#include <vector>

#include "io/matrix_source.hpp"
#include "io/network_file.hpp"
#include "jobs/job.hpp"
#include "jobs/output_plan.hpp"

namespace espalier::jobs {

struct LayerInput {
  // Name, epilogue and inputs as they will be; weight.format is the form of a sparse layer (a dense
  // one becomes DMAT), what else concerns the weight is found out. `bias` says what read_bias
  // brings: kNone or kFull.
  io::Layer layer;
  // Outputs x inputs; of a convolution output channels x (input channels of a group, y, x). None of
  // pooling and flatten. Borrowed.
  const io::MatrixSource* weight = nullptr;
  // The biases of some rows. Local, throws Error.
  std::function<std::vector<float>(Range rows)> read_bias;
};

// Reads all layers and writes the network, after begin_output(); layers come from their sources
// round by round, so no layer is in memory as a whole.
//   where    collective
//   throws   SharedError: kBadData as the sources, or if the layers' widths do not fit together
void write_layers(Context& context, const OutputPlan& plan, std::vector<LayerInput>& layers,
                  std::int64_t input_bytes);

// Refuses a layer whose columns are not what its `inputs` bring together.
//   throws   Error(kBadData) naming the layer
void check_widths(const std::vector<LayerInput>& layers);

}  // namespace espalier::jobs
