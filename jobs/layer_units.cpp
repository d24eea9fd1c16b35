#include "jobs/layer_units.hpp"

#include <algorithm>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "jobs/unit_bytes.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

LayerUnits::LayerUnits(const Comm& comm, UnitRun& run, const std::vector<std::int64_t>& rows)
    : comm_(comm), run_(run) {
  const std::vector<Range>& found = run.record().finished();
  auto next = found.begin();
  std::int64_t before = 0;
  for (const std::int64_t count : rows) {
    const Range layer{before, before + count};
    std::vector<Range> units;
    std::int64_t end = layer.begin;
    for (; next != found.end() && next->begin < layer.end; ++next) {
      if (next->begin != end || next->end > layer.end) {
        break;
      }
      units.push_back(*next);
      end = next->end;
    }
    if ((next != found.end() && next->begin < layer.end) || (!units.empty() && end != layer.end)) {
      throw Error(ExitStatus::kBadData,
                  text("cannot resume from ", run.record().folder(), ": it holds a part of layer ",
                       units_.size(), "; --no-resume starts afresh"));
    }
    finished_.push_back(!units.empty());
    for (int rank = 0; !finished_.back() && rank < comm.ranks(); ++rank) {
      const Range part = split_evenly(count, comm.ranks(), rank);
      units.push_back({before + part.begin, before + part.end});
    }
    units_.push_back(std::move(units));
    before = layer.end;
  }
}

Range LayerUnits::items(std::int64_t layer, std::int64_t round) const {
  const std::vector<Range>& units = units_[to_size(layer)];
  const auto at = to_size(round * comm_.ranks() + comm_.rank());
  return at < units.size() ? units[at] : Range{};
}

void LayerUnits::add(std::int64_t layer, const kernels::CsrRows& rows) {
  locally(comm_, "keeping rows", [&] {
    const Range mine = items(layer, 0);
    expects(!finished(layer) && rows.rows() == mine.size(), "a rank adds its part of a layer once");
    if (!mine.empty()) {
      std::vector<std::byte> bytes;
      put_rows(bytes, rows);
      run_.record().add(mine, bytes);
    }
  });
  run_.after_unit();
}

std::vector<MatrixTotals> LayerUnits::exchange_totals() const {
  std::vector<MatrixTotals> totals(units_.size());
  locally(comm_, "fetching kept rows", [&] {
    for (std::size_t layer = 0; layer < units_.size(); ++layer) {
      const auto id = static_cast<std::int64_t>(layer);
      for (std::int64_t round = 0; round < rounds(id); ++round) {
        totals[layer].add(read(id, round));
      }
    }
  });
  MatrixTotals::join(comm_, totals);
  return totals;
}

std::int64_t LayerUnits::rounds(std::int64_t layer) const {
  return (std::ssize(units_[to_size(layer)]) - 1) / comm_.ranks() + 1;
}

kernels::CsrRows LayerUnits::read(std::int64_t layer, std::int64_t round) const {
  const Range mine = items(layer, round);
  if (mine.empty()) {
    return {};
  }
  const std::vector<std::byte> bytes = run_.record().read_whole(mine);
  std::span<const std::byte> rest = bytes;
  return take_rows(rest);
}

}  // namespace espalier::jobs
