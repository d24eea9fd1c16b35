// NumPy's .npy files, versions 1.0 to 3.0: one array each; and .npz archives of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/element_type.hpp"
#include "io/matrix_source.hpp"
#include "io/zip.hpp"

namespace espalier::io {

// The header of a C-ordered little-endian array; its elements follow it directly. Its length is a
// multiple of 64. `type` is a number or fixed-length text.
//   where    pure
//   source   NumPy enhancement proposal 1, "A Simple File Format for NumPy Arrays"
std::string npy_header(ElementType type, const std::vector<std::int64_t>& shape);

// Reads the header in front of `bytes`, which hold nothing but the array. `name` is for messages.
//   where    local
//   throws   Error(kBadData) naming what was found and what would be right: no header, a damaged
//            one, elements that are Python objects or records, more or less bytes than it says
StoredArray parse_npy(std::shared_ptr<const ByteSource> bytes, const std::string& name);

// The array of a .npy file.
//   throws   Error: kNoInput, kNoPermission, kBadData
StoredArray open_npy(const std::string& path);

// The arrays of an archive as numpy.savez writes it, in its order; their labels are the keys.
MatrixSources open_npz(const ZipArchive& archive, bool flatten);

}  // namespace espalier::io
