// Bytes that wait in memory, in pieces that lie together and do not move as more are added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "framework/memory.hpp"

namespace espalier::io {

// All members are local.
class Slabs {
 public:
  // Pieces begin at multiples of it, so that what they hold can be used where it lies.
  static constexpr std::int64_t kAlign = 8;

  // Memory is taken in slabs of about this size.
  explicit Slabs(std::int64_t slab_bytes);

  // Adds one piece, which consists of `parts`; it counts with what aligns the next one (zeros).
  //   throws   std::bad_alloc
  //   returns  the position of its first byte
  std::int64_t append(std::initializer_list<std::span<const std::byte>> parts);
  // Of one piece.
  std::span<const std::byte> at(std::int64_t position, std::int64_t bytes) const;
  std::int64_t bytes() const noexcept { return bytes_; }

  // Calls use(position, bytes) for all there is, in order.
  template <typename Use>
  void for_each(Use&& use) const {
    for (const Slab& slab : slabs_) {
      use(slab.position, slab.room.span().first(slab.used));
    }
  }
  void clear();

 private:
  struct Slab {
    AlignedBuffer<std::byte> room;
    std::size_t used = 0;
    std::int64_t position = 0;
  };

  std::size_t slab_bytes_;
  std::vector<Slab> slabs_;
  std::int64_t bytes_ = 0;
};

}  // namespace espalier::io
