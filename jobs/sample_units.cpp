#include "jobs/sample_units.hpp"

#include <algorithm>
#include <limits>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/timer.hpp"
#include "jobs/unit_bytes.hpp"

namespace espalier::jobs {
namespace {

// So that there is something to save, and for more ranks to do, of small inputs too.
constexpr std::int64_t kLeastPieces = 16;

std::int64_t up_to_multiple(std::int64_t count, std::int64_t of) {
  return (count + of - 1) / of * of;
}

}  // namespace

std::vector<std::int64_t> SampleUnits::plan_cut(std::int64_t samples, int ranks,
                                                std::int64_t most) {
  const std::int64_t pieces =
      std::max(samples / most + 1, std::clamp<std::int64_t>(samples, 1, kLeastPieces));
  return {up_to_multiple(pieces, ranks)};
}

SampleUnits::SampleUnits(const Context& context, UnitRun& run) : context_(context), run_(run) {
  const std::vector<std::int64_t>& cut = run.record().cut();
  if (cut.size() != 1 || cut[0] < 1 || cut[0] > std::numeric_limits<int>::max()) {
    throw Error(ExitStatus::kBadData, text("cannot resume from ", run.record().folder(),
                                           ": its samples are cut in another way; --no-resume "
                                           "starts afresh"));
  }
  rounds_ = {run.items(), context.world.ranks(), 1, narrow<int>(cut[0])};
}

MatrixTotals SampleUnits::fill(const std::string& doing, const std::string& things,
                               const std::function<kernels::CsrRows(Range samples)>& make) {
  const Comm& world = context_.world;
  std::vector<MatrixTotals> totals(1);
  Progress progress(doing, rounds_.count, things);
  for (std::int64_t round = 0; round < rounds_.rounds(); ++round) {
    locally(world, doing + " " + things, [&] {
      const PhaseTimer timer(context_.times, Phase::kRead);
      totals[0].add(take(round, make));
    });
    run_.after_unit(samples(round));
    progress.done(samples(round).end);
  }
  MatrixTotals::join(world, totals);
  return totals[0];
}

kernels::CsrRows SampleUnits::take(std::int64_t round,
                                   const std::function<kernels::CsrRows(Range samples)>& make) {
  const Range mine = rounds_.range(round, context_.world.rank());
  return run_.take_rows(mine, [&] { return make(mine); });
}

Range SampleUnits::samples(std::int64_t round) const {
  return {rounds_.range(round, 0).begin, rounds_.range(round, context_.world.ranks() - 1).end};
}

kernels::CsrRows SampleUnits::read(std::int64_t round) const {
  const Range mine = rounds_.range(round, context_.world.rank());
  if (mine.empty()) {
    return {};
  }
  const std::vector<std::byte> bytes = run_.record().read_whole(mine);
  std::span<const std::byte> rest = bytes;
  return take_rows(rest);
}

}  // namespace espalier::jobs
