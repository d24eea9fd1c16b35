// espalier prune: a network in, a sparser network out.
#include "jobs/prune.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/batch_file.hpp"
#include "io/checksum.hpp"
#include "io/network_window.hpp"
#include "jobs/calibrated_pruning.hpp"
#include "jobs/candidates.hpp"
#include "jobs/dead_neurons.hpp"
#include "jobs/job.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_model.hpp"
#include "jobs/prune_reading.hpp"
#include "jobs/prune_report.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/spelling.hpp"
#include "kernels/select.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

template <typename Reader>
void open_file(const Comm& world, const std::string& file, OpenedAs<Reader>& opened) {
  opened.catalog = io::read_catalog(world, file);
  locally(world, "opening " + file, [&] { opened.reader.emplace(opened.catalog); });
}

void check_same_shapes(const Pruning& pruning) {
  const io::Network& network = pruning.network();
  const io::Network& other = pruning.other.reader->network();
  if (network.layers.size() != other.layers.size()) {
    throw Error(
        ExitStatus::kBadData,
        text(pruning.other.catalog.file, " has ", counted(std::ssize(other.layers), "layer"),
             " but ", pruning.input.catalog.file, " has ", network.layers.size()));
  }
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    const io::MatrixInfo& weight = network.layers[id].weight;
    const io::MatrixInfo& beside = other.layers[id].weight;
    if (weight.rows != beside.rows || weight.cols != beside.cols) {
      throw Error(ExitStatus::kBadData,
                  text(pruning.other.catalog.file, ": layer ", id, " is ", beside.rows, " x ",
                       beside.cols, " but that of ", pruning.input.catalog.file, " is ",
                       weight.rows, " x ", weight.cols));
    }
  }
}

void check_chain(const Pruning& pruning) {
  if (pruning.settings.method == PruneMethod::kBias && !pruning.network().is_chain()) {
    throw Error(ExitStatus::kBadData,
                text(pruning.input.catalog.file,
                     ": its layers are no plain chain (see their `inputs`); --method bias takes "
                     "neurons out of chains only"));
  }
  for (const io::Layer& layer : pruning.network().layers) {
    if (pruning.settings.method == PruneMethod::kCompensate && layer.epilogue.bias_where_nonzero) {
      throw Error(ExitStatus::kBadData,
                  text(pruning.input.catalog.file, ": layer ", layer.name,
                       " adds its bias to some sums only (bias_mode nonzero): --method bias "
                       "--calibrate needs biases that are always added"));
    }
    const bool connections_only = pruning.settings.method == PruneMethod::kBias ||
                                  pruning.settings.calibrated() || pruning.settings.update;
    if (connections_only && layer.kind != io::LayerKind::kConnections) {
      throw Error(
          ExitStatus::kBadData,
          text(pruning.input.catalog.file, ": layer ", layer.name, " is of kind ",
               io::to_string(layer.kind),
               "; --method bias, --calibrate and --update work on layers of connections only"));
    }
  }
}

io::Network describe_output(const Pruning& pruning, const std::vector<LayerOutcome>& outcomes) {
  io::Network network = pruning.network();
  for (std::size_t id = 0; id < outcomes.size(); ++id) {
    io::MatrixInfo& weight = network.layers[id].weight;
    weight.format = pruning.settings.layout;
    weight.stored = outcomes[id].kept;
    weight.iso = outcomes[id].iso.has_value();
    if (pruning.settings.moves() && !pruning.targets.excluded[id]) {
      weight.value_type = io::kFloat32;
    }
  }
  return network;
}

// What a run makes: the output and what fills it.
struct Pruned {
  io::Network network;
  std::vector<LayerOutcome> outcomes;  // against the layers of the input
  std::optional<double> threshold;
  // Local; the memory of `reuse` is used again where it can be.
  std::function<LayerPiece(std::int64_t layer, std::int64_t round, kernels::CsrRows reuse)> read;
};

// What both ends of a run need; borrowed.
struct Run {
  Context& context;
  const Pruning& pruning;
  const OutputPlan& plan;
  const Pieces& pieces;
  UnitRun& units;
  double start;  // in seconds
};

// Convolutions are stored as filters: as many as have a weight left.
io::Network with_filters(const Run& run, const Pruned& made) {
  io::Network network = made.network;
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    io::Layer& layer = network.layers[id];
    if (layer.kind != io::LayerKind::kConvolution) {
      continue;
    }
    layer.weight.format = io::MatrixFormat::kFilters;
    layer.weight.filter_height = layer.window.y.kernel;
    layer.weight.filter_width = layer.window.x.kernel;
    layer.weight.iso = false;
    const std::int64_t stored = locally(run.context.world, "counting filters", [&] {
      const auto number = static_cast<std::int64_t>(id);
      std::int64_t mine = 0;
      for (std::int64_t round = 0; round < run.pieces.rounds(number); ++round) {
        mine += io::stored_values(layer.weight, made.read(number, round, {}).rows);
      }
      return mine;
    });
    layer.weight.stored = run.context.world.sum(stored);
  }
  return network;
}

// The writing half of a run.
//   returns  bytes written by this rank
std::int64_t write_output(const Run& run, const Pruned& made) {
  Context& context = run.context;
  const Pieces& pieces = run.pieces;
  const PhaseTimer timer(context.times, Phase::kWrite);
  const Comm& world = context.world;
  io::NetworkWriter writer(world, run.plan.path, with_filters(run, made), run.plan.provenance,
                           context.output_options());
  writer.copy_scalings(*run.pruning.input.reader);
  Progress progress("writing weights", pieces.count(), "pieces");
  LayerPiece left;
  for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
    for (std::int64_t round = 0; round < pieces.rounds(layer); ++round) {
      locally(world, "fetching what stays", [&] {
        run.units.check_time();
        left = made.read(layer, round, std::move(left.rows));
      });
      writer.write_layer(layer, left.rows, left.bias);
      progress.done(pieces.number(layer, round) + 1);
    }
  }
  writer.finish();
  return writer.bytes_written();
}

// The magnitude that decided, if one did for the whole network.
std::optional<double> threshold_of(const Pruning& pruning,
                                   const std::vector<LayerVerdict>& verdicts) {
  const PruneSettings& settings = pruning.settings;
  if (settings.threshold) {
    return settings.threshold;
  }
  const bool magnitudes = settings.shrinks() || settings.method == PruneMethod::kMagnitude;
  if (!magnitudes || pruning.targets.groups.size() != 1) {
    return std::nullopt;
  }
  const auto layer = to_size(pruning.targets.groups[0].layers[0]);
  const std::uint32_t key = verdicts[layer].cut.key;
  return key < kernels::kFirstNotFinite
             ? std::optional(static_cast<double>(kernels::magnitude_of(key)))
             : std::nullopt;
}

OutputPlan plan_output(const Comm& world, const Options& options, const Pruning& pruning) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "prune";
  plan.provenance.options = canonical_options(pruning.settings);
  const io::Network& network = pruning.network();
  plan.what =
      text(pruning.input.catalog.file, " (", counted(std::ssize(network.layers), "layer"), ", ",
           grouped(network.nnz()), " stored weights) pruned by ", options.text("method"));
  plan.digest_inputs = [&world, &pruning] {
    std::vector digests = {io::input_digest(world, pruning.input.catalog)};
    if (pruning.has_other()) {
      digests.push_back(io::input_digest(world, pruning.other.catalog));
    }
    if (pruning.has_batch()) {
      digests.push_back(io::input_digest(world, pruning.batch.catalog));
    }
    for (const std::string& digest : stats_digests(world, pruning)) {
      digests.push_back(digest);
    }
    return digests;
  };
  return plan;
}

// `pieces`: of each layer, as an earlier run has cut them, or none.
Pieces deal_pieces(const Comm& world, const Pruning& pruning, const PieceMemory& memory,
                   std::vector<std::int64_t> pieces = {}) {
  const auto entries_before = [&](std::int64_t layer, std::int64_t row) {
    return pruning.input.reader->nnz_before(layer, row) +
           (pruning.has_other() ? pruning.other.reader->nnz_before(layer, row) : 0);
  };
  return Pieces(pruning.network(), world.ranks(), memory, entries_before,
                {std::max<std::int64_t>(pruning.settings.group.rows, 1), std::move(pieces)});
}

// Writes what has been made and says what it is.
ExitStatus finish(const Run& run, const Pruned& made) {
  Context& context = run.context;
  const Pruning& pruning = run.pruning;
  std::int64_t written = 0;
  run.units.attempt([&] { written = write_output(run, made); });
  run.units.finish();
  log_layers(pruning.network(), made.outcomes);
  const PruneTotals totals = report_layers(context.report, pruning.network(), made.outcomes);
  context.report.set("threshold",
                     made.threshold ? nlohmann::json(*made.threshold) : nlohmann::json());
  context.report.add_bytes_read(
      pruning.input.reader->data().bytes_read() +
      (pruning.has_other() ? pruning.other.reader->data().bytes_read() : 0) +
      (pruning.has_batch() ? pruning.batch.reader->data().bytes_read() : 0));
  const double seconds = now_seconds() - run.start;
  log_info(text("kept ", grouped(totals.kept), " of ", grouped(totals.positions),
                " weights: sparsity ", rounded(100 * totals.sparsity(), 4), " %, ",
                rounded(static_cast<double>(totals.positions) / std::max(seconds, 1e-9) / 1e6),
                " M weights/s"));
  end_output(context, run.plan, {totals.kept, seconds, 0, written});
  return ExitStatus::kDone;
}

// Every method that takes weights one by one or in groups.
Pruned take_weights(const Run& run, Candidates& candidates, std::int64_t group_bytes) {
  Context& context = run.context;
  const Pruning& pruning = run.pruning;
  const Pieces& pieces = run.pieces;
  PruneReading reading(context, pruning, pieces, candidates, run.units);
  const auto verdicts = reading.run(group_bytes);
  Pruned made;
  {
    const PhaseTimer timer(context.times, Phase::kCompute);
    made.outcomes = candidates.settle(context.world, verdicts);
  }
  made.network = describe_output(pruning, made.outcomes);
  made.threshold = threshold_of(pruning, verdicts);
  made.read = [&, outcomes = made.outcomes](std::int64_t layer, std::int64_t round, CsrRows reuse) {
    const Range rows = pieces.rows(layer, round, context.world.rank());
    return LayerPiece{candidates.read(layer, round, outcomes[to_size(layer)], std::move(reuse)),
                      pruning.input.reader->read_bias(layer, rows)};
  };
  return made;
}

// The layers on the inputs that samples give them, one after the other.
Pruned calibrate(CalibratedPruning& calibrated) {
  calibrated.run();
  Pruned made;
  made.network = calibrated.network();
  made.outcomes = calibrated.outcomes();
  made.read = [&calibrated](std::int64_t layer, std::int64_t round, const CsrRows&) {
    return calibrated.read(layer, round);
  };
  return made;
}

Pruned take_dead_neurons(Context& context, const Pruning& pruning, DeadNeurons& dead) {
  {
    const PhaseTimer timer(context.times, Phase::kRead);
    dead.find();
  }
  Pruned made;
  made.network = dead.network();
  for (std::size_t id = 0; id < made.network.layers.size(); ++id) {
    io::Layer& layer = made.network.layers[id];
    layer.weight.format = pruning.settings.layout;
    made.outcomes.push_back(
        {layer.weight.stored, dead.removed_squares(static_cast<std::int64_t>(id)), std::nullopt});
    const std::int64_t neurons = pruning.network().layers[id].weight.rows;
    if (layer.weight.rows < neurons) {
      log_info(text(layer.name, ": ", grouped(layer.weight.rows), " of ", grouped(neurons),
                    " neurons stay"));
    }
  }
  made.read = [&dead](std::int64_t layer, std::int64_t round, const CsrRows&) {
    return dead.read(layer, round);
  };
  return made;
}

}  // namespace

ExitStatus run_prune(Context& context) {
  if (context.options.given("to")) {
    return prune_model(context);
  }
  const Comm& world = context.world;
  const double start = now_seconds();
  Pruning pruning;
  pruning.settings = prune_settings(context.options);
  open_file(world, context.options.text("network"), pruning.input);
  pruning.layers.emplace(*pruning.input.reader);
  pruning.weights = &*pruning.layers;
  if (!pruning.settings.file.empty()) {
    open_file(world, pruning.settings.file, pruning.other);
  }
  if (!pruning.settings.batch.empty()) {
    open_file(world, pruning.settings.batch, pruning.batch);
  }
  open_stats(world, pruning);
  const std::int64_t memory_bytes = context.memory_per_rank();
  PieceMemory memory;
  Pieces pieces = locally(world, "planning", [&] {
    if (pruning.has_other()) {
      check_same_shapes(pruning);
    }
    check_chain(pruning);
    pruning.targets = prune_targets(pruning.settings, pruning.network());
    check_stats(pruning);
    const PruneSettings& settings = pruning.settings;
    const bool alone = settings.method != PruneMethod::kGroup && !settings.calibrated() &&
                       !settings.update && settings.method != PruneMethod::kBias;
    memory = alone ? plan_pieces_alone(memory_bytes)
                   : plan_pieces(memory_bytes - CalibratedPruning::plan_bytes(
                                                    pruning, world.ranks(), memory_bytes));
    return deal_pieces(world, pruning, memory);
  });
  OutputPlan plan = plan_output(world, context.options, pruning);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  UnitRun units(context, {"rows to read", plan.path, plan.provenance,
                          passes_of(pruning.settings) * pieces.all_rows(), pieces.pieces(),
                          memory.kept_bytes});
  pieces = locally(world, "planning",
                   [&] { return deal_pieces(world, pruning, memory, units.record().cut()); });
  const Run run{context, pruning, plan, pieces, units, start};
  if (pruning.settings.method == PruneMethod::kBias) {
    DeadNeurons dead(world, *pruning.input.reader, pieces, units);
    return finish(run, take_dead_neurons(context, pruning, dead));
  }
  if (pruning.settings.calibrated()) {
    CalibratedPruning calibrated(context, pruning, pieces, units, {});
    return finish(run, calibrate(calibrated));
  }
  Candidates candidates(pieces, world.rank(), units.record(), kSettingAside);
  const Pruned masked = take_weights(run, candidates, memory.group_bytes);
  if (!pruning.settings.update) {
    return finish(run, masked);
  }
  const auto mask = [&masked](std::int64_t layer, std::int64_t round) {
    return masked.read(layer, round, {}).rows;
  };
  CalibratedPruning calibrated(context, pruning, pieces, units, mask);
  return finish(run, calibrate(calibrated));
}

}  // namespace espalier::jobs
