// How an inference is laid out before it starts: pure arithmetic, no MPI, no files.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "framework/grid.hpp"
#include "io/network_file.hpp"

namespace espalier::jobs {

// What the plan depends on.
struct Allocation {
  int ranks = 1;
  std::int64_t memory_per_rank = 0;
  int threads = 1;                     // of a rank
  std::int64_t cache_bytes = 0;        // second level, of a core; 0: never depth first
  std::int64_t sample_bytes = 0;       // features of a sample as read, on average
  std::int64_t most_wave_samples = 0;  // 0: what memory allows
  // A core's share of the third-level cache.
  std::int64_t third_cache_bytes = 0;
  bool streams_outputs = false;  // see streams_outputs()
  std::int64_t top_k = 0;        // best outputs kept of each sample while they stream by
};

struct InferencePlan {
  GridShape grid;
  std::int64_t weights_bytes = 0;      // packed weights of a rank, about
  std::int64_t activations_bytes = 0;  // panels and message buffers of a rank
  std::int64_t reading_bytes = 0;      // rows of one layer as read, before they are packed
  std::int64_t wave_samples = 0;       // samples a group works on at a time
  std::int64_t waves = 0;              // the same for every group
  std::int64_t chunk_panels = 0;       // panels whose inputs are gathered at a time
  std::int64_t block_panels = 0;       // panels a thread takes through the layers depth first; or 0
  std::int64_t bytes_per_rank() const noexcept;
};

// Memory that MPI, HDF5 and the program need beside the data.
inline constexpr std::int64_t kProgramBytes = std::int64_t{96} << 20;
// Panels and features of a wave take at most this, so that weights, not panels, fill the memory;
// beyond it a wider wave gains nothing measurable.
inline constexpr std::int64_t kWaveBytes = std::int64_t{128} << 20;
// The same where a wave holds its outputs only; a wave ends with some panels that are not full.
inline constexpr std::int64_t kOutputsBytes = std::int64_t{1} << 30;
// The same where all panels stay full whatever the wave: what is read, computed and written of one
// then stays in the caches.
inline constexpr std::int64_t kPassingBytes = std::int64_t{16} << 20;
// Gathered inputs of one chunk of panels: a few message-sized panels, or a single large one.
inline constexpr std::int64_t kChunkBytes = std::int64_t{8} << 20;

// Whether the last layer's outputs pass by in pieces and are never held: where they are many and
// only their best, or whether any is not zero, is asked for. `whole`: all of a sample's outputs are
// kept.
bool streams_outputs(const io::Network& network, bool whole);

// Rows of one piece of a shard's `rows` rows with `weights` weights. Rows that share their inputs
// share tiles within a piece only, so a layer is cut where holding it as read would matter, and
// the outputs that stream by where a piece with its sums fits the caches.
std::int64_t rows_of_piece(std::int64_t rows, std::int64_t weights, bool streams);

// Lays out `samples` samples through `network`.
//   grid     as given, or with nullopt: the smallest number of row shards R that divides the
//            ranks and fits memory_per_rank, the rest of the ranks as sample groups
//   throws   Error(kUsage) if a given grid has other than `ranks` ranks; Error(kDoesNotFit) with
//            what a rank would need
InferencePlan plan_inference(const io::Network& network, std::int64_t samples,
                             const std::optional<GridShape>& grid, const Allocation& allocation);

// The units of one group: waves of consecutive samples, and how many rounds the group with most of
// them takes.
struct UnitPlan {
  std::vector<Range> units;
  std::int64_t rounds = 0;
};

// Deals the samples of `left` (ascending ranges) evenly to `groups` groups, each a contiguous part,
// cut into units of at most `most_samples`.
UnitPlan plan_units(const std::vector<Range>& left, int groups, int group,
                    std::int64_t most_samples);

// Bytes of the whole network once packed: values (one if iso), indices, pointers, biases.
std::int64_t packed_bytes(const io::Network& network);

}  // namespace espalier::jobs
