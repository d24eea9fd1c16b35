// Which weights are the largest: found from counts of key digits alone, without sorting anything.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/layout.hpp"

namespace espalier::kernels {

// A key orders weights: the larger key is kept first. Keys have two digits of 16 bits.
inline constexpr std::size_t kDigitValues = 65536;

// The key of a weight by magnitude: its bits without the sign, so that equal magnitudes have equal
// keys. 0 for zeros and nothing else.
inline std::uint32_t magnitude_key(float weight) {
  return std::bit_cast<std::uint32_t>(weight) << 1U;
}
inline float magnitude_of(std::uint32_t key) { return std::bit_cast<float>(key >> 1U); }
// Magnitude keys from here on are no numbers.
inline constexpr std::uint32_t kFirstNotFinite = 0xFF000000U;

// The key of any finite float, negative ones included; -0 equals +0.
inline std::uint32_t ordered_key(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value == 0 ? 0.0F : value);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

// Adds to counts[d] how many non-zero weights have a magnitude key with the upper digit d.
//   shapes   counts (kDigitValues)
//   where    local, pure
void count_upper(std::span<const float> weights, std::span<std::int64_t> counts);
// The same for keys, all of them.
void count_upper(std::span<const std::uint32_t> keys, std::span<std::int64_t> counts);
// Adds to counts[d] how many of the keys with the upper digit `upper` have the lower digit d.
void count_lower(std::span<const std::uint32_t> keys, std::uint32_t upper,
                 std::span<std::int64_t> counts);

// Where the largest keys end: all keys above `key` stay, and of those equal to it the first
// `equals` in the order of (layer, row, column).
struct Cut {
  std::uint32_t key = 0;
  std::int64_t equals = std::numeric_limits<std::int64_t>::max();
  friend bool operator==(const Cut&, const Cut&) = default;
};

// Narrows to the cut that keeps exactly the `keep` largest of all keys (all, if there are fewer):
// give it the counts of the upper digit, then those of the lower one under `upper()`.
//   where    pure; the same counts on every rank give the same cut
class RadixSelect {
 public:
  explicit RadixSelect(std::int64_t keep) : keep_(keep) {}

  void narrow_upper(std::span<const std::int64_t> counts);
  // Whether the cut is known without the lower digit: everything stays, or nothing.
  bool settled() const noexcept { return settled_; }
  // The digit in which the cut lies. Keys with a larger one stay, with a smaller one they go.
  std::uint32_t upper() const noexcept { return cut_.key >> 16U; }
  void narrow_lower(std::span<const std::int64_t> counts);
  Cut cut() const noexcept { return cut_; }

 private:
  std::uint32_t narrow(std::span<const std::int64_t> counts);

  std::int64_t keep_;  // of those not yet known to stay
  bool settled_ = false;
  Cut cut_;
};

// Which weights lie above, at and below a cut.
struct CutTally {
  std::int64_t above = 0, equal = 0;
  // Bits of the weights above, as signed integers; meaningless if there are none.
  std::int32_t least_above = 0, most_above = 0;
  double below_squares = 0;  // sum of squares of those below
};
// Tallies weights by their magnitude keys.
//   where    local, pure
//   exact    but for below_squares, which is summed in blocks and meant for people
CutTally tally_cut(std::span<const float> weights, std::uint32_t key);

// Entries of dense or sparse rows that are at least as large as a limit.
struct Collected {
  std::int64_t count = 0;
  double left_out_squares = 0;  // sum of squares of the entries that are not among them
};

// Writes columns and values of the weights of one dense row whose magnitude key is >= least, in
// ascending order. Zeros are never among them.
//   shapes   indices, values (room for row.size() each, and written beyond the count)
//   exact    but for left_out_squares, which is summed in float32 and meant for people
//   cost     one pass, about as fast as memory
Collected collect_dense(std::span<const float> row, std::uint32_t least, std::uint32_t* indices,
                        float* values);

}  // namespace espalier::kernels
