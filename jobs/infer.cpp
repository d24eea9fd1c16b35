// espalier infer: a batch through a sparse network, to a result file.
#include <algorithm>
#include <iostream>
#include <optional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/memory.hpp"
#include "framework/parallel.hpp"
#include "io/checksum.hpp"
#include "io/graphchallenge.hpp"
#include "jobs/job.hpp"
#include "jobs/machine.hpp"
#include "jobs/outcome.hpp"
#include "jobs/plan.hpp"
#include "jobs/propagate.hpp"
#include "jobs/sharded_network.hpp"
#include "jobs/spelling.hpp"
#include "jobs/truth.hpp"
#include "jobs/unit_run.hpp"
#include "kernels/limits.hpp"

namespace espalier::jobs {
namespace {

struct Files {
  std::string network, batch, result, truth;
};

Files files_of(const Options& options) {
  return {options.text("network"), options.text("batch"), options.text("out"),
          options.given("truth") ? options.text("truth") : ""};
}

struct Inputs {
  Files files;
  io::Catalog network_catalog, batch_catalog;
};

OutcomeOptions outcome_options(const Options& options, const io::Network& network) {
  const std::string output = options.choice("output", {"categories", "top", "full"});
  OutcomeOptions outcome;
  outcome.full = output == "full";
  if (output == "top" || options.given("top-k")) {
    outcome.top_k = options.integer("top-k");
    if (outcome.top_k < 1 || outcome.top_k > network.outputs()) {
      throw Error(ExitStatus::kUsage, text("--top-k ", outcome.top_k, " must be from 1 to ",
                                           network.outputs(), ", the network's outputs"));
    }
  }
  return outcome;
}

// The samples that this run takes of `all`: those of --part I/N.
Range part_of(const Options& options, std::int64_t all) {
  if (!options.has("part")) {
    return {0, all};
  }
  const std::string spelled = options.text("part");
  const auto slash = std::min(spelled.find('/'), spelled.size());
  const auto part = read_integer(spelled.substr(0, slash));
  const auto parts = read_integer(spelled.substr(std::min(slash + 1, spelled.size())));
  constexpr std::int64_t kMostParts = 1'000'000;
  if (!part || !parts || *part < 1 || *part > *parts || *parts > kMostParts) {
    throw options.fault("part", text("'", spelled, "' is no part; right is 1/N to N/N"));
  }
  return split_evenly(all, narrow<int>(*parts), narrow<int>(*part - 1));
}

void check_pair(const Files& files, const io::Network& network, const io::Batch& batch) {
  if (network.layers[0].inputs.empty()) {
    throw Error(ExitStatus::kBadData,
                text(files.network,
                     ": cannot be run: it comes from a model that does not say which layer reads "
                     "which; import it again with --layers-file"));
  }
  if (batch.features.cols != network.inputs()) {
    throw Error(ExitStatus::kBadData,
                text(files.batch, " has ", batch.features.cols, " features a sample but ",
                     files.network, " takes ", network.inputs(), " inputs"));
  }
}

io::Provenance provenance_of(const Comm& world, const OutcomeOptions& outcome, const Inputs& inputs,
                             const std::optional<io::ResultPart>& part) {
  io::Provenance provenance;
  provenance.kind = "result";
  provenance.job = "infer";
  provenance.options = {{"full", outcome.full}, {"top_k", outcome.top_k}};
  if (part) {
    provenance.options["part"] = {part->samples.begin, part->samples.end, part->of};
  }
  provenance.inputs = {io::input_digest(world, inputs.network_catalog),
                       io::input_digest(world, inputs.batch_catalog)};
  return provenance;
}

// From samples of the part to samples of the batch.
Range shifted(Range samples, std::int64_t first) {
  return {first + samples.begin, first + samples.end};
}

// A finished result is not computed again, but a truth file given with it is compared.
ExitStatus already_done(Context& context, const Files& files, const std::string& job_digest,
                        const io::ResultPart& part) {
  log_info(text(files.result, " is already done by the same job; nothing to do"));
  io::UnitRecord::remove_leftover(context.world, files.result, job_digest);
  if (!files.truth.empty()) {
    const io::Catalog catalog = io::read_catalog(context.world, files.result);
    locally(context.world, "reading the result", [&] { io::parse_result(catalog); });
    const auto truth = io::read_challenge_truth(context.world, files.truth, part.of);
    const Range mine =
        split_evenly(part.samples.size(), context.world.ranks(), context.world.rank());
    const auto alive = locally(context.world, "reading the result", [&] {
      std::vector<std::int64_t> values(static_cast<std::size_t>(mine.size()));
      io::DataFile(catalog).read(catalog.dataset("/alive"), mine.begin, values);
      return std::vector<std::uint8_t>(values.begin(), values.end());
    });
    const Range here = shifted(mine, part.samples.begin);
    compare_with_truth(context.world, {files.result, files.truth}, here, alive_ids(here, alive),
                       truth);
  }
  return ExitStatus::kDone;
}

// As read: an index and a value for each feature, and a pointer.
std::int64_t bytes_per_sample(const io::MatrixInfo& features) {
  return 8 + 8 * features.stored / std::max<std::int64_t>(features.rows, 1);
}

// Outcomes that wait in memory for a save; a run of seconds then needs none.
std::int64_t outcomes_in_memory(std::int64_t spare_bytes) {
  return std::clamp(spare_bytes / 4, std::int64_t{64} << 20, std::int64_t{1} << 30);
}

void describe_plan(const InferencePlan& plan, const io::Network& network, std::int64_t samples) {
  log_info(text("grid ", to_string(plan.grid), " (row shards x sample groups), ",
                network.layers.size(), " layers, ", network.nnz(), " weights, ", samples,
                " samples in ", plan.waves, " waves of ", plan.wave_samples, " a group"));
  log_info(text("memory of a rank: about ", plan.bytes_per_rank() >> 20, " MiB (weights ",
                plan.weights_bytes >> 20, ", panels ", plan.activations_bytes >> 20, ")"));
}

// Multiply-adds a second of all ranks together, measured by all at once, so that ranks that share
// a core share its rate.
double measure_peak(const Comm& world) {
  std::vector<double> rates(static_cast<std::size_t>(threads()));
  world.barrier();
  parallel_for(threads(), [&](std::int64_t thread, int) {
    rates[static_cast<std::size_t>(thread)] = kernels::measure_fma_peak();
  });
  double mine = 0;
  for (const double rate : rates) {
    mine += rate;
  }
  return spread_over_ranks(world, mine).mean * world.ranks();
}

// The samples to be worked on: those of `batch` from `first` on.
struct Source {
  const io::BatchReader& batch;
  std::int64_t first;
};

// Runs all waves of this rank's group.
//   returns  seconds spent, reading of features left out
double run_waves(Context& context, const Source& source, const UnitPlan& units,
                 Propagator& propagator, Outcome& outcome, UnitRun& run) {
  const Comm& world = context.world;
  std::int64_t samples = 0, done = 0;
  for (const Range& unit : units.units) {
    samples += unit.size();
  }
  Progress progress("inferring", samples, "samples");
  propagator.give_up_if([&] { return run.gives_up_unit(); });
  double seconds = 0;
  kernels::CsrRows features;
  for (std::int64_t round = 0; round < units.rounds; ++round) {
    const bool mine = round < std::ssize(units.units);
    Range wave = mine ? units.units[static_cast<std::size_t>(round)] : Range{};
    locally(world, "reading the batch", [&] {
      const PhaseTimer timer(context.times, Phase::kRead);
      features = source.batch.read_samples(shifted(wave, source.first), std::move(features));
    });
    const double start = now_seconds();
    const WaveOutput output = propagator.run(features);
    if (output.given_up) {
      wave = {};
    }
    outcome.add_wave(world, wave, output);
    seconds += now_seconds() - start;
    {
      const PhaseTimer timer(context.times, Phase::kWrite);
      outcome.write_early(world);
    }
    run.after_unit();
    done += wave.size();
    progress.done(done);
  }
  return seconds;
}

struct Totals {
  double seconds = 0, peak = 0;
  std::int64_t samples = 0, alive = 0, edges = 0;
  std::int64_t computed = 0;  // samples of this run; earlier ones may have done the others
};

void fill_report(Context& context, const io::Network& network, const ShardedNetwork& sharded,
                 const Propagator& propagator, const Totals& totals) {
  RunReport& report = context.report;
  std::int64_t edges = 0, packed_bytes = 0;
  nlohmann::json layers = nlohmann::json::array();
  const std::vector<LayerWork> all_work = propagator.work();
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    const LayerWork& work = all_work[id];
    const std::int64_t layer_edges = context.world.sum(work.edges);
    edges += layer_edges;
    packed_bytes += sharded.layers[id].packed.bytes();
    const double layer_seconds = spread_over_ranks(context.world, work.seconds).max;
    layers.push_back(nlohmann::json{{"name", network.layers[id].name},
                                    {"blocks", sharded.layers[id].packed.block_names()},
                                    {"edges_computed", layer_edges},
                                    {"seconds", layer_seconds}});
  }
  const auto nominal = totals.computed * totals.edges;
  const double seconds = std::max(totals.seconds, 1e-9);
  report.set("samples", totals.samples);
  report.set("alive", totals.alive);
  report.set("edges_nominal", nominal);
  report.set("edges_computed", edges);
  report.set("seconds", totals.seconds);
  report.set("edges_per_second", static_cast<double>(nominal) / seconds);
  report.set("computed_edges_per_second", static_cast<double>(edges) / seconds);
  report.set("fma_peak_per_second", totals.peak);
  report.set("layers", layers);
  report.set("packed_bytes_max", context.world.max(packed_bytes));
  report.add_exchange(propagator.bytes_sent(), propagator.messages());
  log_info(text(totals.alive, " of ", totals.samples, " samples alive, ", totals.seconds,
                " s in the network, ", static_cast<double>(nominal) / seconds / 1e9,
                " G edges/s nominal"));
}

ExitStatus infer(Context& context, const Inputs& inputs, const io::NetworkReader& network,
                 const io::BatchReader& batch) {
  const Comm& world = context.world;
  const Files& files = inputs.files;
  const io::ResultPart part{part_of(context.options, batch.batch().samples()),
                            batch.batch().samples()};
  const std::int64_t samples = part.samples.size();
  const OutcomeOptions wanted = locally(world, "checking", [&] {
    check_pair(files, network.network(), batch.batch());
    return outcome_options(context.options, network.network());
  });
  const bool bfloat16 = locally(world, "reading options", [&] {
    return context.options.choice("precision", {"fp32", "bf16"}) == "bf16";
  });
  std::vector<std::int64_t> truth;
  if (!files.truth.empty()) {
    truth = io::read_challenge_truth(world, files.truth, part.of);
  }

  io::Provenance provenance = provenance_of(
      world, wanted, inputs, context.options.has("part") ? std::optional(part) : std::nullopt);
  if (bfloat16) {
    provenance.options["precision"] = "bf16";
  }
  if (io::check_output(world, files.result, io::job_digest(provenance), context.output_options()) ==
      io::OutputState::kAlreadyDone) {
    return already_done(context, files, io::job_digest(provenance), part);
  }
  const std::int64_t memory = context.memory_per_rank();
  const bool streams = streams_outputs(network.network(), wanted.full);
  const InferencePlan plan = locally(world, "planning", [&] {
    Allocation allocation = {world.ranks(), memory, threads(), cache_bytes(2),
                             bytes_per_sample(batch.batch().features)};
    allocation.third_cache_bytes = third_cache_share_bytes();
    allocation.streams_outputs = streams;
    allocation.top_k = wanted.top_k;
    allocation.most_wave_samples = context.options.has("wave-samples")
                                       ? context.options.integer("wave-samples", 1)
                                       : std::int64_t{0};
    return plan_inference(network.network(), samples, context.grid(), allocation);
  });
  describe_plan(plan, network.network(), samples);
  context.report.set("grid", to_string(plan.grid));
  context.report.set("job_digest", io::job_digest(provenance));
  if (context.options.flag("dry-run")) {
    return ExitStatus::kDone;
  }

  UnitRun run(context, {"samples",
                        files.result,
                        provenance,
                        samples,
                        {},
                        outcomes_in_memory(memory - plan.bytes_per_rank())});
  const ProcessGrid grid(world, plan.grid);
  const ShardedNetwork sharded = read_and_pack(world, grid, network, context.times,
                                               {[&] { run.check_time(); }, bfloat16, streams});
  Propagator propagator(grid, sharded, plan, context.times, kept_outputs(sharded, wanted));
  const UnitPlan units =
      plan_units(run.left(), plan.grid.sample_groups, grid.sample_group(), plan.wave_samples);
  Outcome outcome(
      grid, sharded, wanted, run.record(),
      {files.result, part.samples, batch.batch().sample_id, provenance, context.output_options()});
  Totals totals;
  totals.samples = samples;
  totals.edges = network.network().edges();
  for (const Range& range : run.left()) {
    totals.computed += range.size();
  }
  const double seconds =
      run_waves(context, {batch, part.samples.begin}, units, propagator, outcome, run);
  totals.seconds = spread_over_ranks(world, seconds).max;
  const auto alive = outcome.exchange_alive(world);
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    context.report.add_bytes_written(outcome.write(world, batch, alive));
    run.finish();
  }

  const Range mine = split_evenly(samples, world.ranks(), world.rank());
  const auto ids = alive_ids(mine, alive);
  totals.alive = world.sum(std::ssize(ids));
  totals.peak = context.options.given("report") ? measure_peak(world) : 0;
  fill_report(context, network.network(), sharded, propagator, totals);
  context.report.add_bytes_read(network.data().bytes_read() + batch.data().bytes_read());
  if (!files.truth.empty()) {
    context.report.set("categories_match", false);
    const Range here = shifted(mine, part.samples.begin);
    compare_with_truth(world, {files.result, files.truth}, here, alive_ids(here, alive), truth);
    context.report.set("categories_match", true);
  }
  return ExitStatus::kDone;
}

ExitStatus run_infer(Context& context) {
  Inputs inputs;
  inputs.files =
      locally(context.world, "reading options", [&] { return files_of(context.options); });
  inputs.network_catalog = io::read_catalog(context.world, inputs.files.network);
  inputs.batch_catalog = io::read_catalog(context.world, inputs.files.batch);
  const auto network = locally(context.world, "opening the network",
                               [&] { return io::NetworkReader(inputs.network_catalog); });
  const auto batch = locally(context.world, "opening the batch",
                             [&] { return io::BatchReader(inputs.batch_catalog); });
  return infer(context, inputs, network, batch);
}

}  // namespace

Job infer_job() {
  namespace po = boost::program_options;
  po::options_description options("infer");
  // clang-format off
  options.add_options()
      ("network", po::value<std::string>()->required(), "network file")
      ("batch", po::value<std::string>()->required(), "batch file")
      ("out,o", po::value<std::string>()->required(), "result file to write")
      ("truth", po::value<std::string>(),
       "categories to compare with: 1-based sample ids, one a line; a difference exits with 65")
      ("output", po::value<std::string>()->default_value("categories"),
       "what to keep: categories (ids of samples with a non-zero output), top (also the K largest "
       "outputs of each sample), full (also all non-zero outputs)")
      ("top-k", po::value<std::string>()->default_value("1"),
       "K; given together with another --output it adds the K largest outputs to it")
      ("precision", po::value<std::string>()->default_value("fp32"),
       "fp32, or bf16: features, weights and activations between layers are rounded to bfloat16, sums "
       "and outputs stay float32")
      ("part", po::value<std::string>()->value_name("I/N"),
       "run the I-th of N even parts of the samples only (1/N to N/N): merge joins the results")
      ("wave-samples", po::value<std::int64_t>()->value_name("N"),
       "samples that a group of ranks works on at a time, at most; without it, what fits the memory. "
       "They are the units that are saved");
  // clang-format on
  add_unit_options(options);
  return {"infer",
          "run a batch of samples through a network",
          "infer NETWORK BATCH -o RESULT",
          {"espalier infer net.h5 batch.h5 -o result.h5 --truth categories.tsv",
           "mpirun -n 4 espalier infer net.h5 batch.h5 -o result.h5 --grid 2x2 --report run.json",
           "espalier infer net.h5 batch.h5 -o result.h5 --output top --top-k 5",
           "espalier infer net.h5 batch.h5 -o rounded.h5 --output full --precision bf16",
           "espalier infer net.h5 batch.h5 -o part-2.h5 --part 2/8"},
          {"network", "batch"},
          options,
          run_infer};
}

}  // namespace espalier::jobs
