// espalier compare: how far a pruned network's outputs are from those of its original.
#include <algorithm>
#include <cmath>
#include <optional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/batch_file.hpp"
#include "jobs/job.hpp"
#include "jobs/layer_walk.hpp"
#include "jobs/spelling.hpp"
#include "kernels/exact_sum.hpp"
#include "kernels/samples.hpp"

namespace espalier::jobs {
namespace {

using kernels::ExactSum;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Sums over samples that are the same for any number of ranks: each sample's share is rounded to
// float32 and the shares are added exactly.
class SampleSums {
 public:
  explicit SampleSums(std::size_t sums) : limbs_(sums * ExactSum::kLimbs, 0) {}
  void add(std::size_t sum, double share) {
    ExactSum::add(std::span(limbs_).subspan(sum * ExactSum::kLimbs, ExactSum::kLimbs),
                  static_cast<float>(share));
  }
  void join(const Comm& comm) { comm.sum(limbs_); }
  double value(std::size_t sum) const {
    return ExactSum::value(std::span(limbs_).subspan(sum * ExactSum::kLimbs, ExactSum::kLimbs));
  }

 private:
  std::vector<std::int64_t> limbs_;
};

// What is found out; sums over samples, of this rank until they are joined.
struct Deviations {
  explicit Deviations(std::size_t layers) : errors(layers), norms(layers), outputs(1) {}
  SampleSums errors, norms;  // by layer: squares of (W2 - W1) x and of W1 x
  SampleSums outputs;        // |y2 - y1|
  double largest = 0;
  std::int64_t same_top = 0;

  void join(const Comm& comm) {
    errors.join(comm);
    norms.join(comm);
    outputs.join(comm);
    comm.max(std::span(&largest, 1));
    same_top = comm.sum(same_top);
  }
};

std::int64_t top_of(const std::vector<float>& outputs) {
  std::int64_t index = 0;
  float value = 0;
  kernels::top_k(outputs, std::span(&index, 1), std::span(&value, 1));
  return index;
}

void add_layer(const Panels& first, const Panels& second, std::size_t layer, Deviations& found) {
  for (std::int64_t sample = 0; sample < first.samples; ++sample) {
    double error = 0, norm = 0;
    for (std::int64_t row = 0; row < first.rows; ++row) {
      const auto a = static_cast<double>(first.at(row, sample));
      const auto b = static_cast<double>(second.at(row, sample));
      error += (b - a) * (b - a);
      norm += a * a;
    }
    found.errors.add(layer, error);
    found.norms.add(layer, norm);
  }
}

void add_outputs(const Panels& first, const Panels& second, Deviations& found) {
  for (std::int64_t sample = 0; sample < first.samples; ++sample) {
    const auto a = outputs_of(first, sample), b = outputs_of(second, sample);
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double deviation = std::abs(static_cast<double>(b[i]) - static_cast<double>(a[i]));
      sum += deviation;
      found.largest = std::max(found.largest, deviation);
    }
    found.outputs.add(0, sum);
    found.same_top += top_of(a) == top_of(b) ? 1 : 0;
  }
}

// Two networks side by side. Borrows the readers.
struct Pair {
  const io::NetworkReader& first;
  const io::NetworkReader& second;
  LayerWalk original, pruned;

  Pair(const io::NetworkReader& a, const io::NetworkReader& b, std::int64_t features)
      : first(a), second(b), original(a, features), pruned(b, features) {
    const io::Network& x = a.network();
    const io::Network& y = b.network();
    if (x.layers.size() != y.layers.size() || x.outputs() != y.outputs()) {
      throw Error(ExitStatus::kBadData,
                  text(b.data().catalog().file, " has ", y.layers.size(), " layers and ",
                       y.outputs(), " outputs, but ", a.data().catalog().file, " has ",
                       x.layers.size(), " and ", x.outputs()));
    }
  }
  bool comparable(std::size_t layer) const {
    const io::Layer& a = first.network().layers[layer];
    const io::Layer& b = second.network().layers[layer];
    return a.outputs() == b.outputs() && a.width() == b.width();
  }
};

// Carries some samples through both networks. Each layer of the pruned one also gets what the
// original's layer got, so that its own error shows and not those before it.
void compare_samples(const Pair& pair, std::int64_t first_sample, const kernels::CsrRows& samples,
                     Deviations& found) {
  Panels x = pair.original.start(samples), y = pair.pruned.start(samples);
  for (std::int64_t layer = 0; layer < pair.original.layers(); ++layer) {
    const kernels::PackedLayer original = pair.original.read_layer(layer);
    const kernels::PackedLayer pruned = pair.pruned.read_layer(layer);
    Panels sums = LayerWalk::multiply(original, x);
    if (pair.comparable(to_size(layer))) {
      add_layer(sums, LayerWalk::multiply(pruned, x), to_size(layer), found);
    }
    pair.original.finish(layer, first_sample, sums);
    x = std::move(sums);
    y = LayerWalk::multiply(pruned, y);
    pair.pruned.finish(layer, first_sample, y);
  }
  add_outputs(x, y, found);
}

nlohmann::ordered_json describe(const Pair& pair, std::int64_t samples, const Deviations& found) {
  const std::int64_t outputs = pair.first.network().outputs();
  const auto count = static_cast<double>(std::max<std::int64_t>(samples, 1));
  nlohmann::ordered_json result = {
      {"samples", samples},
      {"outputs", outputs},
      {"deviation_max", found.largest},
      {"deviation_mean", found.outputs.value(0) / (count * static_cast<double>(outputs))},
      {"top1_agreement", samples == 0 ? 1 : static_cast<double>(found.same_top) / count},
      {"layers", nlohmann::ordered_json::array()}};
  for (std::size_t id = 0; id < pair.first.network().layers.size(); ++id) {
    nlohmann::ordered_json error;  // null where the shapes differ
    if (pair.comparable(id)) {
      const double norm = found.norms.value(id), off = found.errors.value(id);
      error = norm > 0 ? std::sqrt(off / norm) : (off > 0 ? 1.0 : 0.0);
    }
    result["layers"].push_back(
        {{"name", pair.first.network().layers[id].name}, {"reconstruction_error", error}});
  }
  return result;
}

std::string as_table(const nlohmann::ordered_json& result) {
  std::string lines =
      text("samples            ", result["samples"].get<std::int64_t>(), "\nlargest deviation  ",
           rounded(result["deviation_max"].get<double>()), "\nmean deviation     ",
           rounded(result["deviation_mean"].get<double>()), "\ntop-1 agreement    ",
           rounded(100 * result["top1_agreement"].get<double>(), 5), " %\n");
  lines += "reconstruction error of each layer, relative:\n";
  for (const auto& layer : result["layers"]) {
    const auto& error = layer["reconstruction_error"];
    lines += text("  ", layer["name"].get<std::string>(), "  ",
                  error.is_null() ? "other shape" : rounded(error.get<double>()), "\n");
  }
  return lines;
}

ExitStatus compare(Context& context) {
  const Comm& world = context.world;
  const Options& options = context.options;
  const io::Catalog a = io::read_catalog(world, options.text("network"));
  const io::Catalog b = io::read_catalog(world, options.text("other"));
  const io::Catalog c = io::read_catalog(world, options.text("batch"));
  const std::int64_t memory = context.memory_per_rank();
  std::optional<io::NetworkReader> first, second;
  std::optional<io::BatchReader> batch;
  std::optional<Pair> pair;
  std::int64_t step = 1;
  locally(world, "opening the files", [&] {
    first.emplace(a);
    second.emplace(b);
    batch.emplace(c);
    pair.emplace(*first, *second, batch->batch().features.cols);
    step = LayerWalk::samples_at_a_time({&pair->original, &pair->pruned}, memory);
  });
  const std::int64_t samples = batch->batch().samples();
  if (options.flag("dry-run")) {
    log_info(text("would compare on ", samples, " samples, ", step, " at a time on a rank"));
    return ExitStatus::kDone;
  }
  Deviations found(first->network().layers.size());
  locally(world, "comparing", [&] {
    const PhaseTimer timer(context.times, Phase::kCompute);
    const Range mine = split_evenly(samples, world.ranks(), world.rank());
    Progress progress("comparing", mine.size(), "samples");
    for (std::int64_t at = mine.begin; at < mine.end; at += step) {
      const Range some{at, std::min(at + step, mine.end)};
      compare_samples(*pair, at, batch->read_samples(some), found);
      progress.done(some.end - mine.begin);
    }
  });
  found.join(world);
  const auto result = describe(*pair, samples, found);
  for (const auto& [name, value] : result.items()) {
    context.report.set(name, value);
  }
  context.report.add_bytes_read(first->data().bytes_read() + second->data().bytes_read() +
                                batch->data().bytes_read());
  context.print(options.flag("json") ? result.dump(2) + "\n" : as_table(result));
  return ExitStatus::kDone;
}

}  // namespace

Job compare_job() {
  namespace po = boost::program_options;
  Job job;
  job.name = "compare";
  job.summary = "how far a pruned network is from its original on a batch";
  job.usage = "compare NET NET2 BATCH [--json]";
  job.examples = {"espalier compare net.h5 pruned.h5 batch.h5",
                  "mpirun -n 4 espalier compare net.h5 pruned.h5 batch.h5 --json"};
  job.positional = {"network", "other", "batch"};
  // clang-format off
  job.options.add_options()
      ("network", po::value<std::string>()->required(), "the original")
      ("other", po::value<std::string>()->required(), "the pruned network")
      ("batch", po::value<std::string>()->required(), "samples that both are run on")
      ("json", po::bool_switch(), "print everything as JSON");
  // clang-format on
  job.run = compare;
  return job;
}

}  // namespace espalier::jobs
