// export NET --to safetensors: a network's weights as dense tensors, alone or in a model's place.
#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/checksum.hpp"
#include "io/model_layers.hpp"
#include "io/model_output.hpp"
#include "io/network_file.hpp"
#include "jobs/export_model.hpp"
#include "jobs/model_copy.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/pieces.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

constexpr const char* kWeight = ".weight";
constexpr const char* kBias = ".bias";

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// A tensor that a layer fills: of the file to write, with the position of its first byte there.
struct Target {
  std::size_t file = 0;
  std::int64_t position = 0;
  io::WeightType type = io::WeightType::kF32;
};
struct LayerTargets {
  std::optional<Target> weight, bias;
};

// What is going to be written, and which of it comes from the network.
struct Layout {
  io::PlannedModel planned;
  std::vector<LayerTargets> layers;
  std::vector<ModelStretch> replaced;  // of the base
};

// The name of a layer's tensors without ".weight".
std::string stem_of(const io::Layer& layer) {
  return layer.name.ends_with(kWeight)
             ? layer.name.substr(0, layer.name.size() - std::string_view(kWeight).size())
             : layer.name;
}

std::vector<std::int64_t> shape_of(const io::Layer& layer) {
  const kernels::Window& window = layer.window;
  return layer.kind == io::LayerKind::kConvolution
             ? std::vector{window.out_channels, window.group_channels(), window.y.kernel,
                           window.x.kernel}
             : std::vector{layer.weight.rows, layer.weight.cols};
}

Layout layout_alone(const io::Network& network, const std::string& path) {
  std::vector<io::Tensor> tensors;
  for (const io::Layer& layer : network.layers) {
    if (layer.has_weights()) {
      const io::WeightType type = io::weight_type_of(layer.weight.value_type);
      tensors.push_back(
          {stem_of(layer) + kWeight, std::string(io::dtype_of(type)), shape_of(layer)});
    }
    if (layer.bias != io::BiasKind::kNone) {
      tensors.push_back({stem_of(layer) + kBias, "F32", {layer.weight.rows}});
    }
  }
  std::map<std::string, int> names;
  for (const io::Tensor& tensor : tensors) {
    if (++names[tensor.name] > 1) {
      throw Error(ExitStatus::kBadData, text("two layers would give the tensor ", tensor.name,
                                             "; names occur once in safetensors"));
    }
  }
  Layout layout;
  const io::TensorHeader header = io::make_tensor_header(std::move(tensors), {});
  auto tensor = header.tensors.begin();
  for (const io::Layer& layer : network.layers) {
    LayerTargets targets;
    if (layer.has_weights()) {
      targets.weight = Target{0, header.data_start() + (tensor++)->offset,
                              io::weight_type_of(layer.weight.value_type)};
    }
    if (layer.bias != io::BiasKind::kNone) {
      targets.bias = Target{0, header.data_start() + (tensor++)->offset};
    }
    layout.layers.push_back(targets);
  }
  const bool file = path.ends_with(".safetensors");
  layout.planned.names = {file ? path.substr(path.rfind('/') + 1) : "model.safetensors"};
  layout.planned.headers = {header};
  return layout;
}

// Tensor name -> its place.
std::map<std::string, io::TensorPlace> places_of(const io::Model& base) {
  std::map<std::string, io::TensorPlace> places;
  for (std::size_t f = 0; f < base.files.size(); ++f) {
    for (std::size_t t = 0; t < base.files[f].header.tensors.size(); ++t) {
      places.emplace(base.files[f].header.tensors[t].name, io::TensorPlace{f, t});
    }
  }
  return places;
}

Target target_in(const io::Model& base, io::TensorPlace place, std::int64_t rows,
                 std::int64_t count) {
  const io::Tensor& tensor = base.tensor(place);
  const auto type = io::weight_type_of(tensor.dtype);
  if (!type || tensor.shape.empty() || tensor.shape[0] != rows || tensor.count() != count) {
    throw Error(
        ExitStatus::kBadData,
        text(base.files[place.file].path, ": tensor ", io::in_quotes(tensor.name, 100), " is ",
             tensor.dtype, " of ", tensor.count(), " numbers; BF16, F16, F32 or F64 of ", rows,
             " x ", count / rows, " would be right"));
  }
  return {place.file, base.position(place), *type};
}

Layout layout_in(const io::Network& network, const io::Model& base) {
  const auto places = places_of(base);
  Layout layout;
  layout.planned = plan_model(base);
  for (const io::Layer& layer : network.layers) {
    if (!layer.has_weights()) {
      layout.layers.emplace_back();
      continue;
    }
    auto weight = places.find(layer.name);
    weight = weight == places.end() ? places.find(stem_of(layer) + kWeight) : weight;
    if (weight == places.end()) {
      throw Error(ExitStatus::kBadData, text(base.place, ": has no tensor ", stem_of(layer),
                                             kWeight, " for layer ", layer.name));
    }
    LayerTargets targets;
    targets.weight =
        target_in(base, weight->second, layer.weight.rows, layer.weight.rows * layer.weight.cols);
    layout.replaced.push_back(stretch_of(base, weight->second));
    if (layer.bias != io::BiasKind::kNone) {
      const auto bias = places.find(stem_of(layer) + kBias);
      if (bias == places.end()) {
        throw Error(ExitStatus::kBadData, text(base.place, ": has no tensor ", stem_of(layer),
                                               kBias, " for the bias of layer ", layer.name));
      }
      targets.bias = target_in(base, bias->second, layer.weight.rows, layer.weight.rows);
      layout.replaced.push_back(stretch_of(base, bias->second));
    }
    layout.layers.push_back(targets);
  }
  std::sort(layout.replaced.begin(), layout.replaced.end(),
            [](const ModelStretch& a, const ModelStretch& b) {
              return std::pair(a.file, a.begin) < std::pair(b.file, b.begin);
            });
  return layout;
}

void write_layers(Context& context, const io::NetworkReader& reader, const Layout& layout,
                  io::ModelOutput& output) {
  const Comm& world = context.world;
  const io::Network& network = reader.network();
  const std::int64_t memory_bytes = context.memory_per_rank();
  const Pieces pieces = locally(world, "planning", [&] {
    return Pieces(network, world.ranks(), plan_pieces(memory_bytes),
                  [&](std::int64_t layer, std::int64_t row) {
                    return row * network.layers[to_size(layer)].weight.cols;
                  });
  });
  Progress progress("writing weights", pieces.count(), "pieces");
  locally(world, "writing weights", [&] {
    for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
      const LayerTargets& targets = layout.layers[to_size(layer)];
      if (!targets.weight) {
        continue;
      }
      const std::int64_t cols = network.layers[to_size(layer)].weight.cols;
      for (std::int64_t round = 0; round < pieces.rounds(layer); ++round) {
        const PhaseTimer timer(context.times, Phase::kWrite);
        const Range rows = pieces.rows(layer, round, world.rank());
        const Target& weight = *targets.weight;
        output.write(weight.file, weight.position + rows.begin * cols * io::bytes_of(weight.type),
                     spread_rows(weight.type, reader.read_rows(layer, rows)));
        if (targets.bias) {
          std::vector<float> bias = reader.read_bias(layer, rows);
          bias.resize(to_size(rows.size()), bias.empty() ? 0.0F : bias[0]);
          std::vector<std::byte> stored(bias.size() * to_size(io::bytes_of(targets.bias->type)));
          io::from_floats(targets.bias->type, bias, stored);
          output.write(targets.bias->file,
                       targets.bias->position + rows.begin * io::bytes_of(targets.bias->type),
                       stored);
        }
        progress.done(pieces.number(layer, round) + 1);
      }
    }
  });
}

struct Sources {
  io::Catalog catalog;
  std::optional<io::NetworkReader> reader;
  std::optional<io::Model> model;
  std::optional<io::ModelReader> base;
};

OutputPlan describe_output(const Options& options, const Sources& sources) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "model";
  plan.provenance.job = "export";
  plan.provenance.options = {{"to", "safetensors"}};
  plan.what = text(sources.catalog.file, " (",
                   counted(std::ssize(sources.reader->network().layers), "layer"), ", ",
                   grouped(sources.reader->network().nnz()), " stored weights) as dense tensors",
                   sources.base ? text(" in ", sources.model->place) : std::string());
  return plan;
}

void open_sources(Context& context, Sources& sources) {
  const Comm& world = context.world;
  sources.catalog = io::read_catalog(world, context.options.text("result"));
  locally(world, "opening " + sources.catalog.file,
          [&] { sources.reader.emplace(sources.catalog); });
  if (context.options.given("base")) {
    sources.model = io::read_model(world, {context.options.text("base")});
    locally(world, "opening " + sources.model->place,
            [&] { sources.base.emplace(*sources.model); });
  }
}

// Whether there is anything to do.
bool begin_model(Context& context, const Sources& sources, OutputPlan& plan) {
  const io::OutputOptions options = context.output_options();
  const bool exists = !options.force && io::output_exists(context.world, plan.path);
  if (!exists) {
    io::check_model_place(context.world, plan.path, options);
  }
  if (context.options.flag("dry-run")) {
    log_info(text("would write ", plan.path, ": ", plan.what));
    return false;
  }
  plan.provenance.inputs = {io::input_digest(context.world, sources.catalog)};
  if (sources.base) {
    plan.provenance.inputs.push_back(io::digest_files(context.world, sources.model->paths()));
  }
  if (exists &&
      io::stored_model_digest(context.world, plan.path) == io::job_digest(plan.provenance)) {
    log_info(text(plan.path, " has been written by the same job already; nothing to do"));
    return false;
  }
  io::check_model_place(context.world, plan.path, options);
  return true;
}

}  // namespace

ExitStatus export_model(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  Sources sources;
  open_sources(context, sources);
  OutputPlan plan = describe_output(context.options, sources);
  const io::Network& network = sources.reader->network();
  Layout layout = locally(world, "planning", [&] {
    Layout found =
        sources.base ? layout_in(network, *sources.model) : layout_alone(network, plan.path);
    if (plan.path.ends_with(".safetensors") && found.planned.names.size() != 1) {
      throw Error(ExitStatus::kUsage,
                  text("--out ", plan.path, ": the model has ", found.planned.names.size(),
                       " files; the name of a folder would be right"));
    }
    return found;
  });
  if (!begin_model(context, sources, plan)) {
    return ExitStatus::kDone;
  }
  io::ModelOutput output(world, plan.path, layout.planned, context.output_options());
  if (sources.base) {
    copy_parts(context, *sources.base, rest_of(*sources.model, layout.replaced), output);
  }
  write_layers(context, *sources.reader, layout, output);
  output.finish(plan.provenance);
  context.report.add_bytes_read(sources.reader->data().bytes_read() +
                                (sources.base ? sources.base->bytes_read() : 0));
  context.report.set("job_digest", io::job_digest(plan.provenance));
  end_output(context, plan, {network.nnz(), now_seconds() - start, 0, output.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
