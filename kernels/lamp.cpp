#include "kernels/lamp.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <utility>

namespace espalier::kernels {
namespace {

constexpr std::size_t kSums = 3;
constexpr unsigned kPartBits = 24;
// Later rounds have few keys left: smaller tallies do.
constexpr unsigned kLaterBits = 12;
constexpr std::uint32_t kLeastKey = 2;  // of a weight that is not zero
// Wider than what rounding may move a score.
constexpr double kSlack = 1e-9;

// |weight| = mantissa x 2^(exponent - 149).
std::uint64_t mantissa_of(std::uint32_t key) {
  const std::uint32_t fraction = (key >> 1U) & 0x7FFFFFU;
  return key >> 24U == 0 ? fraction : fraction | 0x800000U;
}
int exponent_of(std::uint32_t key) { return std::max(static_cast<int>(key >> 24U), 1) - 1; }

double square_of(std::uint32_t key) {
  const auto magnitude = static_cast<double>(magnitude_of(key));
  return magnitude * magnitude;
}

}  // namespace

LampTally::LampTally(std::uint32_t low, std::uint32_t high, unsigned shift)
    : base_(low >> shift << shift),
      high_(high),
      shift_(shift),
      sums_(low > high ? 0 : (((high - base_) >> shift) + std::size_t{1}) * kSums, 0) {}

void LampTally::add(std::uint32_t key, std::int64_t times) {
  if (key < base_ || key > high_) return;
  std::int64_t* sums = &sums_[((key - base_) >> shift_) * kSums];
  const std::uint64_t mantissa = mantissa_of(key);
  const std::uint64_t square = mantissa * mantissa;
  sums[0] += times;
  sums[1] += static_cast<std::int64_t>(square >> kPartBits) * times;
  sums[2] += static_cast<std::int64_t>(square & ((1U << kPartBits) - 1)) * times;
}

LampSelect::LampSelect(std::size_t layers, std::int64_t keep) : layers_(layers), keep_(keep) {}

LampTally LampSelect::tally(std::size_t layer) const {
  const Layer& of = layers_.at(layer);
  return {of.low, of.high, of.shift};
}

void LampSelect::take(std::size_t layer, const LampTally& tally) {
  Layer& of = layers_.at(layer);
  of.cells.clear();
  double squares = of.squares_above;
  for (std::size_t i = tally.sums_.size() / kSums; i-- > 0;) {
    const std::int64_t* sums = &tally.sums_[i * kSums];
    if (sums[0] == 0) continue;
    const std::uint32_t low = tally.base_ + (static_cast<std::uint32_t>(i) << tally.shift_);
    const std::uint32_t high = low + ((1U << tally.shift_) - 1);
    // The last magnitude of a range of keys, which are even.
    const double largest = square_of(high & ~1U), smallest = square_of(low);
    const double here = std::ldexp(
        std::ldexp(static_cast<double>(sums[1]), kPartBits) + static_cast<double>(sums[2]),
        2 * (exponent_of(low) - 149));
    Cell cell{low, high, sums[0], here, 0, 0};
    cell.least = smallest / (squares + here);
    cell.greatest = tally.shift_ <= 1 ? cell.least : largest / (squares + largest);
    squares += here;
    of.cells.push_back(cell);
  }
}

// The largest score that `keep` weights reach, if all of a cell have its least or greatest one.
double LampSelect::reached(double Cell::*bound) const {
  std::vector<std::pair<double, std::int64_t>> scores;
  for (const Layer& layer : layers_) {
    for (const Cell& cell : layer.cells) scores.emplace_back(cell.*bound, cell.count);
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  std::int64_t count = 0;
  for (const auto& [score, weights] : scores) {
    count += weights;
    if (count >= keep_) return score;
  }
  return 0;
}

// Leaves the cells with scores in [from, to] in question; those above stay, those below go.
void LampSelect::close(Layer& layer, double from, double to) {
  layer.low = 1;
  layer.high = 0;
  for (const Cell& cell : layer.cells) {
    if (cell.least > to) {
      layer.stays_from = std::max(cell.low, kLeastKey);
      layer.squares_above += cell.squares;
      keep_ -= cell.count;
    } else if (cell.greatest >= from) {
      layer.high = layer.low > layer.high ? cell.high : layer.high;
      layer.low = cell.low;
    }
  }
  if (layer.low <= layer.high) {
    const unsigned bits = static_cast<unsigned>(std::bit_width(layer.high - layer.low));
    // Smaller each time, whatever the weights.
    layer.shift =
        std::min(std::max(bits, kLaterBits + 1) - kLaterBits, std::max(layer.shift, 2U) - 1);
  }
}

void LampSelect::narrow() {
  std::int64_t weights = 0;
  bool exact = true;
  for (const Layer& layer : layers_) {
    exact = exact && (layer.shift <= 1 || layer.cells.empty());
    for (const Cell& cell : layer.cells) weights += cell.count;
  }
  if (keep_ <= 0 || keep_ >= weights) {
    for (Layer& layer : layers_) {
      if (keep_ > 0 && !layer.cells.empty()) {
        layer.stays_from = std::max(layer.cells.back().low, kLeastKey);
      }
      layer.low = 1;
      layer.high = 0;
    }
    settled_ = true;
  } else if (exact) {
    settle();
  } else {
    const double from = reached(&Cell::least) * (1 - kSlack);
    const double to = reached(&Cell::greatest) * (1 + kSlack);
    for (Layer& layer : layers_) close(layer, from, to);
  }
}

// All cells are single magnitudes: the score that decides is one of theirs.
void LampSelect::settle() {
  const double score = reached(&Cell::least);
  for (Layer& layer : layers_) {
    layer.low = 1;
    layer.high = 0;
    for (const Cell& cell : layer.cells) {
      if (cell.least > score) {
        layer.stays_from = cell.low;
        keep_ -= cell.count;
      } else if (cell.least == score) {
        layer.low = layer.high = cell.low;
      }
    }
  }
  equals_ = keep_;
  settled_ = true;
}

std::uint32_t LampSelect::least(std::size_t layer) const {
  const Layer& of = layers_.at(layer);
  return of.low <= of.high ? of.low : above(layer);
}

std::uint32_t LampSelect::above(std::size_t layer) const {
  const Layer& of = layers_.at(layer);
  const std::uint64_t from = of.low <= of.high ? of.high + UINT64_C(1) : of.stays_from;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(from, 0xFFFFFFFFU));
}

// Magnitude keys are even: no weight has the odd key below those that stay.
Cut LampSelect::cut(std::size_t layer) const {
  const Layer& of = layers_.at(layer);
  const bool shares = of.low <= of.high;
  return {shares ? of.low : static_cast<std::uint32_t>(of.stays_from - 1), equals_};
}

}  // namespace espalier::kernels
