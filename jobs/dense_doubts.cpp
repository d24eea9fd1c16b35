#include "jobs/dense_doubts.hpp"

#include <algorithm>
#include <bit>
#include <span>

#include "framework/agree.hpp"
#include "io/part_file.hpp"

namespace espalier::jobs {
namespace {

constexpr std::uint32_t kLower = (1U << kernels::kBinShift) - 1;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

std::uint32_t key_of(std::uint32_t bits) {
  return kernels::magnitude_key(std::bit_cast<float>(bits));
}

}  // namespace

DenseDoubts::DenseDoubts(const ModelRun& run, const Pieces& pieces)
    : context_(run.context),
      pruning_(run.pruning),
      reader_(run.reader),
      pieces_(pieces),
      doubts_(to_size(pieces.count())),
      file_(io::folder_of(run.path), run.memory.group_bytes / 4) {}

void DenseDoubts::note(std::int64_t piece, const std::vector<std::uint32_t>& doubts) {
  doubts_[to_size(piece)] = {file_.append(std::as_bytes(std::span(doubts))),
                             std::ssize(doubts) / 2};
}

std::vector<std::uint32_t> DenseDoubts::doubts_of(std::int64_t piece) const {
  const Doubts& doubts = doubts_[to_size(piece)];
  std::vector<std::uint32_t> pairs(to_size(2 * doubts.count));
  file_.read(doubts.position, std::as_writable_bytes(std::span(pairs)));
  return pairs;
}

void DenseDoubts::visit(
    std::int64_t layer,
    const std::function<void(std::int64_t, const std::vector<std::uint32_t>&)>& use) const {
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    const std::int64_t piece = pieces_.number(layer, round);
    use(piece, doubts_of(piece));
  }
}

// Narrows the cut of a group to a magnitude.
void DenseDoubts::narrow_group(std::size_t number, DenseGroup& group) const {
  std::vector<std::int64_t> counts(kLower + 1, 0);
  locally(context_.world, "counting doubts", [&] {
    for (const std::int64_t layer : pruning_.targets.groups[number].layers) {
      visit(layer, [&](std::int64_t, const std::vector<std::uint32_t>& pairs) {
        for (std::size_t i = 1; i < pairs.size(); i += 2) {
          ++counts[pairs[i] & kLower];
        }
      });
    }
  });
  context_.world.sum(counts);
  std::size_t lower = counts.size();
  while (group.equals > counts[--lower]) {
    group.equals -= counts[lower];
  }
  group.cut |= static_cast<std::uint32_t>(lower);
}

std::vector<LayerVerdict> DenseDoubts::narrow(std::vector<DenseGroup>& groups) const {
  std::vector<LayerVerdict> verdicts(to_size(pieces_.layers()));
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].settled || groups[g].exact) {
      continue;
    }
    narrow_group(g, groups[g]);
    for (const std::int64_t layer : pruning_.targets.groups[g].layers) {
      verdicts[to_size(layer)] = {
          static_cast<std::int64_t>(g), {key_of(groups[g].cut), groups[g].equals}, {}};
    }
  }
  return verdicts;
}

void DenseDoubts::settle(const std::vector<LayerVerdict>& verdicts,
                         std::vector<kernels::Left>& left, io::ModelOutput& output,
                         const UnitRun& units) const {
  const auto has_doubts = [](const LayerVerdict& verdict) { return verdict.group >= 0; };
  if (std::none_of(verdicts.begin(), verdicts.end(), has_doubts)) {
    return;
  }
  std::vector<std::int64_t> equals(doubts_.size(), 0);
  locally(context_.world, "counting equals", [&] {
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      const std::uint32_t cut = verdicts[to_size(layer)].cut.key;
      visit(layer, [&](std::int64_t piece, const std::vector<std::uint32_t>& pairs) {
        for (std::size_t i = 1; i < pairs.size(); i += 2) {
          equals[to_size(piece)] += key_of(pairs[i]) == cut ? 1 : 0;
        }
      });
    }
  });
  const auto stay = share_equals(context_.world, pieces_, equals, verdicts);
  locally(context_.world, "deciding on doubts", [&] {
    const PhaseTimer timer(context_.times, Phase::kWrite);
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      const LayerVerdict& verdict = verdicts[to_size(layer)];
      for (std::int64_t round = 0; has_doubts(verdict) && round < pieces_.rounds(layer); ++round) {
        units.check_request();
        const std::int64_t equal = stay[to_size(pieces_.number(layer, round))];
        left[to_size(layer)] += take_back(layer, round, {verdict.cut.key, equal}, output);
      }
    }
  });
}

// Makes zeros of the weights of a piece that were in doubt and go, and says what that changes.
kernels::Left DenseDoubts::take_back(std::int64_t layer, std::int64_t round, kernels::Cut cut,
                                     io::ModelOutput& output) const {
  const std::vector<std::uint32_t> pairs = doubts_of(pieces_.number(layer, round));
  const std::int64_t width = io::bytes_of(reader_.type(layer));
  const ModelStretch stretch =
      stretch_of(reader_, layer, pieces_.rows(layer, round, context_.world.rank()));
  const std::vector<std::byte> zero(to_size(width));
  kernels::Left change;
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const std::uint32_t bits = pairs[i + 1];
    const std::uint32_t key = key_of(bits);
    if (key > cut.key || (key == cut.key && cut.equals-- > 0)) {
      continue;
    }
    output.write(stretch.file, stretch.begin + static_cast<std::int64_t>(pairs[i]) * width, zero);
    const auto value = static_cast<double>(std::bit_cast<float>(bits));
    change += {-1, value * value};
  }
  return change;
}

}  // namespace espalier::jobs
