#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numeric>
#include <tuple>

#include "kernels/lamp.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::kernels {
namespace {

using Layers = std::vector<std::vector<float>>;

// By sorting: the score of each weight, ties by place.
std::vector<std::vector<bool>> sorted_out(const Layers& layers, std::int64_t keep) {
  std::vector<std::tuple<double, std::size_t, std::size_t>> scores;  // negative, layer, place
  std::vector<std::vector<bool>> stays;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    stays.emplace_back(layers[l].size(), false);
    std::vector<std::size_t> order(layers[l].size());
    std::iota(order.begin(), order.end(), 0U);
    const auto key = [&](std::size_t i) { return magnitude_key(layers[l][i]); };
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return key(a) > key(b); });
    double squares = 0;
    for (std::size_t begin = 0; begin < order.size();) {
      std::size_t end = begin;
      const auto w = static_cast<double>(layers[l][order[begin]]);
      while (end < order.size() && key(order[end]) == key(order[begin])) ++end;
      squares += w * w * static_cast<double>(end - begin);
      for (std::size_t i = begin; i < end && w != 0; ++i) {
        scores.emplace_back(-w * w / squares, l, order[i]);
      }
      begin = end;
    }
  }
  std::sort(scores.begin(), scores.end());
  for (std::size_t i = 0; i < scores.size() && static_cast<std::int64_t>(i) < keep; ++i) {
    stays[std::get<1>(scores[i])][std::get<2>(scores[i])] = true;
  }
  return stays;
}

std::vector<std::vector<bool>> selected(const Layers& layers, std::int64_t keep) {
  LampSelect narrowing(layers.size(), keep);
  std::vector<std::tuple<std::size_t, std::uint32_t, std::uint32_t>> limits;
  for (int round = 0; !narrowing.settled(); ++round) {
    BOOST_REQUIRE_LT(round, 20);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      // In two parts, as two ranks would count it.
      LampTally tally = narrowing.tally(l), other = narrowing.tally(l);
      for (std::size_t i = 0; i < layers[l].size(); ++i) {
        if (layers[l][i] != 0) (i % 3 == 0 ? tally : other).add(magnitude_key(layers[l][i]));
      }
      for (std::size_t i = 0; i < tally.sums().size(); ++i) tally.sums()[i] += other.sums()[i];
      narrowing.take(l, tally);
    }
    narrowing.narrow();
    for (std::size_t l = 0; l < layers.size(); ++l) {
      limits.push_back({l, narrowing.least(l), narrowing.above(l)});
    }
  }
  std::vector<std::vector<bool>> stays;
  std::int64_t equals = narrowing.cut(0).equals;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    stays.emplace_back(layers[l].size(), false);
    for (std::size_t i = 0; i < layers[l].size(); ++i) {
      const std::uint32_t key = magnitude_key(layers[l][i]), cut = narrowing.cut(l).key;
      stays[l][i] = key > cut || (key == cut && equals-- > 0);
      for (const auto& [layer, least, above] : limits) {
        BOOST_TEST((layer != l || !stays[l][i] || key >= least));
        BOOST_TEST((layer != l || stays[l][i] || key < above));
      }
    }
  }
  return stays;
}

Layers random_layers(testing::Random& random, int kind) {
  Layers layers(static_cast<std::size_t>(1 + kind % 4));
  float scale = 1;
  for (auto& layer : layers) {
    layer.resize(kind == 7 ? 1 : 700);
    for (float& weight : layer) {
      weight = scale * random.symmetric();
      if (kind % 3 == 1) weight = std::round(8 * weight) / 8;  // ties
      if (kind % 5 == 2) weight *= weight * weight * 1e-30F;   // many exponents, subnormal too
      if (kind % 5 == 3 && random.unit() < 0.8) weight = 0;
    }
    scale *= kind % 2 == 0 ? 4.0F : 1.0F;
  }
  if (kind == 9) layers.push_back(layers.back());  // equal scores across layers
  return layers;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_lamp)

BOOST_AUTO_TEST_CASE(selects_what_sorting_selects) {
  testing::Random random(1);
  for (int kind = 0; kind < 24; kind += testing::kOneOf) {
    const Layers layers = random_layers(random, kind);
    std::int64_t weights = 0;
    for (const auto& layer : layers) weights += std::ssize(layer);
    for (const std::int64_t keep : {std::int64_t{0}, std::int64_t{1}, weights / 10, weights / 2,
                                    weights - 1, weights, weights + 5}) {
      BOOST_TEST((selected(layers, keep) == sorted_out(layers, keep)), kind << " " << keep);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace espalier::kernels
