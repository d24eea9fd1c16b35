#include "jobs/dense_counting.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "framework/agree.hpp"
#include "framework/parallel.hpp"
#include "io/checksum.hpp"
#include "jobs/dense_elements.hpp"
#include "jobs/model_copy.hpp"
#include "jobs/spelling.hpp"
#include "jobs/unit_bytes.hpp"

namespace espalier::jobs {
namespace {

using io::WeightType;
using kernels::WordKind;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kMagnitudes16 = 32768;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// A unit: CRC, whether its group is decided on, bin, equals, settled; then new counts.
Bytes spell_unit(std::uint32_t crc, const DenseGroup* decided,
                 std::span<const std::int64_t> counts) {
  Bytes bytes;
  const DenseGroup group = decided != nullptr ? *decided : DenseGroup{};
  put_array(bytes, std::vector<std::int64_t>{crc, decided != nullptr ? 1 : 0, group.bin,
                                             group.equals, group.settled ? 1 : 0});
  put_counts(bytes, counts);
  return bytes;
}

}  // namespace

DenseCounting::DenseCounting(Context& context, const Pruning& pruning,
                             const io::ModelReader& reader, const Pieces& pieces,
                             std::int64_t count_bytes)
    : context_(context),
      pruning_(pruning),
      reader_(reader),
      pieces_(pieces),
      groups_(pruning.targets.groups.size()),
      crcs_(to_size(pieces.count()), -1),
      buffers_(to_size(threads())) {
  bool all_short = true;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const auto& layers = pruning.targets.groups[g].layers;
    groups_[g].exact = std::all_of(layers.begin(), layers.end(), [&](std::int64_t layer) {
      return is_short(reader.type(layer));
    });
    all_short = all_short && groups_[g].exact;
  }
  if (groups_.empty()) {
    return;
  }
  const std::int64_t all_bins = kernels::kBins * 8;
  const std::int64_t table = all_short ? std::int64_t{kMagnitudes16} * 8 : all_bins;
  const std::int64_t tables =
      std::min<std::int64_t>((count_bytes * 3 / 4 - all_bins) / table, threads());
  if (tables < 1) {
    throw Error(ExitStatus::kDoesNotFit,
                text("counting weights takes ", spelled_bytes(all_bins + table), ", but ",
                     spelled_bytes(count_bytes * 3 / 4),
                     " are left for it; a larger --memory-per-rank would be right"));
  }
  tables_.assign(to_size(tables), std::vector<std::int64_t>(to_size(table / 8), 0));
  bins_.assign(to_size(kernels::kBins), 0);
}

void DenseCounting::run(UnitRun& units, Progress& progress) {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    count_group(g, units, progress);
  }
  tables_ = {};
  bins_ = {};
  buffers_ = {};
}

Range DenseCounting::items_of(std::int64_t layer, std::int64_t round) const {
  return pieces_.items(0, layer, pieces_.rows(layer, round, context_.world.rank()));
}

void DenseCounting::count_group(std::size_t number, UnitRun& units, Progress& progress) {
  for (const std::int64_t layer : pruning_.targets.groups[number].layers) {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      locally(context_.world, "counting weights", [&] {
        const PhaseTimer timer(context_.times, Phase::kRead);
        count_piece(layer, round, units.record());
      });
      progress.done(pieces_.number(layer, round) + 1);
      units.after_unit(pieces_.items(0, layer, pieces_.rows(layer, round)));
    }
    fold_tables();
  }
  const bool known =
      locally(context_.world, "taking counts", [&] { return take_units(number, units.record()); });
  DenseGroup& group = groups_[number];
  std::vector<std::int64_t> said(4, 0);
  if (known) {
    said = {1, group.bin, group.equals, group.settled ? 1 : 0};
  }
  context_.world.max(said);
  if (said[0] != 0) {
    group.bin = said[1];
    group.equals = said[2];
    group.settled = said[3] != 0;
  } else {
    gather_counts();
    decide(number);
  }
  // No equals: all stay, or none.
  group.cut = group.equals == 0 ? 0 : static_cast<std::uint32_t>(group.bin) << kernels::kBinShift;
  locally(context_.world, "noting counts", [&] {
    for (const Counted& counted : std::exchange(counted_, {})) {
      units.record().add(counted.items, spell_unit(counted.crc, &group, {}));
    }
  });
  std::fill(bins_.begin(), bins_.end(), 0);
}

// The bin in which the cut of a group lies.
void DenseCounting::decide(std::size_t number) {
  DenseGroup& group = groups_[number];
  const std::int64_t keep = pruning_.targets.groups[number].keep;
  const std::int64_t total = std::accumulate(bins_.begin(), bins_.end(), std::int64_t{0});
  group.settled = keep <= 0 || keep >= total;
  group.bin = keep >= total ? 0 : kernels::kBins;
  if (!group.settled) {
    group.equals = keep;
    while (group.equals > bins_[to_size(--group.bin)]) {
      group.equals -= bins_[to_size(group.bin)];
    }
    // If all of the bin stay, nothing is in doubt.
    group.settled = group.equals == bins_[to_size(group.bin)];
  }
}

// Unless an earlier run has done so.
void DenseCounting::count_piece(std::int64_t layer, std::int64_t round,
                                const io::UnitRecord& record) {
  const Range items = items_of(layer, round);
  if (!items.empty() && !record.has(items)) {
    const std::uint32_t crc = count_rows(layer, pieces_.rows(layer, round, context_.world.rank()));
    crcs_[to_size(pieces_.number(layer, round))] = crc;
    counted_.push_back({items, crc});
  }
}

// Counts rows and returns their CRC.
std::uint32_t DenseCounting::count_rows(std::int64_t layer, Range rows) {
  const WeightType type = reader_.type(layer);
  kind_ = kind_of(type);
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  const std::int64_t row_bytes = cols * io::bytes_of(type);
  const std::vector<Range> chunks = cut_rows(rows, cols);
  std::vector<std::uint32_t> crcs(chunks.size());
  const auto slots = std::ssize(tables_);
  parallel_for(slots, [&](std::int64_t slot, int thread) {
    std::vector<std::int64_t>& table = tables_[to_size(slot)];
    for (std::int64_t c = slot; c < std::ssize(chunks); c += slots) {
      const Range& chunk = chunks[to_size(c)];
      Bytes& buffer = buffers_[to_size(thread)];
      buffer.resize(to_size(chunk.size() * row_bytes));
      reader_.read_stored(layer, chunk.begin * cols, buffer);
      crcs[to_size(c)] = io::crc32(buffer);
      std::vector<float> floats;
      std::span<std::byte> words = buffer;
      if (type == WeightType::kF64) {
        floats = rounded_words(buffer);
        words = std::as_writable_bytes(std::span(floats));
      }
      with_words(kind_, words, [&](auto all) {
        if constexpr (sizeof(all[0]) == 2) {
          kernels::count_magnitudes(all, table);
        } else {
          kernels::count_bins(all, table);
          table[0] -= std::ssize(all) - count_from(all, 1);  // zeros
        }
      });
    }
  });
  check_finite(layer, rows);
  std::uint32_t crc = 0;
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    crc = io::combine_crc32(crc, crcs[c], chunks[c].size() * row_bytes);
  }
  return crc;
}

void DenseCounting::check_finite(std::int64_t layer, Range rows) {
  const bool words16 = is_short(reader_.type(layer));
  const std::size_t first =
      words16 ? kernels::least_not_finite(kind_) : 0x7F800000U >> kernels::kBinShift;
  const std::size_t end = words16 ? kMagnitudes16 : to_size(kernels::kBins);
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  for (std::vector<std::int64_t>& table : tables_) {
    if (words16) {
      table[0] = 0;  // zeros
    }
    if (std::any_of(table.data() + first, table.data() + end,
                    [](std::int64_t count) { return count != 0; })) {
      reader_.refuse_not_finite(layer, {rows.begin * cols, rows.end * cols});
    }
  }
}

// Counts of words become counts of bins.
void DenseCounting::fold_tables() {
  for (std::vector<std::int64_t>& table : tables_) {
    const bool bins = kind_ == WordKind::kFloat;
    for (std::size_t m = 0; m < (bins ? table.size() : kMagnitudes16); ++m) {
      const auto word = static_cast<std::uint32_t>(m);
      const std::size_t bin = bins ? m : kernels::float_bits(kind_, word) >> kernels::kBinShift;
      bins_[bin] += std::exchange(table[m], 0);
    }
  }
}

void DenseCounting::put_down(io::UnitRecord& record) {
  if (counted_.empty()) {
    return;
  }
  fold_tables();
  std::span<const std::int64_t> counts = bins_;
  for (const Counted& counted : std::exchange(counted_, {})) {
    record.add(counted.items, spell_unit(counted.crc, nullptr, std::exchange(counts, {})));
  }
  std::fill(bins_.begin(), bins_.end(), 0);
}

// Adds the counts of a group's units to the new ones; whether they say what was decided.
bool DenseCounting::take_units(std::size_t number, const io::UnitRecord& record) {
  bool known = false;
  DenseGroup& group = groups_[number];
  for (const std::int64_t layer : pruning_.targets.groups[number].layers) {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      const Range items = items_of(layer, round);
      if (items.empty() || !record.has(items)) {
        continue;
      }
      const Bytes bytes = record.read_whole(items);
      std::span<const std::byte> rest = bytes;
      const auto numbers = take_array<std::int64_t>(rest, 5);
      crcs_[to_size(pieces_.number(layer, round))] = numbers[0];
      take_counts(rest, bins_);
      if (numbers[1] != 0) {
        known = true;
        group.bin = numbers[2];
        group.equals = numbers[3];
        group.settled = numbers[4] != 0;
      }
    }
  }
  return known;
}

// Sums over the ranks, as far as anybody has counts.
void DenseCounting::gather_counts() {
  const PhaseTimer timer(context_.times, Phase::kExchange);
  const auto some = [](std::int64_t count) { return count != 0; };
  const auto low = std::find_if(bins_.begin(), bins_.end(), some) - bins_.begin();
  const auto high = std::find_if(bins_.rbegin(), bins_.rend(), some).base() - bins_.begin();
  // The largest end and, negated, the least begin.
  std::vector<std::int64_t> ends = {high, -low};
  context_.world.max(ends);
  if (-ends[1] < ends[0]) {
    context_.world.sum(std::span(bins_).subspan(to_size(-ends[1]), to_size(ends[0] + ends[1])));
  }
}

void DenseCounting::check_same(std::int64_t layer, std::int64_t round, std::uint32_t crc) const {
  const std::int64_t before = crcs_[to_size(pieces_.number(layer, round))];
  if (before >= 0) {
    check_same_rows(reader_, layer, pieces_.rows(layer, round, context_.world.rank()),
                    static_cast<std::uint32_t>(before), crc);
  }
}

}  // namespace espalier::jobs
