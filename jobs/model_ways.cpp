#include "jobs/model_ways.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/checksum.hpp"
#include "jobs/calibrated_pruning.hpp"
#include "jobs/candidates.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/placed_units.hpp"
#include "jobs/prune_reading.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;
using Bytes = std::vector<std::byte>;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// As the first run has cut them.
Pieces pieces_of(const ModelRun& run, const UnitRun& units) {
  return locally(run.context.world, "planning", [&] {
    return deal_model(run.context.world, run.pruning, run.memory, units.record().cut());
  });
}

// Reads what is left to read, and decides.
//   where    collective
std::vector<LayerOutcome> select(const ModelRun& run, ModelWork& work, Candidates& candidates) {
  PruneReading reading(run.context, run.pruning, work.pieces, candidates, work.units);
  const auto verdicts = reading.run(run.memory.group_bytes);
  return candidates.settle(run.context.world, verdicts);
}

// Writes the layers that are pruned; `read` gives this rank's rows, local.
void write_weights(const ModelRun& run, ModelWork& work, io::ModelOutput& output,
                   const std::function<CsrRows(std::int64_t layer, std::int64_t round)>& read) {
  const Pieces& pieces = work.pieces;
  const auto write = [&] {
    const PhaseTimer timer(run.context.times, Phase::kWrite);
    for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
      const io::WeightType type = run.reader.type(layer);
      const bool excluded = run.pruning.targets.excluded[to_size(layer)];
      for (std::int64_t round = 0; !excluded && round < pieces.rounds(layer); ++round) {
        work.units.check_time();
        const ModelStretch stretch =
            stretch_of(run.reader, layer, pieces.rows(layer, round, run.context.world.rank()));
        // What is kept of weights is float32, which is not all of a float64.
        Bytes before(type == io::WeightType::kF64 ? to_size(stretch.end - stretch.begin) : 0);
        run.reader.read_bytes(stretch.file, stretch.begin, before);
        output.write(stretch.file, stretch.begin, spread_rows(type, read(layer, round), before));
      }
    }
  };
  work.units.attempt([&] { locally(run.context.world, "writing weights", write); });
}

}  // namespace

ModelWork::ModelWork(const ModelRun& run, const UnitJob& job)
    : units(run.context, job), pieces(pieces_of(run, units)) {}

InPlacePruning::InPlacePruning(const ModelRun& run, ModelWork& work, std::int64_t pass)
    : context_(run.context),
      pruning_(run.pruning),
      reader_(run.reader),
      units_(work.units),
      pieces_(work.pieces),
      pass_(pass),
      digest_(run.reader.model()),
      left_(run.reader.network().layers.size()),
      progress_("pruning", work.pieces.count() * (pass + 1), "pieces") {}

std::int64_t InPlacePruning::items_of(const ModelRun& run, const Pieces& pieces,
                                      std::int64_t pass) {
  return (pass + 1) * pieces.all_rows() + std::ssize(rest_of_layers(run.reader));
}

std::vector<LayerOutcome> join_outcomes(const Comm& world, const std::vector<kernels::Left>& mine) {
  std::vector<std::int64_t> kept;
  std::vector<double> squares;
  for (const kernels::Left& left : mine) {
    kept.push_back(left.kept);
    squares.push_back(left.removed_squares);
  }
  world.sum(kept);
  squares = exchange_sums(world, squares);
  std::vector<LayerOutcome> all(mine.size());
  for (std::size_t id = 0; id < all.size(); ++id) {
    all[id] = {kept[id], squares[id], std::nullopt};
  }
  return all;
}

Pieces deal_model(const Comm& world, const Pruning& pruning, const PieceMemory& memory,
                  std::vector<std::int64_t> pieces) {
  const auto entries_before = [&](std::int64_t layer, std::int64_t row) {
    return pruning.weights->nnz_before(layer, row) +
           (pruning.has_other() ? pruning.other.reader->nnz_before(layer, row) : 0);
  };
  return Pieces(pruning.network(), world.ranks(), memory, entries_before,
                {std::max<std::int64_t>(pruning.settings.group.rows, 1), std::move(pieces)});
}

ModelPruned select_candidates(const ModelRun& run, ModelWork& work, io::ModelOutput& output) {
  Candidates candidates(work.pieces, run.context.world.rank(), work.units.record(), kSettingAside);
  ModelPruned made;
  made.outcomes = select(run, work, candidates);
  write_weights(run, work, output, [&](std::int64_t layer, std::int64_t round) {
    return candidates.read(layer, round, made.outcomes[to_size(layer)]);
  });
  return made;
}

ModelPruned rebuild_weights(const ModelRun& run, ModelWork& work, io::ModelOutput& output) {
  Candidates candidates(work.pieces, run.context.world.rank(), work.units.record(), kSettingAside);
  std::vector<LayerOutcome> masked;
  CalibratedPruning::Mask mask;
  if (!run.pruning.settings.calibrated()) {
    masked = select(run, work, candidates);
    mask = [&](std::int64_t layer, std::int64_t round) {
      return candidates.read(layer, round, masked[to_size(layer)]);
    };
  }
  CalibratedPruning rebuilt(run.context, run.pruning, work.pieces, work.units, mask);
  rebuilt.run();
  write_weights(run, work, output, [&](std::int64_t layer, std::int64_t round) {
    return rebuilt.read(layer, round).rows;
  });
  return {rebuilt.outcomes(), std::nullopt};
}

}  // namespace espalier::jobs
