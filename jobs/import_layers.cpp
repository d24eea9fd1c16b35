#include "jobs/import_layers.hpp"

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "jobs/matrix_intake.hpp"

namespace espalier::jobs {
namespace {

io::Network describe_network(const std::vector<LayerInput>& layers, const MatrixIntake& intake) {
  io::Network network;
  for (std::size_t id = 0; id < layers.size(); ++id) {
    const io::MatrixSource& source = *layers[id].weight;
    io::Layer layer = layers[id].layer;
    layer.weight.rows = source.rows;
    layer.weight.cols = source.cols;
    if (source.dense) {
      layer.weight.format = io::MatrixFormat::kDmat;
      layer.weight.stored = source.rows * source.cols;
    } else {
      layer.weight.stored = intake.info(id).nnz;
      layer.weight.iso = intake.info(id).iso.has_value();
    }
    network.layers.push_back(layer);
  }
  return network;
}

}  // namespace

void check_widths(const std::vector<LayerInput>& layers) {
  for (std::size_t id = 1; id < layers.size(); ++id) {
    std::int64_t width = 0;
    std::string from;
    for (const std::int64_t input : layers[id].layer.inputs) {
      if (input == io::kNetworkInput) {
        width += layers[0].weight->cols;
        from += from.empty() ? "the input" : " and the input";
        continue;
      }
      const io::MatrixSource& before = *layers.at(static_cast<std::size_t>(input)).weight;
      width += before.rows;
      from += text(from.empty() ? "" : " and ", before.name, " (", before.rows, " x ", before.cols,
                   ")");
    }
    const io::MatrixSource& weight = *layers[id].weight;
    if (width != weight.cols) {
      throw Error(ExitStatus::kBadData,
                  text(weight.name, " is ", weight.rows, " x ", weight.cols, ", but ", from,
                       " before it brings ", width,
                       " values; right are outputs x inputs (--transpose turns all matrices)"));
    }
  }
}

void write_layers(Context& context, const OutputPlan& plan, std::vector<LayerInput>& layers,
                  std::int64_t input_bytes) {
  const Comm& world = context.world;
  const double start = now_seconds();
  locally(world, "joining layers", [&] { check_widths(layers); });
  MatrixIntake intake(context, plan.path);
  for (const LayerInput& input : layers) {
    intake.add(*input.weight);
  }
  intake.join();

  io::NetworkWriter writer(world, plan.path, describe_network(layers, intake), plan.provenance,
                           context.output_options());
  Progress progress("writing", std::ssize(layers), "layers");
  std::int64_t nnz = 0, rows = 0;
  for (std::size_t id = 0; id < layers.size(); ++id) {
    const Rounds& rounds = intake.info(id).rounds;
    for (std::int64_t round = 0; round < rounds.rounds(); ++round) {
      std::vector<float> bias;
      const kernels::CsrRows piece = locally(world, "reading weights", [&] {
        const PhaseTimer timer(context.times, Phase::kRead);
        if (layers[id].layer.bias == io::BiasKind::kFull) {
          bias = layers[id].read_bias(rounds.range(round, world.rank()));
        }
        return intake.read(id, round);
      });
      nnz += piece.nnz();
      const PhaseTimer timer(context.times, Phase::kWrite);
      writer.write_layer(static_cast<std::int64_t>(id), piece, bias);
    }
    rows += layers[id].weight->rows;
    progress.done(static_cast<std::int64_t>(id) + 1);
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
  }
  context.report.set("layers", std::ssize(layers));
  context.report.set("rows", rows);
  end_output(context, plan,
             {world.sum(nnz), now_seconds() - start, input_bytes, writer.bytes_written()});
}

}  // namespace espalier::jobs
