#include "jobs/prune_reading.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "framework/agree.hpp"
#include "jobs/calibrated_pruning.hpp"
#include "jobs/lamp_reading.hpp"
#include "jobs/unit_bytes.hpp"
#include "kernels/prox.hpp"

namespace espalier::jobs {
namespace {

// Smaller groups are in the cache when they are read again.
constexpr std::int64_t kWorthSampling = INT64_C(1) << 22;
// One in so many rows is looked at first.
constexpr std::int64_t kSampled = 64;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

double squares_of(const kernels::CsrRows& rows) {
  double squares = 0;
  for (std::int64_t k = 0; k < rows.nnz(); ++k) {
    squares += static_cast<double>(rows.value(k)) * static_cast<double>(rows.value(k));
  }
  return squares;
}

void count_upper(const KeyedView& found, std::span<std::int64_t> counts) {
  if (!found.keys.empty()) {
    kernels::count_upper(found.keys, counts);
  } else if (found.iso) {
    for (const float value : found.values) {
      counts[kernels::magnitude_key(value) >> 16U] += found.nnz();
    }
  } else {
    kernels::count_upper(found.values, counts);
  }
}

// Counts the lower digit of the keys whose upper digit is `upper`.
void count_lower(const KeyedView& found, std::uint32_t upper, std::span<std::int64_t> lower) {
  if (!found.keys.empty()) {
    kernels::count_lower(found.keys, upper, lower);
    return;
  }
  const std::int64_t times = found.iso ? found.nnz() : 1;
  for (const float value : found.values) {
    // Few are there, and the counts are more than the first-level cache holds.
    const std::uint32_t key = kernels::magnitude_key(value);
    if (key >> 16U == upper) {
      lower[key & 0xFFFFU] += times;
    }
  }
}

}  // namespace

std::int64_t reading_passes_of(const PruneSettings& settings) {
  const bool twice = settings.counts() || settings.method == PruneMethod::kGroup;
  return settings.calibrated() ? 0 : twice ? kPrunePasses : kPrunePasses - 1;
}

std::int64_t passes_of(const PruneSettings& settings) {
  return reading_passes_of(settings) + CalibratedPruning::passes(settings);
}

PruneReading::PruneReading(Context& context, const Pruning& pruning, const Pieces& pieces,
                           Candidates& candidates, UnitRun& run)
    : context_(context),
      pruning_(pruning),
      pieces_(pieces),
      candidates_(candidates),
      run_(run),
      source_(*pruning.weights, key_rule(pruning)),
      progress_("reading weights", pieces.count() * reading_passes_of(pruning.settings), "pieces"),
      verdicts_(to_size(pieces.layers())) {}

std::vector<LayerVerdict> PruneReading::run(std::int64_t group_bytes) {
  if (pruning_.settings.method == PruneMethod::kGroup) {
    select_groups(group_bytes);
  }
  if (pruning_.settings.method == PruneMethod::kLamp) {
    select_lamp(pruning_.targets.groups.front());
  }
  for (std::size_t g = 0; pruning_.settings.selects() && g < pruning_.targets.groups.size(); ++g) {
    select(static_cast<std::int64_t>(g), pruning_.targets.groups[g]);
  }
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    const bool decided = verdicts_[to_size(layer)].group >= 0;
    if (!decided) {
      collect(layer, 0);
    }
  }
  return verdicts_;
}

// Works on this rank's pieces of a layer, one a round.
template <typename Work>
void PruneReading::for_each_round(std::int64_t pass, std::int64_t layer, const char* doing,
                                  Work&& work) {
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    locally(context_.world, doing, [&] {
      const PhaseTimer timer(context_.times, Phase::kRead);
      work(round);
    });
    run_.after_unit(pieces_.items(pass, layer, pieces_.rows(layer, round)));
    progress_.done(++done_);
  }
}

// Finds the cut of a group: once through its weights for the upper digit of the keys, once more
// to set aside what may stay, counting the lower digit of those in question on the way.
void PruneReading::select(std::int64_t number, const PruneGroup& group) {
  // A shrinking step takes its cut, the largest magnitude that goes, from those that stay.
  const bool shrinks = pruning_.settings.shrinks();
  const std::int64_t keep = group.keep + (shrinks ? 1 : 0);
  kernels::RadixSelect narrowing(keep);
  if (!select_at_once(group, narrowing, keep)) {
    std::vector<std::int64_t> counts(kernels::kDigitValues, 0);
    count(group, counts);
    sum(counts);
    narrowing.narrow_upper(counts);
    std::fill(counts.begin(), counts.end(), 0);
    for (const std::int64_t layer : group.layers) {
      collect(layer, narrowing.settled() ? narrowing.cut().key : narrowing.upper() << 16U,
              [&](const KeyedView& found) { count_lower(found, narrowing.upper(), counts); });
    }
    if (!narrowing.settled()) {
      sum(counts);
      narrowing.narrow_lower(counts);
    }
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

// The same with one look at the weights: a sample tells from which key on to set them aside. Should
// fewer be found than are to stay, all are set aside.
//   returns  false if the group is too small for it
bool PruneReading::select_at_once(const PruneGroup& group, kernels::RadixSelect& narrowing,
                                  std::int64_t keep) {
  std::int64_t positions = 0;
  for (const std::int64_t layer : group.layers) {
    const io::MatrixInfo& weight = pruning_.network().layers[to_size(layer)].weight;
    positions += weight.rows * weight.cols;
  }
  if (positions < kWorthSampling) {
    return false;
  }
  std::vector<std::int64_t> counts(kernels::kDigitValues);
  std::uint32_t least = sampled_least(group, keep);
  for (bool enough = false; !enough;) {
    std::fill(counts.begin(), counts.end(), 0);
    for (const std::int64_t layer : group.layers) {
      collect(layer, least, [&](const KeyedView& found) { count_upper(found, counts); });
    }
    sum(counts);
    enough = least == 0 || std::accumulate(counts.begin(), counts.end(), INT64_C(0)) > keep;
    for (const std::int64_t layer : enough ? std::vector<std::int64_t>() : group.layers) {
      candidates_.start_anew(layer, kCounting);  // a pass that nobody else needs here
    }
    least = enough ? least : 0;
  }
  narrowing.narrow_upper(counts);
  if (!narrowing.settled()) {
    std::fill(counts.begin(), counts.end(), 0);
    locally(context_.world, "comparing weights", [&] {
      for (const std::int64_t layer : group.layers) {
        candidates_.visit(
            layer, [&](const KeyedView& found) { count_lower(found, narrowing.upper(), counts); });
      }
    });
    sum(counts);
    narrowing.narrow_lower(counts);
  }
  return true;
}

// The key from which on a sample of the rows has, scaled up, an eighth more weights than are to
// stay; 0 if it has not as many.
std::uint32_t PruneReading::sampled_least(const PruneGroup& group, std::int64_t keep) {
  const PhaseTimer timer(context_.times, Phase::kRead);
  std::vector<std::int64_t> counts(kernels::kDigitValues), scaled(kernels::kDigitValues, 0);
  locally(context_.world, "sampling weights", [&] {
    for (const std::int64_t layer : group.layers) {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        const Range mine = pieces_.rows(layer, round, context_.world.rank());
        // Of pieces with few rows one in several.
        const std::int64_t step =
            std::max<std::int64_t>(kSampled / std::max(mine.size(), INT64_C(1)), 1);
        // By the number of the piece, which is the same for any number of ranks.
        const std::int64_t number = round * context_.world.ranks() + context_.world.rank();
        if (mine.empty() || number % step != 0) {
          continue;
        }
        const std::int64_t rows = (mine.size() - 1) / kSampled + 1;
        const std::int64_t first = mine.begin + (mine.size() - rows) / 2;
        std::fill(counts.begin(), counts.end(), 0);
        source_.count(layer, {first, first + rows}, counts);
        for (std::size_t digit = 0; digit < counts.size(); ++digit) {
          scaled[digit] += counts[digit] * step * mine.size() / rows;
        }
      }
    }
  });
  sum(scaled);
  std::int64_t left = keep + keep / 8 + kWorthSampling / 64;
  for (std::size_t digit = scaled.size(); digit-- > 0;) {
    left -= scaled[digit];
    if (left <= 0) {
      return static_cast<std::uint32_t>(digit) << 16U;
    }
  }
  return 0;
}

// Finds the cuts of layers that LAMP compares: what may stay is set aside once they are bracketed.
void PruneReading::select_lamp(const PruneGroup& group) {
  LampReading lamp(context_, pruning_, pieces_, run_, kCounting);
  lamp.run(reader(), progress_);
  done_ = pieces_.count();
  for (const std::int64_t layer : group.layers) {
    collect(layer, lamp.least(layer), [](const KeyedView&) {});
  }
  verdicts_ = lamp.settle([&](std::int64_t layer, kernels::LampTally& tally) {
    candidates_.visit(layer, [&](const KeyedView& found) { add_magnitudes(found, tally); });
  });
}

// Decides on whole groups: once through the weights for the size of each group.
void PruneReading::select_groups(std::int64_t group_bytes) {
  groups_.emplace(context_, pruning_, pieces_, run_, kCounting);
  locally(context_.world, "planning", [&] { groups_->check_fit(group_bytes); });
  run_.attempt([&] { groups_->run(reader(), progress_); });
  done_ = pieces_.count();
}

// What has been read once more is known by the digests of the inputs.
RowsRead PruneReading::reader() {
  return [this](std::int64_t layer, Range rows, KeyedRows& found) {
    source_.collect(layer, rows, 0, found);
    return 0U;
  };
}

void PruneReading::count(const PruneGroup& group, std::span<std::int64_t> counts) {
  for (const std::int64_t layer : group.layers) {
    for_each_round(kCounting, layer, "counting weights",
                   [&](std::int64_t round) { count_piece(layer, round, counts); });
  }
}

void PruneReading::count_piece(std::int64_t layer, std::int64_t round,
                               std::span<std::int64_t> counts) {
  const Range rows = pieces_.rows(layer, round, context_.world.rank());
  const Range mine = pieces_.items(kCounting, layer, rows);
  if (mine.empty()) {
    return;
  }
  if (!run_.record().has(mine)) {
    counted_.assign(kernels::kDigitValues, 0);
    source_.count(layer, rows, counted_);
    std::vector<std::byte> bytes;
    put_counts(bytes, counted_);
    run_.record().add(mine, bytes);
  }
  const std::vector<std::byte> bytes = run_.record().read_whole(mine);
  std::span<const std::byte> rest = bytes;
  take_counts(rest, counts);
}

void PruneReading::sum(std::span<std::int64_t> counts) const {
  const PhaseTimer timer(context_.times, Phase::kExchange);
  context_.world.sum(counts);
}

// Sets aside the weights of a layer whose key is at least `least`.
void PruneReading::collect(std::int64_t layer, std::uint32_t least,
                           const std::function<void(const KeyedView&)>& note) {
  for_each_round(candidates_.pass(layer), layer, "selecting weights",
                 [&](std::int64_t round) { collect_piece(layer, round, least, note); });
}

void PruneReading::collect_piece(std::int64_t layer, std::int64_t round, std::uint32_t least,
                                 const std::function<void(const KeyedView&)>& note) {
  if (candidates_.take_finished(layer, round)) {
    if (note) {
      candidates_.visit(layer, round, note);
    }
    return;
  }
  const Range rows = pieces_.rows(layer, round, context_.world.rank());
  double removed = source_.collect(layer, rows, least, found_);
  if (!note && !pruning_.targets.excluded[to_size(layer)]) {
    removed = squares_of(found_.rows);
    if (groups_) {
      groups_->apply(layer, round, found_.rows);
    } else {
      apply_rule(pruning_, layer, found_);
    }
    removed -= squares_of(found_.rows);
  }
  if (note) {
    note(found_);
  }
  candidates_.append(layer, round, found_, std::max(removed, 0.0));
}

}  // namespace espalier::jobs
