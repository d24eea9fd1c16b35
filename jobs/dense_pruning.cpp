#include "jobs/dense_pruning.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "framework/agree.hpp"
#include "framework/parallel.hpp"
#include "io/checksum.hpp"
#include "jobs/spelling.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using io::WeightType;
using kernels::WordKind;

// Elements that a thread works on at a time: they stay in its cache.
constexpr std::int64_t kChunk = INT64_C(1) << 17;
constexpr std::size_t kMagnitudes16 = 32768;
constexpr std::uint32_t kLower = (1U << kernels::kBinShift) - 1;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

bool is_short(WeightType type) { return io::bytes_of(type) == 2; }

WordKind kind_of(WeightType type) {
  return type == WeightType::kBf16  ? WordKind::kBfloat16
         : type == WeightType::kF16 ? WordKind::kHalf
                                    : WordKind::kFloat;
}

// Calls use(span of words) on weights of 16 or 32 bits.
template <typename Use>
auto with_words(WordKind kind, std::span<std::byte> bytes, Use&& use) {
  if (kind == WordKind::kFloat) {
    return use(std::span(reinterpret_cast<std::uint32_t*>(bytes.data()), bytes.size() / 4));
  }
  return use(std::span(reinterpret_cast<std::uint16_t*>(bytes.data()), bytes.size() / 2));
}

template <typename Word>
std::int64_t count_from(std::span<Word> words, std::uint32_t least) {
  return kernels::count_from(std::span<const Word>(words), least);
}

// The least float32 that is not below t.
float float_from(double t) {
  const auto near = static_cast<float>(t);
  return static_cast<double>(near) < t ? std::nextafter(near, INFINITY) : near;
}

// float64 weights as float32, in which magnitudes are compared.
std::vector<float> rounded_words(std::span<const std::byte> doubles) {
  std::vector<float> floats(doubles.size() / sizeof(double));
  io::to_floats(WeightType::kF64, doubles, floats);
  return floats;
}

}  // namespace

bool DensePruning::can(const PruneSettings& settings) {
  return settings.method == PruneMethod::kMagnitude || settings.method == PruneMethod::kThreshold;
}

DensePruning::DensePruning(Context& context, const Pruning& pruning, const io::ModelReader& reader,
                           const Pieces& pieces, std::int64_t count_bytes,
                           const std::string& folder)
    : context_(context),
      pruning_(pruning),
      reader_(reader),
      pieces_(pieces),
      group_of_(reader.network().layers.size(), -1),
      groups_(pruning.targets.groups.size()),
      buffers_(to_size(threads())),
      left_(reader.network().layers.size()),
      doubts_(to_size(pieces.count())),
      doubtful_(folder, count_bytes / 4),
      progress_("pruning", pieces.count() * (groups_.empty() ? 1 : 2), "pieces") {
  bool all_short = true;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    groups_[g].exact = true;
    for (const std::int64_t layer : pruning.targets.groups[g].layers) {
      group_of_[to_size(layer)] = static_cast<std::int64_t>(g);
      groups_[g].exact = groups_[g].exact && is_short(reader.type(layer));
    }
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
}

void DensePruning::count() {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    count_group(g);
  }
  tables_ = {};
}

// The bin in which the cut of a group lies.
void DensePruning::count_group(std::size_t number) {
  Group& group = groups_[number];
  const PruneGroup& target = pruning_.targets.groups[number];
  std::vector<std::int64_t> bins(to_size(kernels::kBins), 0);
  locally(context_.world, "counting weights", [&] {
    const PhaseTimer timer(context_.times, Phase::kRead);
    for (const std::int64_t layer : target.layers) {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        count_piece(layer, pieces_.rows(layer, round, context_.world.rank()));
        progress_.done(++done_);
      }
      const WordKind kind = kind_of(reader_.type(layer));
      for (auto& table : tables_) {
        const std::size_t words = kind == WordKind::kFloat ? table.size() : kMagnitudes16;
        for (std::size_t m = 0; m < words; ++m) {
          const std::size_t bin =
              kind == WordKind::kFloat
                  ? m
                  : kernels::float_bits(kind, static_cast<std::uint32_t>(m)) >> kernels::kBinShift;
          bins[bin] += std::exchange(table[m], 0);
        }
      }
    }
  });
  gather_counts(bins);
  const std::int64_t total = std::accumulate(bins.begin(), bins.end(), std::int64_t{0});
  group.settled = target.keep <= 0 || target.keep >= total;
  group.bin = target.keep >= total ? 0 : kernels::kBins;
  if (!group.settled) {
    group.equals = target.keep;
    while (group.equals > bins[to_size(--group.bin)]) {
      group.equals -= bins[to_size(group.bin)];
    }
    // If all of the bin stay, nothing is in doubt.
    group.settled = group.equals == bins[to_size(group.bin)];
    group.cut = static_cast<std::uint32_t>(group.bin) << kernels::kBinShift;
  }
}

void DensePruning::count_piece(std::int64_t layer, Range rows) {
  std::vector<Chunk> chunks = cut_rows(layer, rows);
  const WeightType type = reader_.type(layer);
  const WordKind kind = kind_of(type);
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  const auto slots = std::ssize(tables_);
  parallel_for(slots, [&](std::int64_t slot, int thread) {
    std::vector<std::int64_t>& table = tables_[to_size(slot)];
    for (std::int64_t c = slot; c < std::ssize(chunks); c += slots) {
      const Chunk& chunk = chunks[to_size(c)];
      std::vector<std::byte>& buffer = buffers_[to_size(thread)];
      buffer.resize(to_size(chunk.rows.size() * cols * io::bytes_of(type)));
      reader_.read_stored(layer, chunk.rows.begin * cols, buffer);
      if (is_short(type)) {
        with_words(kind, buffer, [&](auto words) {
          if constexpr (sizeof(words[0]) == 2) {
            kernels::count_magnitudes(words, table);
          }
        });
        continue;
      }
      std::vector<float> floats;
      std::span<std::byte> words = buffer;
      if (type == WeightType::kF64) {
        floats = rounded_words(buffer);
        words = std::as_writable_bytes(std::span(floats));
      }
      const std::span<const std::uint32_t> bits(
          reinterpret_cast<const std::uint32_t*>(words.data()), words.size() / 4);
      kernels::count_bins(bits, table);
      table[0] -= std::ssize(bits) - kernels::count_from(bits, 1);
    }
  });
  const std::size_t first =
      is_short(type) ? kernels::least_not_finite(kind) : 0x7F800000U >> kernels::kBinShift;
  const std::size_t end = is_short(type) ? kMagnitudes16 : to_size(kernels::kBins);
  for (std::vector<std::int64_t>& table : tables_) {
    if (is_short(type)) {
      table[0] = 0;  // zeros
    }
    if (std::any_of(table.data() + first, table.data() + end,
                    [](std::int64_t count) { return count != 0; })) {
      reader_.refuse_not_finite(layer, {rows.begin * cols, rows.end * cols});
    }
  }
}

// Sums over the ranks, as far as anybody has counts.
void DensePruning::gather_counts(std::span<std::int64_t> bins) const {
  const PhaseTimer timer(context_.times, Phase::kExchange);
  const auto some = [](std::int64_t count) { return count != 0; };
  const auto low = std::find_if(bins.begin(), bins.end(), some) - bins.begin();
  const auto high = std::find_if(bins.rbegin(), bins.rend(), some).base() - bins.begin();
  // The largest end and, negated, the least begin.
  std::vector<std::int64_t> ends = {high, -low};
  context_.world.max(ends);
  if (-ends[1] < ends[0]) {
    context_.world.sum(bins.subspan(to_size(-ends[1]), to_size(ends[0] + ends[1])));
  }
}

DensePruning::Limits DensePruning::limits_of(std::int64_t layer) const {
  const WordKind kind = kind_of(reader_.type(layer));
  if (pruning_.settings.threshold) {
    const std::uint32_t least =
        kernels::least_word_from(kind, float_from(*pruning_.settings.threshold));
    return {least, least};
  }
  const Group& group = groups_[to_size(group_of_[to_size(layer)])];
  const std::uint32_t least = kernels::least_word(kind, group.bin);
  if (group.settled) {
    return {least, least};
  }
  return {std::max(least, 1U), kernels::least_word(kind, group.bin + 1)};
}

std::vector<DensePruning::Chunk> DensePruning::cut_rows(std::int64_t layer, Range rows) const {
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  const std::int64_t step = std::max<std::int64_t>(kChunk / cols, 1);
  std::vector<Chunk> chunks;
  for (std::int64_t row = rows.begin; row < rows.end; row += step) {
    chunks.emplace_back().rows = {row, std::min(row + step, rows.end)};
  }
  return chunks;
}

void DensePruning::read(std::int64_t layer, Chunk& chunk, Words words) const {
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  reader_.read_stored(layer, chunk.rows.begin * cols, words);
  chunk.crc = io::crc32(words);
}

// Prunes a chunk where it lies.
void DensePruning::decide(std::int64_t layer, Chunk& chunk, Words words) {
  const WeightType type = reader_.type(layer);
  if (type == WeightType::kF64) {
    expects(words.size() % sizeof(double) == 0, "whole weights are pruned");
  }
  std::vector<float> floats;
  Words compared = words;
  if (type == WeightType::kF64) {
    floats = rounded_words(words);
    compared = std::as_writable_bytes(std::span(floats));
  }
  const WordKind kind = kind_of(type);
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  with_words(kind, compared, [&](auto all) {
    const PruneSettings& settings = pruning_.settings;
    if (pruning_.targets.excluded[to_size(layer)]) {
      chunk.left.kept = count_from(all, 1);
      return;
    }
    if (count_from(all, kernels::least_not_finite(kind)) > 0) {
      reader_.refuse_not_finite(layer, {chunk.rows.begin * cols, chunk.rows.end * cols});
    }
    if (settings.scope == PruneScope::kRow) {
      const std::int64_t keep =
          settings.keep ? *settings.keep : kernels::kept_of(cols, settings.sparsity.value_or(0));
      std::uint32_t near = 0;
      for (std::size_t at = 0; at < all.size(); at += to_size(cols)) {
        chunk.left += kernels::keep_largest(kind, all.subspan(at, to_size(cols)), keep, near);
      }
      return;
    }
    const Limits limits = limits_of(layer);
    if (limits.least < limits.above && groups_[to_size(group_of_[to_size(layer)])].exact) {
      chunk.left += kernels::keep_first(kind, all, limits.least, limits.above, chunk.stay);
      return;
    }
    if (limits.least < limits.above) {
      find_doubts(layer, limits, 0, compared, chunk);
    }
    chunk.left += kernels::keep_from(kind, all, limits.least);
  });
  for (std::size_t i = 0; i < floats.size(); ++i) {
    double weight = 0;
    std::memcpy(&weight, words.data() + i * sizeof weight, sizeof weight);
    if (floats[i] == 0 && static_cast<float>(weight) != 0) {
      weight = 0;
      std::memcpy(words.data() + i * sizeof weight, &weight, sizeof weight);
    }
  }
}

// Notes element and magnitude of what lies in the bin of the cut.
void DensePruning::find_doubts(std::int64_t layer, Limits limits, std::int64_t first, Words words,
                               Chunk& chunk) const {
  const WordKind kind = kind_of(reader_.type(layer));
  with_words(kind, words, [&](auto all) {
    if (count_from(all, limits.least) == count_from(all, limits.above)) {
      return;
    }
    const std::uint32_t mask = kind == WordKind::kFloat ? 0x7FFFFFFFU : 0x7FFFU;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::uint32_t magnitude = all[i] & mask;
      if (magnitude >= limits.least && magnitude < limits.above) {
        chunk.doubts.push_back(static_cast<std::uint32_t>(first) + static_cast<std::uint32_t>(i));
        chunk.doubts.push_back(kernels::float_bits(kind, magnitude));
      }
    }
  });
}

// Deals the equals of a group that stay to the chunks of a round, in the order of rows.
void DensePruning::share(std::int64_t group, std::vector<Chunk>& chunks) {
  std::int64_t mine = 0;
  for (const Chunk& chunk : chunks) {
    mine += chunk.equals;
  }
  const std::vector<std::int64_t> all = context_.world.gather_all(mine);
  std::int64_t& left = groups_[to_size(group)].equals;
  const auto rank = all.begin() + context_.world.rank();
  std::int64_t stay =
      std::max<std::int64_t>(0, left - std::accumulate(all.begin(), rank, std::int64_t{0}));
  left = std::max<std::int64_t>(0, left - std::accumulate(all.begin(), all.end(), std::int64_t{0}));
  for (Chunk& chunk : chunks) {
    chunk.stay = std::min(stay, chunk.equals);
    stay -= chunk.stay;
  }
}

void DensePruning::prune(std::int64_t layer, io::ModelOutput& output, ModelDigest& digest) {
  const Comm& world = context_.world;
  const std::int64_t group = group_of_[to_size(layer)];
  const bool shared =
      group >= 0 && groups_[to_size(group)].exact && !groups_[to_size(group)].settled;
  const std::int64_t row_bytes =
      reader_.network().layers[to_size(layer)].weight.cols * io::bytes_of(reader_.type(layer));
  const std::size_t file = reader_.place(layer).file;
  const std::int64_t start = reader_.model().position(reader_.place(layer));
  for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
    const Range rows = pieces_.rows(layer, round, world.rank());
    std::vector<Chunk> chunks = cut_rows(layer, rows);
    const auto words_of = [&](const Chunk& chunk, int thread) {
      std::vector<std::byte>& buffer = shared ? piece_ : buffers_[to_size(thread)];
      if (!shared) {
        buffer.resize(to_size(chunk.rows.size() * row_bytes));
        return Words(buffer);
      }
      return Words(buffer).subspan(to_size((chunk.rows.begin - rows.begin) * row_bytes),
                                   to_size(chunk.rows.size() * row_bytes));
    };
    if (shared) {
      locally(world, "reading weights", [&] {
        const PhaseTimer timer(context_.times, Phase::kRead);
        piece_.resize(to_size(rows.size() * row_bytes));
        const Limits limits = limits_of(layer);
        parallel_for(std::ssize(chunks), [&](std::int64_t c, int thread) {
          Chunk& chunk = chunks[to_size(c)];
          read(layer, chunk, words_of(chunk, thread));
          with_words(kind_of(reader_.type(layer)), words_of(chunk, thread), [&](auto all) {
            chunk.equals = count_from(all, limits.least) - count_from(all, limits.above);
          });
        });
      });
      share(group, chunks);
    }
    locally(world, "pruning weights", [&] {
      const PhaseTimer timer(context_.times, Phase::kWrite);
      parallel_for(std::ssize(chunks), [&](std::int64_t c, int thread) {
        Chunk& chunk = chunks[to_size(c)];
        const Words words = words_of(chunk, thread);
        if (!shared) {
          read(layer, chunk, words);
        }
        decide(layer, chunk, words);
        output.write(file, start + chunk.rows.begin * row_bytes, words);
      });
      keep_chunks(layer, round, chunks, digest);
    });
    // After rows longer than a chunk: each thread may have had one.
    for (auto& buffer : buffers_) {
      if (std::ssize(buffer) > kChunk * 8) {
        buffer = {};
      }
    }
    progress_.done(++done_);
  }
}

// Takes what chunks have found to what is known of layer and piece.
void DensePruning::keep_chunks(std::int64_t layer, std::int64_t round, std::vector<Chunk>& chunks,
                               ModelDigest& digest) {
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  const std::int64_t width = io::bytes_of(reader_.type(layer));
  const io::TensorPlace place = reader_.place(layer);
  const std::int64_t first = chunks.empty() ? 0 : chunks.front().rows.begin;
  Doubts& doubts = doubts_[to_size(pieces_.number(layer, round))];
  doubts.position = doubtful_.size();
  for (Chunk& chunk : chunks) {
    digest.note(place.file, reader_.model().position(place) + chunk.rows.begin * cols * width,
                chunk.rows.size() * cols * width, chunk.crc);
    left_[to_size(layer)] += chunk.left;
    const auto before = static_cast<std::uint32_t>((chunk.rows.begin - first) * cols);
    for (std::size_t i = 0; i < chunk.doubts.size(); i += 2) {
      chunk.doubts[i] += before;
    }
    doubtful_.append(std::as_bytes(std::span(chunk.doubts)));
    doubts.count += std::ssize(chunk.doubts) / 2;
  }
}

// Calls use(layer, piece's number, elements and magnitudes) for the pieces of a group with doubts.
template <typename Use>
void DensePruning::for_doubts(std::int64_t group, Use&& use) const {
  for (const std::int64_t layer : pruning_.targets.groups[to_size(group)].layers) {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      const Doubts& doubts = doubts_[to_size(pieces_.number(layer, round))];
      if (doubts.count > 0) {
        std::vector<std::uint32_t> pairs(to_size(2 * doubts.count));
        doubtful_.read(doubts.position, std::as_writable_bytes(std::span(pairs)));
        use(pieces_.number(layer, round), pairs);
      }
    }
  }
}

// Narrows the cut of a group to a magnitude and counts its equals in each piece.
void DensePruning::settle_group(std::int64_t number, std::vector<std::int64_t>& equals) {
  Group& group = groups_[to_size(number)];
  std::vector<std::int64_t> counts(kLower + 1, 0);
  locally(context_.world, "counting doubts", [&] {
    for_doubts(number, [&](std::int64_t, const std::vector<std::uint32_t>& pairs) {
      for (std::size_t i = 1; i < pairs.size(); i += 2) {
        ++counts[pairs[i] & kLower];
      }
    });
  });
  context_.world.sum(counts);
  std::size_t lower = counts.size();
  while (group.equals > counts[--lower]) {
    group.equals -= counts[lower];
  }
  group.cut |= static_cast<std::uint32_t>(lower);
  locally(context_.world, "counting equals", [&] {
    for_doubts(number, [&](std::int64_t piece, const std::vector<std::uint32_t>& pairs) {
      for (std::size_t i = 1; i < pairs.size(); i += 2) {
        equals[to_size(piece)] += pairs[i] == group.cut ? 1 : 0;
      }
    });
  });
}

void DensePruning::settle(io::ModelOutput& output) {
  const auto in_doubt = [](const Group& group) { return !group.settled && !group.exact; };
  if (std::none_of(groups_.begin(), groups_.end(), in_doubt)) {
    return;
  }
  std::vector<std::int64_t> equals(to_size(pieces_.count()), 0);
  std::vector<LayerVerdict> verdicts(group_of_.size());
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (in_doubt(groups_[g])) {
      settle_group(static_cast<std::int64_t>(g), equals);
      for (const std::int64_t layer : pruning_.targets.groups[g].layers) {
        verdicts[to_size(layer)] = {
            static_cast<std::int64_t>(g), {groups_[g].cut, groups_[g].equals}, {}};
      }
    }
  }
  const auto stay = share_equals(context_.world, pieces_, equals, verdicts);
  locally(context_.world, "deciding on doubts", [&] {
    const PhaseTimer timer(context_.times, Phase::kWrite);
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      for (std::int64_t round = 0;
           verdicts[to_size(layer)].group >= 0 && round < pieces_.rounds(layer); ++round) {
        take_back(layer, round, stay[to_size(pieces_.number(layer, round))], output);
      }
    }
  });
}

// Makes zeros of the weights of a piece that were in doubt and go.
void DensePruning::take_back(std::int64_t layer, std::int64_t round, std::int64_t stay,
                             io::ModelOutput& output) {
  const Doubts& doubts = doubts_[to_size(pieces_.number(layer, round))];
  std::vector<std::uint32_t> pairs(to_size(2 * doubts.count));
  doubtful_.read(doubts.position, std::as_writable_bytes(std::span(pairs)));
  const std::uint32_t cut = groups_[to_size(group_of_[to_size(layer)])].cut;
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  const std::int64_t width = io::bytes_of(reader_.type(layer));
  const io::TensorPlace place = reader_.place(layer);
  const std::int64_t first = reader_.model().position(place) +
                             pieces_.rows(layer, round, context_.world.rank()).begin * cols * width;
  const std::vector<std::byte> zero(to_size(width));
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const std::uint32_t bits = pairs[i + 1];
    if (bits > cut || (bits == cut && stay-- > 0)) {
      continue;
    }
    output.write(place.file, first + static_cast<std::int64_t>(pairs[i]) * width, zero);
    const auto value = static_cast<double>(std::bit_cast<float>(bits));
    left_[to_size(layer)] += {-1, value * value};
  }
}

std::vector<LayerOutcome> DensePruning::outcomes() const {
  std::vector<std::int64_t> kept;
  std::vector<double> squares;
  for (const kernels::Left& left : left_) {
    kept.push_back(left.kept);
    squares.push_back(left.removed_squares);
  }
  context_.world.sum(kept);
  squares = exchange_sums(context_.world, squares);
  std::vector<LayerOutcome> outcomes(kept.size());
  for (std::size_t id = 0; id < kept.size(); ++id) {
    outcomes[id] = {kept[id], squares[id], std::nullopt};
  }
  return outcomes;
}

std::optional<double> DensePruning::threshold() const noexcept {
  if (pruning_.settings.threshold) {
    return pruning_.settings.threshold;
  }
  return groups_.size() == 1 && groups_[0].cut > 0
             ? std::optional(static_cast<double>(std::bit_cast<float>(groups_[0].cut)))
             : std::nullopt;
}

}  // namespace espalier::jobs
