#include "jobs/lamp_reading.hpp"

#include <algorithm>

#include "framework/agree.hpp"
#include "jobs/unit_bytes.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

void add_magnitudes(const KeyedView& found, kernels::LampTally& tally) {
  for (const float value : found.values) {
    tally.add(kernels::magnitude_key(value), found.iso ? found.nnz() : 1);
  }
}

LampReading::LampReading(Context& context, const Pruning& pruning, const Pieces& pieces,
                         UnitRun& run, std::int64_t pass)
    : FirstReading(context, pruning, pieces, run, pass),
      narrowing_(layers().size(), pruning.targets.groups[0].keep) {}

std::size_t LampReading::number_of(std::int64_t layer) const {
  return to_size(std::lower_bound(layers().begin(), layers().end(), layer) - layers().begin());
}

// One step of it, from what `count` counts of each layer.
template <typename Count>
void LampReading::narrow(Count&& count) {
  for (std::size_t at = 0; at < layers().size(); ++at) {
    kernels::LampTally tally = narrowing_.tally(at);
    count(layers()[at], tally);
    {
      const PhaseTimer timer(context_.times, Phase::kExchange);
      context_.world.sum(tally.sums());
    }
    narrowing_.take(at, tally);
  }
  narrowing_.narrow();
}

void LampReading::run(const RowsRead& read, Progress& progress) {
  narrow([&](std::int64_t layer, kernels::LampTally& tally) {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      locally(context_.world, "counting weights", [&] {
        const PhaseTimer timer(context_.times, Phase::kRead);
        count_piece(layer, round, read, tally);
      });
      progress.done(pieces_.number(layer, round) + 1);
      run_.after_unit(pieces_.items(pass_, layer, pieces_.rows(layer, round)));
    }
  });
}

void LampReading::count_piece(std::int64_t layer, std::int64_t round, const RowsRead& read,
                              kernels::LampTally& tally) {
  const Range rows = pieces_.rows(layer, round, context_.world.rank());
  const Range items = pieces_.items(pass_, layer, rows);
  if (items.empty()) {
    return;
  }
  if (!run_.record().has(items)) {
    const std::uint32_t crc = read(layer, rows, found_);
    kernels::LampTally alone = narrowing_.tally(number_of(layer));
    add_magnitudes(found_, alone);
    std::vector<std::byte> bytes;
    put_array(bytes, std::vector<std::int64_t>{crc});
    put_counts(bytes, alone.sums());
    run_.record().add(items, bytes);
  }
  const std::vector<std::byte> bytes = run_.record().read_whole(items);
  std::span<const std::byte> rest = bytes;
  crcs_[to_size(pieces_.number(layer, round))] =
      static_cast<std::uint32_t>(take_array<std::int64_t>(rest, 1)[0]);
  take_counts(rest, tally.sums());
}

std::vector<LayerVerdict> LampReading::settle(
    const std::function<void(std::int64_t layer, kernels::LampTally& tally)>& count) {
  while (!narrowing_.settled()) {
    narrow([&](std::int64_t layer, kernels::LampTally& tally) {
      locally(context_.world, "comparing weights", [&] { count(layer, tally); });
    });
  }
  std::vector<LayerVerdict> verdicts(to_size(pieces_.layers()));
  for (std::size_t at = 0; at < layers().size(); ++at) {
    verdicts[to_size(layers()[at])] = {0, narrowing_.cut(at), {}};
  }
  return verdicts;
}

}  // namespace espalier::jobs
