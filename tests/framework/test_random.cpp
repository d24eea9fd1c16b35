#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "framework/error.hpp"
#include "framework/random.hpp"

BOOST_AUTO_TEST_SUITE(framework_random)

using namespace espalier;

using Words = std::array<std::uint32_t, 4>;

// The known answers that the authors of the generator publish for Philox 4x32-10.
BOOST_AUTO_TEST_CASE(philox_gives_the_known_answers) {
  const Words zeros = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  BOOST_TEST(philox(0, 0, 0) == zeros, boost::test_tools::per_element());
  const std::uint64_t ones = ~std::uint64_t{0};
  const Words all_ones = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  BOOST_TEST(philox(ones, ones, ones) == all_ones, boost::test_tools::per_element());
  // Counter and key are the digits of pi, first word first.
  const Words pi = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  BOOST_TEST(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88) == pi,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_stream_walks_along_the_blocks_of_its_key) {
  RandomStream stream(42, 7, 9);
  for (std::uint64_t block = 0; block < 3; ++block) {
    for (const std::uint32_t word : philox(42, 9, (std::uint64_t{7} << 32) + block)) {
      BOOST_TEST(stream.next_word() == word);
    }
  }
}

BOOST_AUTO_TEST_CASE(streams_do_not_depend_on_each_other) {
  RandomStream alone(1, 2, 3);
  std::vector<std::uint32_t> expected(100);
  for (std::uint32_t& word : expected) {
    word = alone.next_word();
  }
  RandomStream interleaved(1, 2, 3);
  RandomStream other(1, 2, 4);
  for (const std::uint32_t word : expected) {
    other.next_normal();
    BOOST_TEST(interleaved.next_word() == word);
  }
}

BOOST_AUTO_TEST_CASE(near_keys_give_different_streams) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (std::uint32_t a = 0; a < 10; ++a) {
      for (std::uint64_t b = 0; b < 100; ++b) {
        RandomStream stream(seed, a, b);
        const std::uint64_t upper = stream.next_word();
        seen.insert(upper << 32 | stream.next_word());
      }
    }
  }
  BOOST_TEST(seen.size() == 10'000U);
}

BOOST_AUTO_TEST_CASE(streams_of_near_keys_are_uncorrelated) {
  // The mean product of two independent centred uniforms over n draws has deviation 1/(12 sqrt n).
  constexpr int kDraws = 100'000;
  for (const std::uint64_t other_row : {1U, 2U, 1024U}) {
    RandomStream first(5, 0, 0);
    RandomStream second(5, 0, other_row);
    double product = 0;
    for (int draw = 0; draw < kDraws; ++draw) {
      product += (first.next_unit() - 0.5) * (second.next_unit() - 0.5);
    }
    BOOST_TEST(std::abs(product / kDraws) < 5.0 / (12 * std::sqrt(kDraws)));
  }
}

BOOST_AUTO_TEST_CASE(next_below_is_uniform) {
  RandomStream stream(3, 0, 0);
  constexpr int kDraws = 60'000;
  std::array<int, 6> counts{};
  for (int draw = 0; draw < kDraws; ++draw) {
    ++counts.at(stream.next_below(6));
  }
  double chi_squared = 0;
  for (const int count : counts) {
    const double off = count - kDraws / 6.0;
    chi_squared += off * off / (kDraws / 6.0);
  }
  BOOST_TEST(chi_squared < 20.5);  // 5 degrees of freedom: exceeded once in 1000 seeds
}

BOOST_AUTO_TEST_CASE(next_below_stays_below_at_every_width) {
  RandomStream stream(4, 0, 0);
  const std::uint64_t word = std::uint64_t{1} << 32;
  for (const std::uint64_t bound : {std::uint64_t{1}, std::uint64_t{2}, word - 1, word, word + 1,
                                    word * 3, word << 31, (word << 31) + 1, ~std::uint64_t{0}}) {
    std::uint64_t largest = 0;
    for (int draw = 0; draw < 200; ++draw) {
      const std::uint64_t value = stream.next_below(bound);
      BOOST_TEST(value < bound);
      largest = std::max(largest, value);
    }
    BOOST_TEST(largest >= bound / 2);
  }
  BOOST_CHECK_THROW(stream.next_below(0), BugError);
}

BOOST_AUTO_TEST_CASE(next_unit_is_never_zero_and_has_the_right_moments) {
  RandomStream stream(6, 1, 1);
  constexpr int kDraws = 100'000;
  double sum = 0;
  double squares = 0;
  bool inside = true;
  for (int draw = 0; draw < kDraws; ++draw) {
    const double value = stream.next_unit();
    inside = inside && value > 0 && value <= 1;
    sum += value;
    squares += value * value;
  }
  BOOST_TEST(inside);
  BOOST_TEST(std::abs(sum / kDraws - 0.5) < 0.005);
  BOOST_TEST(std::abs(squares / kDraws - 1.0 / 3) < 0.005);
}

BOOST_AUTO_TEST_CASE(next_normal_has_the_right_moments) {
  RandomStream stream(8, 1, 1);
  constexpr int kDraws = 100'000;
  double sum = 0;
  double squares = 0;
  double fourths = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const double value = stream.next_normal();
    sum += value;
    squares += value * value;
    fourths += value * value * value * value;
  }
  BOOST_TEST(std::abs(sum / kDraws) < 0.02);
  BOOST_TEST(std::abs(squares / kDraws - 1) < 0.03);
  BOOST_TEST(std::abs(fourths / kDraws - 3) < 0.2);
}

BOOST_AUTO_TEST_SUITE_END()
