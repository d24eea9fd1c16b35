// The pure half of prune_settings.hpp: what a network's layers are to keep.
#include <regex.h>

#include <algorithm>

#include "jobs/output_plan.hpp"
#include "jobs/prune_settings.hpp"
#include "jobs/spelling.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

// Positions of a layer, or its groups.
std::int64_t competitors(const PruneSettings& settings, const io::Layer& layer) {
  const io::MatrixInfo& weight = layer.weight;
  const auto parts = [](std::int64_t all, std::int64_t of) {
    return of == 0 ? 1 : (all - 1) / of + 1;
  };
  const std::int64_t cols = settings.group.filters ? layer.window.taps() : settings.group.cols;
  return settings.method == PruneMethod::kGroup
             ? parts(weight.rows, settings.group.rows) * parts(weight.cols, cols)
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

// Layers without anything to prune.
std::vector<bool> layers_without(const PruneSettings& settings, const io::Network& network) {
  std::vector<bool> without;
  for (const io::Layer& layer : network.layers) {
    without.push_back(settings.group.filters ? layer.kind != io::LayerKind::kConvolution
                                             : !layer.has_weights());
  }
  if (std::find(without.begin(), without.end(), false) == without.end()) {
    throw Error(ExitStatus::kUsage, settings.group.filters
                                        ? "--unit filter: the network has no convolution"
                                        : "the network has no layer with weights");
  }
  return without;
}

std::vector<bool> excluded_layers(const PruneSettings& settings, const io::Network& network) {
  const std::string& spelled = settings.exclude;
  std::vector<bool> excluded = layers_without(settings, network);
  if (spelled.empty()) {
    return excluded;
  }
  const Expression expression(spelled);
  for (std::size_t id = 0; id < excluded.size(); ++id) {
    excluded[id] = excluded[id] || expression.finds(network.layers[id].name);
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

PruneTargets prune_targets(const PruneSettings& settings, const io::Network& network) {
  PruneTargets targets;
  targets.excluded = excluded_layers(settings, network);
  targets.sparsities = sparsities_of(settings, network, targets.excluded);
  if (!settings.counts()) {
    return targets;
  }
  PruneGroup all;
  std::int64_t positions = 0;
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    if (targets.excluded[id]) {
      continue;
    }
    const auto layer = static_cast<std::int64_t>(id);
    const std::int64_t here = competitors(settings, network.layers[id]);
    positions += here;
    all.layers.push_back(layer);
    if (settings.scope == PruneScope::kLayer) {
      targets.groups.push_back({{layer}, keep_of(settings, here, targets.sparsities[id])});
    }
  }
  if (settings.scope == PruneScope::kGlobal) {
    all.keep = keep_of(settings, positions, settings.sparsity.value_or(0));
    targets.groups.push_back(std::move(all));
  }
  return targets;
}

}  // namespace espalier::jobs
