#include "io/stored_array.hpp"

#include <algorithm>

#include "framework/error.hpp"
#include "io/convert_elements.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kElementsAtATime = 1 << 16;

}  // namespace

std::int64_t StoredArray::count() const {
  std::int64_t count = 1;
  for (const std::int64_t length : shape) {
    count *= length;
  }
  return count;
}

template <typename To>
void StoredArray::read(std::int64_t first, std::span<To> out) const {
  expects(is_convertible_to<To>(type), "an array is read as numbers of its kind");
  const auto width = static_cast<std::size_t>(type.bytes);
  std::vector<std::uint64_t> aligned((std::min(out.size(), kElementsAtATime) * width + 7) / 8);
  const auto buffer = std::as_writable_bytes(std::span(aligned));
  while (!out.empty()) {
    const std::size_t count = std::min(out.size(), kElementsAtATime);
    const auto stored = buffer.first(count * width);
    bytes->read(offset + first * type.bytes, stored);
    const std::size_t fitting = convert_elements<To>(type, stored, out.first(count));
    if (fitting != count) {
      throw Error(ExitStatus::kBadData,
                  text(name, ": element ", first + static_cast<std::int64_t>(fitting), " is ",
                       spell_element(type, stored.subspan(fitting * width, width)),
                       ", which does not fit into ",
                       std::is_floating_point_v<To> ? "float32" : "the range of an index"));
    }
    first += static_cast<std::int64_t>(count);
    out = out.subspan(count);
  }
}

template void StoredArray::read(std::int64_t, std::span<std::int64_t>) const;
template void StoredArray::read(std::int64_t, std::span<std::uint32_t>) const;
template void StoredArray::read(std::int64_t, std::span<float>) const;

void check_extent(const StoredArray& array, bool exact) {
  std::int64_t bytes = array.type.bytes;
  for (const std::int64_t length : array.shape) {
    if (length < 0 || __builtin_mul_overflow(bytes, length, &bytes)) {
      throw Error(ExitStatus::kBadData,
                  text(array.name, ": a length of ", length,
                       " cannot be: no array is that large, or has a negative length"));
    }
  }
  const std::int64_t there = array.bytes->size() - array.offset;
  if (there < bytes || (exact && there > bytes)) {
    throw Error(ExitStatus::kBadData, text(array.name, ": its header asks for ", bytes,
                                           " bytes of elements, but there are ", there));
  }
}

bool is_whole(ElementType type) noexcept {
  return (type.kind == ElementClass::kUnsigned && !type.is_half()) ||
         type.kind == ElementClass::kSigned;
}

bool is_number(ElementType type) noexcept {
  return is_whole(type) || type.is_half() || type.kind == ElementClass::kFloat;
}

}  // namespace espalier::io
