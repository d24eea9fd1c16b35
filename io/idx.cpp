#include "io/idx.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "framework/error.hpp"
#include "io/input_file.hpp"

namespace espalier::io {
namespace {

constexpr int kUnsignedByte = 8;
constexpr int kMostDimensions = 8;

[[noreturn]] void refuse(const InputFile& file, const std::string& what) {
  throw Error(ExitStatus::kBadData, text(file.path(), ": ", what));
}

std::int64_t big_endian(std::span<const std::byte, 4> bytes) {
  std::int64_t value = 0;
  for (const std::byte byte : bytes) {
    value = value * 256 + std::to_integer<std::int64_t>(byte);
  }
  return value;
}

// Checks the four magic bytes 0 0 type dimensions and returns the number of dimensions.
int check_magic(const InputFile& file) {
  std::array<std::byte, 4> magic{};
  const auto length = std::min<std::int64_t>(file.size(), 4);
  file.read(0, std::span(magic).first(static_cast<std::size_t>(length)));
  if (magic[0] == std::byte{0x1f} && magic[1] == std::byte{0x8b}) {
    refuse(file, "is compressed with gzip; unpack it first (gunzip)");
  }
  if (length < 4 || magic[0] != std::byte{0} || magic[1] != std::byte{0}) {
    refuse(file, "is no IDX file: it should begin with the bytes 0 0 8 and its dimensions");
  }
  if (std::to_integer<int>(magic[2]) != kUnsignedByte) {
    refuse(file, text("holds IDX elements of type ", std::to_integer<int>(magic[2]),
                      ", only unsigned bytes (type 8) can be read"));
  }
  const int dimensions = std::to_integer<int>(magic[3]);
  if (dimensions < 1 || dimensions > kMostDimensions) {
    refuse(file, text("has ", dimensions, " dimensions, right is 1 to ", kMostDimensions));
  }
  return dimensions;
}

}  // namespace

IdxHeader read_idx_header(const std::string& file_name) {
  const InputFile file(file_name);
  const int dimensions = check_magic(file);
  IdxHeader header;
  header.data_offset = 4 + std::int64_t{4} * dimensions;
  if (file.size() < header.data_offset) {
    refuse(file, text("is truncated: it has ", file.size(), " bytes, its header alone needs ",
                      header.data_offset));
  }
  std::int64_t elements = 1;  // a length of 0 must not hide others that are too large
  bool empty = false;
  for (int d = 0; d < dimensions; ++d) {
    std::array<std::byte, 4> length{};
    file.read(4 + std::int64_t{4} * d, length);
    header.shape.push_back(big_endian(length));
    empty = empty || header.shape.back() == 0;
    if (__builtin_mul_overflow(elements, std::max<std::int64_t>(header.shape.back(), 1),
                               &elements)) {
      refuse(file, "has dimensions that are too large");
    }
  }
  elements = empty ? 0 : elements;
  std::int64_t expected = 0;
  if (__builtin_add_overflow(elements, header.data_offset, &expected) || expected != file.size()) {
    refuse(file, text(file.size() < expected ? "is truncated: " : "", "it has ", file.size(),
                      " bytes, its header asks for ", expected));
  }
  return header;
}

std::vector<std::uint8_t> read_idx(const std::string& file_name, const IdxHeader& header,
                                   Range items) {
  expects(!header.shape.empty() && items.begin >= 0 && items.end <= header.shape[0],
          "items are in the file");
  std::int64_t item_bytes = 1;
  for (std::size_t d = 1; d < header.shape.size(); ++d) {
    item_bytes *= header.shape[d];
  }
  std::vector<std::uint8_t> bytes;
  if (!items.empty()) {
    const InputFile file(file_name);
    bytes.resize(static_cast<std::size_t>(items.size() * item_bytes));
    file.read(header.data_offset + items.begin * item_bytes,
              std::as_writable_bytes(std::span(bytes)));
  }
  return bytes;
}

}  // namespace espalier::io
