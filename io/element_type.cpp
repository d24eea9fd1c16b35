#include "io/element_type.hpp"

#include <limits>

#include "framework/error.hpp"

namespace espalier::io {

std::string to_string(ElementType type) {
  switch (type.kind) {
    case ElementClass::kUnsigned:
      return text("uint", 8 * type.bytes);
    case ElementClass::kSigned:
      return text("int", 8 * type.bytes);
    case ElementClass::kFloat:
      return text("float", 8 * type.bytes);
    case ElementClass::kText:
      return text("text[", type.bytes, "]");
    case ElementClass::kPair:
      return "pair[uint32,float32]";
    case ElementClass::kOther:
      break;
  }
  return text("other[", type.bytes, "]");
}

std::string value_name(ElementType type) {
  return type.half == HalfFloat::kFloat16    ? "float16"
         : type.half == HalfFloat::kBfloat16 ? "bfloat16"
                                             : to_string(type);
}

ElementType kept_type(ElementType type) noexcept {
  const bool float16 = type.kind == ElementClass::kFloat && type.bytes == 2;
  return float16 || type.half == HalfFloat::kFloat16 ? kFloat16
         : type.half == HalfFloat::kBfloat16         ? kBfloat16
                                                     : kFloat32;
}

ElementType narrowest_unsigned(std::int64_t largest) {
  expects(largest >= 0, "an unsigned type is asked to hold a number that is not negative");
  const auto wanted = static_cast<std::uint64_t>(largest);
  if (wanted <= std::numeric_limits<std::uint8_t>::max()) {
    return kUint8;
  }
  if (wanted <= std::numeric_limits<std::uint16_t>::max()) {
    return kUint16;
  }
  if (wanted <= std::numeric_limits<std::uint32_t>::max()) {
    return kUint32;
  }
  return kUint64;
}

}  // namespace espalier::io
