// Whole samples out of panels that are spread over row shards.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "framework/comm.hpp"
#include "framework/shard.hpp"
#include "kernels/samples.hpp"

namespace espalier::jobs {

// The last layer's outputs of this shard, for all columns of a wave.
struct ShardOutputs {
  const float* panels = nullptr;          // (rows x kPanelWidth) each
  std::span<const std::int64_t> columns;  // panel x kPanelWidth + column in it, in sample order
  std::vector<std::int64_t> bounds;       // rows of every shard
};

// Deals the columns to the shards: shard s gets all outputs of columns [dealt[s], dealt[s + 1]).
//   shapes   dealt (ranks + 1), ascending, from 0 to columns; result (my columns x outputs)
//   reuse    outputs that are done with: their memory is used again
//   where    collective over `group`
std::vector<float> exchange_outputs(const Comm& group, const ShardOutputs& mine,
                                    const std::vector<std::int64_t>& dealt,
                                    std::vector<float> reuse);

// Deals the columns as exchange_outputs, where only the best of each column are known: `mine` are
// as many for each, column by column.
//   shapes   result: what all shards have of my columns, column by column
//   where    collective over `group`
std::vector<kernels::Ranked> exchange_best(const Comm& group, std::span<const kernels::Ranked> mine,
                                           const std::vector<std::int64_t>& dealt);

}  // namespace espalier::jobs
