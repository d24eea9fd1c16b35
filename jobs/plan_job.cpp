// espalier plan: how an inference would be laid out on ranks that are not there yet.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "framework/agree.hpp"
#include "framework/memory.hpp"
#include "framework/parallel.hpp"
#include "jobs/cluster_jobs.hpp"
#include "jobs/machine.hpp"
#include "jobs/plan.hpp"
#include "jobs/spelling.hpp"
#include "kernels/layout.hpp"
#include "kernels/limits.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;
// What the kernels reach of the multiply-adds that a core does with everything in registers, on
// networks that are not especially well-behaved (kernels/DESIGN.md).
constexpr double kShareOfPeak = 0.5;
constexpr double kLinkBytesPerSecond = 1e9;  // of a rank, both ways
constexpr double kMessageSeconds = 20e-6;

struct Exchange {
  double bytes = 0, messages = 0;  // of all ranks together
};

// Inputs of a layer that a shard reads, if its weights lie anywhere: each of `stored / shards`
// weights hits any of `cols` columns.
double inputs_read(const io::MatrixInfo& weight, int shards) {
  const auto cols = static_cast<double>(weight.cols);
  const double weights = static_cast<double>(weight.stored) / shards;
  return weight.format == io::MatrixFormat::kDmat || cols < 2
             ? cols
             : cols * -std::expm1(weights * std::log1p(-1 / cols));
}

// What shards send each other before every layer but the first, if no sample dies.
Exchange plan_exchange(const io::Network& network, std::int64_t samples,
                       const InferencePlan& plan) {
  Exchange exchange;
  const int shards = plan.grid.row_shards;
  if (shards == 1) {
    return exchange;
  }
  const auto panels_of = [](std::int64_t count) { return (count + kWidth - 1) / kWidth; };
  const std::int64_t group = (samples + plan.grid.sample_groups - 1) / plan.grid.sample_groups;
  const std::int64_t chunks =
      plan.waves * ((panels_of(plan.wave_samples) + plan.chunk_panels - 1) / plan.chunk_panels);
  for (std::size_t id = 1; id < network.layers.size(); ++id) {
    const double foreign = inputs_read(network.layers[id].weight, shards) * (shards - 1) / shards;
    exchange.bytes += foreign * shards * static_cast<double>(panels_of(group) * kWidth) *
                      sizeof(float) * plan.grid.sample_groups;
    exchange.messages += static_cast<double>(chunks) * shards *
                         std::min<double>(shards - 1, std::ceil(foreign)) * plan.grid.sample_groups;
  }
  return exchange;
}

struct Wanted {
  std::int64_t samples = 0;
  Allocation allocation;
  std::optional<GridShape> grid;
  double rate = 0;       // multiply-adds a second of a rank
  bool measured = true;  // here, and not given
};

Wanted read_wanted(const Context& context) {
  constexpr std::int64_t kMostRanks = 1 << 24;
  const Options& options = context.options;
  Wanted wanted;
  wanted.samples = options.integer("samples", 1);
  wanted.grid = context.grid();
  wanted.allocation.ranks = static_cast<int>(options.integer("ranks", 1, kMostRanks));
  wanted.allocation.threads = threads();
  wanted.allocation.cache_bytes = cache_bytes(2);
  wanted.allocation.third_cache_bytes = third_cache_share_bytes();
  wanted.measured = !options.has("rate");
  if (!wanted.measured) {
    wanted.rate = options.number("rate");
    if (wanted.rate <= 0) {
      throw options.fault("rate", "is not above 0");
    }
  }
  return wanted;
}

nlohmann::ordered_json describe(const io::Network& network, const Wanted& wanted,
                                const InferencePlan& plan) {
  const Exchange exchange = plan_exchange(network, wanted.samples, plan);
  const auto ranks = static_cast<double>(wanted.allocation.ranks);
  const auto edges = static_cast<double>(network.nnz()) * static_cast<double>(wanted.samples);
  const double compute = edges / (wanted.rate * ranks);
  const double sending =
      exchange.bytes / ranks / kLinkBytesPerSecond + exchange.messages / ranks * kMessageSeconds;
  nlohmann::ordered_json out;
  out["samples"] = wanted.samples;
  out["layers"] = network.layers.size();
  out["weights"] = network.nnz();
  out["ranks"] = wanted.allocation.ranks;
  out["threads"] = wanted.allocation.threads;
  out["grid"] = to_string(plan.grid);
  out["memory_per_rank"] = wanted.allocation.memory_per_rank;
  out["bytes_per_rank"] = {{"weights", plan.weights_bytes},
                           {"activations", plan.activations_bytes},
                           {"reading", plan.reading_bytes},
                           {"program", kProgramBytes},
                           {"total", plan.bytes_per_rank()}};
  out["waves"] = plan.waves;
  out["wave_samples"] = plan.wave_samples;
  out["depth_first"] = plan.block_panels > 0;
  out["bytes_exchanged"] = std::round(exchange.bytes);
  out["messages"] = exchange.messages;
  out["edges_nominal"] = edges;
  out["rate"] = wanted.rate;
  out["rate_measured_here"] = wanted.measured;
  out["seconds"] = {{"compute", compute}, {"exchange", sending}, {"total", compute + sending}};
  return out;
}

std::string as_table(const nlohmann::ordered_json& plan) {
  std::ostringstream out;
  const auto line = [&](const char* name, const std::string& value) {
    out << std::left << std::setw(18) << name << value << "\n";
  };
  const auto bytes = [&](const char* key) {
    return spelled_bytes(plan["bytes_per_rank"][key].get<std::int64_t>());
  };
  const auto seconds = [&](const char* key) { return rounded(plan["seconds"][key].get<double>()); };
  line("network", text(plan["layers"].get<std::int64_t>(), " layers, ",
                       grouped(plan["weights"].get<std::int64_t>()), " weights"));
  line("samples", grouped(plan["samples"].get<std::int64_t>()));
  line("ranks", text(plan["ranks"].get<int>(), " of ", plan["threads"].get<int>(), " threads"));
  line("grid", plan["grid"].get<std::string>() + " (row shards x sample groups)");
  line("memory of a rank",
       text(bytes("total"), " of ", spelled_bytes(plan["memory_per_rank"].get<std::int64_t>()),
            ": weights ", bytes("weights"), ", panels ", bytes("activations"), ", reading ",
            bytes("reading"), ", program ", bytes("program")));
  line("waves", text(plan["waves"].get<std::int64_t>(), " of ",
                     grouped(plan["wave_samples"].get<std::int64_t>()), " samples a group",
                     plan["depth_first"].get<bool>() ? ", depth first" : ", layer by layer"));
  line("exchanged", text("at most about ",
                         spelled_bytes(static_cast<std::int64_t>(
                             std::min(plan["bytes_exchanged"].get<double>(), 9e18))),
                         " in ", rounded(plan["messages"].get<double>(), 6), " messages"));
  line("time", text("about ", seconds("total"), " s: compute ", seconds("compute"), ", exchange ",
                    seconds("exchange"), "; less if samples die early"));
  line("",
       text("at ", rounded(plan["rate"].get<double>() / 1e9), " G multiply-adds a second of a rank",
            plan["rate_measured_here"].get<bool>() ? ", half of what this machine can; see --rate"
                                                   : ""));
  return std::move(out).str();
}

ExitStatus run_plan(Context& context) {
  const Comm& world = context.world;
  Wanted wanted = read_wanted(context);
  const io::Catalog catalog = io::read_catalog(world, context.options.text("network"));
  wanted.allocation.memory_per_rank = context.memory_per_rank();
  std::string printed;
  on_root(world, "planning", [&] {
    const io::Network network = io::parse_network(catalog);
    if (wanted.measured) {
      wanted.rate = kernels::measure_fma_peak() * threads() * kShareOfPeak;
    }
    wanted.allocation.streams_outputs = streams_outputs(network, false);
    const InferencePlan plan =
        plan_inference(network, wanted.samples, wanted.grid, wanted.allocation);
    const auto described = describe(network, wanted, plan);
    printed = context.options.flag("json") ? described.dump(2) + "\n" : as_table(described);
  });
  context.print(printed);
  return ExitStatus::kDone;
}

}  // namespace

Job plan_job() {
  namespace po = boost::program_options;
  po::options_description options("plan");
  // clang-format off
  options.add_options()
      ("network", po::value<std::string>()->required(), "network file")
      ("samples", po::value<std::int64_t>()->value_name("M")->required(), "samples of the batch")
      ("ranks", po::value<std::int64_t>()->value_name("P")->required(), "ranks to plan for")
      ("rate", po::value<double>()->value_name("R"),
       "multiply-adds a second of a rank, as in the computed_edges_per_second of a run's report "
       "divided by its ranks; without it, half of what this machine's cores can")
      ("json", po::bool_switch(), "print everything as JSON");
  // clang-format on
  return {"plan",
          "grid, memory, messages and time of an inference, before it is submitted",
          "plan NETWORK --samples M --ranks P [--memory-per-rank SIZE] [--json]",
          {"espalier plan net.h5 --samples 60000 --ranks 64 --memory-per-rank 4GiB --threads 4",
           "espalier plan net.h5 --samples 60000 --ranks 8 --grid 2x4 --rate 2e10 --json"},
          {"network"},
          options,
          run_plan};
}

}  // namespace espalier::jobs
