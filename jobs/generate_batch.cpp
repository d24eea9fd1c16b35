// generate images and generate batch.
#include <algorithm>
#include <limits>
#include <optional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/random.hpp"
#include "io/batch_file.hpp"
#include "jobs/generate.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/rounds.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kMostFeatures = std::numeric_limits<std::uint32_t>::max();
constexpr std::int64_t kRoundBytes = INT64_C(16) << 20;  // of features on a rank at a time

constexpr double kInkDensity = 0.1;  // of stroke_image, on average

// Streams of a batch; images have their own.
enum Stream : std::uint32_t { kPlaces, kValues, kLabels };

// A batch whose rows can be made again and again.
struct BatchSource {
  io::Batch batch;  // stored is filled in by the first pass
  double density = 0;
  std::int64_t row_bytes = 8;
  std::optional<float> iso;
  std::function<std::int64_t(std::int64_t sample)> count;
  std::function<void(std::int64_t sample, std::vector<std::uint32_t>& indices,
                     std::vector<float>& values)>
      fill;
  std::function<std::int64_t(std::int64_t sample)> label;  // empty: no labels
};

std::int64_t count_all(Context& context, const BatchSource& source) {
  const PhaseTimer timer(context.times, Phase::kCompute);
  const Range mine =
      split_evenly(source.batch.samples(), context.world.ranks(), context.world.rank());
  return context.world.sum(
      locally(context.world, "counting", [&] { return count_rows(mine, source.count); }));
}

// Two passes over the samples: count, then write.
ExitStatus write_batch(Context& context, OutputPlan& plan, BatchSource source) {
  const Comm& world = context.world;
  const double start = now_seconds();
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }
  const std::int64_t samples = source.batch.samples();
  const std::int64_t nnz = count_all(context, source);
  io::MatrixInfo& features = source.batch.features;
  const bool dense = features.format == io::MatrixFormat::kDmat;
  features.stored = dense ? samples * features.cols : nnz;
  features.iso = !dense && source.iso && nnz > 0;

  io::BatchWriter writer(world, plan.path, source.batch, plan.provenance, context.output_options());
  const Rounds rounds{samples, world.ranks(),
                      std::max<std::int64_t>(kRoundBytes / source.row_bytes, 1)};
  Progress progress("generating", samples, "samples");
  for (std::int64_t round = 0; round < rounds.rounds(); ++round) {
    const Range mine = rounds.range(round, world.rank());
    std::vector<std::int64_t> labels;
    const kernels::CsrRows rows = locally(world, "generating samples", [&] {
      const PhaseTimer timer(context.times, Phase::kCompute);
      for (std::int64_t sample = mine.begin; source.label && sample < mine.end; ++sample) {
        labels.push_back(source.label(sample));
      }
      return make_rows(mine, features.cols, features.iso ? source.iso : std::nullopt, source.fill);
    });
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.write_samples(rows, labels, {});
    progress.done(rounds.range(round, world.ranks() - 1).end);
  }
  {
    const PhaseTimer timer(context.times, Phase::kWrite);
    writer.finish();
  }
  report_batch(context, samples, features.cols);
  end_output(context, plan, {nnz, now_seconds() - start, 0, writer.bytes_written()});
  return ExitStatus::kDone;
}

OutputPlan plan_output(const Options& options, nlohmann::json canonical,
                       const BatchSource& source) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "batch";
  plan.provenance.job = "generate";
  plan.provenance.options = std::move(canonical);
  plan.what = text("a batch of ", counted(source.batch.samples(), "sample"), " with ",
                   counted(source.batch.features.cols, "feature"));
  plan.about_nnz =
      static_cast<std::int64_t>(source.density * static_cast<double>(source.batch.samples()) *
                                static_cast<double>(source.batch.features.cols));
  return plan;
}

BatchSource image_source(std::int64_t neurons, std::int64_t samples, std::uint64_t seed) {
  BatchSource source;
  source.batch.features.rows = samples;
  source.batch.features.cols = neurons;
  source.density = kInkDensity;
  source.row_bytes = neurons;  // a tenth of the features, 8 bytes each
  source.iso = 1.0F;
  source.count = [=](std::int64_t sample) {
    return std::ssize(stroke_image(seed, sample, neurons));
  };
  source.fill = [=](std::int64_t sample, std::vector<std::uint32_t>& indices, std::vector<float>&) {
    const auto inked = stroke_image(seed, sample, neurons);
    indices.insert(indices.end(), inked.begin(), inked.end());
  };
  return source;
}

struct BatchSettings {
  std::int64_t features = 0, samples = 0, labels = 0;  // labels 0: none
  double density = 0;
  std::uint64_t seed = 0;
  bool dense = false;
};

BatchSettings batch_settings(const Options& options) {
  BatchSettings settings;
  settings.features = options.integer("features", 1, kMostFeatures);
  settings.samples = options.integer("samples", 0);
  settings.density = density_option(options);
  settings.seed = seed_option(options);
  settings.dense = options.flag("dense");
  if (options.given("labels")) {
    settings.labels = options.integer("labels", 1);
  }
  std::int64_t stored = 0;
  if (__builtin_mul_overflow(settings.features, settings.samples, &stored)) {
    throw options.fault("samples", "are too many for that many features");
  }
  return settings;
}

BatchSource batch_source(const BatchSettings& settings) {
  BatchSource source;
  source.batch.features.rows = settings.samples;
  source.batch.features.cols = settings.features;
  source.batch.features.format = settings.dense ? io::MatrixFormat::kDmat : io::MatrixFormat::kCsr;
  source.batch.labels = settings.labels > 0;
  source.density = settings.density;
  source.row_bytes =
      static_cast<std::int64_t>(8 * settings.density * static_cast<double>(settings.features)) + 8 +
      (settings.dense ? 4 * settings.features : 0);
  const auto row = [=](std::int64_t sample) {
    return RandomRow{settings.seed, kPlaces, sample, settings.features, settings.density};
  };
  source.count = [=](std::int64_t sample) { return row(sample).count(); };
  source.fill = [=](std::int64_t sample, std::vector<std::uint32_t>& indices,
                    std::vector<float>& values) {
    row(sample).draw(indices);
    RandomStream random(settings.seed, kValues, static_cast<std::uint64_t>(sample));
    while (values.size() < indices.size()) {
      values.push_back(static_cast<float>(random.next_unit()));
    }
  };
  if (settings.labels > 0) {
    source.label = [=](std::int64_t sample) {
      RandomStream random(settings.seed, kLabels, static_cast<std::uint64_t>(sample));
      return static_cast<std::int64_t>(
          random.next_below(static_cast<std::uint64_t>(settings.labels)));
    };
  }
  return source;
}

}  // namespace

ExitStatus generate_images(Context& context) {
  const Options& options = context.options;
  const std::int64_t neurons = options.integer("neurons", 1, kMostFeatures);
  const std::int64_t samples =
      options.integer("samples", 0, std::numeric_limits<std::int64_t>::max() / neurons);
  const std::uint64_t seed = seed_option(options);
  BatchSource source = image_source(neurons, samples, seed);
  OutputPlan plan = plan_output(
      options, {{"what", "images"}, {"neurons", neurons}, {"samples", samples}, {"seed", seed}},
      source);
  return write_batch(context, plan, std::move(source));
}

ExitStatus generate_batch(Context& context) {
  const BatchSettings settings =
      locally(context.world, "reading options", [&] { return batch_settings(context.options); });
  BatchSource source = batch_source(settings);
  OutputPlan plan = plan_output(context.options,
                                {{"what", "batch"},
                                 {"features", settings.features},
                                 {"samples", settings.samples},
                                 {"density", settings.density},
                                 {"dense", settings.dense},
                                 {"labels", settings.labels},
                                 {"seed", settings.seed}},
                                source);
  return write_batch(context, plan, std::move(source));
}

}  // namespace espalier::jobs
