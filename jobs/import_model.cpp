// import --from safetensors: a model's weights and biases as the layers of a network file.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/checksum.hpp"
#include "io/model_layers.hpp"
#include "io/network_file.hpp"
#include "jobs/import.hpp"
#include "jobs/layers_file.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/pieces.hpp"
#include "jobs/spelling.hpp"
#include "jobs/unit_run.hpp"

namespace espalier::jobs {
namespace {

constexpr std::string_view kWeight = ".weight";

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Where a layer of the network comes from.
struct Origin {
  std::int64_t weight = -1;  // layer of the ModelReader; -1: it has no weights
  std::optional<io::TensorPlace> bias;
};

struct Imported {
  io::Network network;
  std::vector<Origin> origins;
};

std::string stem_of(const std::string& name) {
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name;
}

std::optional<std::regex> expression(const Options& options, const std::string& name) {
  if (!options.given(name)) {
    return std::nullopt;
  }
  try {
    return std::regex(options.text(name), std::regex::extended);
  } catch (const std::regex_error& error) {
    throw options.fault(name, text(io::in_quotes(options.text(name), 100),
                                   " is no regular expression: ", error.what()));
  }
}

// Weight tensors by name, as --include and --exclude leave them; the number of each as a layer of
// the reader, and their order.
struct Weights {
  std::map<std::string, std::int64_t> number;
  std::vector<std::string> names;
};

Weights choose_weights(const Options& options, const io::ModelReader& reader) {
  const auto include = expression(options, "include");
  const auto exclude = expression(options, "exclude");
  Weights weights;
  for (std::int64_t id = 0; id < std::ssize(reader.network().layers); ++id) {
    const std::string& name = reader.network().layers[to_size(id)].name;
    const bool left_out = (include && !std::regex_search(name, *include)) ||
                          (exclude && std::regex_search(name, *exclude));
    if (!left_out && name.empty()) {
      throw Error(ExitStatus::kBadData,
                  text(reader.file(),
                       ": a tensor of two dimensions has no name, and layers need "
                       "one; --exclude '^$' leaves it out"));
    }
    if (!left_out) {
      weights.number.emplace(name, id);
      weights.names.push_back(name);
    }
  }
  if (weights.names.empty()) {
    throw Error(ExitStatus::kBadData,
                text(reader.file(),
                     ": has no weights to import: no tensor of BF16, F16, F32 or "
                     "F64 with two dimensions has a name that is asked for"));
  }
  return weights;
}

std::map<std::string, io::TensorPlace> places_of(const io::Model& model) {
  std::map<std::string, io::TensorPlace> places;
  for (std::size_t f = 0; f < model.files.size(); ++f) {
    for (std::size_t t = 0; t < model.files[f].header.tensors.size(); ++t) {
      places.emplace(model.files[f].header.tensors[t].name, io::TensorPlace{f, t});
    }
  }
  return places;
}

// The bias of a layer: a vector of its outputs.
io::TensorPlace check_bias(const io::Model& model, io::TensorPlace place, std::int64_t outputs) {
  const io::Tensor& tensor = model.tensor(place);
  if (!io::weight_type_of(tensor.dtype) || tensor.shape != std::vector{outputs}) {
    throw Error(ExitStatus::kBadData,
                text(model.files[place.file].path, ": tensor ", io::in_quotes(tensor.name, 100),
                     " is ", tensor.dtype, " of ", tensor.count(), " numbers; a bias of ", outputs,
                     " numbers of BF16, F16, F32 or F64 would be right"));
  }
  return place;
}

// The weight of a layer and its bias.
void find_weight(const io::ModelReader& reader, const Weights& weights,
                 const std::map<std::string, io::TensorPlace>& places, const StatedLayer& stated,
                 Imported& imported) {
  const auto number = weights.number.find(stated.weight);
  if (number == weights.number.end()) {
    throw Error(ExitStatus::kBadData, text(reader.file(), ": has no weight tensor ",
                                           io::in_quotes(stated.weight, 100), " to import"));
  }
  Origin& origin = imported.origins.emplace_back();
  origin.weight = number->second;
  io::Layer& layer =
      imported.network.layers.emplace_back(reader.network().layers[to_size(origin.weight)]);
  layer.name = stem_of(stated.weight);
  const std::string bias = stated.bias.value_or(layer.name + ".bias");
  const auto place = places.find(bias);
  if (place == places.end() && stated.bias && !bias.empty()) {
    throw Error(ExitStatus::kBadData,
                text(reader.file(), ": has no bias tensor ", io::in_quotes(bias, 100)));
  }
  if (place != places.end()) {
    origin.bias = check_bias(reader.model(), place->second, layer.weight.rows);
    layer.bias = io::BiasKind::kFull;
  }
}

// A layer as a layers file tells it, or as names alone do.
void add_layer(const io::ModelReader& reader, const Weights& weights,
               const std::map<std::string, io::TensorPlace>& places, const StatedLayer& stated,
               Imported& imported) {
  if (!stated.weight.empty()) {
    find_weight(reader, weights, places, stated, imported);
  } else {
    imported.origins.emplace_back();
    imported.network.layers.emplace_back().name = stated.name;
  }
  io::Layer& layer = imported.network.layers.back();
  layer.epilogue = stated.epilogue;
  layer.inputs = stated.inputs;
  layer.kind = stated.kind;
}

// Images are as large as the layers before make them.
void add_windows(const std::string& file, const io::ModelReader& reader,
                 const std::vector<StatedLayer>& stated, Imported& imported) {
  std::vector<io::Layer>& layers = imported.network.layers;
  for (std::size_t id = 0; id < layers.size(); ++id) {
    io::Layer& layer = layers[id];
    if (layer.kind == io::LayerKind::kConnections) {
      continue;
    }
    const bool one = layer.inputs.size() == 1 && layer.inputs[0] >= 0 &&
                     layer.inputs[0] < static_cast<std::int64_t>(id);
    const std::int64_t weight = imported.origins[id].weight;
    layer.window = stated_window(text(file, ": layer ", id), stated[id], layer,
                                 weight < 0 ? std::vector<std::int64_t>()
                                            : reader.model().tensor(reader.place(weight)).shape,
                                 one ? &layers[to_size(layer.inputs[0])] : nullptr);
  }
}

Imported describe(const Options& options, const io::ModelReader& reader,
                  const std::optional<std::vector<StatedLayer>>& stated) {
  const Weights weights = choose_weights(options, reader);
  const auto places = places_of(reader.model());
  Imported imported;
  if (stated) {
    for (const StatedLayer& layer : *stated) {
      add_layer(reader, weights, places, layer, imported);
    }
    add_windows(options.text("layers-file"), reader, *stated, imported);
    check_stated_widths(options.text("layers-file"), imported.network);
  } else {
    for (const std::string& name : weights.names) {
      StatedLayer layer;
      layer.weight = name;
      add_layer(reader, weights, places, layer, imported);
    }
  }
  return imported;
}

std::vector<float> read_bias(const io::ModelReader& reader, io::TensorPlace place, Range rows) {
  const io::WeightType type = *io::weight_type_of(reader.model().tensor(place).dtype);
  const std::int64_t width = io::bytes_of(type);
  std::vector<std::byte> stored(to_size(rows.size() * width));
  reader.read_bytes(place.file, reader.model().position(place) + rows.begin * width, stored);
  std::vector<float> bias(to_size(rows.size()));
  io::to_floats(type, stored, bias);
  const auto odd =
      std::find_if(bias.begin(), bias.end(), [](float value) { return !std::isfinite(value); });
  if (odd != bias.end()) {
    throw Error(ExitStatus::kBadData, text(reader.model().files[place.file].path, ": tensor ",
                                           io::in_quotes(reader.model().tensor(place).name, 100),
                                           ", element ", rows.begin + (odd - bias.begin()), " is ",
                                           *odd, "; a finite number (as float32) would be right"));
  }
  return bias;
}

std::int64_t write_layers(Context& context, const io::ModelReader& reader, const Imported& imported,
                          const OutputPlan& plan) {
  const Comm& world = context.world;
  const PieceMemory memory =
      locally(world, "planning", [&] { return plan_pieces(context.memory_per_rank()); });
  const auto cut = [&](const std::vector<std::int64_t>& as_before) {
    return locally(world, "planning", [&] {
      return Pieces(imported.network, world.ranks(), memory,
                    [&](std::int64_t layer, std::int64_t row) {
                      return row * imported.network.layers[to_size(layer)].weight.cols;
                    },
                    {1, as_before});
    });
  };
  const Pieces planned = cut({});
  UnitRun run(context, {"rows", plan.path, plan.provenance, planned.all_rows(), planned.pieces(),
                        memory.kept_bytes});
  const Pieces pieces = cut(run.record().cut());
  io::NetworkWriter writer(world, plan.path, imported.network, plan.provenance,
                           context.output_options());
  Progress progress("importing weights", pieces.count(), "pieces");
  for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
    const Origin& origin = imported.origins[to_size(layer)];
    if (origin.weight < 0) {
      continue;
    }
    for (std::int64_t round = 0; round < pieces.rounds(layer); ++round) {
      const Range rows = pieces.rows(layer, round, world.rank());
      std::vector<float> bias;
      const kernels::CsrRows weights = locally(world, "reading weights", [&] {
        if (origin.bias) {
          bias = read_bias(reader, *origin.bias, rows);
        }
        return run.take_rows(pieces.items(0, layer, rows),
                             [&] { return reader.read_rows(origin.weight, rows); });
      });
      {
        const PhaseTimer timer(context.times, Phase::kWrite);
        writer.write_layer(layer, weights, bias);
      }
      run.after_unit(pieces.items(0, layer, pieces.rows(layer, round)));
      progress.done(pieces.number(layer, round) + 1);
    }
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
  }
  run.finish();
  return writer.bytes_written();
}

OutputPlan plan_network(const Comm& world, const Options& options, const io::Model& model,
                        const Imported& imported) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "import";
  plan.provenance.options = {{"from", "safetensors"}};
  for (const char* name : {"include", "exclude"}) {
    if (options.given(name)) {
      plan.provenance.options[name] = options.text(name);
    }
  }
  plan.what = text("a network of ", counted(std::ssize(imported.network.layers), "layer"), " from ",
                   model.place);
  plan.about_nnz = imported.network.nnz();
  plan.digest_inputs = [&world, &options, &model] {
    std::vector<std::string> files;
    for (const io::ModelFile& file : model.files) {
      files.push_back(file.path);
    }
    if (options.given("layers-file")) {
      files.push_back(options.text("layers-file"));
    }
    return std::vector{io::digest_files(world, files)};
  };
  return plan;
}

}  // namespace

ExitStatus import_model(Context& context) {
  const Comm& world = context.world;
  const Options& options = context.options;
  const double start = now_seconds();
  const io::Model model = io::read_model(world, options.texts("model"));
  std::optional<std::vector<StatedLayer>> stated;
  if (options.given("layers-file")) {
    stated = read_layers_file(world, options.text("layers-file"));
  }
  std::optional<io::ModelReader> reader;
  const Imported imported = locally(world, "opening " + model.place, [&] {
    reader.emplace(model);
    return describe(options, *reader, stated);
  });
  OutputPlan plan = plan_network(world, options, model, imported);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }
  const std::int64_t written = write_layers(context, *reader, imported, plan);
  context.report.add_bytes_read(reader->bytes_read());
  context.report.set("layers", std::ssize(imported.network.layers));
  end_output(context, plan, {imported.network.nnz(), now_seconds() - start, 0, written});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
