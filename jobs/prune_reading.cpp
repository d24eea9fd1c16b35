#include "jobs/prune_reading.hpp"

#include <algorithm>

#include "framework/agree.hpp"
#include "jobs/spelling.hpp"
#include "kernels/prox.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

double squares_of(const kernels::CsrRows& rows) {
  double squares = 0;
  for (std::int64_t k = 0; k < rows.nnz(); ++k) {
    squares += static_cast<double>(rows.value(k)) * static_cast<double>(rows.value(k));
  }
  return squares;
}

}  // namespace

PruneReading::PruneReading(Context& context, const Pruning& pruning, const Pieces& pieces,
                           Candidates& candidates, std::int64_t group_bytes)
    : context_(context),
      pruning_(pruning),
      pieces_(pieces),
      candidates_(candidates),
      source_(*pruning.input.reader, key_rule(pruning)),
      group_bytes_(group_bytes),
      progress_("reading weights", pieces.count() * (pruning.settings.counts() ? 2 : 1), "pieces"),
      verdicts_(to_size(pieces.layers())) {}

std::vector<LayerVerdict> PruneReading::run() {
  if (pruning_.settings.method == PruneMethod::kGroup) {
    select_groups();
  }
  for (std::size_t g = 0; pruning_.settings.selects() && g < pruning_.targets.groups.size(); ++g) {
    select(static_cast<std::int64_t>(g), pruning_.targets.groups[g]);
  }
  locally(context_.world, "pruning", [&] {
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      if (pruning_.targets.excluded[to_size(layer)] || !pruning_.settings.selects()) {
        collect(layer, 0);
      }
    }
  });
  return verdicts_;
}

// Finds the cut of a group: once through its weights for the upper digit of the keys, once more
// to set aside what may stay, counting the lower digit of those in question on the way.
void PruneReading::select(std::int64_t number, const PruneGroup& group) {
  const Comm& world = context_.world;
  // A shrinking step takes its cut, the largest magnitude that goes, from those that stay.
  const bool shrinks = pruning_.settings.shrinks();
  kernels::RadixSelect narrowing(group.keep + (shrinks ? 1 : 0));
  std::vector<std::int64_t> counts(kernels::kDigitValues, 0);
  locally(world, "counting weights", [&] { count(group, counts); });
  sum(counts);
  narrowing.narrow_upper(counts);
  std::fill(counts.begin(), counts.end(), 0);
  locally(world, "selecting weights", [&] {
    for (const std::int64_t layer : group.layers) {
      collect(layer, narrowing.settled() ? narrowing.cut().key : narrowing.upper() << 16U,
              narrowing.upper(), counts);
    }
  });
  if (!narrowing.settled()) {
    sum(counts);
    narrowing.narrow_lower(counts);
  }
  LayerVerdict verdict{number, narrowing.cut(), {}};
  if (shrinks) {
    verdict.cut.equals = 0;
    const kernels::ProximalStep step = kernels::ProximalStep::with_cut(
        pruning_.settings.penalty, static_cast<double>(kernels::magnitude_of(verdict.cut.key)));
    verdict.change = step;
  }
  for (const std::int64_t layer : group.layers) {
    verdicts_[to_size(layer)] = verdict;
  }
}

// Decides on whole groups: once through the weights for the size of each group.
void PruneReading::select_groups() {
  const Comm& world = context_.world;
  groups_.emplace(pruning_.settings, pruning_.targets, pruning_.network(), pieces_);
  locally(world, "planning", [&] {
    if (groups_->bytes(world) > group_bytes_) {
      throw Error(ExitStatus::kDoesNotFit,
                  text("the groups of a rank need ", spelled_bytes(groups_->bytes(world)), ", but ",
                       spelled_bytes(group_bytes_),
                       " are left for them; a larger --memory-per-rank would be right"));
    }
  });
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    if (pruning_.targets.excluded[to_size(layer)]) {
      continue;
    }
    locally(world, "measuring groups", [&] {
      const PhaseTimer timer(context_.times, Phase::kRead);
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        source_.collect(layer, pieces_.rows(layer, round, world.rank()), 0, found_);
        groups_->note(layer, round, found_.rows);
        progress_.done(++done_);
      }
    });
    groups_->close_layer(world, layer);
  }
  groups_->decide(world);
}

void PruneReading::count(const PruneGroup& group, std::span<std::int64_t> counts) {
  const PhaseTimer timer(context_.times, Phase::kRead);
  for (const std::int64_t layer : group.layers) {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      source_.count(layer, pieces_.rows(layer, round, context_.world.rank()), counts);
      progress_.done(++done_);
    }
  }
}

void PruneReading::sum(std::span<std::int64_t> counts) const {
  const PhaseTimer timer(context_.times, Phase::kExchange);
  context_.world.sum(counts);
}

// Sets aside the weights of a layer whose key is at least `least`.
void PruneReading::collect(std::int64_t layer, std::uint32_t least, std::uint32_t upper,
                           std::span<std::int64_t> lower) {
  const PhaseTimer timer(context_.times, Phase::kRead);
  const bool rule = !pruning_.settings.selects() && !pruning_.targets.excluded[to_size(layer)];
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    const Range rows = pieces_.rows(layer, round, context_.world.rank());
    double removed = source_.collect(layer, rows, least, found_);
    if (rule) {
      removed = squares_of(found_.rows);
      if (groups_) {
        groups_->apply(layer, round, found_.rows);
      } else {
        apply_rule(pruning_, layer, found_);
      }
      removed -= squares_of(found_.rows);
    }
    if (!lower.empty()) {
      count_lower(upper, lower);
    }
    candidates_.append(layer, round, found_, std::max(removed, 0.0));
    progress_.done(++done_);
  }
}

void PruneReading::count_lower(std::uint32_t upper, std::span<std::int64_t> lower) const {
  if (!found_.keys.empty()) {
    kernels::count_lower(found_.keys, upper, lower);
    return;
  }
  for (std::int64_t k = 0; k < found_.rows.nnz(); ++k) {
    const std::uint32_t key = found_.key(k);
    lower[key & 0xFFFFU] += key >> 16U == upper ? 1 : 0;
  }
}

}  // namespace espalier::jobs
