#include "jobs/import_layers.hpp"

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "jobs/matrix_intake.hpp"

namespace espalier::jobs {
namespace {

using Places = std::vector<std::size_t>;  // of layers among the matrices; of those without: any

io::Network describe_network(const std::vector<LayerInput>& layers, const MatrixIntake& intake,
                             const Places& places) {
  io::Network network;
  for (std::size_t id = 0; id < layers.size(); ++id) {
    io::Layer layer = layers[id].layer;
    if (layers[id].weight != nullptr) {
      const io::MatrixSource& source = *layers[id].weight;
      const MatrixIntake::Info& info = intake.info(places[id]);
      layer.weight.rows = source.rows;
      layer.weight.cols = source.cols;
      layer.weight.format = source.dense ? io::MatrixFormat::kDmat : layer.weight.format;
      layer.weight.stored = source.dense ? source.rows * source.cols : info.nnz;
      layer.weight.iso = !source.dense && info.iso.has_value();
      layer.weight.value_type = io::kept_type(source.type);
    }
    network.layers.push_back(layer);
  }
  return network;
}

bool is_connected(const LayerInput& input) {
  return input.layer.kind == io::LayerKind::kConnections;
}
std::int64_t width_of(const LayerInput& input) {
  return is_connected(input) ? input.weight->cols : input.layer.window.inputs();
}
std::int64_t outputs_of(const LayerInput& input) {
  return is_connected(input) ? input.weight->rows : input.layer.window.outputs();
}
std::string name_of(const LayerInput& input) {
  return text(input.weight != nullptr ? input.weight->name : input.layer.name, " (",
              outputs_of(input), " x ", width_of(input), ")");
}

}  // namespace

void check_widths(const std::vector<LayerInput>& layers) {
  for (std::size_t id = 1; id < layers.size(); ++id) {
    std::int64_t width = 0;
    std::string from;
    for (const std::int64_t input : layers[id].layer.inputs) {
      const bool outside = input == io::kNetworkInput;
      const LayerInput& before = layers.at(outside ? 0 : static_cast<std::size_t>(input));
      width += outside ? width_of(before) : outputs_of(before);
      from += text(from.empty() ? "" : " and ", outside ? "the input" : name_of(before));
    }
    if (width != width_of(layers[id])) {
      throw Error(ExitStatus::kBadData,
                  text(name_of(layers[id]), " does not fit: ", from, " before it brings ", width,
                       " values; right are outputs x inputs (--transpose turns all matrices)"));
    }
  }
}

void write_layers(Context& context, const OutputPlan& plan, std::vector<LayerInput>& layers,
                  std::int64_t input_bytes) {
  const Comm& world = context.world;
  const double start = now_seconds();
  locally(world, "joining layers", [&] { check_widths(layers); });
  std::vector<const io::MatrixSource*> sources;
  Places places(layers.size());
  for (std::size_t id = 0; id < layers.size(); ++id) {
    if (layers[id].weight != nullptr) {
      places[id] = sources.size();
      sources.push_back(layers[id].weight);
    }
  }
  MatrixIntake intake(context, plan, sources);
  intake.fill();

  io::NetworkWriter writer(world, plan.path, describe_network(layers, intake, places),
                           plan.provenance, context.output_options());
  Progress progress("writing", std::ssize(layers), "layers");
  std::int64_t nnz = 0, rows = 0;
  for (std::size_t id = 0; id < layers.size(); ++id) {
    if (layers[id].weight == nullptr) {
      continue;
    }
    const Rounds& rounds = intake.info(places[id]).rounds;
    for (std::int64_t round = 0; round < rounds.rounds(); ++round) {
      std::vector<float> bias;
      const kernels::CsrRows piece = locally(world, "reading weights", [&] {
        const PhaseTimer timer(context.times, Phase::kRead);
        if (layers[id].layer.bias == io::BiasKind::kFull) {
          bias = layers[id].read_bias(rounds.range(round, world.rank()));
        }
        return intake.take(places[id], round);
      });
      nnz += piece.nnz();
      {
        const PhaseTimer timer(context.times, Phase::kWrite);
        writer.write_layer(static_cast<std::int64_t>(id), piece, bias);
      }
      intake.after_round(places[id], round);
    }
    rows += layers[id].weight->rows;
    progress.done(static_cast<std::int64_t>(id) + 1);
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
    intake.finish();
  }
  context.report.set("layers", std::ssize(layers));
  context.report.set("rows", rows);
  end_output(context, plan,
             {world.sum(nnz), now_seconds() - start, input_bytes, writer.bytes_written()});
}

}  // namespace espalier::jobs
