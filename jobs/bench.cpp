// espalier bench: what this machine can do, and how near the kernels come to it.
#include <algorithm>
#include <iomanip>
#include <sstream>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/memory.hpp"
#include "framework/parallel.hpp"
#include "jobs/bench_layers.hpp"
#include "jobs/bench_network.hpp"
#include "jobs/job.hpp"
#include "kernels/limits.hpp"
#include "kernels/target.hpp"

namespace espalier::jobs {
namespace {

const std::vector<std::string> kNetworkCases = {"gc1024x120", "gc1024x120-first1200"};
const std::vector<std::string> kLabelCases = {"xmc", "xmc-unshared"};
const std::vector<std::string> kOtherCases = {"bf16", "bf16-50", "threads", "pack"};
constexpr const char* kLayerOfOthers = "unstructured90";  // what these work on

std::vector<std::string> known_cases() {
  std::vector<std::string> names = kNetworkCases;
  for (const BenchLayer& layer : bench_layers()) {
    names.push_back(layer.name);
  }
  names.insert(names.end(), kLabelCases.begin(), kLabelCases.end());
  names.insert(names.end(), kOtherCases.begin(), kOtherCases.end());
  return names;
}

std::vector<std::string> wanted_cases(const Options& options) {
  const std::vector<std::string> known = known_cases();
  if (!options.given("cases")) {
    return known;
  }
  std::vector<std::string> wanted;
  std::istringstream words(options.text("cases"));
  for (std::string name; std::getline(words, name, ',');) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      std::string all;
      for (const std::string& one : known) {
        all += (all.empty() ? "" : ", ") + one;
      }
      throw Error(ExitStatus::kUsage,
                  text("--cases: there is no case '", name, "'; the cases are ", all));
    }
    wanted.push_back(name);
  }
  return wanted;
}

// Bytes a second one core loads from each level; of the last two, a buffer well beyond the cache
// before.
struct Bandwidth {
  double l1 = 0, l2 = 0, l3 = 0, memory = 0;
};

Bandwidth measure_bandwidth() {
  constexpr std::int64_t kMemoryBytes = std::int64_t{1} << 30;
  const std::int64_t l1 = cache_bytes(1), l2 = cache_bytes(2);
  const std::int64_t most = std::max(std::min(kMemoryBytes, usable_memory_bytes() / 4), 8 * l2);
  AlignedBuffer<float> data(static_cast<std::size_t>(most) / sizeof(float));
  std::fill_n(data.data(), data.size(), 1.0F);
  const auto rate = [&](std::int64_t bytes) {
    const auto floats = static_cast<std::size_t>(std::min(bytes, most)) / sizeof(float);
    return kernels::measure_load_bandwidth(data.span().first(floats));
  };
  return {rate(l1 / 2), rate(l2 / 2), rate(4 * l2), rate(most)};
}

BenchFigure measure_case(const std::string& name, const Bandwidth& bandwidth) {
  const bool of_layer =
      std::find(kOtherCases.begin(), kOtherCases.end(), name) == kOtherCases.end();
  const std::vector<BenchLayer> layers = bench_layers();
  const auto layer = std::find_if(layers.begin(), layers.end(), [&](const BenchLayer& one) {
    return one.name == (of_layer ? name : name == "bf16-50" ? "unstructured50" : kLayerOfOthers);
  });
  expects(layer != layers.end(), "a case names one of the layers");
  if (of_layer) return measure_layer(*layer);
  if (name == "threads") return measure_threads(*layer);
  if (name == "pack") return measure_packing(*layer, bandwidth.memory);
  BenchFigure figure = measure_bfloat16(*layer);
  figure.name = name;
  return figure;
}

nlohmann::ordered_json as_json(double peak, const Bandwidth& bandwidth,
                               const std::vector<BenchFigure>& figures) {
  nlohmann::ordered_json json;
  json["simd"] = kernels::target_name();
  json["threads"] = threads();
  json["fma_peak_per_second"] = peak;
  json["fma_peak_per_second_one_core"] = measure_peak(1);
  json["bandwidth"] = {{"l1", bandwidth.l1},
                       {"l2", bandwidth.l2},
                       {"l3", bandwidth.l3},
                       {"memory", bandwidth.memory}};
  json["cases"] = nlohmann::ordered_json::array();
  for (const BenchFigure& figure : figures) {
    json["cases"].push_back(
        {{"name", figure.name},
         {"seconds", figure.seconds},
         {figure.counts_weights ? "weights_per_second" : "fma_per_second", figure.per_second},
         {"limit", figure.limit},
         {"ratio", figure.ratio},
         {"threads", figure.threads},
         {"blocks", figure.blocks}});
    if (figure.ratio_to_loads > 0) json["cases"].back()["ratio_to_loads"] = figure.ratio_to_loads;
  }
  return json;
}

std::string as_table(const nlohmann::ordered_json& json) {
  std::ostringstream lines;
  lines << std::fixed << std::setprecision(1);
  const auto giga = [&](const nlohmann::ordered_json& value) { return value.get<double>() / 1e9; };
  lines << json["simd"].get<std::string>() << ", " << json["threads"].get<int>()
        << " threads: " << giga(json["fma_peak_per_second"]) << " G multiply-adds/s at best, "
        << giga(json["fma_peak_per_second_one_core"]) << " on one core\n"
        << "one core loads, GB/s: L1 " << giga(json["bandwidth"]["l1"]) << ", L2 "
        << giga(json["bandwidth"]["l2"]) << ", L3 " << giga(json["bandwidth"]["l3"]) << ", memory "
        << giga(json["bandwidth"]["memory"]) << "\n\n"
        << std::left << std::setw(22) << "case" << std::right << std::setw(8) << "threads"
        << std::setw(12) << "seconds" << std::setw(10) << "G/s" << std::setw(10) << "of limit"
        << std::setw(10) << "of loads"
        << "  blocks\n";
  for (const auto& one : json["cases"]) {
    const bool weights = one.contains("weights_per_second");
    lines << std::left << std::setw(22) << one["name"].get<std::string>() << std::right
          << std::setw(8) << one["threads"].get<int>() << std::setw(12) << std::setprecision(5)
          << one["seconds"].get<double>() << std::setprecision(2) << std::setw(10)
          << giga(one[weights ? "weights_per_second" : "fma_per_second"]) << std::setw(10)
          << one["ratio"].get<double>() << std::setw(10);
    if (one.contains("ratio_to_loads")) {
      lines << one["ratio_to_loads"].get<double>();
    } else {
      lines << "";
    }
    lines << "  " << one["blocks"].get<std::string>() << "\n";
  }
  return lines.str();
}

ExitStatus bench(Context& context) {
  const Comm& world = context.world;
  if (world.ranks() != 1) {
    throw SharedError(ExitStatus::kUsage,
                      text("bench measures one process but there are ", world.ranks(),
                           " ranks; start it without mpirun, with --threads"));
  }
  const std::vector<std::string> wanted =
      locally(world, "reading options", [&] { return wanted_cases(context.options); });
  if (context.options.given("network") != context.options.given("batch")) {
    throw SharedError(ExitStatus::kUsage, "--network and --batch are given together or not at all");
  }
  if (context.options.flag("dry-run")) {
    log_info(text("would measure ", wanted.size(), " cases on ", threads(), " threads"));
    return ExitStatus::kDone;
  }
  const double peak = measure_peak(threads());
  const Bandwidth bandwidth = measure_bandwidth();
  std::vector<BenchFigure> figures;
  std::vector<std::string> networks;
  Progress progress("measuring", std::ssize(wanted), "cases");
  const auto is_in = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const std::string& name : wanted) {
    if (is_in(kNetworkCases, name)) {
      networks.push_back(name);
    } else {
      figures.push_back(is_in(kLabelCases, name) ? measure_labels(context, name)
                                                 : measure_case(name, bandwidth));
      progress.done(std::ssize(figures));
    }
  }
  if (!networks.empty()) {
    const auto more = measure_networks(context, networks);
    figures.insert(figures.begin(), more.begin(), more.end());
  }
  const auto json = as_json(peak, bandwidth, figures);
  context.report.set("fma_peak_per_second", peak);
  context.report.set("cases", json["cases"]);
  context.print(context.options.flag("json") ? json.dump(2) + "\n" : as_table(json));
  return ExitStatus::kDone;
}

}  // namespace

Job bench_job() {
  namespace po = boost::program_options;
  Job job;
  job.name = "bench";
  job.summary = "measure this machine's limits and the kernels against them";
  job.usage = "bench [--cases A,B,…] [--network NETWORK --batch BATCH] [--json]";
  job.examples = {"espalier bench", "espalier bench --cases shared,unstructured90 --threads 1",
                  "espalier bench --cases gc1024x120 --network net.h5 --batch images.h5 --json"};
  // clang-format off
  job.options.add_options()
      ("cases", po::value<std::string>(),
       "what to measure, separated by commas; default: gc1024x120, gc1024x120-first1200, shared, "
       "dense, unstructured50, unstructured70, unstructured90, unstructured95, unstructured97, "
       "skewed90, unstructured99, xmc, xmc-unshared, bf16, bf16-50, threads, pack")
      ("network", po::value<std::string>(), "network of the gc cases; default: a radixnet")
      ("batch", po::value<std::string>(), "batch of the gc cases; default: 60,000 drawn images")
      ("json", po::bool_switch(), "print everything as JSON");
  // clang-format on
  job.run = bench;
  return job;
}

}  // namespace espalier::jobs
