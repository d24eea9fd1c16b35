#include "jobs/group_reading.hpp"

#include "framework/agree.hpp"
#include "jobs/spelling.hpp"
#include "jobs/unit_bytes.hpp"

namespace espalier::jobs {
namespace {

using Bytes = std::vector<std::byte>;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// A unit: checksums of its pieces, keys of its groups.
Bytes spell_unit(const std::vector<std::uint32_t>& crcs, std::span<const std::byte> keys) {
  Bytes bytes;
  put_array(bytes, crcs);
  bytes.insert(bytes.end(), keys.begin(), keys.end());
  return bytes;
}

}  // namespace

GroupReading::GroupReading(Context& context, const Pruning& pruning, const Pieces& pieces,
                           UnitRun& run, std::int64_t pass)
    : FirstReading(context, pruning, pieces, run, pass),
      groups_(pruning.settings, pruning.targets, pruning.network(), pieces) {}

void GroupReading::check_fit(std::int64_t group_bytes) const {
  const std::int64_t needed = groups_.bytes(context_.world);
  if (needed > group_bytes) {
    throw Error(ExitStatus::kDoesNotFit,
                text("the groups of a rank need ", spelled_bytes(needed), ", but ",
                     spelled_bytes(group_bytes),
                     " are left for them; a larger --memory-per-rank would be right"));
  }
}

void GroupReading::run(const RowsRead& read, Progress& progress) {
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    if (pruning_.targets.excluded[to_size(layer)]) {
      continue;
    }
    if (groups_.by_column()) {
      measure_columns(layer, read, progress);
    } else {
      measure_pieces(layer, read, progress);
    }
  }
  groups_.decide(context_.world);
}

void GroupReading::measure_pieces(std::int64_t layer, const RowsRead& read, Progress& progress) {
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    locally(context_.world, "measuring groups", [&] {
      const Range mine =
          pieces_.items(pass_, layer, pieces_.rows(layer, round, context_.world.rank()));
      if (mine.empty()) {
        return;
      }
      std::uint32_t& crc = crcs_[to_size(pieces_.number(layer, round))];
      if (run_.record().has(mine)) {
        const Bytes bytes = run_.record().read_whole(mine);
        std::span<const std::byte> rest = bytes;
        crc = take_array<std::uint32_t>(rest, 1)[0];
        groups_.restore(layer, round, rest);
      } else {
        measure(layer, round, read);
        run_.record().add(mine, spell_unit({crc}, groups_.noted(layer, round)));
      }
    });
    progress.done(pieces_.number(layer, round) + 1);
    run_.after_unit(pieces_.items(pass_, layer, pieces_.rows(layer, round)));
  }
}

void GroupReading::measure_columns(std::int64_t layer, const RowsRead& read, Progress& progress) {
  const Comm& world = context_.world;
  const std::int64_t rows = pruning_.network().layers[to_size(layer)].weight.rows;
  const Range whole = pieces_.items(pass_, layer, {0, rows});
  if (run_.record().has(whole)) {
    locally(world, "reading back groups", [&] { restore_columns(layer); });
    return;
  }
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    locally(world, "measuring groups", [&] {
      run_.check_request();  // nothing of a layer is saved before its end
      measure(layer, round, read);
    });
    progress.done(pieces_.number(layer, round) + 1);
  }
  groups_.close_layer(world, layer);
  const std::vector<std::uint32_t> crcs = gather_crcs(layer);
  locally(world, "keeping groups", [&] {
    if (world.rank() == 0) {
      run_.record().add(whole, spell_unit(crcs, groups_.noted(layer, 0)));
    }
  });
  run_.after_unit();
}

void GroupReading::measure(std::int64_t layer, std::int64_t round, const RowsRead& read) {
  const PhaseTimer timer(context_.times, Phase::kRead);
  const Range rows = pieces_.rows(layer, round, context_.world.rank());
  if (!rows.empty()) {
    crcs_[to_size(pieces_.number(layer, round))] = read(layer, rows, found_);
    groups_.note(layer, round, found_.rows);
  }
}

void GroupReading::restore_columns(std::int64_t layer) {
  const std::int64_t rows = pruning_.network().layers[to_size(layer)].weight.rows;
  const Bytes bytes = run_.record().read_whole(pieces_.items(pass_, layer, {0, rows}));
  std::span<const std::byte> rest = bytes;
  const std::int64_t pieces = pieces_.pieces()[to_size(layer)];
  const auto crcs = take_array<std::uint32_t>(rest, pieces);
  const Comm& world = context_.world;
  for (std::int64_t piece = world.rank(); piece < pieces; piece += world.ranks()) {
    crcs_[to_size(pieces_.number(layer, piece / world.ranks()))] = crcs[to_size(piece)];
  }
  groups_.restore(layer, 0, rest);
}

// Those of all pieces of a layer, in their order. Collective.
std::vector<std::uint32_t> GroupReading::gather_crcs(std::int64_t layer) const {
  const Comm& world = context_.world;
  std::vector<std::int64_t> crcs(to_size(pieces_.rounds(layer) * world.ranks()), 0);
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    crcs[to_size(round * world.ranks() + world.rank())] = crc(layer, round);
  }
  world.sum(crcs);
  crcs.resize(to_size(pieces_.pieces()[to_size(layer)]));
  return {crcs.begin(), crcs.end()};
}

}  // namespace espalier::jobs
