// Dealing many rows in rounds, so that a rank holds few of them at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "framework/shard.hpp"

namespace espalier::jobs {

// In each round the ranks hold consecutive ranges of at most `most_per_rank`, in rank order; rounds
// follow one another. Pure arithmetic, the same on every rank.
struct Rounds {
  std::int64_t count = 0;
  int ranks = 1;
  std::int64_t most_per_rank = 1;  // >= 1
  // If given, all are cut evenly into so many pieces, dealt in turns: the same for any number of
  // ranks. The last of them may get empty ones more.
  int pieces = 0;

  std::int64_t rounds() const noexcept {
    return pieces > 0 ? (pieces - 1) / ranks + 1 : count / step() + (count % step() != 0 ? 1 : 0);
  }
  Range range(std::int64_t round, int rank) const {
    if (pieces > 0) {
      const std::int64_t piece = round * ranks + rank;
      return piece < pieces ? split_evenly(count, pieces, static_cast<int>(piece))
                            : Range{count, count};
    }
    const std::int64_t begin = round * step();
    const Range part = split_evenly(std::min(step(), count - begin), ranks, rank);
    return {begin + part.begin, begin + part.end};
  }

  std::int64_t round_of(std::int64_t index) const {
    return pieces > 0 ? owner_evenly(count, pieces, index) / ranks : index / step();
  }
  int rank_of(std::int64_t index) const {
    if (pieces > 0) {
      return owner_evenly(count, pieces, index) % ranks;
    }
    const std::int64_t begin = round_of(index) * step();
    return owner_evenly(std::min(step(), count - begin), ranks, index - begin);
  }

 private:
  std::int64_t step() const noexcept {
    return most_per_rank < count / ranks + 1 ? most_per_rank * ranks
                                             : std::max<std::int64_t>(count, 1);
  }
};

}  // namespace espalier::jobs
