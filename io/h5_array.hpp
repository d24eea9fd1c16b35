// Reads of stored arrays through HDF5, for what does not lie in one plain piece; for data_file.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/catalog.hpp"
#include "io/h5.hpp"

namespace espalier::io {

// A part of an array that one hyperslab covers: `count` elements from `start` in each dimension.
struct Box {
  std::vector<std::uint64_t> start, count;
};

// The first box of elements [first, end) in row-major order: as many whole rows of the outermost
// dimension as fit, or what leads up to the next whole row. `shape` has no zeros.
Box first_box(std::span<const std::int64_t> shape, std::int64_t first, std::int64_t end);

// A file opened by this rank alone at the first read. Some datasets stay open, for the sake of
// their caches of unpacked chunks.
class H5ArrayReader {
 public:
  explicit H5ArrayReader(const std::string& file) : file_(file) {}

  // Elements [first, …) as stored, out.size() bytes.
  //   throws   Error: kIoFailed if the system cannot read, kBadData if HDF5 cannot make sense of it
  void read(const Dataset& dataset, std::int64_t first, std::span<std::byte> out);

 private:
  struct Opened {
    std::string path;
    H5Handle dataset, type, space;
  };
  const Opened& open(const Dataset& dataset);
  [[noreturn]] void complain(const std::string& path) const;

  std::string file_;
  H5Handle opened_;
  std::vector<Opened> recent_;  // the latest first
};

}  // namespace espalier::io
