#include "io/onnx.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "framework/error.hpp"
#include "io/onnx_model.hpp"
#include "io/scaled_rows.hpp"

namespace espalier::io {
namespace {

using kernels::Activation;
using onnx::NodeProto;
using Integers = std::vector<std::int64_t>;

constexpr std::int64_t kMostTaps = 65535;                // of kernel, strides, padding, dilation
constexpr std::int64_t kMostNeurons = INT64_C(1) << 32;  // of an image

// A node's attributes, with what ONNX says where they are absent.
class NodeAttributes {
 public:
  explicit NodeAttributes(const NodeProto& node) : node_(node) {}
  std::int64_t integer(const std::string& name, std::int64_t otherwise) const {
    const auto* found = find(name);
    return found != nullptr ? found->i() : otherwise;
  }
  float number(const std::string& name, float otherwise) const {
    const auto* found = find(name);
    return found != nullptr ? found->f() : otherwise;
  }
  std::string word(const std::string& name, const std::string& otherwise) const {
    const auto* found = find(name);
    return found != nullptr ? found->s() : otherwise;
  }
  Integers integers(const std::string& name, Integers otherwise) const {
    const auto* found = find(name);
    return found != nullptr ? Integers(found->ints().begin(), found->ints().end()) : otherwise;
  }
  const onnx::AttributeProto* find(const std::string& name) const {
    for (const auto& attribute : node_.attribute()) {
      if (attribute.name() == name) {
        return &attribute;
      }
    }
    return nullptr;
  }

 private:
  const NodeProto& node_;
};

// A layer while nodes behind it may still change it.
struct Draft {
  OnnxLayer made;
  std::vector<double> factors, bias;  // of rows; bias empty: none
  std::int64_t rows = 0;              // of the weight, 0: there is none
};

class Chain {
 public:
  explicit Chain(const std::string& path) : model_(path), path_(path) {}

  OnnxChain read() {
    begin();
    for (const NodeProto& node : model_.graph().node()) {
      node_ = &node;
      take();
    }
    node_ = nullptr;
    return end();
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    const std::string where =
        node_ == nullptr ? ""
                         : text("node ",
                                in_quotes(node_->name().empty()
                                              ? node_->output_size() > 0 ? node_->output(0) : ""
                                              : node_->name()),
                                " (", in_quotes(node_->op_type()), "): ");
    throw Error(ExitStatus::kBadData, text(path_, ": ", where, what));
  }

  // The one input that is no constant.
  void begin() {
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

  OnnxChain end() {
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

  OnnxLayer finish(Draft& draft) {
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

  void take() {
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

  void take_operator(const std::string& op) {
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

  NodeAttributes attributes() const { return NodeAttributes(*node_); }

  // Name of the constant that input `k` must be.
  const std::string& constant(int k) const {
    if (k >= node_->input_size() || node_->input(k).empty()) {
      refuse(text("has no input ", k, ", which must be a constant"));
    }
    return node_->input(k);
  }
  bool has_input(int k) const { return k < node_->input_size() && !node_->input(k).empty(); }

  void take_constant() {
    const auto* value = attributes().find("value");
    if (value == nullptr || !value->has_t() || node_->output_size() != 1) {
      refuse("is no constant tensor");
    }
    model_.add_constant(node_->output(0), value->t());
  }

  Draft& add_layer() {
    Draft& draft = drafts_.emplace_back();
    const std::int64_t id = std::ssize(drafts_) - 1;
    draft.made.layer.name = node_->name().empty() ? node_->output(0) : node_->name();
    draft.made.layer.inputs = {id == 0 ? kNetworkInput : id - 1};
    return draft;
  }

  void set_weight(Draft& draft, std::unique_ptr<MatrixSource> weight) {
    draft.rows = weight->rows;
    draft.factors.assign(static_cast<std::size_t>(weight->rows), 1);
    draft.made.weight = std::move(weight);
  }

  void add_linear(bool turn, double alpha) {
    if (shape_.size() > 1) {
      refuse("multiplies an image, right is to flatten it before");
    }
    if (model_.shape(constant(1)).size() != 2) {
      refuse(
          text("its weights have ", model_.shape(constant(1)).size(), " dimensions, right is 2"));
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

  void take_gemm() {
    const NodeAttributes attributes(*node_);
    if (attributes.integer("transA", 0) != 0) {
      refuse("turns its input (transA)");
    }
    add_linear(attributes.integer("transB", 0) == 0, attributes.number("alpha", 1));
    if (has_input(2)) {
      add_bias(model_.floats(constant(2)), attributes.number("beta", 1));
    }
  }
  void take_matmul() { add_linear(true, 1); }

  // One value for every row, or one for each.
  void add_bias(const std::vector<float>& values, double factor = 1) {
    Draft& draft = drafts_.back();
    if (values.size() != 1 && std::ssize(values) != draft.rows) {
      refuse(text("adds ", values.size(), " biases, right is 1 or ", draft.rows));
    }
    draft.bias.resize(static_cast<std::size_t>(draft.rows));
    for (std::size_t r = 0; r < draft.bias.size(); ++r) {
      draft.bias[r] += factor * static_cast<double>(values[values.size() == 1 ? 0 : r]);
    }
  }

  // The last layer, if it has weights and nothing has been done to its sums yet.
  Draft& linear_layer() {
    if (drafts_.empty() || drafts_.back().rows == 0 || !is_open(drafts_.back())) {
      refuse("does not follow a MatMul, Gemm or Conv directly");
    }
    return drafts_.back();
  }
  static bool is_open(const Draft& draft) {
    const kernels::Epilogue& epilogue = draft.made.layer.epilogue;
    return epilogue.activation == Activation::kIdentity && !epilogue.has_clamp;
  }

  void take_add() {
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

  void take_norm() {
    Draft& draft = linear_layer();
    const NodeAttributes attributes(*node_);
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

  kernels::Epilogue& epilogue_to_set() {
    if (drafts_.empty()) {
      refuse("stands before the first layer");
    }
    if (!is_open(drafts_.back())) {
      refuse("follows another activation, right is one behind each layer");
    }
    return drafts_.back().made.layer.epilogue;
  }

  void take_activation(const std::string& op) {
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

  // Limits from inputs, or from attributes before opset 11.
  void take_clip() {
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
    kernels::Epilogue& epilogue =
        after_relu ? drafts_.back().made.layer.epilogue : epilogue_to_set();
    if (from_zero) {
      epilogue.activation = Activation::kRelu;
    }
    if (most < -lowest) {
      epilogue.has_clamp = true;
      epilogue.clamp = most;
    }
  }

  void take_reshape() {
    const Integers to =
        has_input(1) ? model_.integers(constant(1)) : attributes().integers("shape", {});
    const bool flat = to.size() == 2 && (shape_.size() < 2 || to[1] == -1 || to[1] == width());
    const bool image = to.size() == 4 && shape_.size() == 1 && is_image_of(to, width());
    if (!flat && !image) {
      refuse("reshapes to something else than samples x features, or features to an image");
    }
    if (image) {
      shape_ = {to[1], to[2], to[3]};
    } else {
      flatten();
    }
  }
  // Whether samples x channels x height x width hold just `neurons` of a sample.
  static bool is_image_of(const Integers& shape, std::int64_t neurons) {
    std::int64_t count = 1;
    for (std::size_t d = 1; d < shape.size(); ++d) {
      if (shape[d] < 1 || shape[d] > neurons || count > neurons / shape[d]) {
        return false;
      }
      count *= shape[d];
    }
    return count == neurons;
  }

  std::int64_t width() const {
    std::int64_t width = 1;
    for (const std::int64_t length : shape_) {
      width *= length;
    }
    return width;
  }

  // The window of the node at hand over the image that has come; kernel as given.
  kernels::Window window(const Integers& kernel) const {
    if (shape_.size() != 3 || std::count(shape_.begin(), shape_.end(), 0) > 0) {
      refuse(
          "needs an image of known channels, height and width; the model's input must tell them");
    }
    const NodeAttributes attributes(*node_);
    const Integers strides = attributes.integers("strides", {1, 1});
    const Integers dilations = attributes.integers("dilations", {1, 1});
    Integers pads = attributes.integers("pads", {0, 0, 0, 0});
    if (kernel.size() != 2 || strides.size() != 2 || dilations.size() != 2 || pads.size() != 4) {
      refuse("is not two-dimensional");
    }
    kernels::Window window;
    window.channels = window.out_channels = shape_[0];
    for (std::size_t d = 0; d < 2; ++d) {
      kernels::WindowAxis& axis = d == 0 ? window.y : window.x;
      axis.inputs = shape_[d + 1];
      axis.kernel = kernel[d];
      axis.stride = strides[d];
      axis.dilation = dilations[d];
      axis.pad_begin = pads[d];
      axis.pad_end = pads[d + 2];
      const bool sane = axis.inputs >= 1 && axis.inputs <= kMostNeurons && axis.kernel >= 1 &&
                        axis.kernel <= kMostTaps && axis.stride >= 1 && axis.stride <= kMostTaps &&
                        axis.dilation >= 1 && axis.dilation <= kMostTaps && axis.pad_begin >= 0 &&
                        axis.pad_begin <= kMostTaps && axis.pad_end >= 0 &&
                        axis.pad_end <= kMostTaps;
      if (!sane) {
        refuse(text("has numbers that cannot be, or are above ", kMostTaps));
      }
      pad_automatically(attributes.word("auto_pad", "NOTSET"), axis);
      if (!axis.fits()) {
        refuse("has a window larger than its padded image");
      }
    }
    return window;
  }

  void pad_automatically(const std::string& how, kernels::WindowAxis& axis) const {
    if (how == "NOTSET") {
      return;
    }
    axis.pad_begin = axis.pad_end = 0;
    if (how == "VALID") {
      return;
    }
    if (how != "SAME_UPPER" && how != "SAME_LOWER") {
      refuse(text("has auto_pad ", in_quotes(how)));
    }
    const std::int64_t outputs = (axis.inputs + axis.stride - 1) / axis.stride;
    const std::int64_t missing =
        std::max<std::int64_t>((outputs - 1) * axis.stride + axis.extent() - axis.inputs, 0);
    axis.pad_begin = how == "SAME_UPPER" ? missing / 2 : missing - missing / 2;
    axis.pad_end = missing - axis.pad_begin;
  }

  // Puts the window into a layer; what comes out is its image.
  Draft& add_window(LayerKind kind, const kernels::Window& window) {
    Draft& draft = add_layer();
    draft.made.layer.kind = kind;
    draft.made.layer.window = window;
    shape_ = {window.out_channels, window.y.outputs(), window.x.outputs()};
    return draft;
  }

  void take_conv() {
    const Integers filters = model_.shape(constant(1));
    if (filters.size() != 4) {
      refuse(text("has weights of ", filters.size(), " dimensions, right is 4"));
    }
    const Integers kernel = {filters[2], filters[3]};
    if (attributes().integers("kernel_shape", kernel) != kernel) {
      refuse("has a kernel_shape that is not that of its weights");
    }
    kernels::Window sliding = window(kernel);
    sliding.groups = attributes().integer("group", 1);
    sliding.out_channels = filters[0];
    const bool dealt = sliding.groups >= 1 && sliding.channels % sliding.groups == 0 &&
                       sliding.out_channels >= 1 && sliding.out_channels % sliding.groups == 0 &&
                       sliding.group_channels() == filters[1];
    if (!dealt) {
      refuse(text("its filters are for ", filters[1], " channels in each of ", sliding.groups,
                  " groups, but the image has ", sliding.channels, " channels"));
    }
    auto weight = model_.matrix(constant(1));
    weight->dense = true;
    set_weight(add_window(LayerKind::kConvolution, sliding), std::move(weight));
    if (has_input(2)) {
      add_bias(model_.floats(constant(2)));
    }
  }

  void take_pool(const std::string& op) {
    const NodeAttributes attributes(*node_);
    if (attributes.integer("ceil_mode", 0) != 0 || attributes.integer("storage_order", 0) != 0) {
      refuse("rounds sizes up (ceil_mode), or stores columns first");
    }
    const bool global = op == "GlobalAveragePool";
    kernels::Window sliding =
        window(global && shape_.size() == 3 ? Integers{shape_[1], shape_[2]}
                                            : attributes.integers("kernel_shape", {}));
    sliding.groups = sliding.channels;
    sliding.count_padding = attributes.integer("count_include_pad", 0) != 0;
    add_window(op == "MaxPool" ? LayerKind::kMaxPool : LayerKind::kAveragePool, sliding);
  }

  // Images become vectors; before the first layer they are that already.
  void flatten() {
    if (shape_.size() == 3 && !drafts_.empty()) {
      add_window(LayerKind::kFlatten, one_tap());
    }
    shape_ = {width()};
  }
  // A flat layer takes each neuron by itself.
  kernels::Window one_tap() const {
    kernels::Window window;
    window.channels = window.out_channels = window.groups = shape_[0];
    window.y.inputs = shape_[1];
    window.x.inputs = shape_[2];
    return window;
  }

  OnnxModel model_;
  std::string path_;
  const NodeProto* node_ = nullptr;
  std::string at_;  // the value the chain has come to
  Integers shape_;  // of it, without samples; 0: not known
  int other_ = 1;   // which input of a sum is the constant
  std::vector<Draft> drafts_;
};

}  // namespace

OnnxChain open_onnx(const std::string& path) { return Chain(path).read(); }

}  // namespace espalier::io
