// ONNX models that are chains of layers: read, and written with their zeros.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/matrix_source.hpp"
#include "io/network_file.hpp"

namespace espalier::io {

// A layer as the network file has it, and where its weights come from.
struct OnnxLayer {
  Layer layer;                           // all but the counts of its weight
  std::unique_ptr<MatrixSource> weight;  // rows as of Layer::weight; none for pooling and flatten
  std::vector<float> bias;               // one a row, or empty
};

struct OnnxChain {
  std::vector<OnnxLayer> layers;
  std::vector<std::string> files;  // the model's and those beside it that hold its tensors
};

// Reads the graph; weights stay where they lie. Taken are chains of MatMul, Gemm, Conv (2-D), Add
// (as bias), BatchNormalization (folded into the layer before), Relu, LeakyRelu, Elu, Gelu,
// Sigmoid, Tanh, Softmax, Clip, MaxPool, AveragePool, GlobalAveragePool, Flatten, Reshape, Identity
// and Dropout.
//   where    local
//   throws   Error: kNoInput, kNoPermission; kBadData naming file, node, what was found and what
//            would be right: another operator, a branch, sizes that do not fit
//   exact    folded weights are computed in double and rounded once
OnnxChain open_onnx(const std::string& path);

// Writes a network that is a chain as one model, dense, opset 13: Gemm or Conv, pooling, Flatten,
// activations, Clip. Weights of more than 64 MiB lie beside it in PATH.data. What ONNX computes is
// what espalier does, to rounding.
//   where    local
//   throws   Error: as FileWriter; kBadData if the network has what the operators of this opset
//            cannot say: branches, biases only where sums are not zero, GELU, scaled inputs
//   cost     reads each layer once, a row at a time where weights lie beside
void write_onnx(const NetworkReader& reader, const std::string& path, bool force);

}  // namespace espalier::io
