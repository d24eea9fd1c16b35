// From IDX images (MNIST) to a batch.
#include <algorithm>
#include <limits>
#include <optional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/batch_file.hpp"
#include "io/checksum.hpp"
#include "io/idx.hpp"
#include "jobs/images.hpp"
#include "jobs/import.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/sample_units.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

constexpr int kLargestSide = 1 << 14;                    // of an image
constexpr std::int64_t kRoundBytes = INT64_C(16) << 20;  // of pixels on a rank at a time

struct IdxInput {
  std::string images, labels;  // labels empty: none
  io::IdxHeader image_header, label_header;
  ImageRules rules;

  std::int64_t samples() const { return image_header.shape.at(0); }
  std::int64_t features() const {
    return std::int64_t{rules.out_height()} * std::int64_t{rules.out_width()};
  }
};

int side(const std::string& file, std::int64_t length) {
  if (length < 1 || length > kLargestSide) {
    throw Error(ExitStatus::kBadData, text(file, " holds images with a side of ", length,
                                           " pixels, right is 1..", kLargestSide));
  }
  return static_cast<int>(length);
}

IdxInput open_idx(const Options& options) {
  IdxInput input;
  input.images = options.text("images");
  if (options.given("resize")) {
    input.rules.resize = static_cast<int>(options.integer("resize", 1, kLargestSide));
  }
  if (options.given("threshold")) {
    input.rules.threshold = static_cast<int>(options.integer("threshold", 0, 255));
  }
  input.rules.transpose = options.flag("transpose");
  input.image_header = io::read_idx_header(input.images);
  const auto& shape = input.image_header.shape;
  if (shape.size() != 3) {
    throw Error(ExitStatus::kBadData, text(input.images, " has ", shape.size(),
                                           shape.size() == 1 ? " dimension" : " dimensions",
                                           ", right for images is 3: images, rows, columns"));
  }
  input.rules.height = side(input.images, shape[1]);
  input.rules.width = side(input.images, shape[2]);
  if (!options.given("labels")) {
    return input;
  }
  input.labels = options.text("labels");
  input.label_header = io::read_idx_header(input.labels);
  if (input.label_header.shape.size() != 1) {
    throw Error(ExitStatus::kBadData, text(input.labels, " has ", input.label_header.shape.size(),
                                           " dimensions, right for labels is 1"));
  }
  if (input.label_header.shape[0] != shape[0]) {
    throw Error(ExitStatus::kBadData,
                text(input.labels, " has ", input.label_header.shape[0], " labels, but ",
                     input.images, " has ", shape[0], " images"));
  }
  return input;
}

OutputPlan plan_batch(Context& context, const IdxInput& input) {
  OutputPlan plan;
  plan.path = context.options.text("out");
  plan.provenance.kind = "batch";
  plan.provenance.job = "import";
  plan.provenance.options = {
      {"from", "idx"}, {"transpose", input.rules.transpose}, {"labels", !input.labels.empty()}};
  if (input.rules.resize > 0) {
    plan.provenance.options["resize"] = input.rules.resize;
  }
  if (input.rules.threshold >= 0) {
    plan.provenance.options["threshold"] = input.rules.threshold;
  }
  plan.what = text("a batch of ", counted(input.samples(), "sample"), " with ",
                   counted(input.features(), "feature"));
  plan.digest_inputs = [&context, &input] {
    std::vector<std::string> digests = {io::digest_files(context.world, {input.images})};
    if (!input.labels.empty()) {
      digests.push_back(io::digest_files(context.world, {input.labels}));
    }
    return digests;
  };
  return plan;
}

// The images of `samples` as rows; a threshold makes all values 1.
kernels::CsrRows read_images(const IdxInput& input, const ImagePreparer& preparer, Range samples) {
  const auto pixels = io::read_idx(input.images, input.image_header, samples);
  const auto image_pixels =
      static_cast<std::size_t>(input.rules.height) * static_cast<std::size_t>(input.rules.width);
  kernels::CsrRows rows;
  rows.first_row = samples.begin;
  rows.cols = input.features();
  rows.iso = input.rules.threshold >= 0;
  for (std::size_t image = 0; image < static_cast<std::size_t>(samples.size()); ++image) {
    const auto features =
        preparer.prepare(std::span(pixels).subspan(image * image_pixels, image_pixels));
    for (std::size_t feature = 0; feature < features.size(); ++feature) {
      if (features[feature] != 0) {
        rows.indices.push_back(static_cast<std::uint32_t>(feature));
        if (!rows.iso) {
          rows.values.push_back(features[feature]);
        }
      }
    }
    rows.pointers.push_back(static_cast<std::int64_t>(rows.indices.size()));
  }
  if (rows.iso) {
    rows.values = {1};
  }
  return rows;
}

io::Batch describe_batch(const IdxInput& input, const MatrixTotals& totals) {
  io::Batch batch;
  batch.features.rows = input.samples();
  batch.features.cols = input.features();
  batch.features.stored = totals.nnz();
  batch.features.iso = input.rules.threshold >= 0 && totals.nnz() > 0;
  batch.value_type = input.rules.threshold >= 0 ? io::kFloat32 : io::kUint8;
  batch.labels = !input.labels.empty();
  return batch;
}

}  // namespace

ExitStatus import_idx(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  const IdxInput input =
      locally(world, "opening the images", [&] { return open_idx(context.options); });
  OutputPlan plan = plan_batch(context, input);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  const std::int64_t image_bytes =
      std::int64_t{input.rules.height} * std::int64_t{input.rules.width};
  UnitRun run(context,
              {"images", plan.path, plan.provenance, input.samples(),
               SampleUnits::plan_cut(input.samples(), world.ranks(),
                                     std::max<std::int64_t>(kRoundBytes / image_bytes, 1))});
  SampleUnits units = locally(world, "resuming", [&] { return SampleUnits(context, run); });
  const ImagePreparer preparer(input.rules);
  // The rows wait in the record until their number is known.
  const MatrixTotals totals = units.fill(
      "reading", "images", [&](Range samples) { return read_images(input, preparer, samples); });
  const io::Batch batch = describe_batch(input, totals);

  const PhaseTimer timer(context.times, Phase::kWrite);
  io::BatchWriter writer(world, plan.path, batch, plan.provenance, context.output_options());
  for (std::int64_t round = 0; round < units.rounds().rounds(); ++round) {
    std::vector<std::int64_t> labels;
    const kernels::CsrRows rows = locally(world, "fetching kept rows", [&] {
      if (batch.labels) {
        const auto bytes = io::read_idx(input.labels, input.label_header,
                                        units.rounds().range(round, world.rank()));
        labels.assign(bytes.begin(), bytes.end());
      }
      kernels::CsrRows kept = units.read(round);
      spell_values(kept, batch.features.iso ? std::optional(1.0F) : std::nullopt);
      return kept;
    });
    writer.write_samples(rows, labels, {});
  }
  writer.finish();
  run.finish();

  context.report.add_bytes_read(
      split_evenly(input.samples() * image_bytes, world.ranks(), world.rank()).size());
  report_batch(context, input.samples(), input.features());
  end_output(
      context, plan,
      {totals.nnz(), now_seconds() - start, input.samples() * image_bytes, writer.bytes_written()});
  return ExitStatus::kDone;
}

}  // namespace espalier::jobs
