#include "io/h5_describe.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <stdexcept>

namespace espalier::io {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxAttributeElements = 1 << 20;
constexpr std::size_t kMaxAttributeBytes = std::size_t{64} << 20;

H5Handle hold(hid_t id) {
  if (id < 0) {
    throw std::runtime_error(h5_reason());
  }
  return H5Handle(id);
}

void check(herr_t code) {
  if (code < 0) {
    throw std::runtime_error(h5_reason());
  }
}

bool ordered(hid_t type, ElementType& described) {
  const H5T_order_t order = H5Tget_order(type);
  described.native_order = order == H5T_ORDER_LE || described.bytes == 1;
  return order == H5T_ORDER_LE || order == H5T_ORDER_BE;
}

bool is_plain_integer(hid_t type, std::size_t bytes) {
  return (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8) &&
         H5Tget_precision(type) == 8 * bytes && H5Tget_offset(type) == 0;
}

// IEEE 754 half, single and double; not bfloat16 and what else can be spelled.
bool is_ieee_float(hid_t type, std::size_t bytes) {
  struct Layout {
    std::size_t bytes, exponent_at, exponent_bits, mantissa_bits, bias;
  };
  constexpr std::array<Layout, 3> kIeee = {
      {{2, 10, 5, 10, 15}, {4, 23, 8, 23, 127}, {8, 52, 11, 52, 1023}}};
  std::size_t sign = 0, exponent_at = 0, exponent = 0, mantissa_at = 0, mantissa = 0;
  if (H5Tget_fields(type, &sign, &exponent_at, &exponent, &mantissa_at, &mantissa) < 0) {
    return false;
  }
  for (const Layout& known : kIeee) {
    if (bytes == known.bytes) {
      return sign == 8 * bytes - 1 && exponent_at == known.exponent_at &&
             exponent == known.exponent_bits && mantissa_at == 0 &&
             mantissa == known.mantissa_bits && H5Tget_ebias(type) == known.bias &&
             H5Tget_precision(type) == 8 * bytes && H5Tget_norm(type) == H5T_NORM_IMPLIED;
    }
  }
  return false;
}

template <typename Number>
json read_numbers(hid_t attribute, hid_t memory_type, std::size_t count, bool scalar) {
  std::vector<Number> values(count);
  check(H5Aread(attribute, memory_type, values.data()));
  return scalar ? json(values.front()) : json(values);
}

json as_json(std::vector<std::string> texts, bool scalar) {
  return scalar ? json(std::move(texts.front())) : json(std::move(texts));
}

// Fixed-length text without its padding.
std::string trimmed(std::string_view stored, H5T_str_t padding) {
  if (padding == H5T_STR_SPACEPAD) {
    stored = stored.substr(0, stored.find_last_not_of(' ') + 1);
  }
  return std::string(stored.substr(0, stored.find('\0')));
}

json read_fixed_texts(hid_t attribute, hid_t type, std::size_t count, bool scalar) {
  const std::size_t length = H5Tget_size(type);
  if (length == 0 || length > kMaxAttributeBytes / count) {
    return nullptr;
  }
  std::string stored(length * count, '\0');
  check(H5Aread(attribute, type, stored.data()));
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    texts.push_back(
        trimmed(std::string_view(stored).substr(i * length, length), H5Tget_strpad(type)));
  }
  return as_json(std::move(texts), scalar);
}

json read_variable_texts(hid_t attribute, hid_t type, hid_t space, std::size_t count, bool scalar) {
  const H5Handle memory_type = hold(H5Tcopy(H5T_C_S1));
  check(H5Tset_size(memory_type.get(), H5T_VARIABLE));
  check(H5Tset_cset(memory_type.get(), H5Tget_cset(type)));
  std::vector<char*> stored(count, nullptr);
  check(H5Aread(attribute, memory_type.get(), stored.data()));
  std::vector<std::string> texts;
  for (const char* one : stored) {
    texts.emplace_back(one == nullptr ? "" : one);
  }
  check(H5Dvlen_reclaim(memory_type.get(), space, H5P_DEFAULT, stored.data()));
  return as_json(std::move(texts), scalar);
}

// {index: uint32, weight: float32}, little-endian and without gaps.
bool is_pair(hid_t type, std::size_t bytes) {
  const auto member = [&](unsigned number, const char* name, ElementType wanted) {
    char* found = H5Tget_member_name(type, number);
    const bool named = found != nullptr && std::strcmp(found, name) == 0;
    H5free_memory(found);
    return named && describe_type(hold(H5Tget_member_type(type, number)).get()) == wanted;
  };
  return bytes == sizeof(IndexedWeight) && H5Tget_nmembers(type) == 2 &&
         H5Tget_member_offset(type, 0) == offsetof(IndexedWeight, index) &&
         H5Tget_member_offset(type, 1) == offsetof(IndexedWeight, weight) &&
         member(0, "index", kUint32) && member(1, "weight", kFloat32);
}

}  // namespace

void damaged(const std::string& file, const std::string& where, const std::string& reason) {
  throw Error(ExitStatus::kBadData, text(file, ": damaged: ", where, ": ", reason));
}

ElementType describe_type(hid_t type) {
  const std::size_t bytes = H5Tget_size(type);
  if (bytes == 0 || bytes > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw std::runtime_error(text("elements of ", bytes, " bytes"));
  }
  ElementType described{ElementClass::kOther, static_cast<int>(bytes)};
  const ElementType other = described;
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      described.kind =
          H5Tget_sign(type) == H5T_SGN_NONE ? ElementClass::kUnsigned : ElementClass::kSigned;
      return is_plain_integer(type, bytes) && ordered(type, described) ? described : other;
    case H5T_ENUM:
      return describe_type(hold(H5Tget_super(type)).get());
    case H5T_FLOAT:
      described.kind = ElementClass::kFloat;
      return is_ieee_float(type, bytes) && ordered(type, described) ? described : other;
    case H5T_STRING:
      described.kind = H5Tis_variable_str(type) == 0 ? ElementClass::kText : ElementClass::kOther;
      return described;
    case H5T_COMPOUND:
      described.kind = ElementClass::kPair;
      return is_pair(type, bytes) ? described : other;
    default:
      return other;
  }
}

std::vector<std::int64_t> describe_shape(hid_t space) {
  if (H5Sget_simple_extent_type(space) == H5S_NULL) {
    return {0};
  }
  std::array<hsize_t, H5S_MAX_RANK> extents{};
  const int rank = H5Sget_simple_extent_dims(space, extents.data(), nullptr);
  check(rank);
  std::vector<std::int64_t> shape;
  for (const hsize_t extent : std::span(extents).first(static_cast<std::size_t>(rank))) {
    if (extent > static_cast<hsize_t>(std::numeric_limits<std::int64_t>::max())) {
      throw std::runtime_error(text("an extent of ", extent));
    }
    shape.push_back(static_cast<std::int64_t>(extent));
  }
  return shape;
}

json read_attribute(hid_t attribute) {
  const H5Handle type = hold(H5Aget_type(attribute));
  const H5Handle space = hold(H5Aget_space(attribute));
  const hssize_t elements = H5Sget_simple_extent_npoints(space.get());
  const bool scalar = H5Sget_simple_extent_type(space.get()) == H5S_SCALAR;
  const H5T_class_t kind = H5Tget_class(type.get());
  const bool served =
      kind == H5T_INTEGER || kind == H5T_ENUM || kind == H5T_FLOAT || kind == H5T_STRING;
  if (!served || elements < 0 || elements > kMaxAttributeElements ||
      H5Sget_simple_extent_type(space.get()) == H5S_NULL) {
    return nullptr;
  }
  if (elements == 0) {
    return json::array();
  }
  const auto count = static_cast<std::size_t>(elements);
  if (kind == H5T_STRING) {
    return H5Tis_variable_str(type.get()) > 0
               ? read_variable_texts(attribute, type.get(), space.get(), count, scalar)
               : read_fixed_texts(attribute, type.get(), count, scalar);
  }
  if (kind == H5T_FLOAT) {
    return read_numbers<double>(attribute, H5T_NATIVE_DOUBLE, count, scalar);
  }
  const H5Handle base = kind == H5T_ENUM ? hold(H5Tget_super(type.get())) : H5Handle();
  const hid_t integer = kind == H5T_ENUM ? base.get() : type.get();
  if (H5Tget_class(integer) == H5T_INTEGER && H5Tget_sign(integer) == H5T_SGN_NONE) {
    return read_numbers<std::uint64_t>(attribute, H5T_NATIVE_UINT64, count, scalar);
  }
  return read_numbers<std::int64_t>(attribute, H5T_NATIVE_INT64, count, scalar);
}

}  // namespace espalier::io
