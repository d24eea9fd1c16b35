#include "jobs/matrix_intake.hpp"

#include <algorithm>

#include "framework/agree.hpp"
#include "jobs/entry_sorter.hpp"
#include "jobs/output_plan.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kRoundBytes = INT64_C(32) << 20;  // of a rank at a time
constexpr std::int64_t kBytesAnEntry = 12;               // as it is read, its index, its value

}  // namespace

std::string MatrixIntake::folder_for(const std::string& output) { return folder_of(output); }

Rounds MatrixIntake::plan_rounds(const io::MatrixSource& source) const {
  const std::int64_t memory = context_.memory_per_rank();
  const std::int64_t bytes = kBytesAnEntry * (source.stored / source.rows + 1);
  if (source.dense && bytes > memory) {
    throw SharedError(
        ExitStatus::kDoesNotFit,
        text(source.name, ": one row has ", source.cols, " elements and needs ",
             spelled_bytes(bytes), ", more than the ", spelled_bytes(memory), " a rank may use"));
  }
  return {source.rows, context_.world.ranks(), std::max<std::int64_t>(kRoundBytes / bytes, 1)};
}

void MatrixIntake::add(const io::MatrixSource& source) {
  const Comm& world = context_.world;
  const PhaseTimer timer(context_.times, Phase::kRead);
  Info info;
  info.source = &source;
  info.rounds = plan_rounds(source);
  infos_.push_back(info);
  totals_.emplace_back();
  first_piece_.emplace_back();
  if (source.dense && source.by_rows()) {
    return;
  }
  first_piece_.back() = spool_.pieces();
  std::optional<EntrySorter> sorter;
  if (!source.by_rows()) {
    sorter.emplace(world, source, info.rounds, folder_);
  }
  locally(world, "reading " + source.name, [&] {
    for (std::int64_t round = 0; round < info.rounds.rounds(); ++round) {
      const kernels::CsrRows rows =
          sorter ? sorter->read(round) : source.read_rows(info.rounds.range(round, world.rank()));
      totals_.back().add(rows);
      spool_.append(rows);
    }
  });
}

void MatrixIntake::join() {
  MatrixTotals::join(context_.world, totals_);
  for (std::size_t m = 0; m < infos_.size(); ++m) {
    if (!infos_[m].source->dense) {
      infos_[m].nnz = totals_[m].nnz();
      infos_[m].iso = totals_[m].iso();
    }
  }
}

kernels::CsrRows MatrixIntake::read(std::size_t matrix, std::int64_t round) const {
  const Info& info = infos_[matrix];
  if (!first_piece_[matrix]) {
    return info.source->read_rows(info.rounds.range(round, context_.world.rank()));
  }
  kernels::CsrRows rows = spool_.read(*first_piece_[matrix] + static_cast<std::size_t>(round));
  spell_values(rows, info.iso);
  return rows;
}

}  // namespace espalier::jobs
