#include <algorithm>
#include <bit>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/dense_words.hpp"
#include "kernels/half.hpp"

BOOST_AUTO_TEST_SUITE(kernels_dense_words)

using namespace espalier::kernels;

namespace {

template <typename Word>
float weight_of(WordKind kind, Word word) {
  return kind == WordKind::kBfloat16 ? bfloat16_to_float(static_cast<std::uint16_t>(word))
         : kind == WordKind::kHalf   ? half_to_float(static_cast<std::uint16_t>(word))
                                     : std::bit_cast<float>(static_cast<std::uint32_t>(word));
}

template <typename Word>
Word word_of(WordKind kind, float weight) {
  return static_cast<Word>(kind == WordKind::kBfloat16 ? float_to_bfloat16(weight)
                           : kind == WordKind::kHalf   ? float_to_half(weight)
                                                       : std::bit_cast<std::uint32_t>(weight));
}

// Of few values, so that there are ties; some zeros of both signs.
template <typename Word>
std::vector<Word> some_words(WordKind kind, std::size_t size, std::mt19937& random) {
  std::vector<Word> words;
  std::normal_distribution<float> normal(0, 0.05F);
  for (std::size_t i = 0; i < size; ++i) {
    const auto pick = random() % 8;
    const float weight = pick == 0 ? 0.0F : pick == 1 ? -0.0F : normal(random);
    words.push_back(word_of<Word>(kind, pick < 5 ? std::round(weight * 128) / 128 : weight));
  }
  return words;
}

// Plain sorting: largest magnitude first, among equals the first.
template <typename Word>
std::vector<Word> largest(WordKind kind, std::vector<Word> words, std::int64_t keep) {
  std::vector<std::size_t> order(words.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto magnitude = [&](std::size_t i) { return std::abs(weight_of(kind, words[i])); };
  const auto nonzero =
      std::count_if(order.begin(), order.end(), [&](std::size_t i) { return magnitude(i) > 0; });
  if (nonzero <= keep) {
    return words;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return magnitude(a) > magnitude(b); });
  for (std::size_t i = static_cast<std::size_t>(keep); i < order.size(); ++i) {
    words[order[i]] = 0;
  }
  return words;
}

template <typename Word>
void check_kind(WordKind kind) {
  std::mt19937 random(7);
  std::uint32_t near = 0;
  for (const std::size_t size : {0, 1, 2, 15, 16, 17, 33, 64, 100, 257, 1000}) {
    const auto before = some_words<Word>(kind, size, random);
    for (const std::size_t keep : {std::size_t{0}, std::size_t{1}, size / 3, size / 2, size}) {
      auto words = before;
      const Left left = keep_largest(kind, std::span(words), static_cast<std::int64_t>(keep), near);
      BOOST_TEST(words == largest(kind, before, static_cast<std::int64_t>(keep)));
      BOOST_TEST(left.kept == std::count_if(words.begin(), words.end(),
                                            [&](Word word) { return weight_of(kind, word) != 0; }));
      double squares = 0;
      for (std::size_t i = 0; i < size; ++i) {
        const auto was = static_cast<double>(weight_of(kind, before[i]));
        squares += words[i] == 0 ? was * was : 0;
      }
      BOOST_TEST(std::abs(left.removed_squares - squares) <= 1e-5 * squares);
    }
    const std::uint32_t least = least_word_from(kind, 0.05F);
    BOOST_TEST(count_from(std::span<const Word>(before), least) ==
               std::count_if(before.begin(), before.end(),
                             [&](Word word) { return std::abs(weight_of(kind, word)) >= 0.05F; }));
    BOOST_TEST(count_from(std::span<const Word>(before), 0) == static_cast<std::int64_t>(size));
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_largest_stay_and_among_equals_the_first) {
  check_kind<std::uint16_t>(WordKind::kBfloat16);
  check_kind<std::uint16_t>(WordKind::kHalf);
  check_kind<std::uint32_t>(WordKind::kFloat);
}

BOOST_AUTO_TEST_CASE(long_words_overflow_no_count) {
  std::vector<std::uint16_t> words(3000001, 0x3F80);
  BOOST_TEST(count_from(std::span<const std::uint16_t>(words), 0x3F80) == 3000001);
  std::uint32_t near = 0x7FFF;
  BOOST_TEST(keep_largest(WordKind::kBfloat16, std::span(words), 1234567, near).kept == 1234567);
  BOOST_TEST(near == 0x3F80U);
  BOOST_TEST(words[1234566] == 0x3F80);
  BOOST_TEST(words[1234567] == 0);
}

BOOST_AUTO_TEST_CASE(halves_convert_to_the_bit_and_back) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(half);
    const int exponent = static_cast<int>(bits >> 10U & 31U);
    const int mantissa = static_cast<int>(bits & 1023U);
    if (exponent == 31 && mantissa != 0) {
      BOOST_TEST(std::isnan(value));
      BOOST_TEST(std::isnan(half_to_float(float_to_half(value))));
      continue;
    }
    const double magnitude = exponent == 31  ? INFINITY
                             : exponent == 0 ? std::ldexp(mantissa, -24)
                                             : std::ldexp(1024 + mantissa, exponent - 25);
    BOOST_REQUIRE(static_cast<double>(value) == ((bits & 0x8000U) != 0 ? -magnitude : magnitude));
    BOOST_REQUIRE(float_to_half(value) == half);
    if (!std::isnan(bfloat16_to_float(half))) {
      BOOST_REQUIRE(float_to_bfloat16(bfloat16_to_float(half)) == half);
    }
  }
  // Halfway goes to the even neighbour; just beyond halfway goes up.
  BOOST_TEST(float_to_half(1 + 0x1p-11F) == 0x3C00);
  BOOST_TEST(float_to_half(1 + 0x1p-10F + 0x1p-11F) == 0x3C02);
  BOOST_TEST(float_to_half(1 + 0x1p-11F + 0x1p-20F) == 0x3C01);
  BOOST_TEST(float_to_half(65519.0F) == 0x7BFF);
  BOOST_TEST(float_to_half(65520.0F) == 0x7C00);
  BOOST_TEST(float_to_half(0x1p-25F) == 0);
  BOOST_TEST(float_to_half(-0x1.8p-24F) == 0x8002);
  BOOST_TEST(float_to_bfloat16(1 + 0x1p-8F) == 0x3F80);
  BOOST_TEST(float_to_bfloat16(1 + 0x1p-7F + 0x1p-8F) == 0x3F82);
}

BOOST_AUTO_TEST_CASE(bins_order_all_kinds_alike) {
  for (const WordKind kind : {WordKind::kBfloat16, WordKind::kHalf, WordKind::kFloat}) {
    const float largest = kind == WordKind::kHalf ? 65504.0F : 3e38F;
    for (const float weight : {0x1p-24F, 1e-4F, 0.03F, 1.0F, 300.0F, largest}) {
      const std::int64_t bin = std::bit_cast<std::uint32_t>(weight) >> kBinShift;
      const std::uint32_t least = least_word(kind, bin);
      BOOST_TEST(std::bit_cast<std::uint32_t>(weight_of(kind, least)) >> kBinShift >= bin);
      BOOST_TEST(std::bit_cast<std::uint32_t>(weight_of(kind, least - 1)) >> kBinShift < bin);
    }
    BOOST_TEST(least_word(kind, 0) == 0U);
    BOOST_TEST(least_word(kind, kBins) == (kind == WordKind::kFloat ? 0x80000000U : 0x8000U));
  }
  BOOST_TEST(least_not_finite(WordKind::kBfloat16) == 0x7F80U);
  BOOST_TEST(least_not_finite(WordKind::kHalf) == 0x7C00U);
  BOOST_TEST(least_not_finite(WordKind::kFloat) == 0x7F800000U);
  std::vector<std::int64_t> counts(kBins, 0);
  count_bins(std::vector<std::uint32_t>{0, 0x80000000U, 0x3F800000U, 0xBF800001U}, counts);
  BOOST_TEST(counts[0] == 2);
  BOOST_TEST(counts[0x3F800000U >> kBinShift] == 2);
}

BOOST_AUTO_TEST_SUITE_END()
