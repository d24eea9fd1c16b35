#include "jobs/prune_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/checksum.hpp"
#include "io/model_layers.hpp"
#include "io/model_output.hpp"
#include "jobs/calibrated_pruning.hpp"
#include "jobs/dense_pruning.hpp"
#include "jobs/model_ways.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/piece_pruning.hpp"
#include "jobs/prune_reading.hpp"
#include "jobs/prune_report.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

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
                        "which layer reads which; import it with --layers-file first, or give "
                        "--activation-stats");
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

void check_model(const ModelRun& run) {
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

// Where the layers lie that are not just copied.
std::vector<ModelStretch> weights_of(const ModelRun& run) {
  std::vector<ModelStretch> stretches;
  for (std::int64_t layer = 0; layer < std::ssize(run.reader.network().layers); ++layer) {
    if (!run.pruning.targets.excluded[static_cast<std::size_t>(layer)]) {
      stretches.push_back(stretch_of(run.reader.model(), run.reader.place(layer)));
    }
  }
  return stretches;
}

// Whether all is written to its place at once, so that the output of a run that stops stays.
bool in_place(const PruneSettings& settings) {
  return DensePruning::can(settings) || PiecePruning::can(settings);
}

OutputPlan describe_output(const ModelRun& run) {
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

std::vector<std::string> input_digests(const ModelRun& run, const std::string& of_model) {
  std::vector digests = {of_model};
  if (run.pruning.has_other()) {
    digests.push_back(io::input_digest(run.context.world, run.pruning.other.catalog));
  }
  for (const std::string& digest : stats_digests(run.context.world, run.pruning)) {
    digests.push_back(digest);
  }
  return digests;
}

// That of every byte of the model, which takes a reading of its own.
std::string digest_model(const ModelRun& run) {
  const Comm& world = run.context.world;
  std::int64_t bytes = 0;
  for (const io::ModelFile& file : run.reader.model().files) {
    bytes += file.bytes();
  }
  run.context.report.add_bytes_read(split_evenly(bytes, world.ranks(), world.rank()).size());
  return io::digest_files(world, run.reader.model().paths());
}

// What the record of finished units is told of the job. Where all is written to its place a model
// is pruned at the speed of reading it: what is known before that has to do, and each unit has its
// own checksums.
UnitJob units_of(const ModelRun& run, const OutputPlan& plan, const Pieces& planned) {
  UnitJob job{"rows to read",       run.path, plan.provenance, 0, planned.pieces(),
              run.memory.kept_bytes};
  const io::Model& model = run.reader.model();
  const Comm& world = run.context.world;
  if (in_place(run.pruning.settings)) {
    job.what = "rows and parts";
    job.items = DensePruning::can(run.pruning.settings) ? DensePruning::items(run, planned)
                                                        : PiecePruning::items(run, planned);
    job.provenance.inputs = input_digests(run, locally(world, "looking at " + model.place, [&] {
                                            return ModelDigest::digest_headers(model);
                                          }));
  } else {
    job.items = passes_of(run.pruning.settings) * planned.all_rows();
    job.provenance.inputs = input_digests(run, digest_model(run));
  }
  return job;
}

// Whether there is anything to do.
bool begin_model(const ModelRun& run, OutputPlan& plan, const Pieces& planned) {
  Context& context = run.context;
  const io::OutputOptions options = context.output_options();
  if (!options.force && io::output_exists(context.world, plan.path)) {
    io::Provenance same = plan.provenance;
    same.inputs = input_digests(run, digest_model(run));
    if (io::stored_model_digest(context.world, plan.path) == io::job_digest(same)) {
      io::UnitRecord::remove_leftover(context.world, plan.path,
                                      io::job_digest(units_of(run, plan, planned).provenance));
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

void finish_report(const ModelRun& run, const OutputPlan& plan, const ModelPruned& made,
                   double seconds) {
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

std::unique_ptr<InPlacePruning> plan_in_place(const ModelRun& run, ModelWork& work) {
  if (DensePruning::can(run.pruning.settings)) {
    return std::make_unique<DensePruning>(run, work);
  }
  return std::make_unique<PiecePruning>(run, work);
}

// Reads, decides and writes all but the end of the output.
ModelPruned set_aside_and_write(const ModelRun& run, ModelWork& work, io::ModelOutput& output) {
  const PruneSettings& settings = run.pruning.settings;
  work.units.attempt([&] {
    copy_parts(run.context, run.reader, rest_of(run.reader.model(), weights_of(run)), output,
               [&] { work.units.check_request(); });
  });
  return settings.calibrated() || settings.update ? rebuild_weights(run, work, output)
                                                  : select_candidates(run, work, output);
}

ExitStatus write_pruned(const ModelRun& run, OutputPlan& plan, const UnitJob& job, double start) {
  Context& context = run.context;
  ModelWork work(run, job);
  plan.provenance.inputs = job.provenance.inputs;
  const bool stays = in_place(run.pruning.settings);
  std::unique_ptr<InPlacePruning> placed;
  if (stays) {
    placed = locally(context.world, "planning", [&] { return plan_in_place(run, work); });
  }
  io::ModelOutput output(context.world, plan.path, plan_model(run.reader.model()),
                         context.output_options(), stays && work.units.leaves_record());
  ModelPruned made;
  try {
    if (stays) {
      made = placed->run(output);
      plan.provenance.inputs = input_digests(run, placed->digest_model());
    } else {
      made = set_aside_and_write(run, work, output);
    }
    const PhaseTimer timer(context.times, Phase::kWrite);
    output.finish(plan.provenance);
  } catch (...) {
    if (stays && work.units.leaves_record()) {
      output.keep();
    }
    throw;
  }
  work.units.finish();
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
  open_stats(world, pruning);
  std::string path = context.options.text("out");
  while (path.size() > 1 && path.ends_with('/')) {
    path.pop_back();
  }
  const std::int64_t memory_bytes = context.memory_per_rank();
  PieceMemory memory;
  const Pieces planned = locally(world, "planning", [&] {
    pruning.targets = prune_targets(pruning.settings, pruning.network());
    check_stats(pruning);
    memory = plan_pieces(memory_bytes -
                         CalibratedPruning::plan_bytes(pruning, world.ranks(), memory_bytes));
    return deal_model(world, pruning, memory);
  });
  const ModelRun run{context, pruning, *reader, memory, path};
  locally(world, "planning", [&] { check_model(run); });
  OutputPlan plan = describe_output(run);
  if (!begin_model(run, plan, planned)) {
    return ExitStatus::kDone;
  }
  return write_pruned(run, plan, units_of(run, plan, planned), start);
}

}  // namespace espalier::jobs
