#include "io/convert_elements.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>
#include <type_traits>
#include <utility>

#include "framework/error.hpp"
#include "io/stored_array.hpp"
#include "kernels/half.hpp"

namespace espalier::io {
namespace {

// The types of two bytes.
struct Half {
  std::uint16_t bits;
  explicit operator float() const noexcept { return kernels::half_to_float(bits); }
  explicit operator double() const noexcept {
    return static_cast<double>(kernels::half_to_float(bits));
  }
};
struct Bfloat {
  std::uint16_t bits;
  explicit operator float() const noexcept { return kernels::bfloat16_to_float(bits); }
  explicit operator double() const noexcept {
    return static_cast<double>(kernels::bfloat16_to_float(bits));
  }
};

template <typename To, typename From>
bool fits(From value) noexcept {
  if constexpr (std::is_class_v<From>) {
    return true;
  } else if constexpr (std::is_integral_v<To>) {
    return std::in_range<To>(value);
  } else if constexpr (std::is_same_v<To, float> && std::is_same_v<From, double>) {
    // Values that are not finite stay so; who reads weights refuses them with their place.
    return !(std::abs(value) <= std::numeric_limits<double>::max()) ||
           std::abs(static_cast<float>(value)) <= std::numeric_limits<float>::max();
  } else {
    return true;
  }
}

template <typename To, typename From>
std::size_t convert(std::span<const std::byte> stored, std::span<To> out) {
  const auto* from = reinterpret_cast<const From*>(stored.data());
  bool all = true;
  for (std::size_t i = 0; i < out.size(); ++i) {
    all = all & fits<To>(from[i]);  // no early exit: so that the loop can be vectorised
    out[i] = static_cast<To>(from[i]);
  }
  if (all) {
    return out.size();
  }
  const auto* misfit = std::find_if(from, from + out.size(), [](From v) { return !fits<To>(v); });
  return static_cast<std::size_t>(misfit - from);
}

template <typename Word>
void swap_words(std::span<std::byte> stored) {
  for (std::size_t at = 0; at < stored.size(); at += sizeof(Word)) {
    Word word;
    std::memcpy(&word, stored.data() + at, sizeof word);
    if constexpr (sizeof(Word) == 2) {
      word = __builtin_bswap16(word);
    } else if constexpr (sizeof(Word) == 4) {
      word = __builtin_bswap32(word);
    } else {
      word = __builtin_bswap64(word);
    }
    std::memcpy(stored.data() + at, &word, sizeof word);
  }
}

void swap_bytes(int width, std::span<std::byte> stored) {
  if (width == 2) {
    swap_words<std::uint16_t>(stored);
  } else if (width == 4) {
    swap_words<std::uint32_t>(stored);
  } else if (width == 8) {
    swap_words<std::uint64_t>(stored);
  }
}

// Calls work(a value of the stored type).
template <typename Work>
auto for_stored_type(ElementType type, Work&& work) {
  const bool is_signed = type.kind == ElementClass::kSigned;
  if (type.is_half()) {
    return type.half == HalfFloat::kFloat16 ? work(Half{}) : work(Bfloat{});
  }
  if (type.kind == ElementClass::kFloat) {
    switch (type.bytes) {
      case 2:
        return work(Half{});
      case 4:
        return work(float{});
      default:
        return work(double{});
    }
  }
  switch (type.bytes) {
    case 1:
      return is_signed ? work(std::int8_t{}) : work(std::uint8_t{});
    case 2:
      return is_signed ? work(std::int16_t{}) : work(std::uint16_t{});
    case 4:
      return is_signed ? work(std::int32_t{}) : work(std::uint32_t{});
    default:
      return is_signed ? work(std::int64_t{}) : work(std::uint64_t{});
  }
}

}  // namespace

template <typename To>
bool is_convertible_to(ElementType from) noexcept {
  return is_whole(from) || (std::is_floating_point_v<To> && is_number(from));
}

template <typename To>
std::size_t convert_elements(ElementType from, std::span<std::byte> stored, std::span<To> out) {
  expects(is_convertible_to<To>(from) &&
              stored.size() == out.size() * static_cast<std::size_t>(from.bytes),
          "stored elements are converted to a type that can hold them");
  if (!from.native_order) {
    swap_bytes(from.bytes, stored);
  }
  return for_stored_type(from, [&](auto like) -> std::size_t {
    using From = decltype(like);
    if constexpr (std::is_integral_v<To> && !std::is_integral_v<From>) {
      return 0;
    } else {
      return convert<To, From>(stored, out);
    }
  });
}

template bool is_convertible_to<std::int64_t>(ElementType) noexcept;
template bool is_convertible_to<std::uint32_t>(ElementType) noexcept;
template bool is_convertible_to<float>(ElementType) noexcept;
template bool is_convertible_to<double>(ElementType) noexcept;
template std::size_t convert_elements(ElementType, std::span<std::byte>, std::span<std::int64_t>);
template std::size_t convert_elements(ElementType, std::span<std::byte>, std::span<std::uint32_t>);
template std::size_t convert_elements(ElementType, std::span<std::byte>, std::span<float>);
template std::size_t convert_elements(ElementType, std::span<std::byte>, std::span<double>);

std::string spell_element(ElementType type, std::span<const std::byte> stored) {
  return for_stored_type(type, [&](auto like) {
    std::memcpy(&like, stored.data(), sizeof like);
    std::ostringstream spelled;
    if constexpr (std::is_integral_v<decltype(like)>) {
      spelled << +like;
    } else {
      spelled << static_cast<double>(like);
    }
    return spelled.str();
  });
}

}  // namespace espalier::io
