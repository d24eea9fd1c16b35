#include "jobs/prune_settings.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "jobs/output_plan.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

using kernels::Penalty;

// Which options a method takes besides those of all.
struct MethodRule {
  PruneMethod method;
  bool amount;                      // --sparsity or --keep
  bool threshold;                   // --threshold
  std::vector<std::string> scopes;  // the first one is meant if none is given
  std::vector<std::string> own;
};

const std::map<std::string, MethodRule>& method_rules() {
  static const std::map<std::string, MethodRule> rules = {
      {"magnitude", {PruneMethod::kMagnitude, true, true, {"global", "layer", "row"}, {}}},
      {"threshold", {PruneMethod::kThreshold, false, true, {"global"}, {}}},
      {"random",
       {PruneMethod::kRandom, true, false, {"global", "layer", "row"}, {"probabilistic"}}},
      {"l1", {PruneMethod::kL1, true, true, {"global", "layer"}, {}}},
      {"lamp", {PruneMethod::kLamp, true, false, {"global"}, {}}},
      {"bias", {PruneMethod::kBias, false, false, {"global"}, {}}},
      {"wanda", {PruneMethod::kWanda, true, false, {"row", "layer"}, {}}},
      {"sparsegpt", {PruneMethod::kSparseGpt, true, false, {"layer"}, {}}},
      {"group", {PruneMethod::kGroup, true, true, {"global", "layer"}, {"unit", "norm", "prox"}}},
      {"lp", {PruneMethod::kLp, true, true, {"global", "layer"}, {"p"}}},
      {"nm", {PruneMethod::kNm, false, false, {"global"}, {"pattern"}}},
      {"mask", {PruneMethod::kMask, false, false, {"global"}, {"file"}}},
      {"scores", {PruneMethod::kScores, true, false, {"global", "layer", "row"}, {"file"}}}};
  return rules;
}

double sparsity_value(const Options& options, const std::string& name, double value) {
  if (!(value >= 0 && value <= 1)) {
    throw options.fault(name, "a sparsity from 0 to 1 would be right");
  }
  return value;
}

// Dead neurons need no amount; with samples the method takes away whatever varies little.
const MethodRule& method_rule(const Options& options, const std::string& method) {
  static const MethodRule compensating = {
      PruneMethod::kCompensate, true, false, {"layer", "row"}, {}};
  return method == "bias" && options.given("calibrate") ? compensating : method_rules().at(method);
}

void read_amount(const Options& options, const MethodRule& rule, PruneSettings& settings) {
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
  if (spelled == "uniform" || spelled == "erk" || spelled == "owl") {
    settings.profile = spelled == "erk"   ? PruneProfile::kErk
                       : spelled == "owl" ? PruneProfile::kOwl
                                          : PruneProfile::kUniform;
    return;
  }
  const std::string wrong =
      "right is uniform, erk, owl or list:S0,S1,… with a sparsity for each layer";
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
  std::string scope = options.choice("scope", {"global", "layer", "row"});
  if (!options.given("scope")) {
    scope = rule.scopes.front();
  }
  settings.scope = scope == "row"     ? PruneScope::kRow
                   : scope == "layer" ? PruneScope::kLayer
                                      : PruneScope::kGlobal;
  const bool counted = rule.amount && !settings.threshold;
  if (options.given("scope") && !counted) {
    throw options.fault("scope", "goes with --sparsity and --keep only");
  }
  const auto has = [&](const char* name) {
    return std::find(rule.scopes.begin(), rule.scopes.end(), name) != rule.scopes.end();
  };
  if (!has(scope.c_str())) {
    throw options.fault("scope", text("does not go with --method ", options.text("method")));
  }
  if (settings.profile == PruneProfile::kNone) {
    return;
  }
  if (!counted || settings.keep) {
    throw options.fault("profile", "deals out a sparsity: it goes with --sparsity, or is a list");
  }
  if (options.given("scope") && settings.scope == PruneScope::kGlobal) {
    throw options.fault("profile", "goes with --scope layer");
  }
  const bool by_inputs = settings.calibrated() || settings.method == PruneMethod::kWanda;
  if (settings.scope == PruneScope::kRow && by_inputs) {
    return;
  }
  if (options.given("scope") && settings.scope != PruneScope::kLayer) {
    throw options.fault("profile", "goes with --scope layer");
  }
  if (!has("layer")) {
    throw options.fault("profile", text("does not go with --method ", options.text("method"),
                                        ", which compares weights of all layers"));
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
  const bool block = unit.rfind("block:", 0) == 0 && times != std::string::npos;
  const std::int64_t rows = block ? read_integer(unit.substr(6, times - 6)).value_or(0) : 0;
  const std::int64_t cols = block ? read_integer(unit.substr(times + 1)).value_or(0) : 0;
  if (unit == "row") {
    settings.group = {1, 0};
  } else if (unit == "filter") {
    settings.group = {1, 0, true};
  } else if (unit == "column") {
    settings.group = {0, 1};
  } else if (rows >= 1 && cols >= 1) {
    settings.group = {rows, cols};
  } else {
    throw options.fault("unit", "right is row, column, filter or block:RxC, as in block:4x4");
  }
  const std::string norm = options.choice("norm", {"1", "2", "inf"});
  settings.prox = options.flag("prox");
  if (settings.prox && norm != "2") {
    throw options.fault("prox", "goes with --norm 2 only");
  }
  settings.norm = norm == "1" ? GroupNorm::kOne : norm == "2" ? GroupNorm::kTwo : GroupNorm::kMax;
}

// Who needs to know the inputs of layers, and from where.
void check_inputs(const Options& options, const PruneSettings& settings) {
  const bool wanda = settings.method == PruneMethod::kWanda;
  const bool wanted = settings.calibrated() || settings.update || wanda;
  if (wanted && settings.batch.empty() && settings.stats.empty()) {
    throw options.fault(settings.update ? "update" : "method",
                        "needs --calibrate BATCH or --activation-stats FILE");
  }
  if (!settings.batch.empty() && !settings.stats.empty()) {
    throw options.fault("activation-stats", "stands in the place of --calibrate");
  }
  if (!wanted && !settings.batch.empty()) {
    throw options.fault("calibrate",
                        text("goes with --method ", options.text("method"), " and --update only"));
  }
  if (!settings.stats.empty() && !wanda && !settings.needs_gram()) {
    throw options.fault("activation-stats", "goes with wanda, sparsegpt and --update only");
  }
}

// What goes with inputs of layers only.
void read_calibration(const Options& options, PruneSettings& settings) {
  settings.rounds = static_cast<int>(options.integer("rounds", 1, 1000));
  settings.cubic = options.choice("schedule", {"cubic", "linear"}) == "cubic";
  settings.outlier = options.number("outlier");
  settings.spread = options.number("spread");
  const bool owl = settings.profile == PruneProfile::kOwl;
  if (settings.update && (settings.method == PruneMethod::kBias || settings.shrinks() ||
                          settings.method == PruneMethod::kCompensate)) {
    throw options.fault("update", text("does not go with --method ", options.text("method")));
  }
  check_inputs(options, settings);
  const bool on_samples = settings.calibrated() && settings.stats.empty();
  if (owl && !settings.calibrated()) {
    throw options.fault("profile", "owl goes with wanda, sparsegpt and bias --calibrate only");
  }
  for (const std::string name : {"outlier", "spread"}) {
    if (options.given(name) && !owl) {
      throw options.fault(name, "goes with --profile owl only");
    }
    if (!(options.number(name) >= 0)) {
      throw options.fault(name, "a number from 0 on would be right");
    }
  }
  if (settings.rounds > 1 && (!on_samples || settings.keep)) {
    throw options.fault("rounds",
                        "goes with --calibrate and --sparsity of wanda, sparsegpt and bias");
  }
  if (settings.method == PruneMethod::kSparseGpt && settings.keep) {
    throw options.fault("keep", "does not go with --method sparsegpt, which takes a share");
  }
  if (options.given("schedule") && settings.rounds == 1) {
    throw options.fault("schedule", "needs --rounds");
  }
}

void check_own_options(const Options& options, const MethodRule& rule) {
  for (const std::string name : {"p", "pattern", "file", "unit", "norm", "prox", "probabilistic"}) {
    const bool own = std::find(rule.own.begin(), rule.own.end(), name) != rule.own.end();
    const bool is_switch = name == "probabilistic" || name == "prox";
    const bool optional = is_switch || name == "norm";
    const bool set = is_switch ? options.flag(name) : options.given(name);
    if (set && !own) {
      throw options.fault(name, text("does not go with --method ", options.text("method")));
    }
    if (!set && own && !optional) {
      throw options.fault("method", text("needs --", name));
    }
  }
}

}  // namespace

bool PruneSettings::counts() const noexcept {
  return (sparsity || keep || profile == PruneProfile::kList) && scope != PruneScope::kRow &&
         !calibrated();
}

PruneSettings prune_settings(const Options& options) {
  std::vector<std::string> names;
  for (const auto& [name, rule] : method_rules()) {
    names.push_back(name);
  }
  const std::string method = options.choice("method", names);
  const MethodRule& rule = method_rule(options, method);
  PruneSettings settings;
  settings.method = rule.method;
  settings.batch = options.given("calibrate") ? options.text("calibrate") : "";
  settings.stats = options.given("activation-stats") ? options.text("activation-stats") : "";
  settings.update = options.flag("update");
  check_own_options(options, rule);
  read_profile(options, settings);
  read_amount(options, rule, settings);
  read_scope(options, rule, settings);
  read_calibration(options, settings);
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
  if (settings.method == PruneMethod::kCompensate) {
    canonical["method"] = "bias";
  }
  if (settings.update) {
    canonical["update"] = true;
  }
  if (settings.rounds > 1) {
    canonical["rounds"] = settings.rounds;
    canonical["schedule"] = settings.cubic ? "cubic" : "linear";
  }
  if (settings.profile == PruneProfile::kOwl) {
    canonical["profile"] = {{"outlier", settings.outlier}, {"spread", settings.spread}};
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
    if (settings.group.filters) {
      canonical["unit"] = "filter";
    }
    canonical["norm"] = static_cast<int>(settings.norm);
    if (settings.prox) {
      canonical["prox"] = true;
    }
  }
  if (settings.method == PruneMethod::kRandom) {
    canonical["seed"] = settings.seed;
    canonical["probabilistic"] = settings.probabilistic;
  }
  return canonical;
}

}  // namespace espalier::jobs
