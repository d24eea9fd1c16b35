// generate lenet: a convolutional network of LeNet-5's shape with normal weights.
#include <cmath>

#include "framework/agree.hpp"
#include "framework/random.hpp"
#include "io/network_file.hpp"
#include "jobs/generate.hpp"
#include "jobs/output_plan.hpp"

namespace espalier::jobs {
namespace {

constexpr double kBiasDeviation = 0.01;

// Each layer has streams of its own.
enum Stream : std::uint32_t { kWeights, kBiases, kStreams };

RandomStream stream_of(std::uint64_t seed, std::int64_t layer, Stream stream, std::int64_t row) {
  return {seed, narrow<std::uint32_t>(layer) * kStreams + stream, static_cast<std::uint64_t>(row)};
}

kernels::Window square(std::int64_t channels, std::int64_t side, std::int64_t kernel,
                       std::int64_t stride, std::int64_t padding) {
  const kernels::WindowAxis axis = {side, kernel, stride, padding, padding, 1};
  return {channels, channels, channels, axis, axis, false};
}

// 5 x 5 filters, all of them.
io::Layer convolution(const char* name, std::int64_t outputs, kernels::Window window) {
  io::Layer layer;
  layer.name = name;
  layer.kind = io::LayerKind::kConvolution;
  window.out_channels = outputs;
  window.groups = 1;
  layer.window = window;
  io::MatrixInfo& weight = layer.weight;
  weight.format = io::MatrixFormat::kFilters;
  weight.filter_height = window.y.kernel;
  weight.filter_width = window.x.kernel;
  weight.rows = outputs;
  weight.cols = window.channels * window.taps();
  weight.stored = weight.rows * weight.cols;
  return layer;
}

io::Layer without_weights(const char* name, io::LayerKind kind, const kernels::Window& window) {
  io::Layer layer;
  layer.name = name;
  layer.kind = kind;
  layer.window = window;
  return layer;
}

io::Layer connections(const char* name, std::int64_t outputs, std::int64_t inputs,
                      io::MatrixFormat layout) {
  io::Layer layer;
  layer.name = name;
  layer.weight.format = layout;
  layer.weight.rows = outputs;
  layer.weight.cols = inputs;
  layer.weight.stored = outputs * inputs;
  return layer;
}

// (1, 28, 28) -> (6, 28, 28) -> (6, 14, 14) -> (16, 10, 10) -> (16, 5, 5) -> 400 -> 120 -> 84 -> 10
io::Network lenet(io::MatrixFormat layout) {
  using io::LayerKind;
  io::Network network;
  network.layers = {convolution("conv1", 6, square(1, 28, 5, 1, 2)),
                    without_weights("pool1", LayerKind::kMaxPool, square(6, 28, 2, 2, 0)),
                    convolution("conv2", 16, square(6, 14, 5, 1, 0)),
                    without_weights("pool2", LayerKind::kMaxPool, square(16, 10, 2, 2, 0)),
                    without_weights("flatten", LayerKind::kFlatten, square(16, 5, 1, 1, 0)),
                    connections("fc1", 120, 400, layout),
                    connections("fc2", 84, 120, layout),
                    connections("fc3", 10, 84, layout)};
  for (std::int64_t id = 0; id < std::ssize(network.layers); ++id) {
    io::Layer& layer = network.layers[static_cast<std::size_t>(id)];
    layer.inputs = {id - 1};
    if (layer.has_weights()) {
      layer.bias = io::BiasKind::kFull;
      layer.epilogue.activation = id + 1 < std::ssize(network.layers)
                                      ? kernels::Activation::kRelu
                                      : kernels::Activation::kIdentity;
    }
  }
  return network;
}

kernels::CsrRows draw_rows(std::uint64_t seed, std::int64_t layer, std::int64_t cols, Range range) {
  const double deviation = std::sqrt(2 / static_cast<double>(cols));
  return make_rows(
      range, cols, std::nullopt,
      [&](std::int64_t row, std::vector<std::uint32_t>& indices, std::vector<float>& values) {
        RandomStream random = stream_of(seed, layer, kWeights, row);
        for (std::int64_t column = 0; column < cols;) {
          const auto weight = static_cast<float>(random.next_normal() * deviation);
          if (weight != 0) {
            indices.push_back(static_cast<std::uint32_t>(column++));
            values.push_back(weight);
          }
        }
      });
}

}  // namespace

ExitStatus generate_lenet(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const std::uint64_t seed = seed_option(context.options);
  const io::MatrixFormat layout = layout_option(context.options);
  const io::Network network = lenet(layout);
  OutputPlan plan;
  plan.path = context.options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "generate";
  plan.provenance.options = {{"what", "lenet"}, {"seed", seed}, {"layout", io::to_string(layout)}};
  plan.what = "a random network of LeNet-5's shape";
  plan.about_nnz = network.nnz();
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  io::NetworkWriter writer(world, plan.path, network, plan.provenance, context.output_options());
  std::int64_t rows = 0;
  for (std::int64_t id = 0; id < std::ssize(network.layers); ++id) {
    const io::MatrixInfo& weight = network.layers[static_cast<std::size_t>(id)].weight;
    const Range mine = split_evenly(weight.rows, world.ranks(), world.rank());
    std::vector<float> biases;
    for (std::int64_t row = mine.begin; row < mine.end; ++row) {
      RandomStream random = stream_of(seed, id, kBiases, row);
      biases.push_back(static_cast<float>(random.next_normal() * kBiasDeviation));
    }
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.write_layer(id, draw_rows(seed, id, weight.cols, mine), biases);
    rows += weight.rows;
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
  }
  context.report.set("layers", std::ssize(network.layers));
  context.report.set("rows", rows);
  end_output(context, plan, {network.nnz(), now_seconds() - start, 0, writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
