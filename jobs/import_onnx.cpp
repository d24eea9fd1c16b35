// From an ONNX model to a network.
#include "framework/agree.hpp"
#include "io/checksum.hpp"
#include "io/input_file.hpp"
#include "io/onnx.hpp"
#include "jobs/import.hpp"
#include "jobs/import_layers.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

struct OnnxInput {
  io::OnnxChain chain;
  std::int64_t bytes = 0;
};

OnnxInput open_model(const Options& options) {
  const auto models = options.texts("model");
  if (models.size() != 1) {
    throw options.fault("model", "is one file for onnx");
  }
  OnnxInput input;
  input.chain = io::open_onnx(models[0]);
  for (const std::string& file : input.chain.files) {
    input.bytes += io::InputFile(file).size();
  }
  return input;
}

// The layers with their sources, which the chain keeps.
std::vector<LayerInput> make_layers(const Options& options, const io::OnnxChain& chain) {
  std::vector<LayerInput> layers;
  for (const io::OnnxLayer& found : chain.layers) {
    LayerInput input;
    input.layer = found.layer;
    input.layer.weight.format = layout_option(options);
    input.weight = found.weight.get();
    input.read_bias = [bias = &found.bias](Range rows) {
      return std::vector<float>(bias->begin() + rows.begin, bias->begin() + rows.end);
    };
    layers.push_back(std::move(input));
  }
  return layers;
}

OutputPlan plan_network(Context& context, const OnnxInput& input) {
  OutputPlan plan;
  plan.path = context.options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "import";
  plan.provenance.options = {{"from", "onnx"},
                             {"layout", io::to_string(layout_option(context.options))}};
  plan.what = text("a network of ", counted(std::ssize(input.chain.layers), "layer"), " from ",
                   spelled_bytes(input.bytes), " of ONNX");
  plan.digest_inputs = [&context, &input] {
    return std::vector{io::digest_files(context.world, input.chain.files)};
  };
  return plan;
}

}  // namespace

ExitStatus import_onnx(Context& context) {
  const OnnxInput input =
      locally(context.world, "opening a model", [&] { return open_model(context.options); });
  OutputPlan plan = plan_network(context, input);
  if (begin_output(context, plan)) {
    std::vector<LayerInput> layers = make_layers(context.options, input.chain);
    write_layers(context, plan, layers, input.bytes);
  }
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
