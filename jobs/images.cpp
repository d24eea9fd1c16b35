#include "jobs/images.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "framework/error.hpp"

namespace espalier::jobs {
namespace {

constexpr double kSupport = 3;  // of Lanczos-3, in source pixels where nothing shrinks

double sinc(double x) {
  return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
}

double lanczos(double x) { return std::abs(x) < kSupport ? sinc(x) * sinc(x / kSupport) : 0; }

std::uint8_t to_byte(double value) {
  return static_cast<std::uint8_t>(std::clamp(std::floor(value + 0.5), 0.0, 255.0));
}

std::size_t pixels(int height, int width) {
  return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
}

}  // namespace

LanczosResizer::LanczosResizer(int height, int width, int new_height, int new_width)
    : height_(height),
      width_(width),
      new_height_(new_height),
      new_width_(new_width),
      across_(line_taps(width, new_width)),
      down_(line_taps(height, new_height)) {}

std::vector<LanczosResizer::Taps> LanczosResizer::line_taps(int length, int new_length) {
  expects(length > 0 && new_length > 0, "images have pixels");
  const double scale = static_cast<double>(length) / new_length;
  const double stretch = std::max(scale, 1.0);
  std::vector<Taps> all(static_cast<std::size_t>(new_length));
  for (int target = 0; target < new_length; ++target) {
    const double center = (target + 0.5) * scale;
    Taps& taps = all[static_cast<std::size_t>(target)];
    taps.first = std::max(static_cast<int>(std::floor(center - kSupport * stretch + 0.5)), 0);
    const int last =
        std::min(static_cast<int>(std::floor(center + kSupport * stretch + 0.5)), length);
    double sum = 0;
    for (int source = taps.first; source < last; ++source) {
      taps.weights.push_back(lanczos((source + 0.5 - center) / stretch));
      sum += taps.weights.back();
    }
    for (double& weight : taps.weights) {
      weight /= sum;
    }
  }
  return all;
}

void LanczosResizer::resize_lines(std::span<const std::uint8_t> source,
                                  std::span<std::uint8_t> target, const std::vector<Taps>& taps,
                                  const Pass& pass) {
  for (int line = 0; line < pass.lines; ++line) {
    int to = line * pass.target_line_stride;
    for (const Taps& one : taps) {
      double sum = 0;
      int from = line * pass.line_stride + one.first * pass.step;
      for (const double weight : one.weights) {
        sum += weight * source[static_cast<std::size_t>(from)];
        from += pass.step;
      }
      target[static_cast<std::size_t>(to)] = to_byte(sum);
      to += pass.target_step;
    }
  }
}

std::vector<std::uint8_t> LanczosResizer::resize(std::span<const std::uint8_t> image) const {
  expects(image.size() == pixels(height_, width_), "the image is height x width");
  std::vector<std::uint8_t> wide(pixels(height_, new_width_));
  resize_lines(image, wide, across_, {height_, width_, 1, new_width_, 1});
  std::vector<std::uint8_t> resized(pixels(new_height_, new_width_));
  resize_lines(wide, resized, down_, {new_width_, 1, new_width_, 1, new_width_});
  return resized;
}

std::vector<std::uint8_t> resize_lanczos(std::span<const std::uint8_t> image, int height, int width,
                                         int new_height, int new_width) {
  return LanczosResizer(height, width, new_height, new_width).resize(image);
}

ImagePreparer::ImagePreparer(const ImageRules& rules)
    : rules_(rules), resizer_(rules.height, rules.width, rules.out_height(), rules.out_width()) {}

std::vector<std::uint8_t> ImagePreparer::prepare(std::span<const std::uint8_t> image) const {
  std::vector<std::uint8_t> features = rules_.resize > 0
                                           ? resizer_.resize(image)
                                           : std::vector<std::uint8_t>(image.begin(), image.end());
  if (rules_.threshold >= 0) {
    for (std::uint8_t& pixel : features) {
      pixel = pixel > rules_.threshold ? 1 : 0;
    }
  }
  if (!rules_.transpose) {
    return features;
  }
  const auto height = static_cast<std::size_t>(rules_.out_height());
  const auto width = static_cast<std::size_t>(rules_.out_width());
  std::vector<std::uint8_t> turned(features.size());
  for (std::size_t row = 0; row < height; ++row) {
    for (std::size_t column = 0; column < width; ++column) {
      turned[column * height + row] = features[row * width + column];
    }
  }
  return turned;
}

}  // namespace espalier::jobs
