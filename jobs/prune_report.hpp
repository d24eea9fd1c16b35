// What a pruning did, layer by layer: for people and for the run report.
#pragma once

#include <cstdint>
#include <vector>

#include "io/network_file.hpp"
#include "jobs/candidates.hpp"
#include "jobs/report.hpp"

namespace espalier::jobs {

struct PruneTotals {
  std::int64_t positions = 0, kept = 0;
  double sparsity() const {
    return positions == 0 ? 0 : 1 - static_cast<double>(kept) / static_cast<double>(positions);
  }
};

// A line for each layer on stderr; of many layers for the first and last ones.
void log_layers(const io::Network& network, const std::vector<LayerOutcome>& outcomes);

// Sets `layers`, `weights_total`, `weights_kept` and `sparsity`.
PruneTotals report_layers(RunReport& report, const io::Network& network,
                          const std::vector<LayerOutcome>& outcomes);

}  // namespace espalier::jobs
