#include "jobs/prune_settings.hpp"

#include <regex.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "jobs/output_plan.hpp"
#include "jobs/spelling.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using kernels::Penalty;

// Which options a method takes besides those of all.
struct MethodRule {
  PruneMethod method;
  bool amount;     // --sparsity or --keep
  bool threshold;  // --threshold
  bool row_scope;
  std::vector<std::string> own;
};

const std::map<std::string, MethodRule>& method_rules() {
  static const std::map<std::string, MethodRule> rules = {
      {"magnitude", {PruneMethod::kMagnitude, true, true, true, {}}},
      {"threshold", {PruneMethod::kThreshold, false, true, false, {}}},
      {"random", {PruneMethod::kRandom, true, false, true, {"probabilistic"}}},
      {"l1", {PruneMethod::kL1, true, true, false, {}}},
      {"bias", {PruneMethod::kBias, false, false, false, {}}},
      {"group", {PruneMethod::kGroup, true, true, false, {"unit", "norm"}}},
      {"lp", {PruneMethod::kLp, true, true, false, {"p"}}},
      {"nm", {PruneMethod::kNm, false, false, false, {"pattern"}}},
      {"mask", {PruneMethod::kMask, false, false, false, {"file"}}},
      {"scores", {PruneMethod::kScores, true, false, true, {"file"}}}};
  return rules;
}

double sparsity_value(const Options& options, const std::string& name, double value) {
  if (!(value >= 0 && value <= 1)) {
    throw options.fault(name, "a sparsity from 0 to 1 would be right");
  }
  return value;
}

void read_amount(const Options& options, const std::string& method, PruneSettings& settings) {
  const MethodRule& rule = method_rules().at(method);
  if (options.given("sparsity")) {
    settings.sparsity = sparsity_value(options, "sparsity", options.number("sparsity"));
  }
  if (options.given("keep")) {
    settings.keep = options.integer("keep", 0, INT64_C(1) << 62);
  }
  if (options.given("threshold")) {
    settings.threshold = options.number("threshold");
    if (*settings.threshold < 0) {
      throw options.fault("threshold", "a number from 0 on would be right");
    }
  }
  const int counts = (settings.sparsity ? 1 : 0) + (settings.keep ? 1 : 0) +
                     (settings.profile == PruneProfile::kList ? 1 : 0);
  const int limits = settings.threshold ? 1 : 0;
  const std::string right = rule.amount && rule.threshold ? "--sparsity, --keep or --threshold"
                            : rule.amount                 ? "--sparsity or --keep"
                            : rule.threshold              ? "--threshold"
                                                          : "";
  if (right.empty() && counts + limits > 0) {
    throw options.fault("method", "takes no --sparsity, --keep or --threshold");
  }
  if (!right.empty() && (rule.amount ? counts : 0) + (rule.threshold ? limits : 0) != 1) {
    throw options.fault("method", text("needs just one of ", right));
  }
  if (counts + limits != (right.empty() ? 0 : 1)) {
    throw options.fault("method", text("takes nothing but ", right));
  }
}

void read_profile(const Options& options, PruneSettings& settings) {
  if (!options.given("profile")) {
    return;
  }
  const std::string spelled = options.text("profile");
  if (spelled == "uniform" || spelled == "erk") {
    settings.profile = spelled == "erk" ? PruneProfile::kErk : PruneProfile::kUniform;
    return;
  }
  const std::string wrong = "right is uniform, erk or list:S0,S1,… with a sparsity for each layer";
  if (spelled.rfind("list:", 0) != 0) {
    throw options.fault("profile", wrong);
  }
  settings.profile = PruneProfile::kList;
  for (std::size_t at = 5; at <= spelled.size();) {
    const std::size_t end = std::min(spelled.find(',', at), spelled.size());
    const auto value = read_number(spelled.substr(at, end - at));
    if (!value) {
      throw options.fault("profile", wrong);
    }
    settings.sparsities.push_back(sparsity_value(options, "profile", *value));
    at = end + 1;
  }
}

void read_scope(const Options& options, const MethodRule& rule, PruneSettings& settings) {
  const std::string scope = options.choice("scope", {"global", "layer", "row"});
  settings.scope = scope == "row"     ? PruneScope::kRow
                   : scope == "layer" ? PruneScope::kLayer
                                      : PruneScope::kGlobal;
  const bool counted = rule.amount && !settings.threshold;
  if (options.given("scope") && !counted) {
    throw options.fault("scope", "goes with --sparsity and --keep only");
  }
  if (settings.scope == PruneScope::kRow && !rule.row_scope) {
    throw options.fault("scope", "this method has no scope row");
  }
  if (settings.profile == PruneProfile::kNone) {
    return;
  }
  if (!counted || settings.keep) {
    throw options.fault("profile", "deals out a sparsity: it goes with --sparsity, or is a list");
  }
  if (options.given("scope") && settings.scope != PruneScope::kLayer) {
    throw options.fault("profile", "goes with --scope layer");
  }
  settings.scope = PruneScope::kLayer;
}

Penalty penalty_of(const Options& options) {
  static const std::map<std::string, Penalty> penalties = {{"0", Penalty::kL0},
                                                           {"0.5", Penalty::kL12},
                                                           {"1/2", Penalty::kL12},
                                                           {"2/3", Penalty::kL23},
                                                           {"1", Penalty::kL1}};
  const auto found = penalties.find(options.text("p"));
  if (found == penalties.end()) {
    throw options.fault("p", "right is 0, 0.5, 2/3 or 1");
  }
  return found->second;
}

void read_pattern(const Options& options, PruneSettings& settings) {
  const std::string spelled = options.text("pattern");
  const std::size_t colon = spelled.find(':');
  const auto n = read_integer(spelled.substr(0, colon));
  const auto m =
      colon == std::string::npos ? std::nullopt : read_integer(spelled.substr(colon + 1));
  if (!n || !m || *n < 1 || *n > *m) {
    throw options.fault("pattern",
                        "right is N:M with 1 <= N <= M, as in 2:4: N of every M inputs "
                        "stay");
  }
  settings.keep_n = *n;
  settings.of_m = *m;
}

void read_group(const Options& options, PruneSettings& settings) {
  const std::string unit = options.text("unit");
  const std::size_t times = unit.find('x');
  const auto rows = unit.rfind("block:", 0) == 0 && times != std::string::npos
                        ? read_integer(unit.substr(6, times - 6))
                        : std::nullopt;
  const auto cols = rows ? read_integer(unit.substr(times + 1)) : std::nullopt;
  if (unit == "row") {
    settings.group = {1, 0};
  } else if (unit == "column") {
    settings.group = {0, 1};
  } else if (rows && cols && *rows >= 1 && *cols >= 1) {
    settings.group = {*rows, *cols};
  } else {
    throw options.fault("unit", "right is row, column or block:RxC, as in block:4x4");
  }
  const std::string norm = options.choice("norm", {"1", "2", "inf"});
  settings.norm = norm == "1" ? GroupNorm::kOne : norm == "2" ? GroupNorm::kTwo : GroupNorm::kMax;
}

void check_own_options(const Options& options, const MethodRule& rule) {
  for (const std::string name : {"p", "pattern", "file", "unit", "norm", "probabilistic"}) {
    const bool own = std::find(rule.own.begin(), rule.own.end(), name) != rule.own.end();
    const bool optional = name == "probabilistic" || name == "norm";
    const bool set = name == "probabilistic" ? options.flag(name) : options.given(name);
    if (set && !own) {
      throw options.fault(name, text("does not go with --method ", options.text("method")));
    }
    if (!set && own && !optional) {
      throw options.fault("method", text("needs --", name));
    }
  }
}

// Positions of a layer, or its groups.
std::int64_t competitors(const PruneSettings& settings, const io::MatrixInfo& weight) {
  const auto parts = [](std::int64_t all, std::int64_t of) {
    return of == 0 ? 1 : (all - 1) / of + 1;
  };
  return settings.method == PruneMethod::kGroup
             ? parts(weight.rows, settings.group.rows) * parts(weight.cols, settings.group.cols)
             : weight.rows * weight.cols;
}

std::int64_t keep_of(const PruneSettings& settings, std::int64_t positions, double sparsity) {
  return settings.keep ? *settings.keep : kernels::kept_of(positions, sparsity);
}

// A POSIX extended regular expression.
class Expression {
 public:
  explicit Expression(const std::string& spelled) {
    const int fault = ::regcomp(&compiled_, spelled.c_str(), REG_EXTENDED | REG_NOSUB);
    if (fault != 0) {
      char why[128] = {};
      ::regerror(fault, &compiled_, why, sizeof why);
      throw Error(ExitStatus::kUsage,
                  text("--exclude ", spelled, ": is no regular expression: ", why));
    }
  }
  ~Expression() { ::regfree(&compiled_); }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  bool finds(const std::string& name) const {
    return ::regexec(&compiled_, name.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t compiled_{};
};

std::vector<bool> excluded_layers(const std::string& spelled, const io::Network& network) {
  std::vector<bool> excluded(network.layers.size(), false);
  if (spelled.empty()) {
    return excluded;
  }
  const Expression expression(spelled);
  for (std::size_t id = 0; id < excluded.size(); ++id) {
    excluded[id] = expression.finds(network.layers[id].name);
  }
  if (std::find(excluded.begin(), excluded.end(), false) == excluded.end()) {
    throw Error(ExitStatus::kUsage, text("--exclude ", spelled, ": leaves no layer to prune"));
  }
  return excluded;
}

// The sparsity of each layer under a profile, or one for all.
std::vector<double> sparsities_of(const PruneSettings& settings, const io::Network& network,
                                  const std::vector<bool>& excluded) {
  if (settings.profile == PruneProfile::kList) {
    if (settings.sparsities.size() != network.layers.size()) {
      throw Error(ExitStatus::kUsage,
                  text("--profile lists ", counted(std::ssize(settings.sparsities), "value"),
                       ", but the network has ", counted(std::ssize(network.layers), "layer")));
    }
    return settings.sparsities;
  }
  std::vector<double> sparsities(network.layers.size(), settings.sparsity.value_or(0));
  if (settings.profile == PruneProfile::kErk) {
    std::vector<kernels::LayerShape> shapes;
    for (std::size_t id = 0; id < excluded.size(); ++id) {
      if (!excluded[id]) {
        shapes.push_back({network.layers[id].weight.rows, network.layers[id].weight.cols});
      }
    }
    const auto densities = kernels::erk_densities(shapes, 1 - settings.sparsity.value_or(0));
    std::size_t next = 0;
    for (std::size_t id = 0; id < excluded.size(); ++id) {
      sparsities[id] = excluded[id] ? 0 : 1 - densities[next++];
    }
  }
  return sparsities;
}

}  // namespace

bool PruneSettings::counts() const noexcept {
  return (sparsity || keep || profile == PruneProfile::kList) && scope != PruneScope::kRow;
}

PruneSettings prune_settings(const Options& options) {
  std::vector<std::string> names;
  for (const auto& [name, rule] : method_rules()) {
    names.push_back(name);
  }
  const std::string method = options.choice("method", names);
  const MethodRule& rule = method_rules().at(method);
  PruneSettings settings;
  settings.method = rule.method;
  check_own_options(options, rule);
  read_profile(options, settings);
  read_amount(options, method, settings);
  read_scope(options, rule, settings);
  if (settings.method == PruneMethod::kLp) {
    settings.penalty = penalty_of(options);
  }
  if (settings.method == PruneMethod::kNm) {
    read_pattern(options, settings);
  }
  if (settings.method == PruneMethod::kGroup) {
    read_group(options, settings);
  }
  settings.probabilistic = options.flag("probabilistic");
  settings.seed = static_cast<std::uint64_t>(options.integer("seed"));
  if (options.given("exclude") && settings.method == PruneMethod::kBias) {
    throw options.fault("exclude", "does not go with --method bias");
  }
  settings.exclude = options.given("exclude") ? options.text("exclude") : "";
  settings.file = options.given("file") ? options.text("file") : "";
  settings.layout = layout_option(options);
  return settings;
}

nlohmann::json canonical_options(const PruneSettings& settings) {
  nlohmann::json canonical = {{"exclude", settings.exclude},
                              {"layout", io::to_string(settings.layout)}};
  for (const auto& [name, rule] : method_rules()) {
    if (rule.method == settings.method) {
      canonical["method"] = name;
    }
  }
  if (settings.sparsity || settings.keep || !settings.sparsities.empty()) {
    canonical["scope"] = settings.scope == PruneScope::kRow     ? "row"
                         : settings.scope == PruneScope::kLayer ? "layer"
                                                                : "global";
  }
  if (settings.sparsity) {
    canonical["sparsity"] = *settings.sparsity;
  }
  if (settings.keep) {
    canonical["keep"] = *settings.keep;
  }
  if (settings.threshold) {
    canonical["threshold"] = *settings.threshold;
  }
  if (settings.profile == PruneProfile::kErk) {
    canonical["profile"] = "erk";
  }
  if (!settings.sparsities.empty()) {
    canonical["profile"] = settings.sparsities;
  }
  if (settings.method == PruneMethod::kLp) {
    canonical["penalty"] = static_cast<int>(settings.penalty);
  }
  if (settings.method == PruneMethod::kNm) {
    canonical["pattern"] = text(settings.keep_n, ":", settings.of_m);
  }
  if (settings.method == PruneMethod::kGroup) {
    canonical["unit"] = {settings.group.rows, settings.group.cols};
    canonical["norm"] = static_cast<int>(settings.norm);
  }
  if (settings.method == PruneMethod::kRandom) {
    canonical["seed"] = settings.seed;
    canonical["probabilistic"] = settings.probabilistic;
  }
  return canonical;
}

PruneTargets prune_targets(const PruneSettings& settings, const io::Network& network) {
  PruneTargets targets;
  targets.excluded = excluded_layers(settings.exclude, network);
  if (!settings.counts()) {
    return targets;
  }
  const auto sparsities = sparsities_of(settings, network, targets.excluded);
  PruneGroup all;
  std::int64_t positions = 0;
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    if (targets.excluded[id]) {
      continue;
    }
    const io::MatrixInfo& weight = network.layers[id].weight;
    const auto layer = static_cast<std::int64_t>(id);
    const std::int64_t here = competitors(settings, weight);
    positions += here;
    all.layers.push_back(layer);
    if (settings.scope == PruneScope::kLayer) {
      targets.groups.push_back({{layer}, keep_of(settings, here, sparsities[id])});
    }
  }
  if (settings.scope == PruneScope::kGlobal) {
    all.keep = keep_of(settings, positions, settings.sparsity.value_or(0));
    targets.groups.push_back(std::move(all));
  }
  return targets;
}

}  // namespace espalier::jobs
