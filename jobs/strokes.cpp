// Generated images: strokes of a thick pen, somewhat like handwritten digits.
#include <algorithm>
#include <bit>
#include <cmath>

#include "framework/random.hpp"
#include "jobs/generate.hpp"

namespace espalier::jobs {
namespace {

// Only sums, products and square roots below: the same bits on every machine.
struct Point {
  double x, y;
};

Point between(Point a, Point b, double t) { return {a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t}; }

class Canvas {
 public:
  Canvas(std::int64_t height, std::int64_t width, std::int64_t pixels)
      : height_(height), width_(width), inked_(static_cast<std::size_t>(pixels), false) {}

  std::int64_t ink() const noexcept { return ink_; }

  // Inks the pixels whose middle is within `radius` of `center`, both in units of the width.
  void dot(Point center, double radius) {
    const double x = center.x * static_cast<double>(width_);
    const double y = center.y * static_cast<double>(height_);
    const double r = radius * static_cast<double>(width_);
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(std::floor(y - r)), 0);
    const auto last = std::min(static_cast<std::int64_t>(std::floor(y + r)), height_ - 1);
    for (std::int64_t row = first; row <= last; ++row) {
      const double dy = static_cast<double>(row) + 0.5 - y;
      const double reach = r * r - dy * dy;
      if (reach > 0) {
        const double dx = std::sqrt(reach);
        fill(row, static_cast<std::int64_t>(std::ceil(x - dx - 0.5)),
             static_cast<std::int64_t>(std::floor(x + dx - 0.5)));
      }
    }
  }

  std::vector<std::uint32_t> inked() const {
    std::vector<std::uint32_t> positions;
    positions.reserve(static_cast<std::size_t>(ink_));
    for (std::size_t k = 0; k < inked_.size(); ++k) {
      if (inked_[k]) {
        positions.push_back(static_cast<std::uint32_t>(k));
      }
    }
    return positions;
  }

 private:
  void fill(std::int64_t row, std::int64_t first, std::int64_t last) {
    const auto pixels = static_cast<std::int64_t>(inked_.size());
    const std::int64_t begin = row * width_ + std::max<std::int64_t>(first, 0);
    const std::int64_t end = std::min(row * width_ + std::min(last, width_ - 1) + 1, pixels);
    for (std::int64_t k = begin; k < end; ++k) {
      ink_ += inked_[static_cast<std::size_t>(k)] ? 0 : 1;
      inked_[static_cast<std::size_t>(k)] = true;
    }
  }

  std::int64_t height_, width_, ink_ = 0;
  std::vector<bool> inked_;
};

Point draw_point(RandomStream& random) {
  constexpr double kMargin = 0.12;
  const double x = kMargin + (1 - 2 * kMargin) * random.next_unit();
  const double y = kMargin + (1 - 2 * kMargin) * random.next_unit();
  return {x, y};
}

}  // namespace

std::vector<std::uint32_t> stroke_image(std::uint64_t seed, std::int64_t sample,
                                        std::int64_t neurons) {
  constexpr int kMostStrokes = 16, kDots = 48;
  constexpr double kLeastInk = 0.03, kInkSpan = 0.21;  // a third of the span on average
  const auto bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(neurons - 1)));
  const std::int64_t width = INT64_C(1) << ((bits + 1) / 2);
  const std::int64_t height = (neurons + width - 1) / width;
  Canvas canvas(height, width, neurons);
  RandomStream random(seed, 0, static_cast<std::uint64_t>(sample));
  const double u = random.next_unit();
  const double wanted = (kLeastInk + kInkSpan * u * u) * static_cast<double>(neurons);
  const double radius = 0.04 + 0.05 * random.next_unit();
  Point from = draw_point(random);
  for (int stroke = 0; stroke < kMostStrokes; ++stroke) {
    const Point bend = draw_point(random);
    const Point to = draw_point(random);
    for (int k = 0; k <= kDots && static_cast<double>(canvas.ink()) < wanted; ++k) {
      const double t = static_cast<double>(k) / kDots;
      canvas.dot(between(between(from, bend, t), between(bend, to, t), t), radius);
    }
    from = to;
  }
  return canvas.inked();
}

}  // namespace espalier::jobs
