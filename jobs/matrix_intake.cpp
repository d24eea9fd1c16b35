#include "jobs/matrix_intake.hpp"

#include <algorithm>
#include <limits>

#include "framework/agree.hpp"
#include "jobs/entry_sorter.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

constexpr std::int64_t kRoundBytes = INT64_C(32) << 20;  // of a rank at a time
constexpr std::int64_t kBytesAnEntry = 12;               // as it is read, its index, its value
// Matrices are cut into so many pieces, if those are not too small, so that later runs with more
// ranks find work, and little is lost of a small one.
constexpr std::int64_t kWantedPieces = 16;
constexpr std::int64_t kWantedEntries = INT64_C(1) << 16;

std::int64_t pieces_of(const Context& context, const io::MatrixSource& source) {
  const std::int64_t memory = context.memory_per_rank();
  const std::int64_t bytes = kBytesAnEntry * (source.stored / source.rows + 1);
  if (source.dense && bytes > memory) {
    throw Error(
        ExitStatus::kDoesNotFit,
        text(source.name, ": one row has ", source.cols, " elements and needs ",
             spelled_bytes(bytes), ", more than the ", spelled_bytes(memory), " a rank may use"));
  }
  const std::int64_t needed = source.rows / std::max<std::int64_t>(kRoundBytes / bytes, 1) + 1;
  const std::int64_t wanted =
      std::min({kWantedPieces, source.stored / kWantedEntries, source.rows});
  const std::int64_t ranks = context.world.ranks();
  return (std::max(needed, wanted) - 1) / ranks * ranks + ranks;
}

}  // namespace

MatrixIntake::MatrixIntake(Context& context, const OutputPlan& plan_of_output,
                           const std::vector<const io::MatrixSource*>& sources)
    : context_(context),
      folder_(folder_of(plan_of_output.path)),
      infos_(locally(context.world, "planning", [&] { return plan(context, sources); })),
      run_(context, job_of(plan_of_output, infos_)) {
  locally(context.world, "resuming", [&] { cut_as_before(); });
}

std::vector<MatrixIntake::Info> MatrixIntake::plan(
    const Context& context, const std::vector<const io::MatrixSource*>& sources) {
  std::vector<Info> infos;
  std::int64_t before = 0;
  for (const io::MatrixSource* source : sources) {
    const int pieces = narrow<int>(pieces_of(context, *source));
    infos.push_back(
        {source, {source->rows, context.world.ranks(), 1, pieces}, before, -1, std::nullopt});
    before += source->rows;
  }
  return infos;
}

UnitJob MatrixIntake::job_of(const OutputPlan& plan, const std::vector<Info>& infos) {
  UnitJob job{"rows", plan.path, plan.provenance};
  for (const Info& info : infos) {
    job.items += info.source->rows;
    job.cut.push_back(info.rounds.pieces);
  }
  return job;
}

void MatrixIntake::cut_as_before() {
  const std::vector<std::int64_t>& cut = run_.record().cut();
  bool fits = cut.size() == infos_.size();
  for (std::size_t m = 0; fits && m < cut.size(); ++m) {
    fits = cut[m] >= 1 && cut[m] <= std::numeric_limits<int>::max();
    infos_[m].rounds.pieces = fits ? narrow<int>(cut[m]) : 1;
  }
  if (!fits) {
    throw Error(ExitStatus::kBadData,
                text("cannot resume from ", run_.record().folder(),
                     ": its rows are cut in another way; --no-resume starts afresh"));
  }
}

void MatrixIntake::fill() {
  std::vector<MatrixTotals> totals(infos_.size());
  for (std::size_t m = 0; m < infos_.size(); ++m) {
    const io::MatrixSource& source = *infos_[m].source;
    if (!source.dense || !source.by_rows()) {
      fill(m, totals[m]);
    }
  }
  MatrixTotals::join(context_.world, totals);
  for (std::size_t m = 0; m < infos_.size(); ++m) {
    if (!infos_[m].source->dense) {
      infos_[m].nnz = totals[m].nnz();
      infos_[m].iso = totals[m].iso();
    }
  }
}

// Entries in another order are sorted for as long as rows of them are missing.
void MatrixIntake::fill(std::size_t matrix, MatrixTotals& totals) {
  const Comm& world = context_.world;
  const PhaseTimer timer(context_.times, Phase::kRead);
  const Info& info = infos_[matrix];
  std::optional<EntrySorter> sorter;
  if (!info.source->by_rows() &&
      !run_.finished({info.first_row, info.first_row + info.source->rows})) {
    sorter.emplace(world, *info.source, info.rounds, folder_);
  }
  for (std::int64_t round = 0; round < info.rounds.rounds(); ++round) {
    locally(world, "reading " + info.source->name, [&] {
      totals.add(run_.take_rows(rows_of(info, round, world.rank()), [&] {
        return sorter ? sorter->read(round)
                      : info.source->read_rows(info.rounds.range(round, world.rank()));
      }));
    });
    after_round(matrix, round);
  }
}

// Among the rows of all matrices.
Range MatrixIntake::rows_of(const Info& info, std::int64_t round, int rank) const {
  const Range rows = info.rounds.range(round, rank);
  return {info.first_row + rows.begin, info.first_row + rows.end};
}

CsrRows MatrixIntake::take(std::size_t matrix, std::int64_t round) {
  const Info& info = infos_[matrix];
  const int rank = context_.world.rank();
  CsrRows rows = run_.take_rows(rows_of(info, round, rank), [&] {
    return info.source->read_rows(info.rounds.range(round, rank));
  });
  if (!info.source->dense) {
    spell_values(rows, info.iso);
  }
  return rows;
}

void MatrixIntake::after_round(std::size_t matrix, std::int64_t round) {
  const Info& info = infos_[matrix];
  run_.after_unit(
      {rows_of(info, round, 0).begin, rows_of(info, round, context_.world.ranks() - 1).end});
}

}  // namespace espalier::jobs
