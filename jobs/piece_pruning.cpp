#include "jobs/piece_pruning.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "framework/agree.hpp"
#include "io/checksum.hpp"
#include "jobs/dense_pruning.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

double squares_of(const CsrRows& rows) {
  double squares = 0;
  for (const float value : rows.values) {
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  return squares;
}

// Weights of an excluded layer that are not zero.
std::int64_t count_kept(io::WeightType type, std::span<const std::byte> stored) {
  std::vector<float> values(stored.size() / to_size(io::bytes_of(type)));
  io::to_floats(type, stored, values);
  return std::ssize(values) - std::count(values.begin(), values.end(), 0.0F);
}

// The pass that writes, after the one that measures or counts if there is one.
std::int64_t writing_pass(const PruneSettings& settings) {
  const bool twice =
      settings.method == PruneMethod::kGroup || settings.method == PruneMethod::kLamp;
  return twice ? 1 : 0;
}

// Drops weights whose key is below `least` and notes those below `above`: element, magnitude.
void drop_low(CsrRows& rows, std::uint32_t least, std::uint32_t above,
              std::vector<std::uint32_t>& doubts) {
  std::size_t row = 0;
  kernels::RowFilter::apply(rows, [&](std::int64_t k) {
    while (rows.pointers[row + 1] <= k) {
      ++row;
    }
    const std::uint32_t key = kernels::magnitude_key(rows.values[to_size(k)]);
    if (key >= least && key < above) {
      const std::size_t element = row * to_size(rows.cols) + rows.indices[to_size(k)];
      doubts.push_back(static_cast<std::uint32_t>(element));
      doubts.push_back(key >> 1U);
    }
    return key >= least;
  });
}

}  // namespace

bool PiecePruning::can(const PruneSettings& settings) {
  return !DensePruning::can(settings) && !settings.selects() && !settings.calibrated() &&
         !settings.update;
}

std::int64_t PiecePruning::items(const ModelRun& run, const Pieces& pieces) {
  return items_of(run, pieces, writing_pass(run.pruning.settings));
}

PiecePruning::PiecePruning(const ModelRun& run, ModelWork& work)
    : InPlacePruning(run, work, writing_pass(run.pruning.settings)), keys_(key_rule(run.pruning)) {
  if (pruning_.settings.method == PruneMethod::kGroup) {
    groups_.emplace(context_, pruning_, pieces_, units_, 0);
    groups_->check_fit(run.memory.group_bytes);
  }
  if (pruning_.settings.method == PruneMethod::kLamp) {
    lamp_.emplace(context_, pruning_, pieces_, units_, 0);
    doubts_.emplace(run, pieces_);
  }
}

ModelPruned PiecePruning::run(io::ModelOutput& output) {
  const Comm& world = context_.world;
  units_.before_save([&output] { output.sync(); });
  PlacedUnits units(context_, units_, reader_, output, digest_);
  units_.attempt([&] {
    if (groups_) {
      groups_->run(reader(), progress_);
    }
    if (lamp_) {
      lamp_->run(reader(), progress_);
    }
    units.copy(rest_of_layers(reader_), (pass_ + 1) * pieces_.all_rows());
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        locally(world, "pruning weights", [&] { take_piece(layer, round, output, units); });
        units_.after_unit(pieces_.items(pass_, layer, pieces_.rows(layer, round)));
        progress_.done(pass_ * pieces_.count() + pieces_.number(layer, round) + 1);
      }
    }
    if (lamp_) {
      const auto verdicts = lamp_->settle([this](std::int64_t layer, kernels::LampTally& tally) {
        doubts_->visit(layer, [&](std::int64_t, const std::vector<std::uint32_t>& pairs) {
          for (std::size_t i = 1; i < pairs.size(); i += 2) {
            tally.add(pairs[i] << 1U);
          }
        });
      });
      doubts_->settle(verdicts, left_, output, units_);
    }
  });
  return {join_outcomes(world, left_), std::nullopt};
}

PiecePruning::Bytes PiecePruning::read(std::int64_t layer, Range rows) const {
  const ModelStretch stretch = stretch_of(reader_, layer, rows);
  Bytes stored(to_size(stretch.end - stretch.begin));
  reader_.read_bytes(stretch.file, stretch.begin, stored);
  return stored;
}

CsrRows PiecePruning::rows_of(std::int64_t layer, Range rows,
                              std::span<const std::byte> stored) const {
  CsrRows found;
  found.first_row = rows.begin;
  found.cols = reader_.network().layers[to_size(layer)].weight.cols;
  found.pointers.assign(1, 0);
  std::vector<float> row_of(to_size(found.cols)), values(row_of.size());
  std::vector<std::uint32_t> indices(row_of.size());
  const std::size_t row_bytes = row_of.size() * to_size(io::bytes_of(reader_.type(layer)));
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    io::to_floats(reader_.type(layer),
                  stored.subspan(to_size(row - rows.begin) * row_bytes, row_bytes), row_of);
    const auto count = kernels::collect_dense(row_of, 0, indices.data(), values.data()).count;
    std::uint32_t largest = 0;
    for (std::int64_t k = 0; k < count; ++k) {
      largest = std::max(largest, kernels::magnitude_key(values[to_size(k)]));
    }
    if (largest >= kernels::kFirstNotFinite) {
      reader_.refuse_not_finite(layer, {row * found.cols, (row + 1) * found.cols});
    }
    found.indices.insert(found.indices.end(), indices.begin(), indices.begin() + count);
    found.values.insert(found.values.end(), values.begin(), values.begin() + count);
    found.pointers.push_back(std::ssize(found.indices));
  }
  return found;
}

RowsRead PiecePruning::reader() const {
  return [this](std::int64_t layer, Range rows, KeyedRows& found) {
    const Bytes stored = read(layer, rows);
    found.rows = rows_of(layer, rows, stored);
    return io::crc32(stored);
  };
}

void PiecePruning::take_piece(std::int64_t layer, std::int64_t round, io::ModelOutput& output,
                              PlacedUnits& units) {
  const PhaseTimer timer(context_.times, Phase::kWrite);
  const Range rows = pieces_.rows(layer, round, context_.world.rank());
  if (rows.empty()) {
    return;
  }
  const Range items = pieces_.items(pass_, layer, rows);
  const ModelStretch stretch = stretch_of(reader_, layer, rows);
  const bool finished = units.has(items);
  const PlacedUnit unit = finished ? units.find(items, stretch, io::bytes_of(reader_.type(layer)))
                                   : prune_piece(layer, round, output);
  if (finished) {
    check_same(layer, round, unit.read_crc);
  } else {
    units.add(items, stretch, unit);
  }
  left_[to_size(layer)] += {unit.kept, unit.removed_squares};
  if (doubts_) {
    doubts_->note(pieces_.number(layer, round), unit.doubts);
  }
}

// Reads a piece, decides on it and puts it in its place.
PlacedUnit PiecePruning::prune_piece(std::int64_t layer, std::int64_t round,
                                     io::ModelOutput& output) const {
  const io::WeightType type = reader_.type(layer);
  const std::int64_t width = io::bytes_of(type);
  const Range rows = pieces_.rows(layer, round, context_.world.rank());
  const ModelStretch stretch = stretch_of(reader_, layer, rows);
  Bytes stored = read(layer, rows);
  PlacedUnit unit;
  unit.read_crc = io::crc32(stored);
  if (pruning_.targets.excluded[to_size(layer)]) {
    unit.kept = count_kept(type, stored);
  } else {
    check_same(layer, round, unit.read_crc);
    KeyedRows keyed;
    keyed.rows = rows_of(layer, rows, stored);
    const double before = squares_of(keyed.rows);
    decide(layer, round, keyed, unit);
    unit.kept = keyed.rows.nnz();
    unit.removed_squares = std::max(0.0, before - squares_of(keyed.rows));
    stored = spread_rows(type, keyed.rows, stored);
  }
  output.write(stretch.file, stretch.begin, stored);
  for (std::size_t i = 0; i < unit.doubts.size(); i += 2) {
    std::memset(stored.data() + unit.doubts[i] * width, 0, to_size(width));
  }
  unit.written_crc = io::crc32(stored);
  return unit;
}

void PiecePruning::decide(std::int64_t layer, std::int64_t round, KeyedRows& keyed,
                          PlacedUnit& unit) const {
  if (groups_) {
    groups_->apply(layer, round, keyed.rows);
  } else if (lamp_) {
    drop_low(keyed.rows, lamp_->least(layer), lamp_->above(layer), unit.doubts);
  } else {
    if (keys_) {
      keyed.keys = keys_(layer, keyed.rows);
    }
    apply_rule(pruning_, layer, keyed);
  }
}

// Complains if other bytes of this rank's piece are read now than have been measured or counted.
void PiecePruning::check_same(std::int64_t layer, std::int64_t round, std::uint32_t crc) const {
  if (pass_ == 0 || pruning_.targets.excluded[to_size(layer)]) {
    return;
  }
  const std::uint32_t before = groups_ ? groups_->crc(layer, round) : lamp_->crc(layer, round);
  check_same_rows(reader_, layer, pieces_.rows(layer, round, context_.world.rank()), before, crc);
}

}  // namespace espalier::jobs
