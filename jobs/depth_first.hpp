// A network that one rank holds whole, a few panels at a time through many layers.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "framework/memory.hpp"
#include "jobs/panel_features.hpp"
#include "jobs/sharded_network.hpp"

namespace espalier::jobs {

// Multiply-adds and time of one layer, over all waves.
struct LayerWork {
  std::int64_t edges = 0;  // without padding and dead samples
  double seconds = 0;      // wall clock; of threads that work apart, their mean
};

// Where the threads put the outcome of a wave, each sample in its own place.
struct DepthFirstOutcome {
  std::vector<std::uint8_t> computed, alive;  // by position in the wave
  std::vector<std::int64_t> column;           // by position: where its outputs stand in `panels`
  float* panels = nullptr;                    // null: outputs are not kept
  std::atomic<std::int64_t> panels_used{0};
};

// One thread's worker. A block of panels small enough for the caches goes from layer to layer;
// samples that died are squeezed out; a block that has shrunk to half waits for another one to fill
// it up, so that survivors of the whole wave share panels.
class DepthFirst {
 public:
  // `most_panels`: of a block. Borrows network and features; allocates pool_panels(most_panels)
  // panels of the network's widest layer, first touched here.
  DepthFirst(const ShardedNetwork& network, const PanelFeatures& features,
             std::int64_t most_panels);

  static std::int64_t pool_panels(std::int64_t most_panels) noexcept { return 4 * most_panels + 1; }

  // Takes samples `ids` (rows of `samples`, at most block_panels panels) through the layers, unless
  // their rest is set aside for finish(). `block_panels`: of a full block, 2 .. most_panels.
  void run(const kernels::CsrRows& samples, std::span<const std::int64_t> ids,
           std::int64_t block_panels, DepthFirstOutcome& outcome);
  // Takes what was set aside to the end.
  void finish(DepthFirstOutcome& outcome);

  const std::vector<LayerWork>& work() const noexcept { return work_; }

 private:
  struct Block {
    std::vector<std::int64_t> samples;  // by column: position in the wave
    std::vector<std::uint32_t> bits;    // by column: zero where the latest outputs are all zero
    std::vector<float*> panels;
  };

  static std::int64_t dead_of(const Block& block);
  void descend(Block block, std::size_t layer, bool may_wait, DepthFirstOutcome& outcome);
  bool meet_waiting(Block& block, std::size_t layer, bool may_wait);
  void multiply(std::size_t layer, Block& block);
  void drop_dead(std::int64_t rows, Block& block);
  void append(std::int64_t rows, const Block& from, Block& to);
  void emit(Block& block, DepthFirstOutcome& outcome);
  float* take_panel();
  void give_back(Block& block);

  const ShardedNetwork& network_;
  const PanelFeatures& features_;
  std::size_t block_panels_ = 0;
  AlignedBuffer<float> memory_;
  std::vector<float*> free_;
  std::vector<Block> waiting_;  // by the layer they wait before; no samples: none
  std::vector<LayerWork> work_;
};

}  // namespace espalier::jobs
