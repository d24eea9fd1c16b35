// The chain of an ONNX model's nodes, on its way to layers. For the sources of io that know ONNX;
// everybody else takes io/onnx.hpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/onnx.hpp"
#include "io/onnx_attributes.hpp"
#include "io/onnx_model.hpp"

namespace espalier::io {

// Follows the one value that goes from node to node.
class OnnxChainReader {
 public:
  explicit OnnxChainReader(const std::string& path) : model_(path), path_(path) {}

  //   where    local
  //   throws   Error(kBadData) as open_onnx
  OnnxChain read();

 private:
  using Integers = std::vector<std::int64_t>;

  // A layer while nodes behind it may still change it.
  struct Draft {
    OnnxLayer made;
    std::vector<double> factors, bias;  // of rows; bias empty: none
    std::int64_t rows = 0;              // of the weight, 0: there is none
  };

  // io/onnx.cpp: the walk from node to node.
  [[noreturn]] void refuse(const std::string& what) const;
  // The one input that is no constant.
  void begin();
  OnnxChain end();
  OnnxLayer finish(Draft& draft);
  void take();
  void take_operator(const std::string& op);
  // Name of the constant that input `k` must be.
  const std::string& constant(int k) const;
  bool has_input(int k) const { return k < node_->input_size() && !node_->input(k).empty(); }
  OnnxAttributes attributes() const { return OnnxAttributes(*node_); }
  void take_constant();

  // io/onnx_linear.cpp: sums, biases and what follows them.
  Draft& add_layer();
  void set_weight(Draft& draft, std::unique_ptr<MatrixSource> weight);
  void add_linear(bool turn, double alpha);
  void take_gemm();
  void take_matmul() { add_linear(true, 1); }
  // One value for every row, or one for each.
  void add_bias(const std::vector<float>& values, double factor = 1);
  // The last layer, if it has weights and nothing has been done to its sums yet.
  Draft& linear_layer();
  static bool is_open(const Draft& draft);
  void take_add();
  void take_norm();
  kernels::Epilogue& epilogue_to_set();
  void take_activation(const std::string& op);
  // Limits from inputs, or from attributes before opset 11.
  void take_clip();

  // io/onnx_windows.cpp: images.
  void take_reshape();
  // Whether samples x channels x height x width hold just `neurons` of a sample.
  static bool is_image_of(const Integers& shape, std::int64_t neurons);
  std::int64_t width() const;
  // The window of the node at hand over the image that has come; kernel as given.
  kernels::Window window(const Integers& kernel) const;
  void pad_automatically(const std::string& how, kernels::WindowAxis& axis) const;
  // Puts the window into a layer; what comes out is its image.
  Draft& add_window(LayerKind kind, const kernels::Window& window);
  void take_conv();
  void take_pool(const std::string& op);
  // Images become vectors; before the first layer they are that already.
  void flatten();
  // A flat layer takes each neuron by itself.
  kernels::Window one_tap() const;

  OnnxModel model_;
  std::string path_;
  const onnx::NodeProto* node_ = nullptr;
  std::string at_;  // the value the chain has come to
  Integers shape_;  // of it, without samples; 0: not known
  int other_ = 1;   // which input of a sum is the constant
  std::vector<Draft> drafts_;
};

}  // namespace espalier::io
