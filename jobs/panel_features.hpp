// From sparse features of samples to the dense panels of the first layer.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "jobs/sharded_network.hpp"
#include "kernels/layout.hpp"

namespace espalier::jobs {

// Spreads features over panels of the first layer's local inputs, scaled and shifted. Immutable.
class PanelFeatures {
 public:
  // Borrows the network.
  explicit PanelFeatures(const ShardedNetwork& network);

  // Whether a sample without features may be left out from the start.
  bool may_drop_empty() const noexcept { return may_drop_empty_; }
  // Positions of the samples (rows of `samples`) that must be computed, ascending.
  std::vector<std::int64_t> samples_to_compute(const kernels::CsrRows& samples) const;

  // Fills one panel: column i gets row `ids[i]` of `samples`, columns from ids.size() on no
  // features.
  //   shapes   samples (any x the network's inputs); panel (local inputs x kPanelWidth)
  //   cost     O(local inputs x kPanelWidth + the features of the samples)
  void fill(const kernels::CsrRows& samples, std::span<const std::int64_t> ids, float* panel) const;

 private:
  float scaled(std::uint32_t feature, float x) const;
  void fill_absent(float* panel) const;
  void fill_sparse(const kernels::CsrRows& samples, std::int64_t id, float* column) const;
  void turn_whole(const kernels::CsrRows& samples, std::span<const std::int64_t> ids,
                  float* columns) const;
  void fill_whole(const kernels::CsrRows& samples, std::span<const std::int64_t> ids,
                  float* columns) const;

  const ShardedNetwork& network_;
  std::vector<std::int32_t> local_of_feature_;  // local input of the first layer, -1: unused
  bool may_drop_empty_ = false;
  bool as_they_are_ = false;  // neither scaled, shifted nor rounded
  bool takes_all_ = false;    // every feature as it is, in their order
};

}  // namespace espalier::jobs
