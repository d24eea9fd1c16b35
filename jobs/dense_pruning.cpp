#include "jobs/dense_pruning.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "framework/agree.hpp"
#include "framework/parallel.hpp"
#include "io/checksum.hpp"
#include "jobs/dense_elements.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using io::WeightType;
using kernels::WordKind;

// Elements that are looked at one by one if any of them is in doubt, which is rare.
constexpr std::size_t kLookedAt = 1024;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// The least float32 that is not below t.
float float_from(double t) {
  const auto near = static_cast<float>(t);
  return static_cast<double>(near) < t ? std::nextafter(near, INFINITY) : near;
}

// The pass that writes, after the one that counts if there is one.
std::int64_t writing_pass(const Pruning& pruning) { return pruning.targets.groups.empty() ? 0 : 1; }

}  // namespace

bool DensePruning::can(const PruneSettings& settings) {
  return (settings.method == PruneMethod::kMagnitude ||
          settings.method == PruneMethod::kThreshold) &&
         !settings.update;
}

std::int64_t DensePruning::items(const ModelRun& run, const Pieces& pieces) {
  return items_of(run, pieces, writing_pass(run.pruning));
}

DensePruning::DensePruning(const ModelRun& run, ModelWork& work)
    : InPlacePruning(run, work, writing_pass(run.pruning)),
      rest_(rest_of_layers(run.reader)),
      counting_(run.context, run.pruning, run.reader, work.pieces, run.memory.group_bytes),
      group_of_(run.reader.network().layers.size(), -1),
      buffers_(to_size(threads())),
      doubts_(run, work.pieces) {
  for (std::size_t g = 0; g < pruning_.targets.groups.size(); ++g) {
    for (const std::int64_t layer : pruning_.targets.groups[g].layers) {
      group_of_[to_size(layer)] = static_cast<std::int64_t>(g);
    }
  }
}

ModelPruned DensePruning::run(io::ModelOutput& output) {
  units_.before_save([this, &output] {
    counting_.put_down(units_.record());
    output.sync();
  });
  PlacedUnits units(context_, units_, reader_, output, digest_);
  units_.attempt([&] {
    counting_.run(units_, progress_);
    groups_ = counting_.groups();
    units.copy(rest_, (pass_ + 1) * pieces_.all_rows());
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        Piece piece = piece_of(layer, round);
        prune_piece(piece, output, units);
        progress_.done(pass_ * pieces_.count() + pieces_.number(layer, round) + 1);
        units_.after_unit(pieces_.items(pass_, layer, pieces_.rows(layer, round)));
      }
    }
    doubts_.settle(doubts_.narrow(groups_), left_, output, units_);
  });
  return {join_outcomes(context_.world, left_), threshold()};
}

DensePruning::Limits DensePruning::limits_of(std::int64_t layer) const {
  const WordKind kind = kind_of(reader_.type(layer));
  if (pruning_.settings.threshold) {
    const std::uint32_t least =
        kernels::least_word_from(kind, float_from(*pruning_.settings.threshold));
    return {least, least};
  }
  const DenseGroup& group = groups_[to_size(group_of_[to_size(layer)])];
  const std::uint32_t least = kernels::least_word(kind, group.bin);
  if (group.settled) {
    return {least, least};
  }
  return {std::max(least, 1U), kernels::least_word(kind, group.bin + 1)};
}

DensePruning::Piece DensePruning::piece_of(std::int64_t layer, std::int64_t round) const {
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  const std::int64_t group = group_of_[to_size(layer)];
  Piece piece;
  piece.layer = layer;
  piece.round = round;
  piece.rows = pieces_.rows(layer, round, context_.world.rank());
  piece.items = pieces_.items(pass_, layer, piece.rows);
  piece.row_bytes = cols * io::bytes_of(reader_.type(layer));
  piece.stretch = stretch_of(reader_, layer, piece.rows);
  piece.shared = group >= 0 && groups_[to_size(group)].exact && !groups_[to_size(group)].settled;
  for (const Range& rows : cut_rows(piece.rows, cols)) {
    piece.chunks.emplace_back().rows = rows;
  }
  return piece;
}

// Reads, decides and writes, unless an earlier run has.
void DensePruning::prune_piece(Piece& piece, io::ModelOutput& output, PlacedUnits& units) {
  const Comm& world = context_.world;
  if (units_.record().earlier_runs() > 0) {
    locally(world, "looking at what is finished", [&] {
      if (!piece.rows.empty() && units.has(piece.items)) {
        piece.done =
            units.find(piece.items, piece.stretch, io::bytes_of(reader_.type(piece.layer)));
      }
    });
  }
  if (piece.shared) {
    locally(world, "reading weights", [&] { read_shared(piece); });
    share(piece);
  }
  locally(world, "pruning weights", [&] {
    const PhaseTimer timer(context_.times, Phase::kWrite);
    if (!piece.done && !piece.rows.empty()) {
      write(piece, output);
      piece.done = join(piece);
      units.add(piece.items, piece.stretch, *piece.done);
    }
    keep(piece);
  });
  // After rows longer than a chunk: each thread may have had one.
  for (auto& buffer : buffers_) {
    if (std::ssize(buffer) > kChunkElements * 8) {
      buffer = {};
    }
  }
}

DensePruning::Words DensePruning::words_of(const Piece& piece, const Chunk& chunk, int thread) {
  const std::size_t bytes = to_size(chunk.rows.size() * piece.row_bytes);
  if (piece.shared) {
    return Words(piece_).subspan(to_size((chunk.rows.begin - piece.rows.begin) * piece.row_bytes),
                                 bytes);
  }
  std::vector<std::byte>& buffer = buffers_[to_size(thread)];
  buffer.resize(bytes);
  return buffer;
}

void DensePruning::read(const Piece& piece, Chunk& chunk, Words words) const {
  const std::int64_t cols = reader_.network().layers[to_size(piece.layer)].weight.cols;
  reader_.read_stored(piece.layer, chunk.rows.begin * cols, words);
  chunk.read_crc = io::crc32(words);
}

// Reads a piece and counts the equals of its group.
void DensePruning::read_shared(Piece& piece) {
  const PhaseTimer timer(context_.times, Phase::kRead);
  if (piece.done) {
    return;
  }
  piece_.resize(to_size(piece.rows.size() * piece.row_bytes));
  const Limits limits = limits_of(piece.layer);
  parallel_for(std::ssize(piece.chunks), [&](std::int64_t c, int thread) {
    Chunk& chunk = piece.chunks[to_size(c)];
    const Words words = words_of(piece, chunk, thread);
    read(piece, chunk, words);
    with_words(kind_of(reader_.type(piece.layer)), words, [&](auto all) {
      chunk.equals = count_from(all, limits.least) - count_from(all, limits.above);
    });
  });
}

// Deals the equals of a group that stay to the chunks of a round, in the order of rows.
void DensePruning::share(Piece& piece) {
  std::int64_t mine = piece.done ? piece.done->equals : 0;
  for (const Chunk& chunk : piece.chunks) {
    mine += chunk.equals;
  }
  const std::vector<std::int64_t> all = context_.world.gather_all(mine);
  std::int64_t& left = groups_[to_size(group_of_[to_size(piece.layer)])].equals;
  const auto rank = all.begin() + context_.world.rank();
  std::int64_t stay =
      std::max<std::int64_t>(0, left - std::accumulate(all.begin(), rank, std::int64_t{0}));
  left = std::max<std::int64_t>(0, left - std::accumulate(all.begin(), all.end(), std::int64_t{0}));
  for (Chunk& chunk : piece.chunks) {
    chunk.stay = std::min(stay, chunk.equals);
    stay -= chunk.stay;
  }
}

void DensePruning::write(Piece& piece, io::ModelOutput& output) {
  const std::int64_t width = io::bytes_of(reader_.type(piece.layer));
  parallel_for(std::ssize(piece.chunks), [&](std::int64_t c, int thread) {
    Chunk& chunk = piece.chunks[to_size(c)];
    const Words words = words_of(piece, chunk, thread);
    if (!piece.shared) {
      read(piece, chunk, words);
    }
    decide(piece.layer, chunk, words);
    output.write(piece.stretch.file,
                 piece.stretch.begin + (chunk.rows.begin - piece.rows.begin) * piece.row_bytes,
                 words);
    for (std::size_t i = 0; i < chunk.doubts.size(); i += 2) {
      std::memset(words.data() + chunk.doubts[i] * width, 0, to_size(width));
    }
    chunk.written_crc = io::crc32(words);
  });
}

// Prunes a chunk where it lies.
void DensePruning::decide(std::int64_t layer, Chunk& chunk, Words words) const {
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
      find_doubts(layer, limits, compared, chunk);
    }
    chunk.left += kernels::keep_from(kind, all, limits.least);
  });
  // Weights of float64 that are zero as float32 count as zeros, and become zeros.
  const bool excluded = pruning_.targets.excluded[to_size(layer)];
  for (std::size_t i = 0; !excluded && i < floats.size(); ++i) {
    double weight = 0;
    std::memcpy(&weight, words.data() + i * sizeof weight, sizeof weight);
    if (floats[i] == 0 && weight != 0) {
      weight = 0;
      std::memcpy(words.data() + i * sizeof weight, &weight, sizeof weight);
    }
  }
}

// Notes element and magnitude of what lies in the bin of the cut.
void DensePruning::find_doubts(std::int64_t layer, Limits limits, Words words, Chunk& chunk) const {
  const WordKind kind = kind_of(reader_.type(layer));
  const std::uint32_t mask = kind == WordKind::kFloat ? 0x7FFFFFFFU : 0x7FFFU;
  with_words(kind, words, [&](auto all) {
    for (std::size_t first = 0; first < all.size(); first += kLookedAt) {
      const auto some = all.subspan(first, std::min(kLookedAt, all.size() - first));
      if (count_from(some, limits.least) == count_from(some, limits.above)) {
        continue;
      }
      for (std::size_t i = 0; i < some.size(); ++i) {
        const std::uint32_t magnitude = some[i] & mask;
        if (magnitude >= limits.least && magnitude < limits.above) {
          chunk.doubts.push_back(static_cast<std::uint32_t>(first + i));
          chunk.doubts.push_back(kernels::float_bits(kind, magnitude));
        }
      }
    }
  });
}

// What chunks have found, as that of their piece.
PlacedUnit DensePruning::join(const Piece& piece) const {
  const std::int64_t cols = reader_.network().layers[to_size(piece.layer)].weight.cols;
  PlacedUnit unit;
  for (const Chunk& chunk : piece.chunks) {
    const std::int64_t bytes = chunk.rows.size() * piece.row_bytes;
    unit.read_crc = io::combine_crc32(unit.read_crc, chunk.read_crc, bytes);
    unit.written_crc = io::combine_crc32(unit.written_crc, chunk.written_crc, bytes);
    unit.kept += chunk.left.kept;
    unit.removed_squares += chunk.left.removed_squares;
    unit.equals += chunk.equals;
    const auto before = static_cast<std::uint32_t>((chunk.rows.begin - piece.rows.begin) * cols);
    for (std::size_t i = 0; i < chunk.doubts.size(); i += 2) {
      unit.doubts.push_back(chunk.doubts[i] + before);
      unit.doubts.push_back(chunk.doubts[i + 1]);
    }
  }
  return unit;
}

// Takes what is known of a piece to what is known of its layer.
void DensePruning::keep(const Piece& piece) {
  if (!piece.done) {
    return;
  }
  counting_.check_same(piece.layer, piece.round, piece.done->read_crc);
  left_[to_size(piece.layer)] += {piece.done->kept, piece.done->removed_squares};
  doubts_.note(pieces_.number(piece.layer, piece.round), piece.done->doubts);
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
