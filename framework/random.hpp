// A counter-based random generator: the number depends on its key only, never on who asks first.
#pragma once

#include <array>
#include <cstdint>

namespace espalier {

// Philox 4x32-10: four random words for a 128-bit counter under a 64-bit key.
// The first word of the counter is the low half of `counter_low`.
//   exact    same bits on every machine
//   source   Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011
std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_high,
                                    std::uint64_t counter_low);

// The stream of (seed, a, b): e.g. a = layer, b = row; `next_` calls walk along it.
// No two streams ever share a block of the generator; each holds 2^34 words.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint32_t a, std::uint64_t b);
  std::uint32_t next_word();
  std::uint64_t next_below(std::uint64_t bound);  // uniform in [0, bound), unbiased; bound >= 1
  double next_unit();                             // uniform in (0, 1], 32 bits
  // Standard normal by Box-Muller in double precision.
  //   exact    as far as the C library's log, sin and cos are the same
  double next_normal();

 private:
  std::uint64_t key_;
  std::uint64_t high_;
  std::uint64_t low_;  // a in the upper half, the number of the next block in the lower
  std::array<std::uint32_t, 4> words_{};
  unsigned used_ = 4;
  bool last_block_taken_ = false;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace espalier
