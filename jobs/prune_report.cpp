#include "jobs/prune_report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "framework/error.hpp"
#include "framework/log.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {

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
    if (!network.layers[id].has_weights()) {
      continue;
    }
    const io::MatrixInfo& weight = network.layers[id].weight;
    const PruneTotals totals{weight.rows * weight.cols, outcomes[id].kept};
    line(network.layers[id].name, text(weight.rows, " x ", weight.cols), grouped(outcomes[id].kept),
         text(rounded(100 * totals.sparsity(), 4), " %"),
         rounded(std::sqrt(outcomes[id].removed_squares), 4));
  }
}

PruneTotals report_layers(RunReport& report, const io::Network& network,
                          const std::vector<LayerOutcome>& outcomes) {
  PruneTotals all;
  nlohmann::json layers = nlohmann::json::array();
  for (std::size_t id = 0; id < outcomes.size(); ++id) {
    const io::MatrixInfo& weight = network.layers[id].weight;
    const PruneTotals totals{weight.rows * weight.cols, outcomes[id].kept};
    all.positions += totals.positions;
    all.kept += totals.kept;
    layers.push_back(nlohmann::json{{"name", network.layers[id].name},
                                    {"rows", weight.rows},
                                    {"cols", weight.cols},
                                    {"kept", totals.kept},
                                    {"sparsity", totals.sparsity()},
                                    {"norm_removed", std::sqrt(outcomes[id].removed_squares)}});
  }
  report.set("layers", std::move(layers));
  report.set("weights_total", all.positions);
  report.set("weights_kept", all.kept);
  report.set("sparsity", all.sparsity());
  return all;
}

}  // namespace espalier::jobs
