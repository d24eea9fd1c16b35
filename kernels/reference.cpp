#include "kernels/reference.hpp"

#include <cmath>
#include <cstddef>

namespace espalier::kernels::reference {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

double bias_of(std::span<const float> bias, std::int64_t row) {
  if (bias.empty()) return 0;
  return static_cast<double>(bias.size() == 1 ? bias[0] : bias[at(row)]);
}

double finish(double sum, double bias, const Epilogue& epilogue) {
  if (!epilogue.bias_where_nonzero || sum != 0) sum += bias;
  const double y = activate(sum, epilogue);
  const auto limit = static_cast<double>(epilogue.clamp);
  return epilogue.has_clamp && y > limit ? limit : y;
}

// Calls use(tap, input neuron of channel 0) for the taps of output place (y, x) inside the image.
template <typename Use>
void for_each_tap(const Window& window, std::int64_t y, std::int64_t x, Use use) {
  for (std::int64_t ky = 0; ky < window.y.kernel; ++ky) {
    for (std::int64_t kx = 0; kx < window.x.kernel; ++kx) {
      const std::int64_t in_y = y * window.y.stride + ky * window.y.dilation - window.y.pad_begin;
      const std::int64_t in_x = x * window.x.stride + kx * window.x.dilation - window.x.pad_begin;
      if (in_y < 0 || in_x < 0 || in_y >= window.y.inputs || in_x >= window.x.inputs) continue;
      use(ky * window.x.kernel + kx, in_y * window.x.inputs + in_x);
    }
  }
}

// Calls use(output neuron, its channel, y, x) for all of them.
template <typename Use>
void for_each_place(const Window& window, Use use) {
  std::int64_t neuron = 0;
  for (std::int64_t channel = 0; channel < window.out_channels; ++channel) {
    for (std::int64_t y = 0; y < window.y.outputs(); ++y) {
      for (std::int64_t x = 0; x < window.x.outputs(); ++x) use(neuron++, channel, y, x);
    }
  }
}

}  // namespace

double activate(double x, const Epilogue& epilogue) {
  const auto alpha = static_cast<double>(epilogue.alpha);
  switch (epilogue.activation) {
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kLeakyRelu:
      return x < 0 ? alpha * x : x;
    case Activation::kElu:
      return x > 0 ? x : alpha * std::expm1(x);
    case Activation::kGelu:
      return std::isinf(x) ? (x < 0 ? 0 : x) : 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    case Activation::kSilu:
      return std::isinf(x) ? (x < 0 ? 0 : x) : x / (1 + std::exp(-x));
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kIdentity:
    case Activation::kSoftmax:
      break;
  }
  return x;
}

std::vector<double> spmm(const CsrRows& rows, std::span<const float> bias, const Epilogue& epilogue,
                         std::span<const float> in, std::int64_t samples) {
  std::vector<double> out(at(rows.rows() * samples));
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t s = 0; s < samples; ++s) {
      double sum = 0;
      for (std::int64_t k = rows.pointers[at(row)]; k < rows.pointers[at(row + 1)]; ++k) {
        if (rows.value(k) == 0) continue;
        sum += static_cast<double>(rows.value(k)) *
               static_cast<double>(in[at(rows.indices[at(k)] * samples + s)]);
      }
      out[at(row * samples + s)] = finish(sum, bias_of(bias, row), epilogue);
    }
  }
  return out;
}

std::vector<double> convolve(const Window& window, std::span<const float> weights,
                             std::span<const float> in, std::int64_t samples) {
  std::vector<double> out(at(window.outputs() * samples), 0);
  const std::int64_t plane = window.y.inputs * window.x.inputs;
  const std::int64_t depth = window.channels / window.groups;
  for_each_place(
      window, [&](std::int64_t neuron, std::int64_t channel, std::int64_t y, std::int64_t x) {
        const std::int64_t first = channel * window.groups / window.out_channels * depth;
        for (std::int64_t s = 0; s < samples; ++s) {
          for (std::int64_t i = 0; i < depth; ++i) {
            for_each_tap(window, y, x, [&](std::int64_t tap, std::int64_t place) {
              out[at(neuron * samples + s)] +=
                  static_cast<double>(weights[at((channel * depth + i) * window.taps() + tap)]) *
                  static_cast<double>(in[at(((first + i) * plane + place) * samples + s)]);
            });
          }
        }
      });
  return out;
}

std::vector<double> pool(const Window& window, bool largest, std::span<const float> in,
                         std::int64_t samples) {
  std::vector<double> out(at(window.outputs() * samples), 0);
  const std::int64_t plane = window.y.inputs * window.x.inputs;
  for_each_place(window, [&](std::int64_t neuron, std::int64_t channel, std::int64_t y,
                             std::int64_t x) {
    for (std::int64_t s = 0; s < samples; ++s) {
      double sum = 0, most = 0;
      std::int64_t seen = 0;
      for_each_tap(window, y, x, [&](std::int64_t, std::int64_t place) {
        const auto value = static_cast<double>(in[at((channel * plane + place) * samples + s)]);
        most = seen == 0 || value > most ? value : most;
        sum += value;
        ++seen;
      });
      const std::int64_t of = window.count_padding ? window.taps() : seen;
      out[at(neuron * samples + s)] = largest ? most : of == 0 ? 0 : sum / static_cast<double>(of);
    }
  });
  return out;
}

std::vector<float> chain(const CsrRows& rows, std::span<const float> in, std::int64_t samples) {
  std::vector<float> out(at(rows.rows() * samples));
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t s = 0; s < samples; ++s) {
      float sum = 0;
      for (std::int64_t k = rows.pointers[at(row)]; k < rows.pointers[at(row + 1)]; ++k) {
        if (rows.value(k) == 0) continue;
        sum = std::fma(rows.value(k), in[at(rows.indices[at(k)] * samples + s)], sum);
      }
      out[at(row * samples + s)] = sum;
    }
  }
  return out;
}

}  // namespace espalier::kernels::reference
