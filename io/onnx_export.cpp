// The writing half of onnx.hpp.

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "framework/error.hpp"
#include "io/file_writer.hpp"
#include "io/onnx.hpp"
#include "io/onnx_model.hpp"

namespace espalier::io {
namespace {

using kernels::Activation;
using Integers = std::vector<std::int64_t>;

constexpr std::int64_t kMostInside = INT64_C(64) << 20;  // bytes of weights in the model itself
constexpr int kIrVersion = 7, kOpset = 13;

class Exporter {
 public:
  Exporter(const NetworkReader& reader, const std::string& path, bool force)
      : reader_(reader), path_(path), network_(reader.network()) {
    check();
    std::int64_t bytes = 0;
    for (const Layer& layer : network_.layers) {
      bytes += layer.weight.rows * layer.weight.cols * 4;
    }
    if (bytes > kMostInside) {
      data_ = std::make_unique<FileWriter>(path + ".data", force);
    }
  }

  void write(bool force) {
    model_.set_ir_version(kIrVersion);
    model_.set_producer_name("espalier");
    model_.add_opset_import()->set_version(kOpset);
    graph().set_name("network");
    at_ = "input";
    describe(*graph().add_input(), at_, input_shape());
    for (std::size_t k = 0; k < network_.layers.size(); ++k) {
      add_layer(static_cast<std::int64_t>(k));
    }
    describe(*graph().add_output(), at_, output_shape());
    if (data_) {
      data_->finish();
    }
    FileWriter file(path_, force);
    std::string bytes;
    expects(model_.SerializeToString(&bytes), "a model below 2 GiB is serialised");
    file.append(std::string_view(bytes));
    file.finish();
  }

 private:
  onnx::GraphProto& graph() { return *model_.mutable_graph(); }

  [[noreturn]] void refuse(std::int64_t layer, const std::string& what) const {
    throw Error(ExitStatus::kBadData, text(reader_.data().catalog().file, ": layer ", layer, " ",
                                           what, ", which ONNX export does not write"));
  }

  void check() const {
    const FeatureScaling& scaling = network_.scaling;
    if (!network_.is_chain()) {
      refuse(0, "or another is part of a network that is no chain");
    }
    if (scaling.input_scale || scaling.input_shift || scaling.output_scale ||
        scaling.output_shift) {
      refuse(0, "or the last has scaled inputs or outputs");
    }
    for (std::size_t k = 0; k < network_.layers.size(); ++k) {
      const auto id = static_cast<std::int64_t>(k);
      const Layer& layer = network_.layers[k];
      if (layer.bias != BiasKind::kNone && layer.epilogue.bias_where_nonzero) {
        refuse(id, "adds its bias only where sums are not zero");
      }
      if (layer.epilogue.activation == Activation::kGelu) {
        refuse(id, "has the activation gelu");
      }
    }
  }

  // Without samples, whose number is free.
  static void describe(onnx::ValueInfoProto& value, const std::string& name,
                       const Integers& shape) {
    value.set_name(name);
    auto* tensor = value.mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(onnx::TensorProto::FLOAT);
    tensor->mutable_shape()->add_dim()->set_dim_param("samples");
    for (const std::int64_t length : shape) {
      tensor->mutable_shape()->add_dim()->set_dim_value(length);
    }
  }

  // A node that takes the chain on.
  onnx::NodeProto& add_node(const std::string& op, std::int64_t layer) {
    onnx::NodeProto& node = *graph().add_node();
    node.set_op_type(op);
    node.add_input(at_);
    at_ = text("layer", layer, "_", op);
    node.add_output(at_);
    return node;
  }
  static void set_integers(onnx::NodeProto& node, const std::string& name, const Integers& values) {
    auto* attribute = node.add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INTS);
    for (const std::int64_t value : values) {
      attribute->add_ints(value);
    }
  }
  static void set_integer(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
    auto* attribute = node.add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INT);
    attribute->set_i(value);
  }

  onnx::TensorProto& add_tensor(onnx::NodeProto& node, const std::string& name,
                                const Integers& shape) {
    onnx::TensorProto& tensor = *graph().add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    for (const std::int64_t length : shape) {
      tensor.add_dims(length);
    }
    node.add_input(name);
    return tensor;
  }

  void add_floats(onnx::NodeProto& node, const std::string& name, const Integers& shape,
                  const std::vector<float>& values) {
    add_tensor(node, name, shape).set_raw_data(values.data(), values.size() * sizeof(float));
  }

  static void add_external(onnx::TensorProto& tensor, const std::string& key,
                           const std::string& value) {
    auto* entry = tensor.add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }

  // The dense weights, inside the model or beside it.
  void add_weights(onnx::NodeProto& node, std::int64_t layer, const Integers& shape) {
    const MatrixInfo& weight = network_.layers[static_cast<std::size_t>(layer)].weight;
    onnx::TensorProto& tensor = add_tensor(node, text("layer", layer, "_weight"), shape);
    if (data_) {
      tensor.set_data_location(onnx::TensorProto::EXTERNAL);
      add_external(tensor, "location", path_.substr(path_.rfind('/') + 1) + ".data");
      add_external(tensor, "offset", text(data_->size()));
      add_external(tensor, "length", text(weight.rows * weight.cols * 4));
    }
    std::string* inside = data_ ? nullptr : tensor.mutable_raw_data();
    std::vector<float> dense(static_cast<std::size_t>(weight.cols));
    const std::int64_t step = std::max<std::int64_t>((INT64_C(1) << 20) / weight.cols, 1);
    for (std::int64_t begin = 0; begin < weight.rows; begin += step) {
      const auto rows = reader_.read_rows(layer, {begin, std::min(begin + step, weight.rows)});
      for (std::size_t r = 0; r + 1 < rows.pointers.size(); ++r) {
        std::fill(dense.begin(), dense.end(), 0.0F);
        for (std::int64_t k = rows.pointers[r]; k < rows.pointers[r + 1]; ++k) {
          dense[rows.indices[static_cast<std::size_t>(k)]] = rows.value(k);
        }
        const auto bytes = std::as_bytes(std::span(dense));
        if (data_) {
          data_->append(bytes);
        } else {
          inside->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        }
      }
    }
  }

  void add_bias(onnx::NodeProto& node, std::int64_t layer) {
    const Layer& of = network_.layers[static_cast<std::size_t>(layer)];
    if (of.bias == BiasKind::kNone) {
      return;
    }
    std::vector<float> bias = reader_.read_bias(layer, {0, of.weight.rows});
    if (of.bias == BiasKind::kIso) {
      bias.assign(static_cast<std::size_t>(of.weight.rows), bias.at(0));
    }
    add_floats(node, text("layer", layer, "_bias"), {of.weight.rows}, bias);
  }

  void add_epilogue(std::int64_t layer) {
    const kernels::Epilogue& epilogue = network_.layers[static_cast<std::size_t>(layer)].epilogue;
    static const std::vector<std::pair<Activation, const char*>> kOperators = {
        {Activation::kRelu, "Relu"}, {Activation::kLeakyRelu, "LeakyRelu"},
        {Activation::kElu, "Elu"},   {Activation::kSigmoid, "Sigmoid"},
        {Activation::kTanh, "Tanh"}, {Activation::kSoftmax, "Softmax"}};
    for (const auto& [activation, op] : kOperators) {
      if (activation != epilogue.activation) {
        continue;
      }
      onnx::NodeProto& node = add_node(op, layer);
      if (activation == Activation::kLeakyRelu || activation == Activation::kElu) {
        auto* alpha = node.add_attribute();
        alpha->set_name("alpha");
        alpha->set_type(onnx::AttributeProto::FLOAT);
        alpha->set_f(epilogue.alpha);
      }
    }
    if (epilogue.activation == Activation::kSilu) {
      const std::string sums = at_;
      add_node("Sigmoid", layer);
      add_node("Mul", layer).add_input(sums);
    }
    if (epilogue.has_clamp) {
      onnx::NodeProto& node = add_node("Clip", layer);
      node.add_input("");  // no lower limit
      add_floats(node, text("layer", layer, "_clamp"), {}, {epilogue.clamp});
    }
  }

  void add_linear(std::int64_t layer) {
    const MatrixInfo& weight = network_.layers[static_cast<std::size_t>(layer)].weight;
    onnx::NodeProto& node = add_node("Gemm", layer);
    set_integer(node, "transB", 1);
    add_weights(node, layer, {weight.rows, weight.cols});
    add_bias(node, layer);
  }

  static bool is_image(const Layer& layer) {
    return layer.kind != LayerKind::kConnections && layer.kind != LayerKind::kFlatten;
  }
  Integers input_shape() const {
    const Layer& first = network_.layers.front();
    return first.kind == LayerKind::kConnections
               ? Integers{network_.inputs()}
               : Integers{first.window.channels, first.window.y.inputs, first.window.x.inputs};
  }
  Integers output_shape() const {
    const Layer& last = network_.layers.back();
    return is_image(last) ? Integers{last.window.out_channels, last.window.y.outputs(),
                                     last.window.x.outputs()}
                          : Integers{network_.outputs()};
  }

  void add_layer(std::int64_t layer) {
    const Layer& of = network_.layers[static_cast<std::size_t>(layer)];
    const bool after_image = layer == 0
                                 ? of.kind == LayerKind::kFlatten
                                 : is_image(network_.layers[static_cast<std::size_t>(layer) - 1]);
    if (!is_image(of) && after_image) {
      add_node("Flatten", layer);
    }
    if (is_image(of) && layer > 0 && !after_image) {
      add_image_shape(layer);
    }
    switch (of.kind) {
      case LayerKind::kConnections:
        add_linear(layer);
        break;
      case LayerKind::kConvolution:
        add_convolution(layer);
        break;
      case LayerKind::kMaxPool:
      case LayerKind::kAveragePool:
        add_pooling(layer);
        break;
      case LayerKind::kFlatten:
        break;
    }
    add_epilogue(layer);
  }

  // Vectors become images.
  void add_image_shape(std::int64_t layer) {
    const kernels::Window& window = network_.layers[static_cast<std::size_t>(layer)].window;
    onnx::NodeProto& node = add_node("Reshape", layer);
    onnx::TensorProto& shape = add_tensor(node, text("layer", layer, "_shape"), {4});
    shape.set_data_type(onnx::TensorProto::INT64);
    const std::int64_t lengths[4] = {-1, window.channels, window.y.inputs, window.x.inputs};
    shape.set_raw_data(lengths, sizeof(lengths));
  }

  static void set_window(onnx::NodeProto& node, const kernels::Window& window) {
    set_integers(node, "kernel_shape", {window.y.kernel, window.x.kernel});
    set_integers(node, "strides", {window.y.stride, window.x.stride});
    set_integers(node, "pads",
                 {window.y.pad_begin, window.x.pad_begin, window.y.pad_end, window.x.pad_end});
  }

  void add_convolution(std::int64_t layer) {
    const kernels::Window& window = network_.layers[static_cast<std::size_t>(layer)].window;
    onnx::NodeProto& node = add_node("Conv", layer);
    set_window(node, window);
    set_integers(node, "dilations", {window.y.dilation, window.x.dilation});
    set_integer(node, "group", window.groups);
    add_weights(node, layer,
                {window.out_channels, window.group_channels(), window.y.kernel, window.x.kernel});
    add_bias(node, layer);
  }

  void add_pooling(std::int64_t layer) {
    const Layer& of = network_.layers[static_cast<std::size_t>(layer)];
    const bool average = of.kind == LayerKind::kAveragePool;
    if (average && (of.window.y.dilation != 1 || of.window.x.dilation != 1)) {
      refuse(layer, "averages over a dilated window");
    }
    onnx::NodeProto& node = add_node(average ? "AveragePool" : "MaxPool", layer);
    set_window(node, of.window);
    if (average) {
      set_integer(node, "count_include_pad", of.window.count_padding ? 1 : 0);
    } else {
      set_integers(node, "dilations", {of.window.y.dilation, of.window.x.dilation});
    }
  }

  const NetworkReader& reader_;
  std::string path_;
  const Network& network_;
  std::unique_ptr<FileWriter> data_;
  onnx::ModelProto model_;
  std::string at_;  // the value the chain has come to
};

}  // namespace

void write_onnx(const NetworkReader& reader, const std::string& path, bool force) {
  Exporter(reader, path, force).write(force);
}

}  // namespace espalier::io
