#include "io/weight_type.hpp"

#include <array>
#include <cstring>

#include "framework/error.hpp"
#include "kernels/half.hpp"

namespace espalier::io {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"BF16", "F16", "F32", "F64"};

template <typename Stored, typename Convert>
void convert_all(std::span<const std::byte> stored, std::span<float> out, Convert&& convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored one;
    std::memcpy(&one, stored.data() + i * sizeof one, sizeof one);
    out[i] = convert(one);
  }
}

template <typename Stored, typename Convert>
void store_all(std::span<const float> weights, std::span<std::byte> stored, Convert&& convert) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Stored one = convert(weights[i]);
    std::memcpy(stored.data() + i * sizeof one, &one, sizeof one);
  }
}

void check_sizes(WeightType type, std::size_t bytes, std::size_t count) {
  expects(bytes == count * static_cast<std::size_t>(bytes_of(type)),
          "there are as many stored weights as floats");
}

}  // namespace

std::optional<WeightType> weight_type_of(std::string_view dtype) noexcept {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == dtype) {
      return static_cast<WeightType>(i);
    }
  }
  return std::nullopt;
}

std::string_view dtype_of(WeightType type) noexcept {
  return kNames[static_cast<std::size_t>(type)];
}

int bytes_of(WeightType type) noexcept {
  return type == WeightType::kF64 ? 8 : type == WeightType::kF32 ? 4 : 2;
}

ElementType value_type_of(WeightType type) noexcept {
  return type == WeightType::kBf16 ? kBfloat16 : type == WeightType::kF16 ? kFloat16 : kFloat32;
}

WeightType weight_type_of(ElementType value_type) noexcept {
  return value_type.half == HalfFloat::kBfloat16  ? WeightType::kBf16
         : value_type.half == HalfFloat::kFloat16 ? WeightType::kF16
                                                  : WeightType::kF32;
}

void to_floats(WeightType type, std::span<const std::byte> stored, std::span<float> out) {
  check_sizes(type, stored.size(), out.size());
  switch (type) {
    case WeightType::kBf16:
      return convert_all<std::uint16_t>(stored, out, kernels::bfloat16_to_float);
    case WeightType::kF16:
      return convert_all<std::uint16_t>(stored, out, kernels::half_to_float);
    case WeightType::kF32:
      return convert_all<float>(stored, out, [](float one) { return one; });
    case WeightType::kF64:
      return convert_all<double>(stored, out, [](double one) { return static_cast<float>(one); });
  }
}

void from_floats(WeightType type, std::span<const float> weights, std::span<std::byte> stored) {
  check_sizes(type, stored.size(), weights.size());
  switch (type) {
    case WeightType::kBf16:
      return store_all<std::uint16_t>(weights, stored, kernels::float_to_bfloat16);
    case WeightType::kF16:
      return store_all<std::uint16_t>(weights, stored, kernels::float_to_half);
    case WeightType::kF32:
      return store_all<float>(weights, stored, [](float one) { return one; });
    case WeightType::kF64:
      return store_all<double>(weights, stored, [](float one) { return static_cast<double>(one); });
  }
}

}  // namespace espalier::io
