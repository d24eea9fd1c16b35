#include "jobs/prune_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/checksum.hpp"
#include "io/model_layers.hpp"
#include "io/model_output.hpp"
#include "jobs/candidates.hpp"
#include "jobs/dense_pruning.hpp"
#include "jobs/model_copy.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/prune_reading.hpp"
#include "jobs/prune_report.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;
using Bytes = std::vector<std::byte>;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// What a run works with; borrowed.
struct Run {
  Context& context;
  const Pruning& pruning;
  const io::ModelReader& reader;
  const Pieces& pieces;
  const PieceMemory& memory;
  const std::string& path;
};

struct Pruned {
  std::vector<LayerOutcome> outcomes;
  std::optional<double> threshold;
};

CsrRows rows_of(const Run& run, std::int64_t layer, Range rows, std::span<const std::byte> stored) {
  CsrRows found;
  found.first_row = rows.begin;
  found.cols = run.reader.network().layers[to_size(layer)].weight.cols;
  found.pointers.assign(1, 0);
  std::vector<float> row_of(to_size(found.cols));
  const std::size_t row_bytes = row_of.size() * to_size(io::bytes_of(run.reader.type(layer)));
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    io::to_floats(run.reader.type(layer),
                  stored.subspan(to_size(row - rows.begin) * row_bytes, row_bytes), row_of);
    for (std::size_t column = 0; column < row_of.size(); ++column) {
      if (!std::isfinite(row_of[column])) {
        run.reader.refuse_not_finite(layer, {row * found.cols, (row + 1) * found.cols});
      }
      if (row_of[column] != 0) {
        found.indices.push_back(static_cast<std::uint32_t>(column));
        found.values.push_back(row_of[column]);
      }
    }
    found.pointers.push_back(std::ssize(found.indices));
  }
  return found;
}

double squares_of(const CsrRows& rows) {
  double squares = 0;
  for (std::int64_t k = 0; k < rows.nnz(); ++k) {
    squares += static_cast<double>(rows.value(k)) * static_cast<double>(rows.value(k));
  }
  return squares;
}

// Joins what the ranks know of each layer.
std::vector<LayerOutcome> join_outcomes(const Comm& world, const std::vector<LayerOutcome>& mine) {
  std::vector<std::int64_t> kept;
  std::vector<double> squares;
  for (const LayerOutcome& outcome : mine) {
    kept.push_back(outcome.kept);
    squares.push_back(outcome.removed_squares);
  }
  world.sum(kept);
  squares = exchange_sums(world, squares);
  std::vector<LayerOutcome> all(mine.size());
  for (std::size_t id = 0; id < all.size(); ++id) {
    all[id] = {kept[id], squares[id], std::nullopt};
  }
  return all;
}

// Methods that decide row by row: each piece is read, decided on and written.
Pruned apply_rules(const Run& run, io::ModelOutput& output, ModelDigest& digest) {
  const Comm& world = run.context.world;
  const KeyRule keys = key_rule(run.pruning);
  std::vector<LayerOutcome> mine(run.reader.network().layers.size());
  Progress progress("pruning", run.pieces.count(), "pieces");
  for (std::int64_t layer = 0; layer < run.pieces.layers(); ++layer) {
    for (std::int64_t round = 0; round < run.pieces.rounds(layer); ++round) {
      locally(world, "pruning weights", [&] {
        const PhaseTimer timer(run.context.times, Phase::kWrite);
        const Range rows = run.pieces.rows(layer, round, world.rank());
        const io::TensorPlace place = run.reader.place(layer);
        const std::int64_t row_bytes = run.reader.network().layers[to_size(layer)].weight.cols *
                                       io::bytes_of(run.reader.type(layer));
        const std::int64_t position = run.reader.model().position(place) + rows.begin * row_bytes;
        Bytes stored(to_size(rows.size() * row_bytes));
        run.reader.read_bytes(place.file, position, stored);
        digest.note(place.file, position, std::ssize(stored), io::crc32(stored));
        KeyedRows keyed;
        keyed.rows = rows_of(run, layer, rows, stored);
        LayerOutcome& outcome = mine[to_size(layer)];
        if (!run.pruning.targets.excluded[to_size(layer)]) {
          const double before = squares_of(keyed.rows);
          if (keys) {
            keyed.keys = keys(layer, keyed.rows);
          }
          apply_rule(run.pruning, layer, keyed);
          outcome.removed_squares += std::max(0.0, before - squares_of(keyed.rows));
          stored = spread_rows(run.reader.type(layer), keyed.rows, stored);
        }
        outcome.kept += keyed.rows.nnz();
        output.write(place.file, position, stored);
      });
      progress.done(run.pieces.number(layer, round) + 1);
    }
  }
  return {join_outcomes(world, mine), std::nullopt};
}

Pieces deal_pieces(const Comm& world, const Pruning& pruning, const PieceMemory& memory,
                   std::vector<std::int64_t> pieces = {}) {
  const auto entries_before = [&](std::int64_t layer, std::int64_t row) {
    return pruning.weights->nnz_before(layer, row) +
           (pruning.has_other() ? pruning.other.reader->nnz_before(layer, row) : 0);
  };
  return Pieces(pruning.network(), world.ranks(), memory, entries_before,
                {std::max<std::int64_t>(pruning.settings.group.rows, 1), std::move(pieces)});
}

// Methods whose weights compete by other keys than magnitudes, or in groups.
// What earlier runs have finished is not read again.
Pruned select_candidates(const Run& run, const io::Provenance& provenance,
                         io::ModelOutput& output) {
  const Comm& world = run.context.world;
  UnitRun units(run.context, {"rows to read", run.path, provenance,
                              passes_of(run.pruning.settings) * run.pieces.all_rows(),
                              run.pieces.pieces(), run.memory.kept_bytes});
  const Pieces pieces = locally(world, "planning", [&] {
    return deal_pieces(world, run.pruning, run.memory, units.record().cut());
  });
  Candidates candidates(pieces, world.rank(), units.record(), kSettingAside);
  PruneReading reading(run.context, run.pruning, pieces, candidates, units);
  const auto verdicts = reading.run(run.memory.group_bytes);
  Pruned made;
  made.outcomes = candidates.settle(world, verdicts);
  locally(world, "writing weights", [&] {
    const PhaseTimer timer(run.context.times, Phase::kWrite);
    for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
      const io::TensorPlace place = run.reader.place(layer);
      const io::WeightType type = run.reader.type(layer);
      const std::int64_t row_bytes =
          run.reader.network().layers[to_size(layer)].weight.cols * io::bytes_of(type);
      for (std::int64_t round = 0; round < pieces.rounds(layer); ++round) {
        const Range rows = pieces.rows(layer, round, world.rank());
        const std::int64_t position = run.reader.model().position(place) + rows.begin * row_bytes;
        // Candidates hold float32, which is not all of a float64.
        Bytes before(type == io::WeightType::kF64 ? to_size(rows.size() * row_bytes) : 0);
        run.reader.read_bytes(place.file, position, before);
        output.write(place.file, position,
                     spread_rows(type, candidates.read(layer, round, made.outcomes[to_size(layer)]),
                                 before));
      }
    }
  });
  units.finish();
  return made;
}

Pruned prune_by_magnitude(const Run& run, DensePruning& dense, io::ModelOutput& output,
                          ModelDigest& digest) {
  for (std::int64_t layer = 0; layer < run.pieces.layers(); ++layer) {
    dense.prune(layer, output, digest);
  }
  dense.settle(output);
  return {dense.outcomes(), dense.threshold()};
}

PruneSettings model_settings(const Options& options) {
  options.choice("to", {"safetensors"});
  PruneSettings settings = prune_settings(options);
  if (settings.method == PruneMethod::kBias) {
    throw options.fault("method",
                        "needs to know which layer reads which, and a model does not say "
                        "so; import it with --layers-file first");
  }
  if (!settings.batch.empty()) {
    throw options.fault("calibrate",
                        "runs samples through the network, and a model does not say "
                        "which layer reads which; import it with --layers-file first");
  }
  if (options.given("layout")) {
    throw options.fault("layout", "has no meaning with --to safetensors: weights stay dense");
  }
  return settings;
}

// Masks or scores are a network file with a layer for each of the model's.
void open_other(const Comm& world, Pruning& pruning) {
  const std::string& file = pruning.settings.file;
  pruning.other.catalog = io::read_catalog(world, file);
  locally(world, "opening " + file, [&] {
    pruning.other.reader.emplace(pruning.other.catalog);
    const auto& layers = pruning.network().layers;
    const auto& others = pruning.other.reader->network().layers;
    bool same = layers.size() == others.size();
    for (std::size_t id = 0; same && id < layers.size(); ++id) {
      same = layers[id].weight.rows == others[id].weight.rows &&
             layers[id].weight.cols == others[id].weight.cols;
    }
    if (!same) {
      throw Error(
          ExitStatus::kBadData,
          text(file, " has other layers than ", pruning.weights->file(),
               "; right is one of the same rows and columns for each tensor that is pruned, "
               "in the order of files and data"));
    }
  });
}

void check_model(const Run& run) {
  if (run.path.ends_with(".safetensors") && run.reader.model().files.size() != 1) {
    throw Error(ExitStatus::kUsage,
                text("--out ", run.path, ": the model has ", run.reader.model().files.size(),
                     " files; the name of a folder would be right"));
  }
  if (run.reader.network().layers.empty()) {
    throw Error(ExitStatus::kBadData,
                text(run.reader.file(),
                     ": there is nothing to prune: no tensor of BF16, F16, F32 "
                     "or F64 has two dimensions"));
  }
}

// Where the layers lie.
std::vector<ModelStretch> weights_of(const io::ModelReader& reader) {
  std::vector<ModelStretch> stretches;
  for (std::int64_t layer = 0; layer < std::ssize(reader.network().layers); ++layer) {
    stretches.push_back(stretch_of(reader.model(), reader.place(layer)));
  }
  return stretches;
}

OutputPlan describe_output(const Run& run) {
  OutputPlan plan;
  plan.path = run.path;
  plan.provenance.kind = "model";
  plan.provenance.job = "prune";
  plan.provenance.options = canonical_options(run.pruning.settings);
  plan.provenance.options["to"] = "safetensors";
  const io::Model& model = run.reader.model();
  plan.what = text(model.place, " (", counted(std::ssize(model.files), "file"), ", ",
                   counted(std::ssize(run.reader.network().layers), "layer"), ", ",
                   grouped(run.reader.network().nnz()), " weights) pruned by ",
                   run.context.options.text("method"));
  return plan;
}

std::vector<std::string> input_digests(const Run& run, const std::string& of_model) {
  std::vector digests = {of_model};
  if (run.pruning.has_other()) {
    digests.push_back(io::input_digest(run.context.world, run.pruning.other.catalog));
  }
  return digests;
}

// Whether there is anything to do.
bool begin_model(const Run& run, OutputPlan& plan) {
  Context& context = run.context;
  const io::OutputOptions options = context.output_options();
  if (!options.force && io::output_exists(context.world, plan.path)) {
    io::Provenance same = plan.provenance;
    same.inputs = input_digests(run, io::digest_files(context.world, run.reader.model().paths()));
    if (io::stored_model_digest(context.world, plan.path) == io::job_digest(same)) {
      log_info(text(plan.path, " has been written by the same job already; nothing to do"));
      return false;
    }
  }
  io::check_model_place(context.world, plan.path, options);
  if (context.options.flag("dry-run")) {
    log_info(text("would write ", plan.path, ": ", plan.what));
    return false;
  }
  return true;
}

void finish_report(const Run& run, const OutputPlan& plan, const Pruned& made, double seconds) {
  Context& context = run.context;
  const io::Network& network = run.reader.network();
  log_layers(network, made.outcomes);
  const PruneTotals totals = report_layers(context.report, network, made.outcomes);
  context.report.set("job_digest", io::job_digest(plan.provenance));
  context.report.set("threshold",
                     made.threshold ? nlohmann::json(*made.threshold) : nlohmann::json());
  context.report.add_bytes_read(run.reader.bytes_read());
  log_info(text("kept ", grouped(totals.kept), " of ", grouped(totals.positions),
                " weights: sparsity ", rounded(100 * totals.sparsity(), 4), " %, ",
                rounded(static_cast<double>(totals.positions) / std::max(seconds, 1e-9) / 1e6),
                " M weights/s"));
}

// Reads, decides and writes.
ExitStatus write_pruned(const Run& run, OutputPlan& plan, std::optional<DensePruning>& dense,
                        double start) {
  Context& context = run.context;
  const Comm& world = context.world;
  const bool selects = !dense && run.pruning.settings.counts();
  ModelDigest digest(run.reader.model());
  if (selects) {
    plan.provenance.inputs =
        input_digests(run, io::digest_files(world, run.reader.model().paths()));
  }
  io::ModelOutput output(world, plan.path, plan_model(run.reader.model()),
                         context.output_options());
  if (dense) {
    dense->count();
  }
  copy_rest(context, run.reader, weights_of(run.reader), output, &digest);
  const Pruned made = dense     ? prune_by_magnitude(run, *dense, output, digest)
                      : selects ? select_candidates(run, plan.provenance, output)
                                : apply_rules(run, output, digest);
  if (!selects) {
    plan.provenance.inputs = input_digests(run, digest.digest(world));
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    output.finish(plan.provenance);
  }
  const double seconds = now_seconds() - start;
  finish_report(run, plan, made, seconds);
  std::int64_t kept = 0;
  for (const LayerOutcome& outcome : made.outcomes) {
    kept += outcome.kept;
  }
  end_output(context, plan, {kept, seconds, 0, output.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace

ExitStatus prune_model(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  Pruning pruning;
  pruning.settings = model_settings(context.options);
  const io::Model model = io::read_model(world, {context.options.text("network")});
  std::optional<io::ModelReader> reader;
  locally(world, "opening " + model.place, [&] { reader.emplace(model); });
  pruning.weights = &*reader;
  if (!pruning.settings.file.empty()) {
    open_other(world, pruning);
  }
  const std::string path = context.options.text("out");
  const std::int64_t memory_bytes = context.memory_per_rank();
  PieceMemory memory;
  const Pieces pieces = locally(world, "planning", [&] {
    pruning.targets = prune_targets(pruning.settings, pruning.network());
    memory = plan_pieces(memory_bytes);
    return deal_pieces(world, pruning, memory);
  });
  const Run run{context, pruning, *reader, pieces, memory, path};
  locally(world, "planning", [&] { check_model(run); });
  OutputPlan plan = describe_output(run);
  if (!begin_model(run, plan)) {
    return ExitStatus::kDone;
  }
  std::optional<DensePruning> dense;
  if (DensePruning::can(pruning.settings)) {
    locally(world, "planning", [&] {
      dense.emplace(context, pruning, *reader, pieces, memory.group_bytes, folder_of(path));
    });
  }
  return write_pruned(run, plan, dense, start);
}

}  // namespace espalier::jobs
