// What decides on a weight: the keys that are compared, and the rules that need one row only.
#pragma once

#include <cstdint>
#include <optional>

#include "io/batch_file.hpp"
#include "io/layer_reader.hpp"
#include "jobs/activation_stats.hpp"
#include "jobs/prune_settings.hpp"
#include "jobs/weight_source.hpp"

namespace espalier::jobs {

// An opened file.
template <typename Reader>
struct OpenedAs {
  io::Catalog catalog;
  std::optional<Reader> reader;
};
using Opened = OpenedAs<io::NetworkReader>;

// Everything a run works with. The members borrow from those before them.
struct Pruning {
  PruneSettings settings;
  Opened input, other;                       // the network; the masks or scores
  OpenedAs<io::BatchReader> batch;           // samples to calibrate with
  std::optional<ActivationStats> stats;      // instead of them
  std::optional<io::NetworkLayers> layers;   // of the input
  const io::LayerReader* weights = nullptr;  // these layers, or those of a model
  PruneTargets targets;

  const io::Network& network() const { return weights->network(); }
  bool has_other() const { return other.reader.has_value(); }
  bool has_batch() const { return batch.reader.has_value(); }
};

// Opens the activation statistics that the settings name, if they do.
//   where    collective
void open_stats(const Comm& comm, Pruning& pruning);
// Looks for what is needed of every layer that is pruned.
//   where    local, after the targets are known
//   throws   Error(kBadData) as ActivationStats
void check_stats(const Pruning& pruning);
// What is read of the statistics is an input: its digest, or none.
//   where    collective
std::vector<std::string> stats_digests(const Comm& comm, const Pruning& pruning);
// The key of a weight by |w| times `factor`; never that of an absent one.
std::uint32_t score_key(float weight, double factor);

// Which keys decide; empty for magnitudes. Borrows `pruning`.
//   exact    a key depends on seed, layer, row, column and weight only
KeyRule key_rule(const Pruning& pruning);

// Applies a method that decides row by row; what is left of `keyed` stays.
//   where    local
void apply_rule(const Pruning& pruning, std::int64_t layer, KeyedRows& keyed);

}  // namespace espalier::jobs
