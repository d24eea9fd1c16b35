// An array of numbers as it lies in a file, whatever the format around it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/byte_source.hpp"
#include "io/element_type.hpp"

namespace espalier::io {

struct StoredArray {
  std::string name;  // for messages: "weights.npz: layer1"
  std::shared_ptr<const ByteSource> bytes;
  std::int64_t offset = 0;  // of the first element in `bytes`
  ElementType type;
  std::vector<std::int64_t> shape;
  bool column_major = false;  // the first index runs fastest

  std::int64_t count() const;

  // Elements [first, first + out.size()) in the order in which they are stored, converted.
  //   where    local; instantiated for int64, uint32 and float
  //   throws   Error: as ByteSource::read; kBadData naming the element that does not fit
  template <typename To>
  void read(std::int64_t first, std::span<To> out) const;
};

// Checks that all elements are there: shape without negative or overflowing lengths, and not one
// byte less or, if `exact`, more than it needs.
//   throws   Error(kBadData)
void check_extent(const StoredArray& array, bool exact);

bool is_number(ElementType type) noexcept;
bool is_whole(ElementType type) noexcept;

}  // namespace espalier::io
