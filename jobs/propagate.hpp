// A wave of samples through all layers of a sharded network.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "framework/grid.hpp"
#include "framework/memory.hpp"
#include "framework/timer.hpp"
#include "jobs/depth_first.hpp"
#include "jobs/panel_features.hpp"
#include "jobs/plan.hpp"
#include "jobs/sharded_network.hpp"
#include "kernels/layout.hpp"
#include "kernels/top.hpp"

namespace espalier::jobs {

// What came out for the samples that were computed to the end. Valid until the next wave.
struct WaveOutput {
  std::vector<std::int64_t> active;  // positions in the wave, ascending; others gave zeros
  std::vector<std::uint8_t> alive;   // by active sample: any output of the last layer not zero
  std::vector<std::int64_t> column;  // by active sample: panel x kPanelWidth + column in it
  // Panels of this shard's rows of the last layer, (rows x kPanelWidth) each; null if outputs are
  // not kept.
  const float* panels = nullptr;
  // Where outputs stream by: for each active sample the best top_k of this shard's rows, or all if
  // they are fewer, in no order; the index is that of the whole layer.
  std::span<const kernels::Ranked> top;
  bool given_up = false;  // nothing came out: see give_up_if
};

// What a wave keeps of the last layer beside which samples are alive.
struct KeptOutputs {
  bool panels = false;     // the outputs; not of networks that stream them
  std::int64_t top_k = 0;  // their best, of networks that stream them
};

// Carries waves of a group's samples through the network: assemble inputs (from features, from the
// panels before, or from the other shards), multiply, drop dead samples where all later layers map
// zero to zero, and close up the panels. Layer by layer, or depth first where one rank holds the
// network and a few panels fit the cache.
class Propagator {
 public:
  // Borrows everything but `kept` for its life.
  Propagator(const ProcessGrid& grid, const ShardedNetwork& network, const InferencePlan& plan,
             PhaseTimes& times, KeptOutputs kept);

  // `samples`: the wave's features, all inputs, the same on every shard of the group; at most
  // plan.wave_samples rows.
  //   where    collective over the grid's group
  //   exact    the same bits for any grid, wave and thread count
  WaveOutput run(const kernels::CsrRows& samples);

  // `asked` is called before each layer; a wave is given up if it says so on any shard of the
  // group.
  void give_up_if(std::function<bool()> asked) { give_up_ = std::move(asked); }

  std::vector<LayerWork> work() const;
  std::int64_t bytes_sent() const noexcept { return bytes_sent_; }
  std::int64_t messages() const noexcept { return messages_; }

 private:
  std::int64_t panels() const;
  WaveOutput run_depth_first(const kernels::CsrRows& samples);
  void run_layer(std::size_t id, const kernels::CsrRows& samples);
  const float* assemble_inputs(std::size_t id, const kernels::CsrRows& samples, Range panels);
  void exchange_halos(const ShardLayer& before, const ShardLayer& layer, Range panels);
  void multiply(const ShardLayer& layer, const float* in, Range panels);
  void stream_outputs(const ShardLayer& layer, const float* in, Range panels);
  void keep_best(const std::vector<std::vector<kernels::TopPanel>>& best, Range panels);
  void note_alive();
  void close_up(std::int64_t rows);
  bool gives_up() const;

  const ProcessGrid& grid_;
  const ShardedNetwork& network_;
  const InferencePlan& plan_;
  PhaseTimes& times_;
  std::function<bool()> give_up_;
  std::vector<LayerWork> work_;
  std::int64_t bytes_sent_ = 0, messages_ = 0;

  const KeptOutputs kept_;
  const PanelFeatures features_;
  // Depth first: one worker a thread, and the panels of outputs.
  std::vector<std::unique_ptr<DepthFirst>> workers_;
  AlignedBuffer<float> outputs_;
  // Layer by layer:
  std::vector<std::int64_t> active_;       // samples in the panels, as in WaveOutput
  std::vector<std::uint8_t> alive_;        // by active sample
  std::vector<std::uint32_t> alive_bits_;  // by column of the panels
  AlignedBuffer<float> current_, next_;    // panels of this shard's rows
  AlignedBuffer<float> inputs_;            // one chunk's assembled inputs
  AlignedBuffer<float> sent_, received_;   // one chunk's messages
  // Outputs that stream by:
  std::vector<AlignedBuffer<float>> sums_;  // of a piece, by thread
  std::vector<kernels::Ranked> top_;        // as in WaveOutput
};

}  // namespace espalier::jobs
