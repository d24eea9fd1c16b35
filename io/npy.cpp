#include "io/npy.hpp"

#include "framework/error.hpp"

namespace espalier::io {
namespace {

// "<f4", "|u1", "|S12": byte order, kind, bytes.
std::string dtype(ElementType type) {
  char kind = 'u';
  switch (type.kind) {
    case ElementClass::kUnsigned:
      kind = 'u';
      break;
    case ElementClass::kSigned:
      kind = 'i';
      break;
    case ElementClass::kFloat:
      kind = 'f';
      break;
    case ElementClass::kText:
      kind = 'S';
      break;
    case ElementClass::kPair:
    case ElementClass::kOther:
      expects(false, "an element type NumPy knows");
  }
  const bool no_order = type.bytes == 1 || type.kind == ElementClass::kText;
  const char order = no_order ? '|' : (type.native_order ? '<' : '>');
  return text(order, kind, type.bytes);
}

}  // namespace

std::string npy_header(ElementType type, const std::vector<std::int64_t>& shape) {
  std::string tuple = "(";
  for (const std::int64_t length : shape) {
    tuple += text(length, ", ");
  }
  if (shape.size() > 1) {
    tuple.resize(tuple.size() - 2);
  } else if (shape.size() == 1) {
    tuple.pop_back();  // "(3,)": a tuple of one needs its comma
  }
  std::string header =
      text("{'descr': '", dtype(type), "', 'fortran_order': False, 'shape': ", tuple, "), }");
  constexpr std::size_t kAlign = 64, kPrefix = 10;
  header.resize((kPrefix + header.size() + 1 + kAlign - 1) / kAlign * kAlign - kPrefix - 1, ' ');
  header += '\n';
  expects(header.size() < 65536, "the header fits version 1.0");
  std::string prefix = "\x93NUMPY";
  prefix += '\x01';
  prefix += '\0';
  prefix += static_cast<char>(header.size() & 0xffU);
  prefix += static_cast<char>(header.size() >> 8U);
  return prefix + header;
}

}  // namespace espalier::io
