// Dense weights as they are stored: words whose bits without the sign order like the magnitudes.
#pragma once

#include <cstdint>
#include <span>

namespace espalier::kernels {

enum class WordKind { kBfloat16, kHalf, kFloat };  // 16, 16 and 32 bits

// Magnitudes of all kinds on one scale: the upper 20 of the 31 bits of the magnitude as float32.
// All weights of a 16-bit kind in one bin are equal; a bin of float32 holds 2^11 neighbours.
inline constexpr std::int64_t kBins = INT64_C(1) << 20;
inline constexpr unsigned kBinShift = 11;
// The bits of a magnitude as float32, without loss; they order like the magnitudes.
std::uint32_t float_bits(WordKind kind, std::uint32_t magnitude);
// The least magnitude (a word without its sign) whose bin is >= `bin`; one beyond the largest if
// there is none. 0 <= bin <= kBins.
std::uint32_t least_word(WordKind kind, std::int64_t bin);
// The same for a limit of |w|: the least magnitude that is >= limit >= 0, taken as float32.
std::uint32_t least_word_from(WordKind kind, float limit);
// The least magnitude that is no number.
std::uint32_t least_not_finite(WordKind kind);

// Adds to counts[bin] how many words lie in each bin. Zeros are in bin 0 like the smallest weights.
//   shapes   counts (kBins)
//   where    local, pure
void count_bins(std::span<const std::uint32_t> floats, std::span<std::int64_t> counts);
// Adds to counts[m] how many words have the magnitude m.
//   shapes   counts (32768)
void count_magnitudes(std::span<const std::uint16_t> words, std::span<std::int64_t> counts);

// How many words have a magnitude >= least.
//   cost     one pass, about as fast as memory
std::int64_t count_from(std::span<const std::uint16_t> words, std::uint32_t least);
std::int64_t count_from(std::span<const std::uint32_t> words, std::uint32_t least);

// What is left of dense words.
struct Left {
  std::int64_t kept = 0;       // words that are not zero
  double removed_squares = 0;  // of the others, summed in float32: for people
  void operator+=(const Left& other) {
    kept += other.kept;
    removed_squares += other.removed_squares;
  }
};

// Makes zeros of the words whose magnitude is below least; with least 0 or 1 nothing changes.
//   cost     one pass
Left keep_from(WordKind kind, std::span<std::uint16_t> words, std::uint32_t least);
Left keep_from(WordKind kind, std::span<std::uint32_t> words, std::uint32_t least);
// The same for the words >= above, and the first `equals` of those >= least and below it.
template <typename Word>
Left keep_first(WordKind kind, std::span<Word> words, std::uint32_t least, std::uint32_t above,
                std::int64_t equals);

// Keeps the `keep` largest magnitudes, among equals those that come first; nothing changes if there
// are no more non-zero words. Returns what keep_from does. `near` is a magnitude at which to begin
// to look for the cut, and becomes the cut: rows of one matrix resemble each other.
//   cost     about eight passes if it was near, else as many as twice the bits of a magnitude
Left keep_largest(WordKind kind, std::span<std::uint16_t> words, std::int64_t keep,
                  std::uint32_t& near);
Left keep_largest(WordKind kind, std::span<std::uint32_t> words, std::int64_t keep,
                  std::uint32_t& near);

}  // namespace espalier::kernels
