// The walk from node to node.
#include "io/onnx.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "framework/error.hpp"
#include "io/onnx_chain.hpp"
#include "io/scaled_rows.hpp"

namespace espalier::io {

using kernels::Activation;
using onnx::NodeProto;

OnnxChain OnnxChainReader::read() {
  begin();
  for (const NodeProto& node : model_.graph().node()) {
    node_ = &node;
    take();
  }
  node_ = nullptr;
  return end();
}

void OnnxChainReader::refuse(const std::string& what) const {
  const std::string where =
      node_ == nullptr
          ? ""
          : text("node ",
                 in_quotes(node_->name().empty() ? node_->output_size() > 0 ? node_->output(0) : ""
                                                 : node_->name()),
                 " (", in_quotes(node_->op_type()), "): ");
  throw Error(ExitStatus::kBadData, text(path_, ": ", where, what));
}

void OnnxChainReader::begin() {
  for (const auto& input : model_.graph().input()) {
    if (model_.is_constant(input.name())) {
      continue;
    }
    if (!at_.empty()) {
      refuse(text("has the inputs ", in_quotes(at_), " and ", in_quotes(input.name()),
                  ", right is one"));
    }
    at_ = input.name();
    const auto& shape = input.type().tensor_type().shape();
    for (int d = 1; d < shape.dim_size(); ++d) {  // the first is the sample
      shape_.push_back(shape.dim(d).dim_value());
    }
  }
  if (at_.empty()) {
    refuse("has no input");
  }
}

OnnxChain OnnxChainReader::end() {
  if (model_.graph().output_size() != 1 || model_.graph().output(0).name() != at_) {
    refuse(text("its output is not that of its last node, ", in_quotes(at_)));
  }
  if (drafts_.empty()) {
    refuse("has no layers");
  }
  OnnxChain chain;
  for (Draft& draft : drafts_) {
    const bool last = &draft == &drafts_.back();
    if (draft.made.layer.epilogue.activation == Activation::kSoftmax && !last) {
      refuse("has a Softmax before its last layer");
    }
    chain.layers.push_back(finish(draft));
  }
  chain.files = model_.files();
  return chain;
}

OnnxLayer OnnxChainReader::finish(Draft& draft) {
  OnnxLayer made = std::move(draft.made);
  const auto is_one = [](double factor) { return factor == 1; };
  if (made.weight && !std::all_of(draft.factors.begin(), draft.factors.end(), is_one)) {
    made.weight = scaled_rows(std::move(made.weight), std::move(draft.factors));
  }
  for (const double bias : draft.bias) {
    made.bias.push_back(static_cast<float>(bias));
    if (!std::isfinite(made.bias.back())) {
      refuse(text("layer ", in_quotes(made.layer.name), " has a bias that is not finite"));
    }
  }
  made.layer.bias = draft.bias.empty() ? BiasKind::kNone : BiasKind::kFull;
  return made;
}

void OnnxChainReader::take() {
  const std::string& op = node_->op_type();
  if (op == "Constant") {
    take_constant();
    return;
  }
  if (node_->input_size() < 1 || node_->output_size() < 1) {
    refuse("has no input or no output");
  }
  const bool second = (op == "Add" || op == "Mul") && node_->input_size() == 2 &&
                      node_->input(1) == at_;  // a sum may name the constant first
  if (node_->input(0) != at_ && !second) {
    refuse(text("reads ", in_quotes(node_->input(0)), ", but the chain has come to ",
                in_quotes(at_), ": only chains of layers are imported"));
  }
  other_ = second ? 0 : 1;
  take_operator(op);
  at_ = node_->output(0);
}

void OnnxChainReader::take_operator(const std::string& op) {
  if (op == "Gemm") {
    take_gemm();
  } else if (op == "MatMul") {
    take_matmul();
  } else if (op == "Conv") {
    take_conv();
  } else if (op == "Add") {
    take_add();
  } else if (op == "BatchNormalization") {
    take_norm();
  } else if (op == "MaxPool" || op == "AveragePool" || op == "GlobalAveragePool") {
    take_pool(op);
  } else if (op == "Flatten") {
    if (attributes().integer("axis", 1) != 1) {
      refuse("flattens from another axis than 1");
    }
    flatten();
  } else if (op == "Reshape") {
    take_reshape();
  } else if (op == "Clip") {
    take_clip();
  } else if (op != "Identity" && op != "Dropout") {
    take_activation(op);
  }
}

const std::string& OnnxChainReader::constant(int k) const {
  if (k >= node_->input_size() || node_->input(k).empty()) {
    refuse(text("has no input ", k, ", which must be a constant"));
  }
  return node_->input(k);
}

void OnnxChainReader::take_constant() {
  const auto* value = attributes().find("value");
  if (value == nullptr || !value->has_t() || node_->output_size() != 1) {
    refuse("is no constant tensor");
  }
  model_.add_constant(node_->output(0), value->t());
}

OnnxChain open_onnx(const std::string& path) { return OnnxChainReader(path).read(); }

}  // namespace espalier::io
