// The ways of pruning a whole model: what they share, and those that set aside what stays before
// they write (others: dense_pruning.hpp, piece_pruning.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/log.hpp"
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

// A way of pruning that writes all data to their places at once: what a run that is stopped has
// written stays in PATH.part, and later runs go on from there. Borrows everything.
class InPlacePruning {
 public:
  virtual ~InPlacePruning() = default;
  // All of it but the end of the output.
  //   where    collective
  //   throws   SharedError: kBadData if a weight is not finite, the model has changed or the output
  //            of an earlier run is damaged; kStoppedEarly
  virtual ModelPruned run(io::ModelOutput& output) = 0;
  // What io::digest_files says of the model, once it has run. Collective.
  std::string digest_model() const { return digest_.digest(context_.world); }

 protected:
  // `pass`: the one that writes, after those that count or measure.
  InPlacePruning(const ModelRun& run, ModelWork& work, std::int64_t pass);
  // What the job counts: rows for each reading, and parts that are copied.
  static std::int64_t items_of(const ModelRun& run, const Pieces& pieces, std::int64_t pass);

  Context& context_;
  const Pruning& pruning_;
  const io::ModelReader& reader_;
  UnitRun& units_;
  const Pieces& pieces_;
  const std::int64_t pass_;
  ModelDigest digest_;
  std::vector<kernels::Left> left_;  // by layer, of this rank
  Progress progress_;
};

// Cuts the layers; `pieces` as Pieces.
Pieces deal_model(const Comm& world, const Pruning& pruning, const PieceMemory& memory,
                  std::vector<std::int64_t> pieces = {});

// Joins what the ranks know of each layer.
//   where    collective
std::vector<LayerOutcome> join_outcomes(const Comm& world, const std::vector<kernels::Left>& mine);

// All of them are collective and throw SharedError.

// Methods whose weights compete by other keys than magnitudes. Writes the layers that are not
// excluded.
ModelPruned select_candidates(const ModelRun& run, ModelWork& work, io::ModelOutput& output);
// Methods that change the weights that stay by the Gram matrices of their inputs. Writes the layers
// that are not excluded.
ModelPruned rebuild_weights(const ModelRun& run, ModelWork& work, io::ModelOutput& output);

}  // namespace espalier::jobs
