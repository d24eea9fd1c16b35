// From NumPy, SciPy, Matrix Market and binsparse files to a network or a batch.
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <regex>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/batch_file.hpp"
#include "io/binsparse_source.hpp"
#include "io/catalog.hpp"
#include "io/checksum.hpp"
#include "io/input_file.hpp"
#include "io/matrix_market.hpp"
#include "io/npy.hpp"
#include "io/scipy_npz.hpp"
#include "jobs/import.hpp"
#include "jobs/import_layers.hpp"
#include "jobs/matrix_intake.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

// The files that are read, and the matrices found in them.
struct Matrices {
  std::string from;
  std::vector<std::string> files;
  std::int64_t bytes = 0;
  io::MatrixSources sources;
};

// "FILE:/group", or a file with all its groups.
struct Place {
  std::string file, group;
};

Place place_of(const std::string& spelled) {
  const std::size_t colon = spelled.find(":/");
  return colon == std::string::npos || colon == 0
             ? Place{spelled, "/"}
             : Place{spelled.substr(0, colon), spelled.substr(colon + 1)};
}

using Catalogs = std::map<std::string, io::Catalog>;  // by file

// HDF5 files are looked at before ranks work on their own.
Catalogs read_catalogs(const Context& context, const std::vector<std::string>& places) {
  Catalogs catalogs;
  if (context.options.text("from") == "binsparse") {
    for (const std::string& spelled : places) {
      const std::string file = place_of(spelled).file;
      if (!catalogs.contains(file)) {
        catalogs.emplace(file, io::read_catalog(context.world, file));
      }
    }
  }
  return catalogs;
}

// The matrices of one file; they have its name unless it names them itself.
void open_file(const std::string& spelled, bool flatten, const Catalogs& catalogs,
               Matrices& found) {
  const Place place = place_of(spelled);
  const std::string path = found.from == "binsparse" ? place.file : spelled;
  const std::string label = std::filesystem::path(path).stem().string();
  io::MatrixSources sources;
  if (found.from == "npy" || path.ends_with(".npy")) {  // biases lie so beside sparse weights
    sources.push_back(io::dense_source(io::open_npy(path), label, flatten));
  } else if (found.from == "binsparse") {
    sources = io::open_binsparse(catalogs.at(place.file), place.group);
  } else if (found.from == "mtx") {
    sources.push_back(io::open_matrix_market(path));
  } else {
    const io::ZipArchive archive(path);
    if (io::is_scipy_npz(archive)) {
      sources.push_back(io::open_scipy_npz(archive));
    } else {
      sources = io::open_npz(archive, flatten);
    }
  }
  for (auto& source : sources) {
    if (source->label.empty()) {
      source->label = label;
    }
    found.sources.push_back(std::move(source));
  }
  found.files.push_back(path);
  found.bytes += io::InputFile(path).size();
}

std::optional<std::regex> expression(const Options& options, const std::string& name) {
  if (!options.given(name)) {
    return std::nullopt;
  }
  try {
    return std::regex(options.text(name), std::regex::ECMAScript);
  } catch (const std::regex_error&) {
    throw options.fault(name, "is no regular expression");
  }
}

void keep_wanted(const Options& options, Matrices& found) {
  const auto include = expression(options, "include"), exclude = expression(options, "exclude");
  std::erase_if(found.sources, [&](const auto& source) {
    return (include && !std::regex_search(source->label, *include)) ||
           (exclude && std::regex_search(source->label, *exclude));
  });
  if (found.sources.empty()) {
    throw Error(ExitStatus::kBadData, text(found.files.front(),
                                           ": no matrix is left to import; --include and --exclude "
                                           "look at names such as those inspect shows"));
  }
}

void turn(const Options& options, Matrices& found) {
  for (auto& source : found.sources) {
    if (options.flag("transpose") && !source->vector) {
      source = io::transposed(std::move(source));
    }
  }
}

kernels::Activation activation_option(const Options& options, const std::string& name,
                                      kernels::Activation otherwise) {
  if (!options.given(name)) {
    return otherwise;
  }
  const auto found = io::parse_activation(options.text(name));
  if (!found) {
    throw options.fault(name,
                        "is no activation; right is identity, relu, leaky_relu, elu, gelu, silu, "
                        "sigmoid, tanh or softmax");
  }
  return *found;
}

void set_epilogues(const Options& options, std::vector<LayerInput>& layers) {
  using kernels::Activation;
  const Activation all = activation_option(options, "activation", Activation::kIdentity);
  const Activation last = activation_option(options, "last-activation", all);
  if (all == Activation::kSoftmax) {
    throw options.fault("activation",
                        "softmax stands after the last layer only; say --last-activation softmax");
  }
  for (std::size_t id = 0; id < layers.size(); ++id) {
    kernels::Epilogue& epilogue = layers[id].layer.epilogue;
    epilogue.activation = id + 1 == layers.size() ? last : all;
    epilogue.alpha = epilogue.activation == Activation::kElu ? 1.0F : 0.01F;
    if (options.given("clamp")) {
      epilogue.has_clamp = true;
      epilogue.clamp = float_option(options, "clamp");
    }
  }
}

// Matrices become layers; a vector is the bias of the matrix before it.
std::vector<LayerInput> make_layers(const Options& options, const Matrices& found) {
  std::vector<LayerInput> layers;
  for (const auto& source : found.sources) {
    const bool fits = !layers.empty() && layers.back().layer.bias == io::BiasKind::kNone &&
                      layers.back().weight->rows == source->rows;
    if (source->vector && fits) {
      layers.back().layer.bias = io::BiasKind::kFull;
      layers.back().read_bias = [vector = source.get()](Range rows) {
        return io::read_vector(*vector, rows);
      };
      continue;
    }
    if (source->vector && found.from != "mtx") {  // there, a layer of one input looks the same
      throw Error(ExitStatus::kBadData,
                  text(source->name, " has one dimension of ", source->rows,
                       ", right is a matrix, or behind it its bias, as long as it has rows"));
    }
    const std::int64_t id = std::ssize(layers);
    LayerInput input;
    input.layer.name = source->label;
    input.layer.weight.format = layout_option(options);
    input.layer.inputs = {id == 0 ? io::kNetworkInput : id - 1};
    input.weight = source.get();
    layers.push_back(std::move(input));
  }
  set_epilogues(options, layers);
  check_widths(layers);
  return layers;
}

OutputPlan plan_network(Context& context, const Matrices& found,
                        const std::vector<LayerInput>& layers) {
  OutputPlan plan;
  plan.path = context.options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "import";
  plan.provenance.options = {{"from", found.from},
                             {"transpose", context.options.flag("transpose")},
                             {"layout", io::to_string(layout_option(context.options))}};
  for (const char* name : {"include", "exclude", "activation", "last-activation", "clamp"}) {
    if (context.options.given(name)) {
      plan.provenance.options[name] = context.options.text(name);
    }
  }
  nlohmann::json names = nlohmann::json::array();  // a layer is named after its file
  for (const LayerInput& input : layers) {
    names.push_back(input.layer.name);
  }
  plan.provenance.options["names"] = names;
  plan.what = text("a network of ", counted(std::ssize(layers), "layer"), " from ",
                   counted(std::ssize(found.files), "file"), " of ", spelled_bytes(found.bytes));
  plan.digest_inputs = [&context, &found] {
    return std::vector{io::digest_files(context.world, found.files)};
  };
  return plan;
}

io::Batch describe_batch(const MatrixIntake::Info& info, bool labels) {
  const io::MatrixSource& source = *info.source;
  io::Batch batch;
  batch.features.rows = source.rows;
  batch.features.cols = source.cols;
  batch.value_type = source.type == io::kUint8 ? io::kUint8 : io::kFloat32;
  if (source.dense) {
    batch.features.format = io::MatrixFormat::kDmat;
    batch.features.stored = source.rows * source.cols;
  } else {
    batch.features.stored = info.nnz;
    batch.features.iso = info.iso.has_value();
  }
  batch.labels = labels;
  return batch;
}

// The .npy of labels, if there is one.
std::optional<io::StoredArray> open_labels(const Options& options, Matrices& found) {
  if (!options.given("labels")) {
    return std::nullopt;
  }
  const std::string path = options.text("labels");
  io::StoredArray labels = io::open_npy(path);
  if (!io::is_whole(labels.type) || labels.count() != found.sources[0]->rows) {
    throw Error(ExitStatus::kBadData,
                text(path, " has ", labels.count(), " elements of ", io::to_string(labels.type),
                     ", right is a whole number for each of ", found.sources[0]->rows, " samples"));
  }
  found.files.push_back(path);
  found.bytes += io::InputFile(path).size();
  return labels;
}

OutputPlan plan_batch(Context& context, const Matrices& found, bool labels) {
  const io::MatrixSource& source = *found.sources[0];
  OutputPlan plan;
  plan.path = context.options.text("out");
  plan.provenance.kind = "batch";
  plan.provenance.job = "import";
  plan.provenance.options = {
      {"from", found.from}, {"transpose", context.options.flag("transpose")}, {"labels", labels}};
  plan.what = text("a ", source.dense ? "dense" : "sparse", " batch of ",
                   counted(source.rows, "sample"), " with ", counted(source.cols, "feature"));
  plan.digest_inputs = [&context, &found] {
    return std::vector{io::digest_files(context.world, found.files)};
  };
  return plan;
}

Matrices open_features(const Options& options, const Catalogs& catalogs) {
  Matrices found;
  found.from = options.text("from");
  open_file(options.text("features"), true, catalogs, found);
  if (found.sources.size() != 1) {
    throw Error(ExitStatus::kBadData, text(found.files[0], " holds ", found.sources.size(),
                                           " arrays, right for features is one"));
  }
  turn(options, found);
  return found;
}

}  // namespace

ExitStatus import_matrix_layers(Context& context) {
  const Comm& world = context.world;
  const auto places = context.options.texts("model");
  const Catalogs catalogs = read_catalogs(context, places);
  std::vector<LayerInput> layers;
  const Matrices found = locally(world, "opening matrices", [&] {
    Matrices opened;
    opened.from = context.options.text("from");
    for (const std::string& place : places) {
      open_file(place, false, catalogs, opened);
    }
    keep_wanted(context.options, opened);
    turn(context.options, opened);
    layers = make_layers(context.options, opened);
    return opened;
  });
  OutputPlan plan = plan_network(context, found, layers);
  if (begin_output(context, plan)) {
    write_layers(context, plan, layers, found.bytes);
  }
  return ExitStatus::kDone;
}

ExitStatus import_matrix_features(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const Catalogs catalogs = read_catalogs(context, {context.options.text("features")});
  std::optional<io::StoredArray> labels;
  const Matrices found = locally(world, "opening features", [&] {
    Matrices opened = open_features(context.options, catalogs);
    labels = open_labels(context.options, opened);
    return opened;
  });
  OutputPlan plan = plan_batch(context, found, labels.has_value());
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }
  MatrixIntake intake(context, plan, {found.sources[0].get()});
  intake.fill();
  const MatrixIntake::Info& info = intake.info(0);
  io::BatchWriter writer(world, plan.path, describe_batch(info, labels.has_value()),
                         plan.provenance, context.output_options());
  Progress progress("writing", info.source->rows, "samples");
  std::int64_t nnz = 0;
  for (std::int64_t round = 0; round < info.rounds.rounds(); ++round) {
    const Range mine = info.rounds.range(round, world.rank());
    std::vector<std::int64_t> classes;
    const kernels::CsrRows rows = locally(world, "reading features", [&] {
      const PhaseTimer timer(context.times, Phase::kRead);
      if (labels) {
        classes.resize(static_cast<std::size_t>(mine.size()));
        labels->read(mine.begin, std::span(classes));
      }
      return intake.take(0, round);
    });
    nnz += rows.nnz();
    {
      const PhaseTimer timer(context.times, Phase::kWrite);
      writer.write_samples(rows, classes, {});
    }
    intake.after_round(0, round);
    progress.done(info.rounds.range(round, world.ranks() - 1).end);
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
    intake.finish();
  }
  report_batch(context, info.source->rows, info.source->cols);
  end_output(context, plan,
             {world.sum(nnz), now_seconds() - start, found.bytes, writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
