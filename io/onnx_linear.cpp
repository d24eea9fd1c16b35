// MatMul, Gemm, biases, normalisation and activations.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "framework/error.hpp"
#include "io/onnx_chain.hpp"

namespace espalier::io {

using kernels::Activation;

OnnxChainReader::Draft& OnnxChainReader::add_layer() {
  Draft& draft = drafts_.emplace_back();
  const std::int64_t id = std::ssize(drafts_) - 1;
  draft.made.layer.name = node_->name().empty() ? node_->output(0) : node_->name();
  draft.made.layer.inputs = {id == 0 ? kNetworkInput : id - 1};
  return draft;
}

void OnnxChainReader::set_weight(Draft& draft, std::unique_ptr<MatrixSource> weight) {
  draft.rows = weight->rows;
  draft.factors.assign(static_cast<std::size_t>(weight->rows), 1);
  draft.made.weight = std::move(weight);
}

void OnnxChainReader::add_linear(bool turn, double alpha) {
  if (shape_.size() > 1) {
    refuse("multiplies an image, right is to flatten it before");
  }
  if (model_.shape(constant(1)).size() != 2) {
    refuse(text("its weights have ", model_.shape(constant(1)).size(), " dimensions, right is 2"));
  }
  auto weight = model_.matrix(constant(1));
  Draft& draft = add_layer();
  set_weight(draft, turn ? transposed(std::move(weight)) : std::move(weight));
  for (double& factor : draft.factors) {
    factor = alpha;
  }
  const std::int64_t before = shape_.empty() ? 0 : shape_[0];
  if (before > 0 && before != draft.made.weight->cols) {
    refuse(text("takes ", draft.made.weight->cols, " values, but ", before, " come"));
  }
  shape_ = {draft.rows};
}

void OnnxChainReader::take_gemm() {
  const OnnxAttributes attributes(*node_);
  if (attributes.integer("transA", 0) != 0) {
    refuse("turns its input (transA)");
  }
  add_linear(attributes.integer("transB", 0) == 0, attributes.number("alpha", 1));
  if (has_input(2)) {
    add_bias(model_.floats(constant(2)), attributes.number("beta", 1));
  }
}

void OnnxChainReader::add_bias(const std::vector<float>& values, double factor) {
  Draft& draft = drafts_.back();
  if (values.size() != 1 && std::ssize(values) != draft.rows) {
    refuse(text("adds ", values.size(), " biases, right is 1 or ", draft.rows));
  }
  draft.bias.resize(static_cast<std::size_t>(draft.rows));
  for (std::size_t r = 0; r < draft.bias.size(); ++r) {
    draft.bias[r] += factor * static_cast<double>(values[values.size() == 1 ? 0 : r]);
  }
}

OnnxChainReader::Draft& OnnxChainReader::linear_layer() {
  if (drafts_.empty() || drafts_.back().rows == 0 || !is_open(drafts_.back())) {
    refuse("does not follow a MatMul, Gemm or Conv directly");
  }
  return drafts_.back();
}

bool OnnxChainReader::is_open(const Draft& draft) {
  const kernels::Epilogue& epilogue = draft.made.layer.epilogue;
  return epilogue.activation == Activation::kIdentity && !epilogue.has_clamp;
}

void OnnxChainReader::take_add() {
  linear_layer();
  const std::string& name = constant(other_);
  // [rows] behind a MatMul, [rows, 1, 1] behind a Conv, with ones in front.
  Integers shape = model_.shape(name);
  std::erase(shape, 1);
  const Integers whole = model_.shape(name);
  const std::int64_t from_end = shape_.size() == 3 ? 3 : 1;
  const bool placed =
      shape.empty() || (shape.size() == 1 && std::ssize(whole) >= from_end &&
                        whole[whole.size() - static_cast<std::size_t>(from_end)] == shape[0]);
  if (!placed) {
    refuse("adds a constant that is no bias: one value for each output (channel)");
  }
  add_bias(model_.floats(name));
}

void OnnxChainReader::take_norm() {
  Draft& draft = linear_layer();
  const OnnxAttributes attributes(*node_);
  if (attributes.integer("training_mode", 0) != 0) {
    refuse("is in training mode");
  }
  const double epsilon = attributes.number("epsilon", 1e-5F);
  std::vector<std::vector<float>> vectors;
  for (int k = 1; k <= 4; ++k) {  // scale, shift, mean, variance
    vectors.push_back(model_.floats(constant(k)));
    if (std::ssize(vectors.back()) != draft.rows) {
      refuse(text("input ", k, " has ", vectors.back().size(), " values, right is ", draft.rows));
    }
  }
  draft.bias.resize(static_cast<std::size_t>(draft.rows));
  for (std::size_t r = 0; r < draft.bias.size(); ++r) {
    const double variance = static_cast<double>(vectors[3][r]) + epsilon;
    if (!(variance > 0)) {
      refuse(text("variance ", r, " is ", vectors[3][r], ", right is above 0"));
    }
    const double factor = static_cast<double>(vectors[0][r]) / std::sqrt(variance);
    draft.factors[r] *= factor;
    draft.bias[r] = (draft.bias[r] - static_cast<double>(vectors[2][r])) * factor +
                    static_cast<double>(vectors[1][r]);
  }
}

kernels::Epilogue& OnnxChainReader::epilogue_to_set() {
  if (drafts_.empty()) {
    refuse("stands before the first layer");
  }
  if (!is_open(drafts_.back())) {
    refuse("follows another activation, right is one behind each layer");
  }
  return drafts_.back().made.layer.epilogue;
}

void OnnxChainReader::take_activation(const std::string& op) {
  static const std::vector<std::pair<const char*, Activation>> kKnown = {
      {"Relu", Activation::kRelu},       {"LeakyRelu", Activation::kLeakyRelu},
      {"Elu", Activation::kElu},         {"Gelu", Activation::kGelu},
      {"Sigmoid", Activation::kSigmoid}, {"Tanh", Activation::kTanh},
      {"Softmax", Activation::kSoftmax}};
  const auto known = std::find_if(kKnown.begin(), kKnown.end(),
                                  [&](const auto& pair) { return op == pair.first; });
  if (known == kKnown.end() || !node_->domain().empty()) {
    refuse("is none of the operators that are imported");
  }
  if (op == "Gelu" && attributes().word("approximate", "none") != "none") {
    refuse("approximates, right is the exact form");
  }
  const std::int64_t axis = attributes().integer("axis", -1);
  if (op == "Softmax" && (shape_.size() > 1 || (axis != -1 && axis != 1))) {
    refuse("does not run over all outputs of a sample");
  }
  kernels::Epilogue& epilogue = epilogue_to_set();
  epilogue.activation = known->second;
  epilogue.alpha = attributes().number("alpha", op == "Elu" ? 1.0F : 0.01F);
}

void OnnxChainReader::take_clip() {
  const float lowest = std::numeric_limits<float>::lowest();
  const auto limit = [&](int k, const char* name, float otherwise) {
    if (!has_input(k)) {
      return attributes().number(name, otherwise);
    }
    const auto found = model_.floats(constant(k));
    if (found.size() != 1) {
      refuse("has a limit that is no single number");
    }
    return found[0];
  };
  const float least = limit(1, "min", lowest), most = limit(2, "max", -lowest);
  const bool from_zero = least == 0, unlimited = least <= lowest;
  if (!from_zero && !unlimited) {
    refuse(text("has the lower limit ", least, ", right is 0 (as ReLU) or none"));
  }
  const bool after_relu =
      !drafts_.empty() && !drafts_.back().made.layer.epilogue.has_clamp &&
      (from_zero ? drafts_.back().made.layer.epilogue.activation == Activation::kRelu : true);
  kernels::Epilogue& epilogue = after_relu ? drafts_.back().made.layer.epilogue : epilogue_to_set();
  if (from_zero) {
    epilogue.activation = Activation::kRelu;
  }
  if (most < -lowest) {
    epilogue.has_clamp = true;
    epilogue.clamp = most;
  }
}

}  // namespace espalier::io
