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
