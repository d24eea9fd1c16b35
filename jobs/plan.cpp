#include "jobs/plan.hpp"

#include <algorithm>
#include <span>

#include "framework/error.hpp"
#include "framework/shard.hpp"
#include "jobs/boundaries.hpp"
#include "jobs/depth_first.hpp"
#include "kernels/layout.hpp"
#include "kernels/samples.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;
constexpr std::int64_t kPieceWeights = std::int64_t{32} << 20;  // 256 MiB as read
constexpr std::int64_t kPieceGrain = 2048;                      // rows; blocks are never cut
constexpr std::int64_t kStreamedRows = 1024;  // sums of 256 KiB, half of a second-level cache
constexpr std::int64_t kFewestStreamed = std::int64_t{128} << 10;  // outputs

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t packed_layer_bytes(const io::Layer& layer) {
  const std::int64_t index_bytes = layer.width() <= 65536 ? 2 : 4;
  const std::int64_t value_bytes = layer.weight.iso ? 0 : 4;
  return layer.connections() * (index_bytes + value_bytes) + layer.outputs() * (8 + 4);
}

// Widest layer boundary of the network, in neurons: outputs, and what skips the layer. The last
// one's does not count where it is never held.
std::int64_t widest(const io::Network& network, bool streams) {
  std::int64_t neurons = network.inputs();
  const auto held = [streams](const auto& all) {
    return std::span(all).first(all.size() - (streams ? 1 : 0));
  };
  for (const io::Layer& layer : held(network.layers)) {
    neurons = std::max(neurons, layer.outputs());  // all there is if it is unknown what they read
  }
  const std::vector<Boundary> boundaries = plan_boundaries(network);
  for (const Boundary& boundary : held(boundaries)) {
    neurons = std::max(neurons, boundary.width);
  }
  return neurons;
}

// A rank holds the panels before and after a layer for its rows of a wave; several shards also
// hold the last outputs twice while they are dealt out by sample.
std::int64_t bytes_per_sample(const io::Network& network, int row_shards,
                              const Allocation& allocation) {
  const std::int64_t panels = 2 * ceil_div(widest(network, allocation.streams_outputs), row_shards);
  if (allocation.streams_outputs) {
    // The best of each thread, those of the shard, and of all shards.
    const std::int64_t lists = allocation.threads + 2 + row_shards;
    return panels * static_cast<std::int64_t>(sizeof(float)) +
           lists * allocation.top_k * static_cast<std::int64_t>(sizeof(kernels::Ranked));
  }
  const std::int64_t dealt = row_shards == 1 ? 0 : 2 * ceil_div(network.outputs(), row_shards);
  return (panels + dealt) * static_cast<std::int64_t>(sizeof(float));
}

// Panels of a block whose inputs and outputs stay in three quarters of the second-level cache or of
// the share of the third, whichever holds more; the weights pass through the rest. With less than
// two the weights would be fetched as often as the activations.
std::int64_t plan_block(std::int64_t panel_bytes, const Allocation& allocation) {
  constexpr std::int64_t kMostPanels = 8;
  const std::int64_t bytes = std::max(allocation.cache_bytes, allocation.third_cache_bytes);
  const std::int64_t panels = bytes / 4 * 3 / panel_bytes - 1;
  return panels >= 2 ? std::min(panels, kMostPanels) : 0;
}

// Whether no sample is ever left out: the last layer gives something for one that has died.
bool keeps_samples(const io::Network& network) {
  const io::Layer& last = network.layers.back();
  const bool biased = last.bias != io::BiasKind::kNone && !last.epilogue.bias_where_nonzero;
  return biased || last.epilogue.activation == kernels::Activation::kSigmoid ||
         last.epilogue.activation == kernels::Activation::kSoftmax;
}

InferencePlan plan_on_grid(const io::Network& network, std::int64_t samples, GridShape grid,
                           const Allocation& allocation) {
  InferencePlan plan;
  plan.grid = grid;
  plan.weights_bytes = ceil_div(packed_bytes(network), grid.row_shards);
  for (const io::Layer& layer : network.layers) {
    const std::int64_t rows = ceil_div(layer.outputs(), grid.row_shards);
    const std::int64_t weights = ceil_div(layer.connections(), grid.row_shards);
    const bool streams = allocation.streams_outputs && &layer == &network.layers.back();
    const std::int64_t piece =
        layer.kind == io::LayerKind::kConnections ? rows_of_piece(rows, weights, streams) : rows;
    plan.reading_bytes =
        std::max(plan.reading_bytes,
                 ceil_div(weights * 8 + rows * 8, ceil_div(rows, std::min(piece, rows))));
  }
  const std::int64_t group_samples = split_evenly(samples, grid.sample_groups, 0).size();
  const std::int64_t wanted = std::max<std::int64_t>(1, ceil_div(group_samples, kWidth));
  // Inputs of a chunk of panels: gathered, and with several shards also sent and received.
  const std::int64_t panel_bytes = widest(network, allocation.streams_outputs) * kWidth *
                                   static_cast<std::int64_t>(sizeof(float));
  const bool may_block = grid.row_shards == 1 && !allocation.streams_outputs;
  plan.block_panels = may_block ? plan_block(panel_bytes, allocation) : 0;
  const std::int64_t least = plan.weights_bytes + plan.reading_bytes + kProgramBytes;
  const std::int64_t chunk_bytes = std::min(kChunkBytes, (allocation.memory_per_rank - least) / 8);
  plan.chunk_panels = std::clamp<std::int64_t>(chunk_bytes / panel_bytes, 1, wanted);
  std::int64_t fixed_panels = plan.chunk_panels * (grid.row_shards == 1 ? 1 : 3);
  std::int64_t per_panel = bytes_per_sample(network, grid.row_shards, allocation) * kWidth;
  std::int64_t most_bytes = kWaveBytes;
  if (plan.block_panels > 0) {
    // Every thread's own panels, those of a wave too short to go depth first, and the outputs of
    // the last layer as panels and once more by sample.
    fixed_panels += allocation.threads * (DepthFirst::pool_panels(plan.block_panels) + 4);
    per_panel = 2 * network.outputs() * kWidth * static_cast<std::int64_t>(sizeof(float));
    most_bytes = kOutputsBytes;
  }
  per_panel += allocation.sample_bytes * kWidth;
  if (plan.block_panels > 0 && keeps_samples(network)) {
    // Two full blocks a thread are as good as more.
    most_bytes = std::max(kPassingBytes, 2 * allocation.threads * plan.block_panels * per_panel);
  }
  const std::int64_t fixed_bytes = fixed_panels * panel_bytes;
  const std::int64_t room =
      std::clamp(allocation.memory_per_rank - least - fixed_bytes, std::int64_t{0}, most_bytes);
  std::int64_t panels = std::clamp<std::int64_t>(room / per_panel, 1, wanted);
  if (allocation.most_wave_samples > 0) {
    panels = std::min(panels, ceil_div(allocation.most_wave_samples, kWidth));
  }
  plan.wave_samples = panels * kWidth;
  plan.waves = ceil_div(group_samples, plan.wave_samples);
  plan.activations_bytes = panels * per_panel + fixed_bytes;
  return plan;
}

// Samples [part.begin, part.end) of those in `left`, counted through, in pieces of at most `most`.
std::vector<Range> cut_units(const std::vector<Range>& left, Range part, std::int64_t most) {
  std::vector<Range> units;
  std::int64_t before = 0;
  for (const Range& range : left) {
    const std::int64_t end = range.begin + std::min(part.end - before, range.size());
    for (std::int64_t at = range.begin + std::max<std::int64_t>(part.begin - before, 0); at < end;
         at += most) {
      units.push_back({at, std::min(at + most, end)});
    }
    before += range.size();
  }
  return units;
}

}  // namespace

UnitPlan plan_units(const std::vector<Range>& left, int groups, int group,
                    std::int64_t most_samples) {
  expects(most_samples > 0, "a unit has samples");
  std::int64_t samples = 0;
  for (const Range& range : left) {
    samples += range.size();
  }
  UnitPlan plan;
  for (int other = 0; other < groups; ++other) {
    auto units = cut_units(left, split_evenly(samples, groups, other), most_samples);
    plan.rounds = std::max(plan.rounds, std::ssize(units));
    if (other == group) {
      plan.units = std::move(units);
    }
  }
  return plan;
}

bool streams_outputs(const io::Network& network, bool whole) {
  const io::Layer& last = network.layers.back();
  return !whole && network.outputs() >= kFewestStreamed &&
         last.kind == io::LayerKind::kConnections &&
         last.epilogue.activation != kernels::Activation::kSoftmax &&
         !network.scaling.output_scale && !network.scaling.output_shift;
}

std::int64_t rows_of_piece(std::int64_t rows, std::int64_t weights, bool streams) {
  const std::int64_t pieces = std::max<std::int64_t>(1, ceil_div(weights, kPieceWeights));
  const std::int64_t most =
      pieces == 1 ? rows : ceil_div(ceil_div(rows, pieces), kPieceGrain) * kPieceGrain;
  return std::max<std::int64_t>(1, streams ? std::min(most, kStreamedRows) : most);
}

std::int64_t InferencePlan::bytes_per_rank() const noexcept {
  return weights_bytes + reading_bytes + activations_bytes + kProgramBytes;
}

std::int64_t packed_bytes(const io::Network& network) {
  std::int64_t bytes = 0;
  for (const io::Layer& layer : network.layers) {
    bytes += packed_layer_bytes(layer);
  }
  return bytes;
}

InferencePlan plan_inference(const io::Network& network, std::int64_t samples,
                             const std::optional<GridShape>& grid, const Allocation& allocation) {
  if (grid && grid->row_shards * grid->sample_groups != allocation.ranks) {
    throw Error(ExitStatus::kUsage,
                text("--grid ", to_string(*grid), " needs ", grid->row_shards * grid->sample_groups,
                     " ranks but there are ", allocation.ranks,
                     "; start as many ranks as rows x columns of the grid"));
  }
  InferencePlan plan;
  for (int shards = 1; shards <= allocation.ranks; ++shards) {
    if (grid ? shards != grid->row_shards : allocation.ranks % shards != 0) {
      continue;
    }
    plan = plan_on_grid(network, samples, {shards, allocation.ranks / shards}, allocation);
    if (plan.block_panels > 0 && plan.bytes_per_rank() > allocation.memory_per_rank) {
      // Layer by layer needs no panels of the threads' own.
      Allocation narrow = allocation;
      narrow.cache_bytes = narrow.third_cache_bytes = 0;
      plan = plan_on_grid(network, samples, plan.grid, narrow);
    }
    if (plan.bytes_per_rank() <= allocation.memory_per_rank) {
      return plan;
    }
  }
  throw Error(
      ExitStatus::kDoesNotFit,
      text("the network does not fit: on a grid of ", to_string(plan.grid), " a rank needs about ",
           plan.bytes_per_rank() >> 20, " MiB but may use ", allocation.memory_per_rank >> 20,
           " MiB; start more ranks or raise --memory-per-rank"));
}

}  // namespace espalier::jobs
