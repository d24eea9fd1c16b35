// The ways of pruning a whole model, but by magnitudes alone (dense_pruning.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/model_layers.hpp"
#include "io/model_output.hpp"
#include "jobs/job.hpp"
#include "jobs/model_copy.hpp"
#include "jobs/pieces.hpp"
#include "jobs/prune_report.hpp"
#include "jobs/prune_rules.hpp"
#include "jobs/unit_run.hpp"
#include "kernels/dense_words.hpp"

namespace espalier::jobs {

// What a run works with; borrowed.
struct ModelRun {
  Context& context;
  const Pruning& pruning;
  const io::ModelReader& reader;
  const PieceMemory& memory;
  const std::string& path;
};

// What earlier runs have finished, and the pieces as the first of them has cut them.
struct ModelWork {
  //   where    collective
  //   throws   SharedError as UnitRun and Pieces
  ModelWork(const ModelRun& run, const UnitJob& job);

  UnitRun units;
  const Pieces pieces;
};

struct ModelPruned {
  std::vector<LayerOutcome> outcomes;
  std::optional<double> threshold;
};

// Cuts the layers; `pieces` as Pieces.
Pieces deal_model(const Comm& world, const Pruning& pruning, const PieceMemory& memory,
                  std::vector<std::int64_t> pieces = {});

// Joins what the ranks know of each layer.
//   where    collective
std::vector<LayerOutcome> join_outcomes(const Comm& world, const std::vector<kernels::Left>& mine);

// All of them are collective and throw SharedError.

// Methods that decide row by row: each piece is read, decided on and written to its place. Writes
// all data; `digest` is told of them.
ModelPruned apply_rules(const ModelRun& run, ModelWork& work, io::ModelOutput& output,
                        ModelDigest& digest);
// What that job counts: rows, and parts that are copied.
std::int64_t ruled_items(const ModelRun& run, const Pieces& pieces);
// Methods whose weights compete by other keys than magnitudes, or in groups. Writes the layers that
// are not excluded.
ModelPruned select_candidates(const ModelRun& run, ModelWork& work, io::ModelOutput& output);
// Methods that change the weights that stay by the Gram matrices of their inputs. Writes the layers
// that are not excluded.
ModelPruned rebuild_weights(const ModelRun& run, ModelWork& work, io::ModelOutput& output);

}  // namespace espalier::jobs
