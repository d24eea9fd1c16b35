#include "io/network_file.hpp"

#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/network_window.hpp"

namespace espalier::io {
namespace {

struct Scaling {
  const char* name;
  bool present;
  std::int64_t width;
};

std::array<Scaling, 4> scalings_of(const Network& network) {
  const FeatureScaling& scaling = network.scaling;
  return {{{"input_scale", scaling.input_scale, network.inputs()},
           {"input_shift", scaling.input_shift, network.inputs()},
           {"output_scale", scaling.output_scale, network.outputs()},
           {"output_shift", scaling.output_shift, network.outputs()}}};
}

void add_layer_attributes(StagedFile& file, const std::string& group, const Layer& layer) {
  using kernels::Activation;
  const kernels::Epilogue& epilogue = layer.epilogue;
  file.add_attribute(group, "name", layer.name);
  file.add_attribute(group, "activation", to_string(epilogue.activation));
  if (epilogue.activation == Activation::kLeakyRelu || epilogue.activation == Activation::kElu) {
    file.add_attribute(group, "alpha", static_cast<double>(epilogue.alpha));
  }
  if (epilogue.has_clamp) {
    file.add_attribute(group, "clamp", static_cast<double>(epilogue.clamp));
  }
  file.add_attribute(group, "bias_mode", epilogue.bias_where_nonzero ? "nonzero" : "always");
  if (layer.inputs.empty()) {
    file.add_attribute(group, "inputs", "unknown");
  } else {
    file.add_attribute(group, "inputs", layer.inputs);
  }
  add_window_attributes(file, group, layer);
}

// Returns the handle of the bias's values, -1 if there is none.
int add_bias(StagedFile& file, const std::string& group, const Layer& layer) {
  if (layer.bias == BiasKind::kNone) {
    return -1;
  }
  MatrixInfo bias;
  bias.group = group + "/bias";
  bias.format = MatrixFormat::kDvec;
  bias.rows = bias.stored = layer.weight.rows;
  bias.iso = layer.bias == BiasKind::kIso;
  const int handle =
      file.add_dataset(bias.group + "/values", kFloat32, {bias.iso ? 1 : layer.weight.rows});
  file.add_attribute(bias.group, "binsparse", make_descriptor(bias, {{"values", kFloat32}}));
  return handle;
}

// Where a layer reads from stays within the network.
void expect_sound(const Network& network) {
  const auto layers = std::ssize(network.layers);
  expects(layers > 0, "a network has layers");
  for (const Layer& layer : network.layers) {
    expects(layer.outputs() > 0 && layer.width() > 0, "a layer has outputs and inputs");
    expects(layer.kind == LayerKind::kConvolution
                ? layer.weight.rows == layer.window.out_channels &&
                      layer.weight.cols == layer.window.group_channels() * layer.window.taps()
                : layer.has_weights() || layer.bias == BiasKind::kNone,
            "a layer's weight and bias belong to its kind");
    expects(layer.inputs.empty() == network.layers[0].inputs.empty(),
            "what layers read is known of all or of none");
    for (const std::int64_t input : layer.inputs) {
      expects(input >= kNetworkInput && input < layers, "a layer reads layers of its network");
    }
  }
  expects(network.inputs() > 0, "a network has inputs");
}

// The output channels that hold the neurons.
Range channels_of(const Layer& layer, Range neurons) {
  const std::int64_t positions = layer.window.positions();
  return {neurons.begin / positions,
          neurons.empty() ? neurons.begin / positions : (neurons.end - 1) / positions + 1};
}

}  // namespace

NetworkReader::NetworkReader(const Catalog& catalog)
    : network_(parse_network(catalog)), data_(catalog) {}

std::int64_t NetworkReader::nnz_before(std::int64_t layer, std::int64_t row) const {
  const Layer& of = network_.layers.at(static_cast<std::size_t>(layer));
  if (!of.has_weights()) {
    return 0;
  }
  if (of.weight.format != MatrixFormat::kCsc) {
    return io::nnz_before(data_, of.weight, row);
  }
  if (layer != counted_layer_) {
    counted_before_ = count_before_rows(data_, of.weight);
    counted_layer_ = layer;
  }
  return counted_before_.at(static_cast<std::size_t>(row));
}

kernels::CsrRows NetworkReader::read_rows(std::int64_t layer, Range rows,
                                          kernels::CsrRows reuse) const {
  const Layer& of = network_.layers.at(static_cast<std::size_t>(layer));
  return of.has_weights() ? io::read_rows(data_, of.weight, rows, std::move(reuse))
                          : kernels::CsrRows();
}

std::vector<float> NetworkReader::read_bias(std::int64_t layer, Range rows) const {
  const Layer& of = network_.layers.at(static_cast<std::size_t>(layer));
  if (of.bias == BiasKind::kNone) {
    return {};
  }
  expects(rows.begin >= 0 && rows.size() >= 0 && rows.end <= of.weight.rows,
          "biases of rows of the layer are read");
  const bool iso = of.bias == BiasKind::kIso;
  const std::string path = group_of_layer(layer) + "/bias/values";
  const std::int64_t first = iso ? 0 : rows.begin;
  std::vector<float> bias(iso ? 1 : static_cast<std::size_t>(rows.size()));
  data_.read(data_.catalog().dataset(path), first, bias);
  for (std::size_t i = 0; i < bias.size(); ++i) {
    if (!std::isfinite(bias[i])) {
      throw Error(ExitStatus::kBadData,
                  text(data_.catalog().file, ": ", path, "[", first + static_cast<std::int64_t>(i),
                       "] is ", bias[i], "; a finite number would be right"));
    }
  }
  return bias;
}

kernels::CsrRows NetworkReader::read_connections(std::int64_t layer, Range neurons,
                                                 kernels::CsrRows reuse) const {
  const Layer& of = network_.layers.at(static_cast<std::size_t>(layer));
  expects(neurons.begin >= 0 && neurons.begin <= neurons.end && neurons.end <= of.outputs(),
          "neurons of the layer are asked for");
  using kernels::Pooling;
  switch (of.kind) {
    case LayerKind::kConnections:
      return read_rows(layer, neurons, std::move(reuse));
    case LayerKind::kConvolution:
      return kernels::convolution_rows(of.window, read_rows(layer, channels_of(of, neurons)),
                                       neurons.begin, neurons.end, std::move(reuse));
    case LayerKind::kAveragePool:
      return kernels::pooling_rows(of.window, Pooling::kAverage, neurons.begin, neurons.end,
                                   std::move(reuse));
    case LayerKind::kMaxPool:
    case LayerKind::kFlatten:
      break;
  }
  // A flat layer takes each neuron by itself: a window of one tap.
  return kernels::pooling_rows(of.window, Pooling::kMaximum, neurons.begin, neurons.end,
                               std::move(reuse));
}

std::int64_t NetworkReader::connections_before(std::int64_t layer, std::int64_t neuron) const {
  const Layer& of = network_.layers.at(static_cast<std::size_t>(layer));
  if (of.kind == LayerKind::kConnections) {
    return nnz_before(layer, neuron);
  }
  if (of.kind != LayerKind::kConvolution) {
    return neuron * of.window.taps();
  }
  const std::int64_t positions = of.window.positions();
  const std::int64_t channel = neuron / positions;
  const std::int64_t before = nnz_before(layer, channel);
  const std::int64_t rest = neuron % positions;
  return before * positions + (rest == 0 ? 0 : (nnz_before(layer, channel + 1) - before) * rest);
}

std::vector<float> NetworkReader::read_neuron_bias(std::int64_t layer, Range neurons) const {
  const Layer& of = network_.layers.at(static_cast<std::size_t>(layer));
  if (of.kind != LayerKind::kConvolution) {
    return read_bias(layer, neurons);
  }
  const Range channels = channels_of(of, neurons);
  std::vector<float> by_channel = read_bias(layer, channels);
  if (of.bias != BiasKind::kFull) {
    return by_channel;
  }
  std::vector<float> bias;
  bias.reserve(static_cast<std::size_t>(neurons.size()));
  for (std::int64_t neuron = neurons.begin; neuron < neurons.end; ++neuron) {
    const std::int64_t channel = neuron / of.window.positions();
    bias.push_back(by_channel[static_cast<std::size_t>(channel - channels.begin)]);
  }
  return bias;
}

std::vector<float> NetworkReader::read_scaling(const std::string& name) const {
  for (const Scaling& scaling : scalings_of(network_)) {
    if (scaling.present && name == scaling.name) {
      std::vector<float> values(static_cast<std::size_t>(scaling.width));
      data_.read(data_.catalog().dataset("/" + name), 0, values);
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) {
          throw Error(ExitStatus::kBadData, text(data_.catalog().file, ": /", name, "[", i, "] is ",
                                                 values[i], "; a finite number would be right"));
        }
      }
      return values;
    }
  }
  expects(false, "a scaling that the network has is read");
  return {};
}

NetworkWriter::NetworkWriter(const Comm& comm, const std::string& path, const Network& network,
                             Provenance provenance, OutputOptions options)
    : network_(network), file_(comm, path, std::move(provenance), options) {
  locally(comm, "planning a network", [&] {
    expect_sound(network_);
    for (std::size_t id = 0; id < network_.layers.size(); ++id) {
      Layer& layer = network_.layers[id];
      const std::string group = group_of_layer(static_cast<std::int64_t>(id));
      layer.weight.group = group + "/weight";
      weights_.emplace_back();
      if (layer.has_weights()) {
        weights_.back().emplace(file_, layer.weight);
      } else {
        file_.add_group(group);
      }
      add_layer_attributes(file_, group, layer);
      biases_.push_back(add_bias(file_, group, layer));
    }
    for (const Scaling& scaling : scalings_of(network_)) {
      if (scaling.present) {
        scalings_[scaling.name] =
            file_.add_dataset(text("/", scaling.name), kFloat32, {scaling.width});
      }
    }
    progress_.resize(network_.layers.size());
  });
  file_.create();
}

void NetworkWriter::write_layer(std::int64_t layer, const kernels::CsrRows& rows,
                                std::span<const float> bias) {
  const Comm& comm = file_.comm();
  const auto id = static_cast<std::size_t>(layer);
  const bool turned = network_.layers.at(id).weight.format == MatrixFormat::kCsc;
  const std::int64_t stored = locally(comm, "writing a layer", [&] {
    const BiasKind kind = network_.layers[id].bias;
    const std::int64_t biases = turned || kind == BiasKind::kNone ? 0
                                : kind == BiasKind::kIso          ? 1
                                                                  : rows.rows();
    expects(std::ssize(bias) == biases, "a layer's biases are as many as its kind says");
    return stored_values(network_.layers[id].weight, rows);
  });
  if (!weights_[id]) {
    return;
  }
  Progress& progress = progress_[id];
  const std::int64_t before = progress.stored + comm.sum_before(stored);
  weights_[id]->write_rows(rows, before);
  progress.stored += comm.sum(stored);
  if (!turned) {
    write_bias(layer, rows.first_row, bias);
  }
}

void NetworkWriter::write_bias(std::int64_t layer, std::int64_t first,
                               std::span<const float> bias) {
  const auto id = static_cast<std::size_t>(layer);
  Progress& progress = progress_[id];
  if (network_.layers[id].bias == BiasKind::kIso && !progress.iso_bias) {
    progress.iso_bias = true;
    file_.write(biases_[id], 0, std::as_bytes(bias.first(file_.comm().rank() == 0 ? 1 : 0)));
  } else if (network_.layers[id].bias == BiasKind::kFull) {
    file_.write(biases_[id], first, std::as_bytes(bias));
  }
}

void NetworkWriter::write_scaling(const std::string& name, std::span<const float> values) {
  const int handle = locally(file_.comm(), "writing a scaling", [&] {
    expects(scalings_.contains(name), "a planned scaling is written");
    return scalings_.at(name);
  });
  // Everybody has all of it; one writes.
  file_.write(handle, 0, std::as_bytes(values.first(file_.comm().rank() == 0 ? values.size() : 0)));
}

void NetworkWriter::copy_scalings(const NetworkReader& from) {
  for (const Scaling& scaling : scalings_of(from.network())) {
    if (scaling.present) {
      const auto values =
          locally(file_.comm(), "reading scales", [&] { return from.read_scaling(scaling.name); });
      write_scaling(scaling.name, values);
    }
  }
}

void NetworkWriter::finish() { file_.finish(); }

}  // namespace espalier::io
