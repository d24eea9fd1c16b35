#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "kernels/spmm.hpp"
#include "kernels/turn.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

using testing::Floats;
using testing::OnTarget;
using testing::Random;

Floats plainly(const Floats& source, std::int64_t rows, const std::vector<std::int64_t>& from,
               std::int64_t panels) {
  Floats target(panels * rows * kPanelWidth);
  for (std::size_t j = 0; j < from.size(); ++j) {
    const auto to = static_cast<std::int64_t>(j);
    for (std::int64_t row = 0; row < rows; ++row) {
      target[(to / kPanelWidth * rows + row) * kPanelWidth + to % kPanelWidth] =
          source[(from[j] / kPanelWidth * rows + row) * kPanelWidth + from[j] % kPanelWidth];
    }
  }
  return target;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_compact)

BOOST_AUTO_TEST_CASE(survivors_move_in_order_and_the_rest_is_zero) {
  Random random(1);
  std::int64_t moved = 0;
  for (int number = 0; number < 300; ++number) {
    const std::int64_t rows = 1 + random.below(9);
    const std::int64_t panels = 1 + random.below(8);
    const double share = number % 4 == 0 ? 1.0 : number % 4 == 1 ? 0.03 : random.unit();
    std::vector<std::int64_t> from;
    for (std::int64_t i = 0; i < panels * kPanelWidth; ++i) {
      if (random.unit() < share) from.push_back(i);
    }
    moved += static_cast<std::int64_t>(from.size());
    const auto full = (static_cast<std::int64_t>(from.size()) + kPanelWidth - 1) / kPanelWidth;
    const Floats source = testing::random_floats(random, panels * rows * kPanelWidth);
    const Floats expected = plainly(source, rows, from, full);
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      Floats got(full * rows * kPanelWidth + kPanelWidth, 9.0F);
      compact_panels(source.data(), got.data(), rows, from);
      std::int64_t wrong = 0;
      for (std::int64_t i = 0; i < full * rows * kPanelWidth; ++i) wrong += got[i] != expected[i];
      BOOST_CHECK_EQUAL(wrong, 0);
      // Nothing beyond the last panel is touched.
      for (std::int64_t i = 0; i < kPanelWidth; ++i) {
        BOOST_CHECK_EQUAL(got[full * rows * kPanelWidth + i], 9.0F);
      }
    }
  }
  BOOST_CHECK_GT(moved, 10000);
}

BOOST_AUTO_TEST_CASE(columns_move_to_their_place_and_no_other_changes) {
  Random random(2);
  std::int64_t moved = 0;
  for (int number = 0; number < 400; ++number) {
    const std::int64_t rows = 1 + random.below(9);
    const double share = number % 3 == 0 ? 1.0 : random.unit();
    const std::int64_t first = number % 5 == 0 ? 0 : random.below(kPanelWidth);
    std::vector<std::uint8_t> from;
    for (std::int64_t i = first; i < kPanelWidth; ++i) {
      if (random.unit() < share) from.push_back(static_cast<std::uint8_t>(i));
    }
    if (from.empty()) continue;
    moved += static_cast<std::int64_t>(from.size());
    // In place columns move to the left or stay; elsewhere they go wherever there is room.
    const bool in_place = number % 2 == 0;
    const std::int64_t room = kPanelWidth - static_cast<std::int64_t>(from.size());
    const std::int64_t to = random.below(1 + (in_place ? std::int64_t{from.front()} : room));
    const Floats source = testing::random_floats(random, rows * kPanelWidth);
    const Floats other = testing::random_floats(random, rows * kPanelWidth);
    const Floats& before = in_place ? source : other;
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      Floats got(rows * kPanelWidth);
      std::copy_n(before.data(), rows * kPanelWidth, got.data());
      move_columns(in_place ? got.data() : source.data(), got.data(), rows, from, to);
      std::int64_t wrong = 0;
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t i = 0; i < kPanelWidth; ++i) {
          const std::int64_t j = i - to;
          const bool is_moved = j >= 0 && j < static_cast<std::int64_t>(from.size());
          const float right = is_moved
                                  ? source[row * kPanelWidth + from[static_cast<std::size_t>(j)]]
                                  : before[row * kPanelWidth + i];
          wrong += got[row * kPanelWidth + i] != right;
        }
      }
      BOOST_CHECK_EQUAL(wrong, 0);
    }
  }
  BOOST_CHECK_GT(moved, 5000);
}

BOOST_AUTO_TEST_CASE(rows_become_columns_and_nothing_else_is_touched) {
  Random random(3);
  std::int64_t turned = 0;
  for (int number = 0; number < 300; ++number) {
    const std::int64_t rows = random.below(70), cols = random.below(70);
    const TurnShape shape{rows, cols, cols + random.below(3), rows + 1 + random.below(3)};
    const Floats source = testing::random_floats(random, rows * shape.from_step + 1);
    for (const std::int64_t target : testing::single_targets()) {
      const OnTarget guard(target);
      Floats got(cols * shape.to_step + 1, 9.0F);
      turn(source.data(), got.data(), shape);
      std::int64_t wrong = 0;
      for (std::int64_t i = 0; i < cols * shape.to_step + 1; ++i) {
        const std::int64_t col = i / shape.to_step, row = i % shape.to_step;
        const bool is_turned = col < cols && row < rows;
        wrong += got[i] != (is_turned ? source[row * shape.from_step + col] : 9.0F);
      }
      BOOST_CHECK_EQUAL(wrong, 0);
    }
    turned += rows * cols;
  }
  BOOST_CHECK_GT(turned, 100000);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
