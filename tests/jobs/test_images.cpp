#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numbers>
#include <vector>

#include "framework/random.hpp"
#include "jobs/generate.hpp"
#include "jobs/images.hpp"

BOOST_AUTO_TEST_SUITE(jobs_images)

using namespace espalier;
using Image = std::vector<std::uint8_t>;

namespace {

double lanczos3(double x) {
  if (x == 0) {
    return 1;
  }
  if (std::abs(x) >= 3) {
    return 0;
  }
  const double p = std::numbers::pi * x;
  return 3 * std::sin(p) * std::sin(p / 3) / (p * p);
}

// One line from the definition: every source pixel weighs in, the weights sum to one.
std::vector<double> plain_line(const std::vector<double>& line, int new_length) {
  const double scale = static_cast<double>(line.size()) / new_length;
  const double stretch = std::max(1.0, scale);
  std::vector<double> result;
  for (int target = 0; target < new_length; ++target) {
    double sum = 0, weights = 0;
    for (std::size_t source = 0; source < line.size(); ++source) {
      const double distance = static_cast<double>(source) + 0.5 - (target + 0.5) * scale;
      sum += lanczos3(distance / stretch) * line[source];
      weights += lanczos3(distance / stretch);
    }
    result.push_back(std::clamp(std::round(sum / weights), 0.0, 255.0));
  }
  return result;
}

Image plain_resize(const Image& image, int height, int width, int new_height, int new_width) {
  std::vector<std::vector<double>> rows;
  for (int row = 0; row < height; ++row) {
    const auto begin = image.begin() + static_cast<std::ptrdiff_t>(row) * width;
    rows.push_back(plain_line({begin, begin + width}, new_width));
  }
  Image result(static_cast<std::size_t>(new_height * new_width));
  for (int column = 0; column < new_width; ++column) {
    std::vector<double> line;
    for (const auto& row : rows) {
      line.push_back(row[static_cast<std::size_t>(column)]);
    }
    const auto resized = plain_line(line, new_height);
    for (int row = 0; row < new_height; ++row) {
      result[static_cast<std::size_t>(row * new_width + column)] =
          static_cast<std::uint8_t>(resized[static_cast<std::size_t>(row)]);
    }
  }
  return result;
}

Image random_image(int height, int width, std::uint64_t seed) {
  RandomStream random(seed, 0, 0);
  Image image(static_cast<std::size_t>(height * width));
  for (auto& pixel : image) {
    pixel = static_cast<std::uint8_t>(random.next_below(256));
  }
  return image;
}

}  // namespace

// Sums in another order may fall to the other side of a half: by one, and rarely.
BOOST_AUTO_TEST_CASE(resizing_is_the_definition) {
  const int sizes[][4] = {{28, 28, 32, 32}, {28, 28, 14, 14}, {5, 7, 9, 4},    {1, 1, 3, 3},
                          {2, 3, 1, 1},     {16, 16, 64, 64}, {64, 64, 10, 10}};
  int pixels = 0, off_by_one = 0;
  for (const auto& [height, width, new_height, new_width] : sizes) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const Image image = random_image(height, width, seed);
      const Image ours = jobs::resize_lanczos(image, height, width, new_height, new_width);
      const Image plain = plain_resize(image, height, width, new_height, new_width);
      BOOST_REQUIRE_EQUAL(ours.size(), plain.size());
      for (std::size_t k = 0; k < ours.size(); ++k) {
        BOOST_CHECK_LE(std::abs(ours[k] - plain[k]), 1);
        off_by_one += ours[k] != plain[k] ? 1 : 0;
        ++pixels;
      }
    }
  }
  BOOST_CHECK_LE(off_by_one, pixels / 1000);
}

BOOST_AUTO_TEST_CASE(what_must_not_change) {
  const Image image = random_image(11, 6, 1);
  BOOST_CHECK(jobs::resize_lanczos(image, 11, 6, 11, 6) == image);
  const Image grey(28 * 28, 93);
  BOOST_CHECK(jobs::resize_lanczos(grey, 28, 28, 32, 32) == Image(32 * 32, 93));
}

// A single bright pixel overshoots below zero around it, which bytes cannot show.
BOOST_AUTO_TEST_CASE(a_bright_pixel) {
  Image image(9, 0);
  image[4] = 255;
  const Image large = jobs::resize_lanczos(image, 3, 3, 6, 6);
  BOOST_CHECK_EQUAL(large[2 * 6 + 2], large[3 * 6 + 3]);
  BOOST_CHECK_GT(large[2 * 6 + 2], 150);
  BOOST_CHECK_EQUAL(large[0], 0);
}

BOOST_AUTO_TEST_CASE(threshold_and_transposition) {
  const Image image = {10, 20, 30, 40, 50, 60};  // 2 x 3
  jobs::ImageRules rules;
  rules.height = 2;
  rules.width = 3;
  BOOST_CHECK(jobs::ImagePreparer(rules).prepare(image) == image);
  rules.transpose = true;
  BOOST_CHECK(jobs::ImagePreparer(rules).prepare(image) == (Image{10, 40, 20, 50, 30, 60}));
  rules.threshold = 30;
  BOOST_CHECK(jobs::ImagePreparer(rules).prepare(image) == (Image{0, 1, 0, 1, 0, 1}));
  rules.threshold = 0;
  BOOST_CHECK(jobs::ImagePreparer(rules).prepare(Image(6, 0)) == Image(6, 0));
  rules.resize = 4;
  BOOST_CHECK_EQUAL(jobs::ImagePreparer(rules).prepare(image).size(), 16U);
}

BOOST_AUTO_TEST_CASE(strokes_ink_a_tenth_and_depend_on_the_key_only) {
  for (const std::int64_t neurons : {32, 1000, 1024, 4096}) {
    std::int64_t ink = 0;
    for (std::int64_t sample = 0; sample < 200; ++sample) {
      const auto places = jobs::stroke_image(3, sample, neurons);
      BOOST_CHECK(places == jobs::stroke_image(3, sample, neurons));
      BOOST_CHECK(std::adjacent_find(places.begin(), places.end(), std::greater_equal<>()) ==
                  places.end());
      BOOST_CHECK(places.empty() || places.back() < neurons);
      ink += std::ssize(places);
    }
    BOOST_CHECK_CLOSE(static_cast<double>(ink) / static_cast<double>(200 * neurons), 0.1, 25);
  }
  BOOST_CHECK(jobs::stroke_image(3, 0, 1024) != jobs::stroke_image(3, 1, 1024));
  BOOST_CHECK(jobs::stroke_image(3, 0, 1024) != jobs::stroke_image(4, 0, 1024));
  BOOST_CHECK_LE(jobs::stroke_image(3, 0, 1).size(), 1U);
}

BOOST_AUTO_TEST_SUITE_END()
