// espalier prune: a network in, a sparser network out.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/random.hpp"
#include "io/checksum.hpp"
#include "jobs/candidates.hpp"
#include "jobs/job.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_settings.hpp"
#include "jobs/spelling.hpp"
#include "jobs/weight_source.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// An opened network file.
struct Opened {
  io::Catalog catalog;
  std::optional<io::NetworkReader> reader;
};

void open_network(const Comm& world, const std::string& file, Opened& opened) {
  opened.catalog = io::read_catalog(world, file);
  locally(world, "opening " + file, [&] { opened.reader.emplace(opened.catalog); });
}

// Everything a run works with. The members borrow from those before them.
struct Pruning {
  PruneSettings settings;
  Opened input, other;  // the network; the masks or scores
  PruneTargets targets;

  const io::Network& network() const { return input.reader->network(); }
  bool has_other() const { return other.reader.has_value(); }
};

void check_same_shapes(const Pruning& pruning) {
  const io::Network& network = pruning.network();
  const io::Network& other = pruning.other.reader->network();
  if (network.layers.size() != other.layers.size()) {
    throw Error(
        ExitStatus::kBadData,
        text(pruning.other.catalog.file, " has ", counted(std::ssize(other.layers), "layer"),
             " but ", pruning.input.catalog.file, " has ", network.layers.size()));
  }
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    const io::MatrixInfo& weight = network.layers[id].weight;
    const io::MatrixInfo& beside = other.layers[id].weight;
    if (weight.rows != beside.rows || weight.cols != beside.cols) {
      throw Error(ExitStatus::kBadData,
                  text(pruning.other.catalog.file, ": layer ", id, " is ", beside.rows, " x ",
                       beside.cols, " but that of ", pruning.input.catalog.file, " is ",
                       weight.rows, " x ", weight.cols));
    }
  }
}

// Uniform in [0, 2^32): depends on its arguments only.
std::uint32_t random_word(std::uint64_t seed, std::int64_t layer, std::int64_t row,
                          std::uint32_t column) {
  constexpr std::uint32_t kWords = 4;
  const auto low = static_cast<std::uint64_t>(layer) << 32U | column / kWords;
  return philox(seed, static_cast<std::uint64_t>(row), low)[column % kWords];
}

// Exponential waiting times with the magnitudes as rates: the first k to come are a sample without
// replacement in which a weight's chance to stay grows with its magnitude.
//   source   Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006
std::uint32_t waiting_key(std::uint32_t word, float weight) {
  const double unit = (static_cast<double>(word) + 0.5) / 4294967296.0;
  const double rate = std::abs(static_cast<double>(weight)) / -std::log(unit);
  return kernels::magnitude_key(static_cast<float>(std::min(rate, 3e38)));
}

std::vector<std::uint32_t> random_keys(const PruneSettings& settings, std::int64_t layer,
                                       const CsrRows& rows) {
  std::vector<std::uint32_t> keys(to_size(rows.nnz()));
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t k = rows.pointers[to_size(row)]; k < rows.pointers[to_size(row) + 1]; ++k) {
      const std::uint32_t word =
          random_word(settings.seed, layer, rows.first_row + row, rows.indices[to_size(k)]);
      keys[to_size(k)] = settings.probabilistic ? waiting_key(word, rows.value(k)) : word;
    }
  }
  return keys;
}

std::vector<std::uint32_t> score_keys(const Pruning& pruning, std::int64_t layer,
                                      const CsrRows& rows) {
  const CsrRows scores =
      pruning.other.reader->read_rows(layer, {rows.first_row, rows.first_row + rows.rows()});
  std::vector<std::uint32_t> keys;
  for (const float score : kernels::values_at(rows, scores)) {
    keys.push_back(kernels::ordered_key(score));
  }
  return keys;
}

// Which keys decide; empty for magnitudes.
KeyRule key_rule(const Pruning& pruning) {
  if (pruning.settings.method == PruneMethod::kRandom) {
    return [&pruning](std::int64_t layer, const CsrRows& rows) {
      return random_keys(pruning.settings, layer, rows);
    };
  }
  if (pruning.settings.method == PruneMethod::kScores) {
    return [&pruning](std::int64_t layer, const CsrRows& rows) {
      return score_keys(pruning, layer, rows);
    };
  }
  return {};
}

// Applies what is decided row by row.
void apply_rule(const Pruning& pruning, std::int64_t layer, KeyedRows& keyed) {
  const PruneSettings& settings = pruning.settings;
  CsrRows& rows = keyed.rows;
  if (settings.scope == PruneScope::kRow) {
    const std::int64_t keep =
        settings.keep ? *settings.keep : kernels::kept_of(rows.cols, settings.sparsity.value_or(0));
    kernels::keep_per_row(rows, keyed.keys.empty() ? kernels::magnitude_keys(rows) : keyed.keys,
                          keep);
  } else if (settings.method == PruneMethod::kNm) {
    kernels::keep_n_of_m(rows, settings.keep_n, settings.of_m);
  } else if (settings.method == PruneMethod::kMask) {
    kernels::keep_where(rows, pruning.other.reader->read_rows(
                                  layer, {rows.first_row, rows.first_row + rows.rows()}));
  } else if (settings.shrinks()) {
    kernels::apply_step(rows, kernels::ProximalStep(settings.penalty, *settings.threshold));
  } else {
    kernels::keep_from(rows, *settings.threshold);
  }
  // What is left stays: its keys no longer matter.
  keyed.keys.clear();
}

double squares_of(const CsrRows& rows) {
  double squares = 0;
  for (std::int64_t k = 0; k < rows.nnz(); ++k) {
    squares += static_cast<double>(rows.value(k)) * static_cast<double>(rows.value(k));
  }
  return squares;
}

// The reading half of a run: what may stay goes to the candidates.
class Reading {
 public:
  Reading(Context& context, const Pruning& pruning, const Pieces& pieces, Candidates& candidates)
      : context_(context),
        pruning_(pruning),
        pieces_(pieces),
        candidates_(candidates),
        source_(*pruning.input.reader, key_rule(pruning)),
        progress_("reading weights", pieces.count() * (pruning.settings.selects() ? 2 : 1),
                  "pieces"),
        verdicts_(to_size(pieces.layers())) {}

  std::vector<LayerVerdict> run() {
    for (std::size_t g = 0; g < pruning_.targets.groups.size(); ++g) {
      select(static_cast<std::int64_t>(g), pruning_.targets.groups[g]);
    }
    locally(context_.world, "pruning", [&] {
      for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
        if (pruning_.targets.excluded[to_size(layer)] || !pruning_.settings.selects()) {
          collect(layer, 0);
        }
      }
    });
    return verdicts_;
  }

 private:
  // Finds the cut of a group: once through its weights for the upper digit of the keys, once more
  // to set aside what may stay, counting the lower digit of those in question on the way.
  void select(std::int64_t number, const PruneGroup& group) {
    const Comm& world = context_.world;
    // A shrinking step takes its cut, the largest magnitude that goes, from those that stay.
    const bool shrinks = pruning_.settings.shrinks();
    kernels::RadixSelect narrowing(group.keep + (shrinks ? 1 : 0));
    std::vector<std::int64_t> counts(kernels::kDigitValues, 0);
    locally(world, "counting weights", [&] { count(group, counts); });
    sum(counts);
    narrowing.narrow_upper(counts);
    std::fill(counts.begin(), counts.end(), 0);
    locally(world, "selecting weights", [&] {
      for (const std::int64_t layer : group.layers) {
        collect(layer, narrowing.settled() ? narrowing.cut().key : narrowing.upper() << 16U,
                narrowing.upper(), counts);
      }
    });
    if (!narrowing.settled()) {
      sum(counts);
      narrowing.narrow_lower(counts);
    }
    LayerVerdict verdict{number, narrowing.cut(), {}};
    if (shrinks) {
      verdict.cut.equals = 0;
      const kernels::ProximalStep step = kernels::ProximalStep::with_cut(
          pruning_.settings.penalty, static_cast<double>(kernels::magnitude_of(verdict.cut.key)));
      verdict.change = step;
    }
    for (const std::int64_t layer : group.layers) {
      verdicts_[to_size(layer)] = verdict;
    }
  }

  void count(const PruneGroup& group, std::span<std::int64_t> counts) {
    const PhaseTimer timer(context_.times, Phase::kRead);
    for (const std::int64_t layer : group.layers) {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        source_.count(layer, pieces_.rows(layer, round, context_.world.rank()), counts);
        progress_.done(++done_);
      }
    }
  }

  void sum(std::span<std::int64_t> counts) const {
    const PhaseTimer timer(context_.times, Phase::kExchange);
    context_.world.sum(counts);
  }

  // Sets aside the weights of a layer whose key is at least `least`.
  void collect(std::int64_t layer, std::uint32_t least, std::uint32_t upper = 0,
               std::span<std::int64_t> lower = {}) {
    const PhaseTimer timer(context_.times, Phase::kRead);
    const bool rule = !pruning_.settings.selects() && !pruning_.targets.excluded[to_size(layer)];
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      const Range rows = pieces_.rows(layer, round, context_.world.rank());
      double removed = source_.collect(layer, rows, least, found_);
      if (rule) {
        removed = squares_of(found_.rows);
        apply_rule(pruning_, layer, found_);
        removed -= squares_of(found_.rows);
      }
      if (!lower.empty()) {
        count_lower(upper, lower);
      }
      candidates_.append(layer, round, found_, std::max(removed, 0.0));
      progress_.done(++done_);
    }
  }

  void count_lower(std::uint32_t upper, std::span<std::int64_t> lower) const {
    if (!found_.keys.empty()) {
      kernels::count_lower(found_.keys, upper, lower);
      return;
    }
    for (std::int64_t k = 0; k < found_.rows.nnz(); ++k) {
      const std::uint32_t key = found_.key(k);
      lower[key & 0xFFFFU] += key >> 16U == upper ? 1 : 0;
    }
  }

  Context& context_;
  const Pruning& pruning_;
  const Pieces& pieces_;
  Candidates& candidates_;
  WeightSource source_;
  KeyedRows found_;
  Progress progress_;
  std::int64_t done_ = 0;
  std::vector<LayerVerdict> verdicts_;
};

io::Network describe_output(const Pruning& pruning, const std::vector<LayerOutcome>& outcomes) {
  io::Network network = pruning.network();
  for (std::size_t id = 0; id < outcomes.size(); ++id) {
    io::MatrixInfo& weight = network.layers[id].weight;
    weight.format = pruning.settings.layout;
    weight.stored = outcomes[id].kept;
    weight.iso = outcomes[id].iso.has_value();
  }
  return network;
}

void copy_scalings(const Comm& world, const io::NetworkReader& reader, io::NetworkWriter& writer) {
  const io::FeatureScaling& scaling = reader.network().scaling;
  const std::pair<const char*, bool> all[] = {{"input_scale", scaling.input_scale},
                                              {"input_shift", scaling.input_shift},
                                              {"output_scale", scaling.output_scale},
                                              {"output_shift", scaling.output_shift}};
  for (const auto& [name, present] : all) {
    if (present) {
      const auto values =
          locally(world, "reading scales", [&] { return reader.read_scaling(name); });
      writer.write_scaling(name, values);
    }
  }
}

// The writing half of a run.
//   returns  bytes written by this rank
std::int64_t write_output(Context& context, const Pruning& pruning, const OutputPlan& plan,
                          const Pieces& pieces, const Candidates& candidates,
                          const std::vector<LayerOutcome>& outcomes) {
  const PhaseTimer timer(context.times, Phase::kWrite);
  const Comm& world = context.world;
  const io::NetworkReader& reader = *pruning.input.reader;
  io::NetworkWriter writer(world, plan.path, describe_output(pruning, outcomes), plan.provenance,
                           context.output_options());
  copy_scalings(world, reader, writer);
  Progress progress("writing weights", pieces.count(), "pieces");
  for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
    for (std::int64_t round = 0; round < pieces.rounds(layer); ++round) {
      CsrRows rows;
      std::vector<float> bias;
      locally(world, "fetching what stays", [&] {
        rows = candidates.read(layer, round, outcomes[to_size(layer)]);
        bias = reader.read_bias(layer, pieces.rows(layer, round, world.rank()));
      });
      writer.write_layer(layer, rows, bias);
      progress.done(pieces.number(layer, round) + 1);
    }
  }
  writer.finish();
  return writer.bytes_written();
}

struct Totals {
  std::int64_t positions = 0, kept = 0;
  double sparsity() const {
    return positions == 0 ? 0 : 1 - static_cast<double>(kept) / static_cast<double>(positions);
  }
};

void log_layers(const io::Network& network, const std::vector<LayerOutcome>& outcomes) {
  constexpr std::size_t kMostShown = 24;  // of many layers the first and last ones
  std::size_t width = 5;
  for (const io::Layer& layer : network.layers) {
    width = std::min<std::size_t>(std::max(width, layer.name.size()), 40);
  }
  const auto line = [&](std::string name, const std::string& shape, const std::string& kept,
                        const std::string& sparsity, const std::string& norm) {
    name.resize(width, ' ');
    char text_of[160];
    std::snprintf(text_of, sizeof text_of, "%15s %15s %9s %12s", shape.c_str(), kept.c_str(),
                  sparsity.c_str(), norm.c_str());
    log_info(name + text_of);
  };
  line("layer", "shape", "kept", "sparsity", "norm removed");
  for (std::size_t id = 0; id < outcomes.size(); ++id) {
    if (outcomes.size() > kMostShown && id == kMostShown / 2) {
      log_info(text("… ", outcomes.size() - kMostShown, " more, all in the run report …"));
      id = outcomes.size() - kMostShown / 2;
    }
    const io::MatrixInfo& weight = network.layers[id].weight;
    const Totals totals{weight.rows * weight.cols, outcomes[id].kept};
    line(network.layers[id].name, text(weight.rows, " x ", weight.cols), grouped(outcomes[id].kept),
         text(rounded(100 * totals.sparsity(), 4), " %"),
         rounded(std::sqrt(outcomes[id].removed_squares), 4));
  }
}

// The magnitude that decided, if one did for the whole network.
std::optional<double> threshold_of(const Pruning& pruning,
                                   const std::vector<LayerVerdict>& verdicts) {
  const PruneSettings& settings = pruning.settings;
  if (settings.threshold) {
    return settings.threshold;
  }
  const bool magnitudes = settings.shrinks() || settings.method == PruneMethod::kMagnitude;
  if (!magnitudes || pruning.targets.groups.size() != 1) {
    return std::nullopt;
  }
  const auto layer = to_size(pruning.targets.groups[0].layers[0]);
  const std::uint32_t key = verdicts[layer].cut.key;
  return key < kernels::kFirstNotFinite
             ? std::optional(static_cast<double>(kernels::magnitude_of(key)))
             : std::nullopt;
}

Totals report_layers(Context& context, const io::Network& network,
                     const std::vector<LayerOutcome>& outcomes) {
  Totals all;
  nlohmann::json layers = nlohmann::json::array();
  for (std::size_t id = 0; id < outcomes.size(); ++id) {
    const io::MatrixInfo& weight = network.layers[id].weight;
    const Totals totals{weight.rows * weight.cols, outcomes[id].kept};
    all.positions += totals.positions;
    all.kept += totals.kept;
    layers.push_back(nlohmann::json{{"name", network.layers[id].name},
                                    {"rows", weight.rows},
                                    {"cols", weight.cols},
                                    {"kept", totals.kept},
                                    {"sparsity", totals.sparsity()},
                                    {"norm_removed", std::sqrt(outcomes[id].removed_squares)}});
  }
  context.report.set("layers", std::move(layers));
  context.report.set("weights_total", all.positions);
  context.report.set("weights_kept", all.kept);
  context.report.set("sparsity", all.sparsity());
  return all;
}

OutputPlan plan_output(const Comm& world, const Options& options, const Pruning& pruning) {
  OutputPlan plan;
  plan.path = options.text("out");
  plan.provenance.kind = "network";
  plan.provenance.job = "prune";
  plan.provenance.options = canonical_options(pruning.settings);
  const io::Network& network = pruning.network();
  plan.what =
      text(pruning.input.catalog.file, " (", counted(std::ssize(network.layers), "layer"), ", ",
           grouped(network.nnz()), " stored weights) pruned by ", options.text("method"));
  plan.digest_inputs = [&world, &pruning] {
    std::vector digests = {io::input_digest(world, pruning.input.catalog)};
    if (pruning.has_other()) {
      digests.push_back(io::input_digest(world, pruning.other.catalog));
    }
    return digests;
  };
  return plan;
}

Pieces deal_pieces(const Comm& world, const Pruning& pruning, const PieceMemory& memory) {
  return Pieces(pruning.network(), world.ranks(), memory,
                [&](std::int64_t layer, std::int64_t row) {
                  const std::int64_t beside =
                      pruning.has_other() ? pruning.other.reader->nnz_before(layer, row) : 0;
                  return pruning.input.reader->nnz_before(layer, row) + beside;
                });
}

ExitStatus run_prune(Context& context) {
  const Comm& world = context.world;
  const double start = now_seconds();
  Pruning pruning;
  pruning.settings = prune_settings(context.options);
  open_network(world, context.options.text("network"), pruning.input);
  if (!pruning.settings.file.empty()) {
    open_network(world, pruning.settings.file, pruning.other);
  }
  const std::int64_t memory_bytes = context.memory_per_rank();
  PieceMemory memory;
  const Pieces pieces = locally(world, "planning", [&] {
    if (pruning.has_other()) {
      check_same_shapes(pruning);
    }
    pruning.targets = prune_targets(pruning.settings, pruning.network());
    memory = plan_pieces(memory_bytes);
    return deal_pieces(world, pruning, memory);
  });
  OutputPlan plan = plan_output(world, context.options, pruning);
  if (!begin_output(context, plan)) {
    return ExitStatus::kDone;
  }

  Candidates candidates(pieces, folder_of(plan.path), memory.kept_bytes);
  const auto verdicts = Reading(context, pruning, pieces, candidates).run();
  const auto outcomes = [&] {
    const PhaseTimer timer(context.times, Phase::kCompute);
    return candidates.settle(world, verdicts);
  }();
  const std::int64_t written = write_output(context, pruning, plan, pieces, candidates, outcomes);

  log_layers(pruning.network(), outcomes);
  const Totals totals = report_layers(context, pruning.network(), outcomes);
  const auto threshold = threshold_of(pruning, verdicts);
  context.report.set("threshold", threshold ? nlohmann::json(*threshold) : nlohmann::json());
  context.report.add_bytes_read(
      pruning.input.reader->data().bytes_read() +
      (pruning.has_other() ? pruning.other.reader->data().bytes_read() : 0));
  const double seconds = now_seconds() - start;
  log_info(text("kept ", grouped(totals.kept), " of ", grouped(totals.positions),
                " weights: sparsity ", rounded(100 * totals.sparsity(), 4), " %, ",
                rounded(static_cast<double>(totals.positions) / std::max(seconds, 1e-9) / 1e6),
                " M weights/s"));
  end_output(context, plan, {totals.kept, seconds, 0, written});
  return ExitStatus::kDone;
}

}  // namespace

Job prune_job() {
  namespace po = boost::program_options;
  po::options_description options("prune");
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  // clang-format off
  options.add_options()
      ("network", word("NET")->required(), "network file, of any layout")
      ("out,o", word("NET2")->required(), "network file to write")
      ("method", word("M")->required(),
       "magnitude (the largest stay), threshold (|w| >= t stay), random, l1 and lp (proximal steps: "
       "what stays shrinks), nm (N of every M inputs stay), mask (what has a non-zero in --file "
       "stays), scores (the largest in --file stay)")
      ("sparsity", po::value<double>()->value_name("S"),
       "share of all rows x columns that is pruned, 0 to 1; absent weights count as pruned")
      ("keep", po::value<std::int64_t>()->value_name("K"), "number of weights that stay")
      ("threshold", po::value<double>()->value_name("T"),
       "what magnitudes are compared with; for l1 and lp the weight of the penalty")
      ("scope", word("SCOPE")->default_value("global"),
       "among which weights the largest are looked for: global, layer or row")
      ("profile", word("PROFILE"),
       "a sparsity for each layer: uniform, erk (more for layers that are large for their width), or "
       "list:S0,S1,… with one for each layer")
      ("exclude", word("RE"), "leave layers alone whose name this extended regular expression finds")
      ("p", word("P"), "exponent of the penalty of lp: 0, 0.5, 2/3 or 1")
      ("pattern", word("N:M"), "of nm: N of every M consecutive inputs stay")
      ("probabilistic", po::bool_switch(),
       "of random: the larger a weight, the more likely it stays; else all are alike")
      ("file", word("FILE"), "network file with the masks or scores as weights")
      ("layout", word("LAYOUT")->default_value("csr"), "of the output: csr or triplets");
  // clang-format on
  return {"prune",
          "take weights away from a network",
          "prune NET --method M [--sparsity S | --keep K | --threshold T] -o NET2",
          {"espalier prune net.h5 --method magnitude --sparsity 0.9 -o pruned.h5",
           "mpirun -n 4 espalier prune net.h5 --method magnitude --sparsity 0.9 --scope layer "
           "--exclude '^fc3$' --memory-per-rank 512MiB -o pruned.h5",
           "espalier prune net.h5 --method magnitude --sparsity 0.95 --profile erk -o pruned.h5",
           "espalier prune net.h5 --method nm --pattern 2:4 -o pruned.h5",
           "espalier prune net.h5 --method lp --p 0.5 --threshold 0.01 -o pruned.h5",
           "espalier prune net.h5 --method scores --file scores.h5 --keep 100000 -o pruned.h5"},
          {"network"},
          options,
          run_prune};
}

}  // namespace espalier::jobs
