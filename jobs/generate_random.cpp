// generate random: an unstructured network with normal weights.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/random.hpp"
#include "io/network_file.hpp"
#include "jobs/generate.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/rounds.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kMostWidth = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kMostLayers = 1 << 20;
constexpr std::int64_t kRoundBytes = INT64_C(16) << 20;  // of weights on a rank at a time
constexpr double kBiasDeviation = 0.01;

// Each layer has streams of its own.
enum Stream : std::uint32_t { kPlaces, kWeights, kBiases, kStreams };

std::uint32_t stream_of(std::int64_t layer, Stream stream) {
  return narrow<std::uint32_t>(layer) * kStreams + stream;
}

struct RandomSettings {
  std::vector<std::int64_t> widths;
  double density = 0;
  std::uint64_t seed = 0;
  kernels::Epilogue epilogue;
  kernels::Activation last = kernels::Activation::kRelu;
  bool bias = true;
  io::MatrixFormat layout = io::MatrixFormat::kCsr;

  std::int64_t layers() const { return std::ssize(widths) - 1; }
  std::int64_t inputs(std::int64_t layer) const { return widths[static_cast<std::size_t>(layer)]; }
  std::int64_t outputs(std::int64_t layer) const { return inputs(layer + 1); }
};

std::vector<std::int64_t> width_list(const Options& options) {
  const std::string spelled = options.text("layers");
  std::vector<std::int64_t> widths;
  for (std::size_t at = 0; at <= spelled.size();) {
    const std::size_t end = std::min(spelled.find(',', at), spelled.size());
    const auto width = read_integer(spelled.substr(at, end - at));
    if (!width || *width < 1 || *width > kMostWidth) {
      throw options.fault("layers", text("'", spelled.substr(at, end - at),
                                         "' is no width, right is "
                                         "1..",
                                         kMostWidth));
    }
    widths.push_back(*width);
    at = end + 1;
  }
  if (widths.size() < 2 || widths.size() > kMostLayers) {
    throw options.fault("layers", text("'", spelled, "' has ", widths.size(),
                                       " widths, right are two or more, as in 784,4096,10"));
  }
  return widths;
}

kernels::Activation activation_option(const Options& options, const std::string& name) {
  const std::string spelled = options.text(name);
  const auto found = io::parse_activation(spelled);
  if (!found) {
    throw options.fault(name, text("'", spelled,
                                   "' is no activation; right is identity, relu, "
                                   "leaky_relu, elu, gelu, silu, sigmoid, tanh or softmax"));
  }
  return *found;
}

RandomSettings random_settings(const Options& options) {
  RandomSettings settings;
  settings.widths = width_list(options);
  settings.density = density_option(options);
  settings.seed = seed_option(options);
  settings.layout = layout_option(options);
  settings.bias = !options.flag("no-bias");
  kernels::Epilogue& epilogue = settings.epilogue;
  epilogue.activation = activation_option(options, "activation");
  settings.last = epilogue.activation;
  if (options.given("last-activation")) {
    settings.last = activation_option(options, "last-activation");
  }
  if (epilogue.activation == kernels::Activation::kSoftmax) {
    throw options.fault("activation",
                        "softmax stands after the last layer only; say "
                        "--last-activation softmax");
  }
  epilogue.bias_where_nonzero = options.choice("bias-mode", {"always", "nonzero"}) == "nonzero";
  if (options.given("clamp")) {
    epilogue.has_clamp = true;
    epilogue.clamp = float_option(options, "clamp");
  }
  return settings;
}

// Leaky ReLU and ELU have parameters of their own.
float alpha_of(const Options& options, kernels::Activation activation) {
  if (options.given("alpha")) {
    return float_option(options, "alpha");
  }
  return activation == kernels::Activation::kElu ? 1.0F : 0.01F;
}

RandomRow row_of(const RandomSettings& settings, std::int64_t layer, std::int64_t row) {
  return {settings.seed, stream_of(layer, kPlaces), row, settings.inputs(layer), settings.density};
}

// The first pass: how many weights there are.
io::Network describe_network(Context& context, const RandomSettings& settings) {
  const PhaseTimer timer(context.times, Phase::kCompute);
  const Comm& world = context.world;
  io::Network network;
  Progress progress("counting", settings.layers(), "layers");
  std::vector<std::int64_t> counts;
  locally(world, "counting weights", [&] {
    for (std::int64_t id = 0; id < settings.layers(); ++id) {
      const Range mine = split_evenly(settings.outputs(id), world.ranks(), world.rank());
      counts.push_back(
          count_rows(mine, [&](std::int64_t row) { return row_of(settings, id, row).count(); }));
      progress.done(id + 1);
    }
  });
  world.sum(counts);
  for (std::int64_t id = 0; id < settings.layers(); ++id) {
    io::Layer layer;
    layer.name = text("fc", id + 1);
    layer.weight.format = settings.layout;
    layer.weight.rows = settings.outputs(id);
    layer.weight.cols = settings.inputs(id);
    layer.weight.stored = counts[static_cast<std::size_t>(id)];
    layer.bias = settings.bias ? io::BiasKind::kFull : io::BiasKind::kNone;
    layer.epilogue = settings.epilogue;
    if (id + 1 == settings.layers()) {
      layer.epilogue.activation = settings.last;
    }
    layer.epilogue.alpha = alpha_of(context.options, layer.epilogue.activation);
    layer.inputs = {id == 0 ? io::kNetworkInput : id - 1};
    network.layers.push_back(layer);
  }
  return network;
}

kernels::CsrRows draw_rows(const RandomSettings& settings, std::int64_t layer, Range range) {
  const std::int64_t inputs = settings.inputs(layer);
  const double deviation = std::sqrt(2 / (settings.density * static_cast<double>(inputs)));
  return make_rows(
      range, inputs, std::nullopt,
      [&](std::int64_t row, std::vector<std::uint32_t>& indices, std::vector<float>& values) {
        row_of(settings, layer, row).draw(indices);
        RandomStream random(settings.seed, stream_of(layer, kWeights),
                            static_cast<std::uint64_t>(row));
        while (values.size() < indices.size()) {
          values.push_back(random_weight(random, deviation));
        }
      });
}

std::vector<float> draw_biases(const RandomSettings& settings, std::int64_t layer, Range range) {
  std::vector<float> biases;
  for (std::int64_t row = range.begin; settings.bias && row < range.end; ++row) {
    RandomStream random(settings.seed, stream_of(layer, kBiases), static_cast<std::uint64_t>(row));
    biases.push_back(static_cast<float>(random.next_normal() * kBiasDeviation));
  }
  return biases;
}

OutputPlan plan_output(const Options& options, const RandomSettings& settings) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "generate";
  nlohmann::json& canonical = plan.provenance.options;
  canonical = {{"what", "random"},
               {"layers", settings.widths},
               {"density", settings.density},
               {"seed", settings.seed},
               {"activation", io::to_string(settings.epilogue.activation)},
               {"last-activation", io::to_string(settings.last)},
               {"bias", settings.bias},
               {"bias-mode", settings.epilogue.bias_where_nonzero ? "nonzero" : "always"},
               {"layout", io::to_string(settings.layout)}};
  if (settings.epilogue.has_clamp) {
    canonical["clamp"] = settings.epilogue.clamp;
  }
  if (options.given("alpha")) {
    canonical["alpha"] = options.number("alpha");
  }
  plan.what = text("a random network of ", counted(settings.layers(), "layer"), " of density ",
                   rounded(settings.density), ", widths ", options.text("layers"));
  double weights = 0;
  for (std::int64_t layer = 0; layer < settings.layers(); ++layer) {
    weights += settings.density * static_cast<double>(settings.inputs(layer)) *
               static_cast<double>(settings.outputs(layer));
  }
  plan.about_nnz = static_cast<std::int64_t>(std::min(weights, 9e18));
  return plan;
}

// The second pass.
void write_layers(Context& context, const RandomSettings& settings, io::NetworkWriter& writer) {
  const Comm& world = context.world;
  Progress progress("generating", settings.layers(), "layers");
  for (std::int64_t layer = 0; layer < settings.layers(); ++layer) {
    const double row_bytes = 8 * settings.density * static_cast<double>(settings.inputs(layer)) + 8;
    const auto most = static_cast<std::int64_t>(static_cast<double>(kRoundBytes) / row_bytes) + 1;
    const Rounds rounds{settings.outputs(layer), world.ranks(), most};
    for (std::int64_t round = 0; round < rounds.rounds(); ++round) {
      const Range mine = rounds.range(round, world.rank());
      std::vector<float> biases;
      const kernels::CsrRows rows = locally(world, "generating rows", [&] {
        const PhaseTimer timer(context.times, Phase::kCompute);
        biases = draw_biases(settings, layer, mine);
        return draw_rows(settings, layer, mine);
      });
      const PhaseTimer timer(context.times, Phase::kWrite);
      writer.write_layer(layer, rows, biases);
    }
    progress.done(layer + 1);
  }
}

}  // namespace

float random_weight(RandomStream& random, double deviation) {
  for (;;) {
    const auto weight = static_cast<float>(random.next_normal() * deviation);
    if (weight != 0) {
      return weight;
    }
  }
}

ExitStatus generate_random(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const RandomSettings settings =
      locally(world, "reading options", [&] { return random_settings(context.options); });
  OutputPlan plan = plan_output(context.options, settings);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  const io::Network network = describe_network(context, settings);
  io::NetworkWriter writer(world, plan.path, network, plan.provenance, context.output_options());
  write_layers(context, settings, writer);
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
  }
  std::int64_t rows = 0;
  for (const io::Layer& layer : network.layers) {
    rows += layer.weight.rows;
  }
  context.report.set("layers", settings.layers());
  context.report.set("rows", rows);
  end_output(context, plan, {network.nnz(), now_seconds() - start, 0, writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
