// generate radixnet: the GraphChallenge topology, streamed layer by layer.
#include <cmath>
#include <limits>
#include <optional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/graphchallenge.hpp"
#include "io/network_file.hpp"
#include "jobs/generate.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/radixnet.hpp"
#include "jobs/rounds.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
constexpr std::int64_t kRowsAtATime = 1 << 20;  // on a rank

struct RadixSettings {
  std::int64_t neurons = 0, layers = 0;
  std::uint64_t seed = 0;
  float bias = 0, clamp = io::kChallengeClamp;
  io::MatrixFormat layout = io::MatrixFormat::kCsr;
};

RadixSettings radix_settings(const Options& options) {
  RadixSettings settings;
  settings.neurons = options.integer("neurons", 1, kMost);
  settings.layers = options.integer("layers", 1);
  settings.seed = seed_option(options);
  settings.layout = layout_option(options);
  settings.bias =
      options.given("bias") ? float_option(options, "bias") : radixnet_bias(settings.neurons);
  if (options.given("clamp")) {
    settings.clamp = float_option(options, "clamp");
  }
  return settings;
}

io::Network describe_network(const RadixSettings& settings) {
  io::Network network;
  for (std::int64_t id = 0; id < settings.layers; ++id) {
    io::Layer layer;
    layer.name = text("n", settings.neurons, "-l", id + 1);
    layer.weight.format = settings.layout;
    layer.weight.rows = layer.weight.cols = settings.neurons;
    layer.weight.stored = settings.neurons * kRadixFan;
    layer.weight.iso = true;
    layer.bias = io::BiasKind::kIso;
    layer.epilogue.activation = kernels::Activation::kRelu;
    layer.epilogue.has_clamp = true;
    layer.epilogue.clamp = settings.clamp;
    layer.epilogue.bias_where_nonzero = true;
    layer.inputs = {id == 0 ? io::kNetworkInput : id - 1};
    network.layers.push_back(layer);
  }
  return network;
}

OutputPlan plan_output(const Options& options, const RadixSettings& settings) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "generate";
  plan.provenance.options = {{"what", "radixnet"},
                             {"neurons", settings.neurons},
                             {"layers", settings.layers},
                             {"seed", settings.seed},
                             {"bias", settings.bias},
                             {"clamp", settings.clamp},
                             {"layout", io::to_string(settings.layout)}};
  plan.what = text("a radixnet of ", counted(settings.layers, "layer"), " of ", settings.neurons,
                   " x ", settings.neurons);
  plan.about_nnz = settings.layers * settings.neurons * kRadixFan;
  return plan;
}

}  // namespace

float radixnet_bias(std::int64_t neurons) {
  const auto usual = io::challenge_bias(neurons);
  const double fourfold = std::log2(static_cast<double>(neurons) / 1024) / 2;
  return usual ? *usual : static_cast<float>(-0.30 - 0.05 * fourfold);
}

ExitStatus generate_radixnet(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  std::optional<RadixNet> source;
  const RadixSettings settings = locally(world, "reading options", [&] {
    const RadixSettings read = radix_settings(context.options);
    source.emplace(read.neurons, read.seed);
    return read;
  });
  OutputPlan plan = plan_output(context.options, settings);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  const io::Network network =
      locally(world, "describing the network", [&] { return describe_network(settings); });
  io::NetworkWriter writer(world, plan.path, network, plan.provenance, context.output_options());
  const Rounds rounds{settings.neurons, world.ranks(), kRowsAtATime};
  const std::vector<float> bias = {settings.bias};
  Progress progress("generating", settings.layers, "layers");
  for (std::int64_t layer = 0; layer < settings.layers; ++layer) {
    for (std::int64_t round = 0; round < rounds.rounds(); ++round) {
      const kernels::CsrRows rows = locally(world, "generating rows", [&] {
        const PhaseTimer timer(context.times, Phase::kCompute);
        return source->rows(layer, rounds.range(round, world.rank()));
      });
      const PhaseTimer timer(context.times, Phase::kWrite);
      writer.write_layer(layer, rows, bias);
    }
    progress.done(layer + 1);
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
  }
  context.report.set("layers", settings.layers);
  context.report.set("rows", settings.layers * settings.neurons);
  end_output(context, plan, {network.nnz(), now_seconds() - start, 0, writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
