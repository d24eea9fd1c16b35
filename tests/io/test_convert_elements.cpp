#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "io/convert_elements.hpp"

BOOST_AUTO_TEST_SUITE(io_convert_elements)

using namespace espalier::io;

namespace {

constexpr ElementType kInt8{ElementClass::kSigned, 1};
constexpr ElementType kInt16{ElementClass::kSigned, 2};
constexpr ElementType kInt32{ElementClass::kSigned, 4};
constexpr ElementType kHdf5Half{ElementClass::kFloat, 2};

template <typename From>
std::vector<std::byte> stored(const std::vector<From>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(From));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// How many elements fit, and all of them as converted.
template <typename To, typename From>
std::pair<std::size_t, std::vector<To>> convert(ElementType type, const std::vector<From>& values) {
  auto bytes = stored(values);
  std::vector<To> out(values.size());
  const std::size_t fitting = convert_elements(type, bytes, std::span(out));
  return {fitting, out};
}

template <typename To, typename From>
void check_all(ElementType type, const std::vector<From>& values, const std::vector<To>& wanted) {
  const auto [fitting, out] = convert<To>(type, values);
  BOOST_CHECK_EQUAL(fitting, values.size());
  BOOST_CHECK_EQUAL_COLLECTIONS(out.begin(), out.end(), wanted.begin(), wanted.end());
}

template <typename To, typename From>
std::size_t misfit(ElementType type, const std::vector<From>& values) {
  return convert<To>(type, values).first;
}

}  // namespace

BOOST_AUTO_TEST_CASE(widens_and_narrows_integers_that_fit) {
  check_all<std::int64_t, std::int8_t>(kInt8, {-128, 127}, {-128, 127});
  check_all<std::int64_t, std::uint8_t>(kUint8, {0, 255}, {0, 255});
  check_all<std::uint32_t, std::uint16_t>(kUint16, {0, 65535}, {0, 65535});
  check_all<std::uint32_t, std::int32_t>(kInt32, {0, 2147483647}, {0, 2147483647});
  check_all<std::uint32_t, std::int64_t>(kInt64, {0, 4294967295}, {0, 4294967295U});
  check_all<std::int64_t, std::uint64_t>(kUint64, {std::uint64_t{1} << 62},
                                         {std::int64_t{1} << 62});
  check_all<float, std::int16_t>(kInt16, {-3, 300}, {-3, 300});
  check_all<double, std::uint64_t>(kUint64, {std::uint64_t{1} << 63}, {0x1p63});
}

BOOST_AUTO_TEST_CASE(finds_the_first_integer_that_does_not_fit) {
  BOOST_CHECK_EQUAL((misfit<std::uint32_t, std::int64_t>(kInt64, {1, 4294967296, -1})), 1);
  BOOST_CHECK_EQUAL((misfit<std::uint32_t, std::int8_t>(kInt8, {1, 2, -1})), 2);
  BOOST_CHECK_EQUAL((misfit<std::uint32_t, std::int64_t>(kInt64, {-1})), 0);
  BOOST_CHECK_EQUAL((misfit<std::int64_t, std::uint64_t>(kUint64, {0, std::uint64_t{1} << 63})), 1);
}

BOOST_AUTO_TEST_CASE(rounds_doubles_and_refuses_overflow) {
  const double infinity = std::numeric_limits<double>::infinity();
  check_all<float, double>(kFloat64, {0.1, -1e-60, infinity}, {0.1F, -0.0F, HUGE_VALF});
  BOOST_CHECK_EQUAL((misfit<float, double>(kFloat64, {1, -1e39})), 1);
  BOOST_CHECK_EQUAL((misfit<float, double>(kFloat64, {3.4028236e38})), 0);
  const auto [fitting, out] = convert<float>(kFloat64, std::vector<double>{std::nan("")});
  BOOST_CHECK(fitting == 1 && std::isnan(out[0]));
  check_all<double, float>(kFloat32, {0.1F}, {static_cast<double>(0.1F)});
}

BOOST_AUTO_TEST_CASE(reads_half_precision) {
  // 1, -2, the largest, the least normal, the least of all, infinity, -0
  check_all<float, std::uint16_t>(
      kHdf5Half, {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x7c00, 0x8000, 0x3555},
      {1, -2, 65504, 0x1p-14F, 0x1p-24F, HUGE_VALF, -0.0F, 0.333251953125F});
  BOOST_CHECK(std::isnan(convert<float>(kHdf5Half, std::vector<std::uint16_t>{0x7e01}).second[0]));
}

BOOST_AUTO_TEST_CASE(reads_bits_of_half_types) {
  check_all<float, std::uint16_t>(kFloat16, {0x3c00, 0xc000, 0x0001}, {1, -2, 0x1p-24F});
  check_all<float, std::uint16_t>(kBfloat16, {0x3f80, 0xc000, 0x0001, 0x7f80, 0x8000},
                                  {1, -2, 0x1p-133F, HUGE_VALF, -0.0F});
  check_all<double, std::uint16_t>(kBfloat16, {0x3eab}, {0.333984375});
  ElementType turned = kBfloat16;
  turned.native_order = false;
  check_all<float, std::uint16_t>(turned, {0x803f}, {1});
  BOOST_CHECK(!is_convertible_to<std::int64_t>(kBfloat16) && is_convertible_to<float>(kBfloat16));
  BOOST_CHECK_EQUAL(to_string(kBfloat16), "uint16");
  BOOST_CHECK_EQUAL(value_name(kBfloat16), "bfloat16");
  BOOST_CHECK_EQUAL(value_name(kFloat16), "float16");
  BOOST_CHECK_EQUAL(value_name(kUint16), "uint16");
  BOOST_CHECK(kept_type(turned) == kBfloat16 && kept_type(kFloat16) == kFloat16 &&
              kept_type(kHdf5Half) == kFloat16 && kept_type(kUint16) == kFloat32 &&
              kept_type(kFloat64) == kFloat32);
}

BOOST_AUTO_TEST_CASE(swaps_the_other_byte_order) {
  ElementType type = kUint16;
  type.native_order = false;
  check_all<std::uint32_t, std::uint16_t>(type, {0x0102, 0xff00}, {0x0201, 0x00ff});
  type = {ElementClass::kSigned, 4, false};
  check_all<std::int64_t, std::uint32_t>(type, {0xfeffffff}, {-2});
  type = {ElementClass::kFloat, 8, false};
  check_all<double, std::uint64_t>(type, {0x000000000000f03f}, {1.0});
}

BOOST_AUTO_TEST_CASE(knows_what_converts_and_how_to_spell_it) {
  BOOST_CHECK(is_convertible_to<std::int64_t>(kUint8) && is_convertible_to<double>(kInt64));
  BOOST_CHECK(!is_convertible_to<std::int64_t>(kFloat32));
  BOOST_CHECK(!is_convertible_to<float>(ElementType{ElementClass::kText, 4}));
  BOOST_CHECK_EQUAL(spell_element(kInt8, stored<std::int8_t>({-5})), "-5");
  BOOST_CHECK_EQUAL(spell_element(kUint64, stored<std::uint64_t>({~std::uint64_t{0}})),
                    "18446744073709551615");
  BOOST_CHECK_EQUAL(spell_element(kFloat64, stored<double>({-1e39})), "-1e+39");
  BOOST_CHECK_EQUAL(to_string(kHdf5Half), "float16");
  BOOST_CHECK(narrowest_unsigned(255) == kUint8 && narrowest_unsigned(256) == kUint16 &&
              narrowest_unsigned(65536) == kUint32 &&
              narrowest_unsigned(std::int64_t{1} << 32) == kUint64);
}

BOOST_AUTO_TEST_SUITE_END()
