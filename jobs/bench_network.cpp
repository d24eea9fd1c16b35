#include "jobs/bench_network.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "framework/agree.hpp"
#include "framework/memory.hpp"
#include "framework/parallel.hpp"
#include "io/batch_file.hpp"
#include "io/graphchallenge.hpp"
#include "jobs/generate.hpp"
#include "jobs/machine.hpp"
#include "jobs/plan.hpp"
#include "jobs/propagate.hpp"
#include "jobs/radixnet.hpp"
#include "jobs/sharded_network.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

constexpr std::int64_t kNeurons = 1024, kLayers = 120, kImages = 60000, kFewImages = 1200;
constexpr std::int64_t kLabels = std::int64_t{256} << 10, kHidden = 1024, kFanIn = 32;
constexpr std::int64_t kLabelSamples = 256, kBest = 5;
constexpr int kTimings = 7;

// What runs, and the shapes the plan wants to know.
struct Subject {
  io::Network shapes;
  ShardedNetwork network;
  CsrRows samples;
};

// The challenge's network as `generate radixnet` makes it, without a file in between.
Subject drawn_subject() {
  Subject subject;
  RadixNet source(kNeurons, 1);
  kernels::Epilogue epilogue;
  epilogue.activation = kernels::Activation::kRelu;
  epilogue.has_clamp = true;
  epilogue.clamp = io::kChallengeClamp;
  epilogue.bias_where_nonzero = true;
  const float bias = radixnet_bias(kNeurons);
  std::vector<std::uint32_t> inputs(kNeurons);
  for (std::uint32_t i = 0; i < kNeurons; ++i) {
    inputs[i] = i;
  }
  for (std::int64_t id = 0; id < kLayers; ++id) {
    ShardLayer layer;
    layer.rows = {0, kNeurons};
    layer.bounds = {0, kNeurons};
    CsrRows rows = source.rows(id, layer.rows);
    // As read from a file of the challenge: every weight stored, though all are equal.
    rows.values.assign(static_cast<std::size_t>(rows.nnz()), rows.value(0));
    rows.iso = false;
    layer.packed.add(kernels::pack_layer(rows, inputs, std::span(&bias, 1), epilogue));
    layer.zero_to_zero = kernels::maps_zero_to_zero(layer.packed.piece(0));
    io::Layer shape;
    shape.weight = {"", io::MatrixFormat::kCsr, kNeurons, kNeurons, rows.nnz(), false};
    shape.inputs = {id - 1};
    subject.shapes.layers.push_back(shape);
    subject.network.layers.push_back(std::move(layer));
  }
  number_boundaries(subject.network);
  subject.network.inputs = subject.network.outputs = kNeurons;
  subject.samples =
      make_rows({0, kImages}, kNeurons, 1.0F, [](std::int64_t sample, auto& indices, auto&) {
        const auto image = stroke_image(1, sample, kNeurons);
        indices.insert(indices.end(), image.begin(), image.end());
      });
  return subject;
}

Subject read_subject(Context& context) {
  Subject subject;
  const auto network_catalog = io::read_catalog(context.world, context.options.text("network"));
  const auto batch_catalog = io::read_catalog(context.world, context.options.text("batch"));
  const auto network = locally(context.world, "opening the network",
                               [&] { return io::NetworkReader(network_catalog); });
  const auto batch =
      locally(context.world, "opening the batch", [&] { return io::BatchReader(batch_catalog); });
  if (batch.batch().features.cols != network.network().inputs()) {
    throw SharedError(ExitStatus::kBadData,
                      text(context.options.text("batch"), " has ", batch.batch().features.cols,
                           " features a sample but ", context.options.text("network"), " takes ",
                           network.network().inputs(), " inputs"));
  }
  const ProcessGrid grid(context.world, {1, 1});
  subject.shapes = network.network();
  subject.network = read_and_pack(context.world, grid, network, context.times, {[] {}});
  subject.samples = locally(context.world, "reading the batch", [&] {
    return batch.read_samples({0, batch.batch().samples()});
  });
  return subject;
}

CsrRows first_samples(const CsrRows& all, std::int64_t count) {
  CsrRows few;
  few.cols = all.cols;
  few.iso = all.iso;
  few.pointers.assign(all.pointers.begin(), all.pointers.begin() + count + 1);
  few.indices.assign(all.indices.begin(), all.indices.begin() + few.nnz());
  few.values.assign(all.values.begin(),
                    all.iso ? all.values.end() : all.values.begin() + few.nnz());
  return few;
}

// Labels in pieces, as read_and_pack cuts them, and dense samples.
Subject label_subject(std::int64_t group) {
  const LabelLayer source{kLabels, kHidden, kFanIn, group, 1};
  std::vector<std::uint32_t> inputs(kHidden);
  std::iota(inputs.begin(), inputs.end(), 0U);
  Subject subject;
  ShardLayer layer;
  layer.rows = {0, kLabels};
  layer.bounds = {0, kLabels};
  const std::int64_t step = rows_of_piece(kLabels, kLabels * kFanIn, true);
  for (std::int64_t first = 0; first < kLabels; first += step) {
    const Range piece{first, std::min(first + step, kLabels)};
    layer.packed.add(kernels::pack_layer(source.rows(piece), inputs, {}, {}));
  }
  io::Layer shape;
  shape.weight = {"", io::MatrixFormat::kCsr, kLabels, kHidden, layer.packed.nnz(), false};
  shape.inputs = {io::kNetworkInput};
  subject.shapes.layers.push_back(shape);
  subject.network.layers.push_back(std::move(layer));
  subject.network.inputs = kHidden;
  subject.network.outputs = kLabels;
  subject.network.streams_outputs = true;
  subject.samples = make_rows(
      {0, kLabelSamples}, kHidden, std::nullopt,
      [](std::int64_t sample, std::vector<std::uint32_t>& indices, std::vector<float>& values) {
        RandomStream random(2, 0, static_cast<std::uint64_t>(sample));
        for (std::uint32_t input = 0; input < kHidden; ++input) {
          indices.push_back(input);
          values.push_back(random_weight(random, 1));
        }
      });
  return subject;
}

BenchFigure measure(Context& context, const Subject& subject, const CsrRows& samples,
                    std::int64_t top_k) {
  const ProcessGrid grid(context.world, {1, 1});
  Allocation allocation = {1, context.memory_per_rank(), threads(), cache_bytes(2),
                           8 + 8 * samples.nnz() / samples.rows()};
  allocation.third_cache_bytes = third_cache_share_bytes();
  allocation.streams_outputs = subject.network.streams_outputs;
  allocation.top_k = top_k;
  InferencePlan plan = plan_inference(subject.shapes, samples.rows(), GridShape{1, 1}, allocation);
  if (plan.waves > 1) {
    throw SharedError(ExitStatus::kDoesNotFit,
                      "the samples do not fit at once; raise --memory-per-rank");
  }
  Propagator propagator(grid, subject.network, plan, context.times, {false, top_k});
  std::vector<double> seconds, ratios;
  const double nominal =
      static_cast<double>(samples.rows()) * static_cast<double>(subject.shapes.nnz());
  double limit = 0;
  for (int timing = 0; timing <= kTimings; ++timing) {
    limit = measure_peak(threads());
    const double start = now_seconds();
    const WaveOutput output = propagator.run(samples);
    if (timing > 0) {
      seconds.push_back(now_seconds() - start);
      ratios.push_back(nominal / seconds.back() / limit);
    }
  }
  std::sort(seconds.begin(), seconds.end());
  std::sort(ratios.begin(), ratios.end());
  const double middle = seconds[seconds.size() / 2];
  return {"",
          middle,
          nominal / middle,
          limit,
          ratios[ratios.size() / 2],
          threads(),
          subject.network.layers.front().packed.block_names(),
          false};
}

}  // namespace

std::vector<BenchFigure> measure_networks(Context& context, const std::vector<std::string>& names) {
  const Subject subject =
      context.options.given("network") ? read_subject(context) : drawn_subject();
  std::vector<BenchFigure> figures;
  for (const std::string& name : names) {
    const std::int64_t count = name == "gc1024x120" ? subject.samples.rows()
                                                    : std::min(kFewImages, subject.samples.rows());
    const CsrRows samples = first_samples(subject.samples, count);
    figures.push_back(measure(context, subject, samples, 0));
    figures.back().name = name;
  }
  return figures;
}

BenchFigure measure_labels(Context& context, const std::string& name) {
  const Subject subject = label_subject(name == "xmc" ? 16 : 1);
  BenchFigure figure = measure(context, subject, subject.samples, kBest);
  figure.name = name;
  return figure;
}

}  // namespace espalier::jobs
