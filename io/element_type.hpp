// The element types of stored arrays.
#pragma once

#include <cstdint>
#include <string>

namespace espalier::io {

enum class ElementClass : std::uint8_t {
  kUnsigned,
  kSigned,
  kFloat,
  kText,   // fixed-length strings
  kPair,   // compounds {index: uint32, weight: float32}: IndexedWeight
  kOther,  // anything else: listed, never read
};

// What the bits of an unsigned integer of two bytes stand for, if not for itself.
enum class HalfFloat : std::uint8_t { kNone, kFloat16, kBfloat16 };

struct ElementType {
  ElementClass kind = ElementClass::kOther;
  int bytes = 0;
  bool native_order = true;  // little endian, as every machine we run on
  HalfFloat half = HalfFloat::kNone;

  bool is_half() const noexcept { return half != HalfFloat::kNone; }
  friend bool operator==(const ElementType&, const ElementType&) = default;
};

inline constexpr ElementType kUint8{ElementClass::kUnsigned, 1};
inline constexpr ElementType kUint16{ElementClass::kUnsigned, 2};
inline constexpr ElementType kUint32{ElementClass::kUnsigned, 4};
inline constexpr ElementType kUint64{ElementClass::kUnsigned, 8};
inline constexpr ElementType kInt64{ElementClass::kSigned, 8};
inline constexpr ElementType kFloat32{ElementClass::kFloat, 4};
inline constexpr ElementType kFloat64{ElementClass::kFloat, 8};
inline constexpr ElementType kFloat16{ElementClass::kUnsigned, 2, true, HalfFloat::kFloat16};
inline constexpr ElementType kBfloat16{ElementClass::kUnsigned, 2, true, HalfFloat::kBfloat16};

// An element of class kPair, as it is stored.
struct IndexedWeight {
  std::uint32_t index;
  float weight;
};
inline constexpr ElementType kPairType{ElementClass::kPair, sizeof(IndexedWeight)};

// "uint16", "float32", "text[12]", as binsparse and NumPy spell them; "pair[uint32,float32]".
// Bits of half types are "uint16" here, and "float16" or "bfloat16" as values.
std::string to_string(ElementType type);
std::string value_name(ElementType type);

// In which type values of such a type are kept: half types, HDF5's and NumPy's too, as their bits,
// all others as float32.
ElementType kept_type(ElementType type) noexcept;

// The narrowest unsigned type that holds every value in [0, largest].
ElementType narrowest_unsigned(std::int64_t largest);

}  // namespace espalier::io
