// From GraphChallenge TSV to a network or a batch.
#include <algorithm>
#include <limits>
#include <optional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/batch_file.hpp"
#include "io/checksum.hpp"
#include "io/graphchallenge.hpp"
#include "io/input_file.hpp"
#include "io/network_file.hpp"
#include "jobs/import.hpp"
#include "jobs/layer_units.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

constexpr char kBetween = '\0';  // no file name has it
constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();

struct NetworkSettings {
  std::string folder, output;
  std::int64_t neurons = 0, layers = 0;
  float bias = 0, clamp = io::kChallengeClamp;
  io::MatrixFormat layout = io::MatrixFormat::kCsr;
};

NetworkSettings network_settings(const Options& options) {
  NetworkSettings settings;
  settings.folder = options.text("weights");
  settings.output = options.text("out");
  settings.neurons = options.integer("neurons", 1, kMost);
  settings.layers = options.integer("layers", 1);
  settings.layout = layout_option(options);
  if (options.given("clamp")) {
    settings.clamp = float_option(options, "clamp");
  }
  const auto usual = io::challenge_bias(settings.neurons);
  if (options.given("bias")) {
    settings.bias = float_option(options, "bias");
  } else if (usual) {
    settings.bias = *usual;
  } else {
    throw options.fault("neurons",
                        text("the challenge has no bias for ", settings.neurons,
                             " neurons (only for 1024, 4096, 16384, 65536); give --bias"));
  }
  return settings;
}

struct LayerFiles {
  std::vector<std::string> names;
  std::int64_t bytes = 0;
};

// Finds the files of all layers before any of them is read.
LayerFiles find_layer_files(const Comm& world, const NetworkSettings& settings) {
  LayerFiles files;
  on_root(world, "looking for layer files", [&] {
    for (std::int64_t layer = 1; layer <= settings.layers; ++layer) {
      const io::InputFile file(io::challenge_layer_file(settings.folder, settings.neurons, layer));
      files.names.push_back(file.path());
      files.bytes += file.size();
    }
  });
  // The others need the names only, which rank 0 has found to be right.
  std::string joined;
  for (const std::string& name : files.names) {
    joined += name + kBetween;
  }
  joined = world.broadcast_string(joined, 0);
  files.bytes = world.max(files.bytes);
  files.names.clear();
  for (std::size_t at = 0; at < joined.size();) {
    const std::size_t end = joined.find(kBetween, at);
    files.names.push_back(joined.substr(at, end - at));
    at = end + 1;
  }
  return files;
}

OutputPlan plan_network(const Comm& world, const NetworkSettings& settings,
                        const LayerFiles& files) {
  OutputPlan plan;
  plan.path = settings.output;
  plan.provenance.kind = "network";
  plan.provenance.job = "import";
  plan.provenance.options = {
      {"from", "graphchallenge"},  {"neurons", settings.neurons},
      {"layers", settings.layers}, {"bias", settings.bias},
      {"clamp", settings.clamp},   {"layout", io::to_string(settings.layout)}};
  plan.what = text("a network of ", counted(settings.layers, "layer"), " of ", settings.neurons,
                   " x ", settings.neurons, " from ", spelled_bytes(files.bytes), " of text");
  plan.digest_inputs = [&world, &files] {
    return std::vector{io::digest_files(world, files.names)};
  };
  return plan;
}

// Reads layer by layer; rows wait in the record until all sizes are known.
void read_layers(Context& context, const NetworkSettings& settings, const LayerFiles& files,
                 LayerUnits& units) {
  const PhaseTimer timer(context.times, Phase::kRead);
  Progress progress("reading", settings.layers, "layers");
  for (std::int64_t layer = 0; layer < settings.layers; ++layer) {
    if (!units.finished(layer)) {
      units.add(layer,
                io::read_challenge_layer(
                    context.world, files.names[static_cast<std::size_t>(layer)], settings.neurons));
    }
    progress.done(layer + 1);
  }
}

io::Network describe_network(const NetworkSettings& settings,
                             const std::vector<MatrixTotals>& totals) {
  io::Network network;
  for (std::size_t k = 0; k < totals.size(); ++k) {
    const auto id = static_cast<std::int64_t>(k);
    io::Layer layer;
    layer.name = text("n", settings.neurons, "-l", id + 1);
    layer.weight.format = settings.layout;
    layer.weight.rows = layer.weight.cols = settings.neurons;
    layer.weight.stored = totals[k].nnz();
    layer.weight.iso = totals[k].iso().has_value();
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

struct FeatureSettings {
  std::string file, output;
  std::int64_t neurons = 0, bytes = 0;
  std::optional<std::int64_t> samples;
};

FeatureSettings feature_settings(const Options& options) {
  FeatureSettings settings;
  settings.file = options.text("features");
  settings.output = options.text("out");
  settings.neurons = options.integer("neurons", 1, kMost);
  if (options.given("samples")) {
    settings.samples = options.integer("samples", 0, kMost);
  }
  settings.bytes = io::InputFile(settings.file).size();
  return settings;
}

// Into how many pieces a first run cuts the text.
int pieces_of_text(const Comm& world, std::int64_t bytes) {
  constexpr std::int64_t kLeastBytes = 1 << 16, kMostPieces = 256;
  const std::int64_t wanted = std::min(bytes / kLeastBytes + 1, kMostPieces);
  return narrow<int>((wanted - 1) / world.ranks() + 1) * world.ranks();
}

// Reads the text piece by piece; those that an earlier run has parsed are taken from the record.
io::ChallengeFeatures read_features(Context& context, const FeatureSettings& settings,
                                    UnitRun& run) {
  const PhaseTimer timer(context.times, Phase::kRead);
  io::UnitRecord& record = run.record();
  io::TripletPieces pieces;
  locally(context.world, "resuming", [&] {
    const std::vector<std::int64_t>& cut = record.cut();
    if (cut.size() != 1 || cut[0] < 1 || cut[0] > std::numeric_limits<int>::max() / 2) {
      throw Error(ExitStatus::kBadData, text("cannot resume from ", record.folder(),
                                             ": its text is cut in another way; --no-resume "
                                             "starts afresh"));
    }
    pieces.count = narrow<int>(cut[0]);
  });
  pieces.find = [&](Range bytes) {
    return !bytes.empty() && record.has(bytes) ? record.read_whole(bytes)
                                               : std::vector<std::byte>();
  };
  pieces.keep = [&](Range bytes, std::span<const std::byte> piece) {
    if (!bytes.empty()) {
      record.add(bytes, piece);
    }
  };
  pieces.after_round = [&](Range bytes) { run.after_unit(bytes); };
  return io::read_challenge_features(context.world, settings.file, settings.neurons,
                                     settings.samples, pieces);
}

OutputPlan plan_batch(const Comm& world, const FeatureSettings& settings) {
  OutputPlan plan;
  plan.path = settings.output;
  plan.provenance.kind = "batch";
  plan.provenance.job = "import";
  plan.provenance.options = {{"from", "graphchallenge"}, {"neurons", settings.neurons}};
  if (settings.samples) {
    plan.provenance.options["samples"] = *settings.samples;
  }
  plan.what = text("a batch with ", counted(settings.neurons, "feature"), " from ",
                   spelled_bytes(settings.bytes), " of text");
  plan.digest_inputs = [&] { return std::vector{io::digest_files(world, {settings.file})}; };
  return plan;
}

}  // namespace

ExitStatus import_challenge_network(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const NetworkSettings settings =
      locally(world, "reading options", [&] { return network_settings(context.options); });
  const LayerFiles files = find_layer_files(world, settings);
  OutputPlan plan = plan_network(world, settings, files);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  UnitRun run(context, {"rows", plan.path, plan.provenance, settings.layers * settings.neurons});
  LayerUnits units = locally(world, "resuming", [&] {
    return LayerUnits(world, run,
                      std::vector(static_cast<std::size_t>(settings.layers), settings.neurons));
  });
  read_layers(context, settings, files, units);
  const auto totals = units.exchange_totals();
  const io::Network network = describe_network(settings, totals);

  const PhaseTimer timer(context.times, Phase::kWrite);
  io::NetworkWriter writer(world, settings.output, network, plan.provenance,
                           context.output_options());
  Progress progress("writing", settings.layers, "layers");
  const std::vector<float> bias = {settings.bias};
  for (std::int64_t layer = 0; layer < settings.layers; ++layer) {
    for (std::int64_t round = 0; round < units.rounds(layer); ++round) {
      const kernels::CsrRows rows = locally(world, "fetching kept rows", [&] {
        kernels::CsrRows kept = units.read(layer, round);
        spell_values(kept, totals[static_cast<std::size_t>(layer)].iso());
        return kept;
      });
      writer.write_layer(layer, rows, bias);
    }
    progress.done(layer + 1);
  }
  writer.finish();
  run.finish();

  context.report.add_bytes_read(split_evenly(files.bytes, world.ranks(), world.rank()).size());
  context.report.set("layers", settings.layers);
  context.report.set("rows", settings.layers * settings.neurons);
  end_output(context, plan,
             {network.nnz(), now_seconds() - start, files.bytes, writer.bytes_written()});
  return ExitStatus::kDone;
}

ExitStatus import_challenge_features(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const FeatureSettings settings =
      locally(world, "reading options", [&] { return feature_settings(context.options); });
  OutputPlan plan = plan_batch(world, settings);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  UnitRun run(context, {"bytes of text",
                        plan.path,
                        plan.provenance,
                        settings.bytes,
                        {pieces_of_text(world, settings.bytes)}});
  io::ChallengeFeatures features = read_features(context, settings, run);
  std::vector<MatrixTotals> totals(1);
  totals[0].add(features.rows);
  MatrixTotals::join(world, totals);
  io::Batch batch;
  batch.features.rows = features.samples;
  batch.features.cols = settings.neurons;
  batch.features.stored = totals[0].nnz();
  batch.features.iso = totals[0].iso().has_value();

  const PhaseTimer timer(context.times, Phase::kWrite);
  locally(world, "preparing values", [&] { spell_values(features.rows, totals[0].iso()); });
  io::BatchWriter writer(world, plan.path, batch, plan.provenance, context.output_options());
  writer.write_samples(features.rows, {}, {});
  writer.finish();
  run.finish();

  context.report.add_bytes_read(split_evenly(settings.bytes, world.ranks(), world.rank()).size());
  report_batch(context, features.samples, settings.neurons);
  end_output(context, plan,
             {totals[0].nnz(), now_seconds() - start, settings.bytes, writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
