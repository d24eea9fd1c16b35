// generate xmc: an output layer of very many labels, of which groups may share their inputs.
#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/random.hpp"
#include "io/network_file.hpp"
#include "jobs/generate.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/rounds.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
constexpr std::int64_t kRoundWeights = std::int64_t{2} << 20;  // on a rank at a time

enum Stream : std::uint32_t { kPlaces, kWeights };

struct LabelSettings : LabelLayer {
  io::MatrixFormat layout = io::MatrixFormat::kCsr;
};

LabelSettings label_settings(const Options& options) {
  LabelSettings settings;
  settings.labels = options.integer("labels", 1, kMost);
  settings.hidden = options.integer("hidden", 1, kMost);
  settings.fan_in = options.integer("fan-in", 1, settings.hidden);
  settings.group = options.given("group") ? options.integer("group", 1, settings.labels) : 1;
  settings.seed = seed_option(options);
  settings.layout = layout_option(options);
  return settings;
}

io::Network describe_network(const LabelSettings& settings) {
  io::Layer layer;
  layer.name = "labels";
  layer.weight.format = settings.layout;
  layer.weight.rows = settings.labels;
  layer.weight.cols = settings.hidden;
  layer.weight.stored = settings.labels * settings.fan_in;
  layer.bias = io::BiasKind::kNone;
  layer.epilogue.activation = kernels::Activation::kIdentity;
  layer.inputs = {io::kNetworkInput};
  io::Network network;
  network.layers.push_back(layer);
  return network;
}

OutputPlan plan_output(const Options& options, const LabelSettings& settings) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "generate";
  plan.provenance.options = {{"what", "xmc"},
                             {"labels", settings.labels},
                             {"hidden", settings.hidden},
                             {"fan-in", settings.fan_in},
                             {"group", settings.group},
                             {"seed", settings.seed},
                             {"layout", io::to_string(settings.layout)}};
  plan.what =
      text("an output layer of ", counted(settings.labels, "label"), " on ", settings.hidden,
           " neurons, ", settings.fan_in, " inputs a label shared by ", settings.group);
  plan.about_nnz = settings.labels * settings.fan_in;
  return plan;
}

// The fan_in inputs of a group of labels, ascending: each set of so many is equally likely.
void draw_inputs(const LabelLayer& settings, std::int64_t group,
                 std::vector<std::uint32_t>& inputs) {
  RandomStream random(settings.seed, kPlaces, static_cast<std::uint64_t>(group));
  inputs.clear();
  for (std::int64_t end = settings.hidden - settings.fan_in; end < settings.hidden; ++end) {
    const double unit = random.next_unit();
    auto input = static_cast<std::uint32_t>(
        std::min(static_cast<std::int64_t>(unit * static_cast<double>(end + 1)), end));
    auto place = std::lower_bound(inputs.begin(), inputs.end(), input);
    if (place != inputs.end() && *place == input) {
      input = static_cast<std::uint32_t>(end);  // the largest so far
      place = inputs.end();
    }
    inputs.insert(place, input);
  }
}

}  // namespace

kernels::CsrRows LabelLayer::rows(Range range) const {
  const double deviation = 1 / std::sqrt(static_cast<double>(fan_in));
  return make_rows(
      range, hidden, std::nullopt,
      [&](std::int64_t label, std::vector<std::uint32_t>& indices, std::vector<float>& values) {
        std::vector<std::uint32_t> inputs;
        draw_inputs(*this, label / group, inputs);
        indices.insert(indices.end(), inputs.begin(), inputs.end());
        RandomStream random(seed, kWeights, static_cast<std::uint64_t>(label));
        while (values.size() < indices.size()) {
          values.push_back(random_weight(random, deviation));
        }
      });
}

ExitStatus generate_xmc(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const LabelSettings settings =
      locally(world, "reading options", [&] { return label_settings(context.options); });
  OutputPlan plan = plan_output(context.options, settings);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  const io::Network network = describe_network(settings);
  io::NetworkWriter writer(world, plan.path, network, plan.provenance, context.output_options());
  const Rounds rounds{settings.labels, world.ranks(), kRoundWeights / settings.fan_in + 1};
  Progress progress("generating", settings.labels, "labels");
  for (std::int64_t round = 0; round < rounds.rounds(); ++round) {
    const Range mine = rounds.range(round, world.rank());
    const kernels::CsrRows rows = locally(world, "generating rows", [&] {
      const PhaseTimer timer(context.times, Phase::kCompute);
      return settings.rows(mine);
    });
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.write_layer(0, rows, {});
    progress.done(std::min(settings.labels, rounds.range(round, world.ranks() - 1).end));
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
  }
  context.report.set("layers", 1);
  context.report.set("rows", settings.labels);
  end_output(context, plan, {network.nnz(), now_seconds() - start, 0, writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
