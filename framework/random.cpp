#include "framework/random.hpp"

#include <cmath>
#include <limits>
#include <numbers>

#include "framework/error.hpp"

namespace espalier {
namespace {

// The multipliers and the key's increments (golden ratio and sqrt(3) - 1) of the paper.
constexpr std::uint32_t kMultiplier0 = 0xD2511F53;
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kStep0 = 0x9E3779B9;
constexpr std::uint32_t kStep1 = 0xBB67AE85;
constexpr int kRounds = 10;

constexpr std::uint32_t low_half(std::uint64_t word) { return static_cast<std::uint32_t>(word); }
constexpr std::uint32_t high_half(std::uint64_t word) {
  return static_cast<std::uint32_t>(word >> 32);
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_high,
                                    std::uint64_t counter_low) {
  std::array<std::uint32_t, 4> words = {low_half(counter_low), high_half(counter_low),
                                        low_half(counter_high), high_half(counter_high)};
  std::uint32_t key0 = low_half(key);
  std::uint32_t key1 = high_half(key);
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * words[0];
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * words[2];
    words = {high_half(product1) ^ words[1] ^ key0, low_half(product1),
             high_half(product0) ^ words[3] ^ key1, low_half(product0)};
    key0 += kStep0;
    key1 += kStep1;
  }
  return words;
}

RandomStream::RandomStream(std::uint64_t seed, std::uint32_t a, std::uint64_t b)
    : key_(seed), high_(b), low_(std::uint64_t{a} << 32) {}

std::uint32_t RandomStream::next_word() {
  if (used_ == words_.size()) {
    expects(!last_block_taken_, "a stream holds 2^34 words");
    words_ = philox(key_, high_, low_);
    used_ = 0;
    if (low_half(low_) == std::numeric_limits<std::uint32_t>::max()) {
      last_block_taken_ = true;
    } else {
      ++low_;
    }
  }
  return words_[used_++];
}

std::uint64_t RandomStream::next_below(std::uint64_t bound) {
  expects(bound >= 1, "a random number is drawn below a bound of at least 1");
  constexpr std::uint64_t kWords = std::uint64_t{1} << 32;
  if (bound <= kWords) {
    // The high half of word * bound is the result; the first kWords % bound low halves of each
    // result are dropped, so that every result keeps equally many words.
    const std::uint64_t dropped = kWords % bound;
    for (;;) {
      const std::uint64_t product = next_word() * bound;
      if (low_half(product) >= dropped) {
        return high_half(product);
      }
    }
  }
  const std::uint64_t dropped = (std::uint64_t{0} - bound) % bound;  // 2^64 mod bound
  for (;;) {
    const std::uint64_t upper = std::uint64_t{next_word()} << 32;
    const std::uint64_t word = upper | next_word();
    if (word >= dropped) {
      return word % bound;
    }
  }
}

double RandomStream::next_unit() { return (next_word() + 1.0) * 0x1p-32; }

double RandomStream::next_normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2.0 * std::log(next_unit()));
  const double angle = 2.0 * std::numbers::pi * next_unit();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

}  // namespace espalier
