// What decides on a weight: the keys that are compared, and the rules that need one row only.
#pragma once

#include <cstdint>
#include <optional>

#include "io/batch_file.hpp"
#include "io/layer_reader.hpp"
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
  std::optional<io::NetworkLayers> layers;   // of the input
  const io::LayerReader* weights = nullptr;  // these layers, or those of a model
  PruneTargets targets;

  const io::Network& network() const { return weights->network(); }
  bool has_other() const { return other.reader.has_value(); }
  bool has_batch() const { return batch.reader.has_value(); }
};

// Which keys decide; empty for magnitudes. Borrows `pruning`.
//   exact    a key depends on seed, layer, row, column and weight only
KeyRule key_rule(const Pruning& pruning);

// Applies a method that decides row by row; what is left of `keyed` stays.
//   where    local
void apply_rule(const Pruning& pruning, std::int64_t layer, KeyedRows& keyed);

}  // namespace espalier::jobs
