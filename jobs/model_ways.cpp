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

CsrRows rows_of(const ModelRun& run, std::int64_t layer, Range rows,
                std::span<const std::byte> stored) {
  CsrRows found;
  found.first_row = rows.begin;
  found.cols = run.reader.network().layers[to_size(layer)].weight.cols;
  found.pointers.assign(1, 0);
  std::vector<float> row_of(to_size(found.cols));
  const std::size_t row_bytes = row_of.size() * to_size(io::bytes_of(run.reader.type(layer)));
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    io::to_floats(run.reader.type(layer),
                  stored.subspan(to_size(row - rows.begin) * row_bytes, row_bytes), row_of);
    for (std::size_t column = 0; column < row_of.size(); ++column) {
      if (!std::isfinite(row_of[column])) {
        run.reader.refuse_not_finite(layer, {row * found.cols, (row + 1) * found.cols});
      }
      if (row_of[column] != 0) {
        found.indices.push_back(static_cast<std::uint32_t>(column));
        found.values.push_back(row_of[column]);
      }
    }
    found.pointers.push_back(std::ssize(found.indices));
  }
  return found;
}

double squares_of(const CsrRows& rows) {
  double squares = 0;
  for (std::int64_t k = 0; k < rows.nnz(); ++k) {
    squares += static_cast<double>(rows.value(k)) * static_cast<double>(rows.value(k));
  }
  return squares;
}

// As the first run has cut them.
Pieces pieces_of(const ModelRun& run, const UnitRun& units) {
  return locally(run.context.world, "planning", [&] {
    return deal_model(run.context.world, run.pruning, run.memory, units.record().cut());
  });
}

// Weights of an excluded layer that are not zero.
std::int64_t count_kept(io::WeightType type, std::span<const std::byte> stored) {
  std::vector<float> values(stored.size() / to_size(io::bytes_of(type)));
  io::to_floats(type, stored, values);
  return std::ssize(values) - std::count(values.begin(), values.end(), 0.0F);
}

// Reads a piece, decides on it and puts it in its place.
PlacedUnit prune_piece(const ModelRun& run, const KeyRule& keys, std::int64_t layer, Range rows,
                       io::ModelOutput& output) {
  const io::WeightType type = run.reader.type(layer);
  const ModelStretch stretch = stretch_of(run.reader, layer, rows);
  Bytes stored(to_size(stretch.end - stretch.begin));
  run.reader.read_bytes(stretch.file, stretch.begin, stored);
  PlacedUnit unit;
  unit.read_crc = io::crc32(stored);
  if (run.pruning.targets.excluded[to_size(layer)]) {
    unit.kept = count_kept(type, stored);
  } else {
    KeyedRows keyed;
    keyed.rows = rows_of(run, layer, rows, stored);
    const double before = squares_of(keyed.rows);
    if (keys) {
      keyed.keys = keys(layer, keyed.rows);
    }
    apply_rule(run.pruning, layer, keyed);
    unit.kept = keyed.rows.nnz();
    unit.removed_squares = std::max(0.0, before - squares_of(keyed.rows));
    stored = spread_rows(type, keyed.rows, stored);
  }
  unit.written_crc = io::crc32(stored);
  output.write(stretch.file, stretch.begin, stored);
  return unit;
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

std::int64_t ruled_items(const ModelRun& run, const Pieces& pieces) {
  return pieces.all_rows() + std::ssize(rest_of_layers(run.reader));
}

ModelPruned apply_rules(const ModelRun& run, ModelWork& work, io::ModelOutput& output,
                        ModelDigest& digest) {
  const Comm& world = run.context.world;
  const KeyRule keys = key_rule(run.pruning);
  const Pieces& pieces = work.pieces;
  work.units.before_save([&output] { output.sync(); });
  PlacedUnits units(run.context, work.units, run.reader, output, digest);
  std::vector<kernels::Left> mine(run.reader.network().layers.size());
  Progress progress("pruning", pieces.count(), "pieces");
  const auto take_piece = [&](std::int64_t layer, std::int64_t round) {
    const PhaseTimer timer(run.context.times, Phase::kWrite);
    const Range rows = pieces.rows(layer, round, world.rank());
    if (rows.empty()) {
      return;
    }
    const Range items = pieces.items(0, layer, rows);
    const ModelStretch stretch = stretch_of(run.reader, layer, rows);
    const bool finished = units.has(items);
    const PlacedUnit unit =
        finished ? units.find(items, stretch, 1) : prune_piece(run, keys, layer, rows, output);
    if (!finished) {
      units.add(items, stretch, unit);
    }
    mine[to_size(layer)] += {unit.kept, unit.removed_squares};
  };
  work.units.attempt([&] {
    units.copy(rest_of_layers(run.reader), pieces.all_rows());
    for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
      for (std::int64_t round = 0; round < pieces.rounds(layer); ++round) {
        locally(world, "pruning weights", [&] { take_piece(layer, round); });
        work.units.after_unit(pieces.items(0, layer, pieces.rows(layer, round)));
        progress.done(pieces.number(layer, round) + 1);
      }
    }
  });
  return {join_outcomes(world, mine), std::nullopt};
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
