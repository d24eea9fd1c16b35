// From people's own HDF5 and NetCDF-4 arrays to a batch.
#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/batch_file.hpp"
#include "io/checksum.hpp"
#include "io/foreign_hdf5.hpp"
#include "jobs/import.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/rounds.hpp"
#include "jobs/sample_units.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kRoundBytes = INT64_C(32) << 20;  // of features on a rank at a time

// "FILE:/path".
struct Place {
  std::string file, path;
};

Place place_option(const Options& options, const std::string& name) {
  const std::string spelled = options.text(name);
  const std::size_t colon = spelled.find(":/");
  if (colon == std::string::npos || colon == 0) {
    throw options.fault(name, text("'", spelled, "' is not FILE:/path, as in data.h5:/features"));
  }
  std::string path = spelled.substr(colon + 1);
  while (path.size() > 1 && path.ends_with('/')) {
    path.pop_back();
  }
  return {spelled.substr(0, colon), path};
}

// What is imported; the catalogs are those of the files, each once.
struct Hdf5Input {
  Place features;
  std::optional<Place> labels, ids;
  std::map<std::string, io::Catalog> catalogs;
  std::map<std::string, io::DataFile> files;
  io::ForeignFeatures found;
  std::optional<io::ForeignIds> sample_ids;

  bool dense() const { return found.form == io::ForeignFeatures::Form::kDense; }
  const io::DataFile& file(const Place& place) const { return files.at(place.file); }
};

void read_places(const Options& options, Hdf5Input& input) {
  input.features = place_option(options, "features");
  if (options.given("labels")) {
    input.labels = place_option(options, "labels");
  }
  if (options.given("ids")) {
    input.ids = place_option(options, "ids");
  }
}

void open_files(const Comm& world, Hdf5Input& input) {
  std::vector<std::string> names = {input.features.file};
  for (const auto& place : {input.labels, input.ids}) {
    if (place) {
      names.push_back(place->file);
    }
  }
  for (const std::string& name : names) {
    if (!input.catalogs.contains(name)) {
      const io::Catalog& catalog =
          input.catalogs.emplace(name, io::read_catalog(world, name)).first->second;
      locally(world, "opening " + name, [&] { input.files.emplace(name, io::DataFile(catalog)); });
    }
  }
}

void find_arrays(const Options& options, Hdf5Input& input) {
  std::optional<std::int64_t> width;
  if (options.given("features-cols")) {
    width = options.integer("features-cols", 1);
  }
  input.found =
      io::find_foreign_features(input.catalogs.at(input.features.file), input.features.path, width);
  if (input.labels) {
    io::find_foreign_labels(input.catalogs.at(input.labels->file), input.labels->path,
                            input.found.samples);
  }
}

OutputPlan plan_batch(Context& context, const Hdf5Input& input) {
  OutputPlan plan;
  plan.path = context.options.text("out");
  plan.provenance.kind = "batch";
  plan.provenance.job = "import";
  plan.provenance.options = {
      {"from", "hdf5"}, {"features", input.features.path}, {"features-cols", input.found.features}};
  if (input.labels) {
    plan.provenance.options["labels"] = input.labels->path;
  }
  if (input.ids) {
    plan.provenance.options["ids"] = input.ids->path;
  }
  plan.what = text("a ", input.dense() ? "dense" : "sparse", " batch of ",
                   counted(input.found.samples, "sample"), " with ",
                   counted(input.found.features, "feature"));
  plan.digest_inputs = [&context, &input] {
    std::vector<std::string> digests;
    for (const auto& place : {std::optional(input.features), input.labels, input.ids}) {
      if (place) {
        digests.push_back(io::input_digest(context.world, input.catalogs.at(place->file)));
      }
    }
    return digests;
  };
  return plan;
}

// A dense sample is in memory as it is read and as sparse entries.
//   where    collective
//   throws   SharedError(kDoesNotFit) if a single sample is too large
std::int64_t plan_most_per_rank(Context& context, const Hdf5Input& input) {
  constexpr std::int64_t kBytesAValue = 3 * sizeof(float);
  const io::ForeignFeatures& found = input.found;
  const std::int64_t memory = context.memory_per_rank();
  const std::int64_t bytes =
      kBytesAValue * (input.dense() ? found.features
                                    : found.stored / std::max<std::int64_t>(found.samples, 1) + 1);
  if (input.dense() && bytes > memory) {
    throw SharedError(ExitStatus::kDoesNotFit,
                      text(input.features.file, ": ", input.features.path, ": one sample has ",
                           found.features, " features and needs ", spelled_bytes(bytes),
                           ", more than the ", spelled_bytes(memory), " a rank may use"));
  }
  return std::max<std::int64_t>(kRoundBytes / bytes, 1);
}

// Sparse features wait in the record until it is known how many are not zero; dense ones go to the
// output as they are read, and to the record for a run that goes on.
struct FeatureUnits {
  FeatureUnits(Context& context, const Hdf5Input& from, const OutputPlan& plan,
               std::int64_t most_per_rank)
      : input(from),
        run(context,
            {"samples", plan.path, plan.provenance, input.found.samples,
             SampleUnits::plan_cut(input.found.samples, context.world.ranks(), most_per_rank)}),
        units(locally(context.world, "resuming", [&] { return SampleUnits(context, run); })) {
    if (!input.dense()) {
      totals =
          units.fill("reading", "samples", [&](Range samples) { return read_features(samples); });
    }
  }

  kernels::CsrRows read_features(Range samples) const {
    return io::read_foreign_features(input.file(input.features), input.found, samples);
  }
  // This rank's features of a round, as they are written. Local.
  kernels::CsrRows take(std::int64_t round) {
    kernels::CsrRows rows =
        units.take(round, [&](Range samples) { return read_features(samples); });
    if (!input.dense()) {
      spell_values(rows, totals.iso());
    }
    return rows;
  }

  const Hdf5Input& input;
  UnitRun run;
  SampleUnits units;
  MatrixTotals totals;
};

io::Batch describe_batch(const Hdf5Input& input, const MatrixTotals& totals) {
  const io::ForeignFeatures& found = input.found;
  io::Batch batch;
  batch.features.rows = found.samples;
  batch.features.cols = found.features;
  batch.value_type = found.type == io::kUint8 ? io::kUint8 : io::kFloat32;
  if (input.dense()) {
    batch.features.format = io::MatrixFormat::kDmat;
    batch.features.stored = found.stored;
  } else {
    batch.features.stored = totals.nnz();
    batch.features.iso = totals.iso().has_value();
  }
  batch.labels = input.labels.has_value();
  if (input.sample_ids) {
    batch.sample_id = input.sample_ids->type();
  }
  return batch;
}

// All of some samples.
struct Block {
  kernels::CsrRows rows;
  std::vector<std::int64_t> labels;
  std::vector<std::byte> ids;
};

Block read_block(const Hdf5Input& input, kernels::CsrRows rows, Range samples) {
  Block block;
  block.rows = std::move(rows);
  if (input.labels && !samples.empty()) {
    const io::DataFile& file = input.file(*input.labels);
    block.labels.resize(static_cast<std::size_t>(samples.size()));
    file.read(file.catalog().dataset(input.labels->path), samples.begin, block.labels);
  }
  if (input.sample_ids) {
    block.ids = input.sample_ids->read(samples);
  }
  return block;
}

// Writes the batch round by round.
//   returns  the non-zeros of all ranks
std::int64_t write_rounds(Context& context, const Hdf5Input& input, FeatureUnits& features,
                          io::BatchWriter& writer) {
  const Comm& world = context.world;
  const Rounds& rounds = features.units.rounds();
  Progress progress("writing", input.found.samples, "samples");
  std::int64_t nnz = 0;
  for (std::int64_t round = 0; round < rounds.rounds(); ++round) {
    const Block block = locally(world, "reading features", [&] {
      const PhaseTimer timer(context.times, Phase::kRead);
      return read_block(input, features.take(round), rounds.range(round, world.rank()));
    });
    nnz += block.rows.nnz();
    {
      const PhaseTimer timer(context.times, Phase::kWrite);
      writer.write_samples(block.rows, block.labels, block.ids);
    }
    features.run.after_unit(features.units.samples(round));
    progress.done(features.units.samples(round).end);
  }
  return world.sum(nnz);
}

Hdf5Input open_input(Context& context) {
  const Comm& world = context.world;
  Hdf5Input input;
  locally(world, "reading options", [&] { read_places(context.options, input); });
  open_files(world, input);
  locally(world, "looking for arrays", [&] { find_arrays(context.options, input); });
  if (input.ids) {
    input.sample_ids.emplace(world, input.file(*input.ids), input.ids->path, input.found.samples);
  }
  return input;
}

}  // namespace

ExitStatus import_hdf5(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const Hdf5Input input = open_input(context);
  OutputPlan plan = plan_batch(context, input);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  FeatureUnits features(context, input, plan, plan_most_per_rank(context, input));
  io::BatchWriter writer(world, plan.path, describe_batch(input, features.totals), plan.provenance,
                         context.output_options());
  const std::int64_t nnz = write_rounds(context, input, features, writer);
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
    features.run.finish();
  }
  std::int64_t bytes_read = 0;
  for (const auto& [name, file] : input.files) {
    bytes_read += file.bytes_read();
  }
  context.report.add_bytes_read(bytes_read);
  report_batch(context, input.found.samples, input.found.features);
  end_output(context, plan,
             {nnz, now_seconds() - start, world.sum(bytes_read), writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
