// espalier evaluate: how good a network's outputs are, by the labels of a batch.
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

// Counts over samples, of this rank until they are joined.
struct Score {
  std::int64_t right = 0, among_top = 0;
  // Squared distances, each rounded to float32 and then added exactly: the same on any ranks.
  std::vector<std::int64_t> squares = std::vector<std::int64_t>(ExactSum::kLimbs, 0);

  void join(const Comm& comm) {
    right = comm.sum(right);
    among_top = comm.sum(among_top);
    comm.sum(squares);
  }
};

// One output is compared with the label itself, several with a one at the label's place.
double squared_distance(const std::vector<float>& outputs, std::int64_t label) {
  double sum = 0;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const double wanted = outputs.size() == 1                     ? static_cast<double>(label)
                          : static_cast<std::int64_t>(i) == label ? 1
                                                                  : 0;
    const double off = static_cast<double>(outputs[i]) - wanted;
    sum += off * off;
  }
  return sum;
}

void score_sample(const std::vector<float>& outputs, std::int64_t label, std::int64_t top_k,
                  Score& score) {
  std::vector<std::int64_t> index(static_cast<std::size_t>(top_k));
  std::vector<float> value(index.size());
  kernels::top_k(outputs, index, value);
  score.right += index[0] == label ? 1 : 0;
  score.among_top += std::count(index.begin(), index.end(), label);
  ExactSum::add(score.squares, static_cast<float>(squared_distance(outputs, label)));
}

void check_labels(const io::BatchReader& batch, const std::vector<std::int64_t>& labels,
                  std::int64_t first_sample, std::int64_t outputs) {
  for (std::size_t i = 0; outputs > 1 && i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= outputs) {
      throw Error(ExitStatus::kBadData,
                  text(batch.data().catalog().file, ": sample ",
                       first_sample + static_cast<std::int64_t>(i), " has label ", labels[i],
                       ", but the network has outputs 0 to ", outputs - 1));
    }
  }
}

nlohmann::ordered_json describe(const Score& score, std::int64_t samples, std::int64_t outputs,
                                std::int64_t top_k) {
  const auto count = static_cast<double>(std::max<std::int64_t>(samples, 1));
  const auto width = static_cast<double>(outputs);
  nlohmann::ordered_json result = {{"samples", samples}, {"outputs", outputs}};
  if (outputs > 1) {
    const double found = static_cast<double>(score.among_top) / count;
    result["accuracy"] = static_cast<double>(score.right) / count;
    result["k"] = top_k;
    result["top_k_accuracy"] = found;
    result["precision_at_k"] = found / static_cast<double>(top_k);
  }
  result["rmse"] = std::sqrt(ExactSum::value(score.squares) / (count * width));
  return result;
}

std::string as_table(const nlohmann::ordered_json& result) {
  std::string lines = text("samples   ", result["samples"].get<std::int64_t>(), "\n");
  if (result.contains("accuracy")) {
    const std::int64_t k = result["k"];
    lines += text("accuracy  ", rounded(100 * result["accuracy"].get<double>(), 5), " %\n",
                  "the label is among the ", k, " largest outputs in ",
                  rounded(100 * result["top_k_accuracy"].get<double>(), 5), " %, precision at ", k,
                  " ", rounded(result["precision_at_k"].get<double>(), 5), "\n");
  }
  return lines + text("RMSE      ", rounded(result["rmse"].get<double>(), 5), "\n");
}

ExitStatus evaluate(Context& context) {
  const Comm& world = context.world;
  const Options& options = context.options;
  const io::Catalog a = io::read_catalog(world, options.text("network"));
  const io::Catalog b = io::read_catalog(world, options.text("batch"));
  const std::int64_t memory = context.memory_per_rank();
  std::optional<io::NetworkReader> network;
  std::optional<io::BatchReader> batch;
  std::optional<LayerWalk> walk;
  std::int64_t step = 1, top_k = 1;
  locally(world, "opening the files", [&] {
    network.emplace(a);
    batch.emplace(b);
    if (!batch->batch().labels) {
      throw Error(ExitStatus::kBadData,
                  text(b.file, ": has no /labels; evaluate compares outputs with labels"));
    }
    walk.emplace(*network, batch->batch().features.cols);
    step = LayerWalk::samples_at_a_time({&*walk}, memory);
    top_k = std::min(options.integer("top-k", 1), network->network().outputs());
  });
  const std::int64_t samples = batch->batch().samples();
  const std::int64_t outputs = network->network().outputs();
  if (options.flag("dry-run")) {
    log_info(text("would evaluate ", samples, " samples, ", step, " at a time on a rank"));
    return ExitStatus::kDone;
  }
  Score score;
  locally(world, "evaluating", [&] {
    const PhaseTimer timer(context.times, Phase::kCompute);
    const Range mine = split_evenly(samples, world.ranks(), world.rank());
    Progress progress("evaluating", mine.size(), "samples");
    for (std::int64_t at = mine.begin; at < mine.end; at += step) {
      const Range some{at, std::min(at + step, mine.end)};
      const auto labels = batch->read_labels(some);
      check_labels(*batch, labels, at, outputs);
      Panels values = walk->start(batch->read_samples(some));
      for (std::int64_t layer = 0; layer < walk->layers(); ++layer) {
        values = LayerWalk::multiply(walk->read_layer(layer), values);
        walk->finish(layer, at, values);
      }
      for (std::int64_t sample = 0; sample < some.size(); ++sample) {
        score_sample(outputs_of(values, sample), labels[static_cast<std::size_t>(sample)], top_k,
                     score);
      }
      progress.done(some.end - mine.begin);
    }
  });
  score.join(world);
  const auto result = describe(score, samples, outputs, top_k);
  for (const auto& [name, value] : result.items()) {
    context.report.set(name, value);
  }
  context.report.add_bytes_read(network->data().bytes_read() + batch->data().bytes_read());
  context.print(options.flag("json") ? result.dump(2) + "\n" : as_table(result));
  return ExitStatus::kDone;
}

}  // namespace

Job evaluate_job() {
  namespace po = boost::program_options;
  Job job;
  job.name = "evaluate";
  job.summary = "accuracy of a network on a batch with labels";
  job.usage = "evaluate NET BATCH [--top-k K] [--json]";
  job.examples = {"espalier evaluate net.h5 test.h5",
                  "mpirun -n 4 espalier evaluate pruned.h5 test.h5 --top-k 3 --json"};
  job.positional = {"network", "batch"};
  // clang-format off
  job.options.add_options()
      ("network", po::value<std::string>()->required(), "network file")
      ("batch", po::value<std::string>()->required(), "batch file with labels")
      ("top-k", po::value<std::int64_t>()->value_name("K")->default_value(5),
       "K of the precision at K")
      ("json", po::bool_switch(), "print everything as JSON");
  // clang-format on
  job.run = evaluate;
  return job;
}

}  // namespace espalier::jobs
