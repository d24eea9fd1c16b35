// Convolution, pooling, and the shapes of images.
#include <algorithm>
#include <utility>

#include "framework/error.hpp"
#include "io/onnx_chain.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kMostTaps = 65535;                // of kernel, strides, padding, dilation
constexpr std::int64_t kMostNeurons = INT64_C(1) << 32;  // of an image

}  // namespace

void OnnxChainReader::take_reshape() {
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

bool OnnxChainReader::is_image_of(const Integers& shape, std::int64_t neurons) {
  std::int64_t count = 1;
  for (std::size_t d = 1; d < shape.size(); ++d) {
    if (shape[d] < 1 || shape[d] > neurons || count > neurons / shape[d]) {
      return false;
    }
    count *= shape[d];
  }
  return count == neurons;
}

std::int64_t OnnxChainReader::width() const {
  std::int64_t width = 1;
  for (const std::int64_t length : shape_) {
    width *= length;
  }
  return width;
}

kernels::Window OnnxChainReader::window(const Integers& kernel) const {
  if (shape_.size() != 3 || std::count(shape_.begin(), shape_.end(), 0) > 0) {
    refuse("needs an image of known channels, height and width; the model's input must tell them");
  }
  const OnnxAttributes attributes(*node_);
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
                      axis.pad_begin <= kMostTaps && axis.pad_end >= 0 && axis.pad_end <= kMostTaps;
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

void OnnxChainReader::pad_automatically(const std::string& how, kernels::WindowAxis& axis) const {
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

OnnxChainReader::Draft& OnnxChainReader::add_window(LayerKind kind, const kernels::Window& window) {
  Draft& draft = add_layer();
  draft.made.layer.kind = kind;
  draft.made.layer.window = window;
  shape_ = {window.out_channels, window.y.outputs(), window.x.outputs()};
  return draft;
}

void OnnxChainReader::take_conv() {
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

void OnnxChainReader::take_pool(const std::string& op) {
  const OnnxAttributes attributes(*node_);
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

void OnnxChainReader::flatten() {
  if (shape_.size() == 3 && !drafts_.empty()) {
    add_window(LayerKind::kFlatten, one_tap());
  }
  shape_ = {width()};
}

kernels::Window OnnxChainReader::one_tap() const {
  kernels::Window window;
  window.channels = window.out_channels = window.groups = shape_[0];
  window.y.inputs = shape_[1];
  window.x.inputs = shape_[2];
  return window;
}

}  // namespace espalier::io
