// Convolution and pooling as sparse rows against plain loops over channels, places and taps.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/conv.hpp"
#include "kernels/pack.hpp"
#include "kernels/reference.hpp"
#include "kernels/spmm.hpp"
#include "tests/kernels/cases.hpp"

BOOST_AUTO_TEST_SUITE(kernels_conv)

using namespace espalier::kernels;
using testing::Floats;
using testing::Random;

namespace {

constexpr std::int64_t kWidth = kPanelWidth;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

WindowAxis random_axis(Random& random) {
  for (;;) {
    const WindowAxis axis = {1 + random.below(11), 1 + random.below(4), 1 + random.below(3),
                             random.below(5),      random.below(5),     1 + random.below(3)};
    if (axis.fits()) return axis;
  }
}

struct Bank {
  Window window;
  CsrRows filters;
  std::vector<float> weights;  // the same as an array
};

// A share `density` of filters is there; a quarter of their weights are stored zeros.
Bank random_bank(Random& random, double density) {
  Bank bank;
  Window& w = bank.window;
  w.groups = 1 + random.below(3);
  w.channels = w.groups * (1 + random.below(3));
  w.out_channels = w.groups * (1 + random.below(4));
  w.y = random_axis(random);
  w.x = random_axis(random);
  const std::int64_t cols = bank.filters.cols = w.group_channels() * w.taps();
  bank.weights.assign(at(w.out_channels * cols), 0);
  for (std::int64_t row = 0; row < w.out_channels; ++row) {
    for (std::int64_t channel = 0; channel < w.group_channels(); ++channel) {
      const bool there = random.unit() < density;
      for (std::int64_t tap = 0; there && tap < w.taps(); ++tap) {
        const std::int64_t column = channel * w.taps() + tap;
        const float weight = random.below(4) == 0 ? 0 : random.symmetric();
        bank.weights[at(row * cols + column)] = weight;
        bank.filters.indices.push_back(static_cast<std::uint32_t>(column));
        bank.filters.values.push_back(weight);
      }
    }
    bank.filters.pointers.push_back(std::ssize(bank.filters.indices));
  }
  return bank;
}

Window random_pool(Random& random) {
  Window w;
  w.channels = w.out_channels = w.groups = 1 + random.below(4);
  w.y = random_axis(random);
  w.x = random_axis(random);
  w.count_padding = random.coin();
  return w;
}

Floats random_inputs(Random& random, std::int64_t neurons) {
  Floats in(neurons * kWidth);
  for (float& x : in.span()) x = random.symmetric();
  return in;
}

// Rows packed and run on one panel, in two parts.
Floats run(const CsrRows& rows, const Floats& in, const Epilogue& epilogue, const PackForm& form) {
  std::vector<std::uint32_t> all(at(rows.cols));
  std::iota(all.begin(), all.end(), 0U);
  const PackedLayer layer = pack_layer(rows, all, {}, epilogue, form);
  Floats out(rows.rows() * kWidth, 77);
  std::vector<std::uint32_t> alive(at(kWidth), 0);
  const std::int64_t half = rows.rows() / 2;
  spmm(layer, in.data(), out.data(), 0, half, alive.data());
  spmm(layer, in.data(), out.data(), half, rows.rows(), alive.data());
  for (std::int64_t s = 0; s < kWidth; ++s) {
    bool any = false;
    for (std::int64_t row = 0; row < rows.rows(); ++row) any = any || out[row * kWidth + s] != 0;
    BOOST_REQUIRE_EQUAL(alive[at(s)] != 0, any);
  }
  return out;
}

void check_close(const Floats& found, const std::vector<double>& wanted, double tolerance) {
  BOOST_REQUIRE_EQUAL(found.span().size(), wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    BOOST_REQUIRE_SMALL(static_cast<double>(found.span()[i]) - wanted[i], tolerance);
  }
}

bool same_rows(const CsrRows& a, const CsrRows& b) {
  return a.first_row == b.first_row && a.cols == b.cols && a.pointers == b.pointers &&
         a.indices == b.indices && a.values == b.values && a.iso == b.iso;
}

}  // namespace

BOOST_AUTO_TEST_CASE(convolutions_equal_plain_loops) {
  Random random(1);
  std::int64_t groups = 0, strides = 0, dilations = 0, paddings = 0, empty = 0;
  for (int turn = 0; turn < 400; ++turn) {
    const Bank bank = random_bank(random, turn % 8 == 0 ? 0 : random.unit() + 0.2);
    const Window& w = bank.window;
    const CsrRows rows = convolution_rows(w, bank.filters, 0, w.outputs());
    CsrFault fault{};
    BOOST_REQUIRE(!find_fault(rows, fault));
    BOOST_REQUIRE_EQUAL(rows.rows(), w.outputs());
    BOOST_REQUIRE_EQUAL(rows.cols, w.inputs());
    const Floats in = random_inputs(random, w.inputs());
    check_close(run(rows, in, {}, {}), reference::convolve(w, bank.weights, in.span(), kWidth),
                1e-5);
    groups += w.groups > 1 ? 1 : 0;
    strides += w.y.stride > 1 ? 1 : 0;
    dilations += w.x.dilation > 1 && w.x.kernel > 1 ? 1 : 0;
    paddings += w.y.pad_begin > 0 ? 1 : 0;
    empty += rows.nnz() == 0 ? 1 : 0;
  }
  for (const std::int64_t seen : {groups, strides, dilations, paddings, empty}) {
    BOOST_CHECK_GT(seen, 40);
  }
}

BOOST_AUTO_TEST_CASE(parts_of_the_neurons_are_parts_of_the_rows) {
  Random random(2);
  for (int turn = 0; turn < 100; ++turn) {
    const Bank bank = random_bank(random, 0.7);
    const Window& w = bank.window;
    const std::int64_t begin = random.below(w.outputs() + 1);
    const std::int64_t end = begin + random.below(w.outputs() - begin + 1);
    const CsrRows all = convolution_rows(w, bank.filters, 0, w.outputs());
    CsrRows wanted;
    wanted.first_row = begin;
    wanted.cols = w.inputs();
    const auto first = all.pointers[at(begin)];
    for (std::int64_t row = begin; row < end; ++row) {
      wanted.pointers.push_back(all.pointers[at(row) + 1] - first);
    }
    wanted.indices.assign(all.indices.begin() + first, all.indices.begin() + first + wanted.nnz());
    wanted.values.assign(all.values.begin() + first, all.values.begin() + first + wanted.nnz());
    // Of the filters only the rows of these channels; memory with something in it is used again.
    const std::int64_t low = begin / w.positions(),
                       high = (end + w.positions() - 1) / w.positions();
    CsrRows part = bank.filters;
    part.first_row = low;
    part.pointers.assign(bank.filters.pointers.begin() + low,
                         bank.filters.pointers.begin() + std::max(high, low) + 1);
    const std::int64_t skipped = part.pointers.front();
    for (std::int64_t& pointer : part.pointers) pointer -= skipped;
    part.indices.erase(part.indices.begin(), part.indices.begin() + skipped);
    part.values.erase(part.values.begin(), part.values.begin() + skipped);
    BOOST_CHECK(same_rows(convolution_rows(w, part, begin, end, all), wanted));
  }
}

BOOST_AUTO_TEST_CASE(pairs_are_counted_as_they_are) {
  Random random(3);
  for (int turn = 0; turn < 500; ++turn) {
    Window w = random_pool(random);
    const CsrRows rows = pooling_rows(w, Pooling::kMaximum, 0, w.outputs());
    BOOST_REQUIRE_EQUAL(rows.nnz(), w.channels * w.y.pairs() * w.x.pairs());
  }
}

BOOST_AUTO_TEST_CASE(pooling_equals_plain_loops) {
  Random random(4);
  Epilogue relu;
  relu.activation = Activation::kRelu;
  relu.has_clamp = true;
  relu.clamp = 0.9F;
  std::int64_t empty = 0;
  for (int turn = 0; turn < 200; ++turn) {
    const Window w = random_pool(random);
    const Floats in = random_inputs(random, w.inputs());
    const CsrRows all = pooling_rows(w, Pooling::kMaximum, 0, w.outputs());
    const auto largest = reference::pool(w, true, in.span(), kWidth);
    check_close(run(all, in, {}, {.maximum = true}), largest, 0x1p-150);
    const Floats bounded = run(all, in, relu, {.maximum = true});
    for (std::size_t i = 0; i < largest.size(); ++i) {
      const float wanted = std::min(std::max(static_cast<float>(largest[i]), 0.0F), relu.clamp);
      BOOST_REQUIRE_EQUAL(bounded.span()[i], wanted);
    }
    check_close(run(pooling_rows(w, Pooling::kAverage, 0, w.outputs()), in, {}, {}),
                reference::pool(w, false, in.span(), kWidth), 1e-6);
    for (std::int64_t row = 0; row < all.rows(); ++row) {
      empty += all.pointers[at(row)] == all.pointers[at(row) + 1] ? 1 : 0;
    }
  }
  BOOST_CHECK_GT(empty, 0);
}

BOOST_AUTO_TEST_CASE(a_maximum_keeps_what_is_no_number) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Window w;
  w.x = {3, 3};
  Floats in(3 * kWidth, -5);
  const float columns[][3] = {
      {1, 2, kNan}, {kNan, 2, 1},      {1, kNan, 2},         {-kInfinity, -kInfinity, -kInfinity},
      {-3, -2, -9}, {kInfinity, 0, 0}, {-0.0F, -0.0F, -0.0F}};
  for (int column = 0; column < 7; ++column) {
    for (int k = 0; k < 3; ++k) in[k * kWidth + column] = columns[column][k];
  }
  std::vector<std::uint32_t> all = {0, 1, 2}, alive(at(kWidth), 0);
  const PackedLayer layer =
      pack_layer(pooling_rows(w, Pooling::kMaximum, 0, 1), all, {}, {}, {.maximum = true});
  BOOST_CHECK_EQUAL(layer.block_names(), "maximum");
  BOOST_CHECK(maps_zero_to_zero(layer));
  Floats out(kWidth);
  spmm(layer, in.data(), out.data(), 0, 1, alive.data());
  for (int column = 0; column < 3; ++column) BOOST_CHECK(std::isnan(out[column]));
  BOOST_CHECK_EQUAL(out[3], -kInfinity);
  BOOST_CHECK_EQUAL(out[4], -2);
  BOOST_CHECK_EQUAL(out[5], kInfinity);
  BOOST_CHECK_EQUAL(alive[6], 0U);
  BOOST_CHECK_EQUAL(out[63], -5);
}

BOOST_AUTO_TEST_SUITE_END()
