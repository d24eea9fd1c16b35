#include "io/slabs.hpp"

#include <algorithm>
#include <iterator>

#include "framework/error.hpp"

namespace espalier::io {

Slabs::Slabs(std::int64_t slab_bytes) : slab_bytes_(static_cast<std::size_t>(slab_bytes)) {
  expects(slab_bytes > 0, "a slab has room");
}

std::int64_t Slabs::append(std::initializer_list<std::span<const std::byte>> parts) {
  std::size_t length = 0;
  for (const auto part : parts) {
    length += part.size();
  }
  const std::size_t whole = (length + kAlign - 1) / kAlign * kAlign;
  if (slabs_.empty() || slabs_.back().room.size() - slabs_.back().used < whole) {
    slabs_.push_back({AlignedBuffer<std::byte>(std::max(slab_bytes_, whole)), 0, bytes_});
  }
  Slab& slab = slabs_.back();
  auto to = slab.room.span().subspan(slab.used, whole);
  for (const auto part : parts) {
    std::copy(part.begin(), part.end(), to.begin());
    to = to.subspan(part.size());
  }
  std::fill(to.begin(), to.end(), std::byte{});
  slab.used += whole;
  const std::int64_t position = bytes_;
  bytes_ += static_cast<std::int64_t>(whole);
  return position;
}

std::span<const std::byte> Slabs::at(std::int64_t position, std::int64_t bytes) const {
  const auto behind = std::upper_bound(
      slabs_.begin(), slabs_.end(), position,
      [](std::int64_t wanted, const Slab& slab) { return wanted < slab.position; });
  expects(behind != slabs_.begin(), "a piece that waits is looked at");
  const Slab& slab = *std::prev(behind);
  const auto first = static_cast<std::size_t>(position - slab.position);
  const auto length = static_cast<std::size_t>(bytes);
  expects(first <= slab.used && length <= slab.used - first, "a piece lies within its slab");
  return slab.room.span().subspan(first, length);
}

void Slabs::clear() {
  slabs_.clear();
  bytes_ = 0;
}

}  // namespace espalier::io
