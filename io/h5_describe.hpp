// What HDF5 says of types and attributes, in our own terms; for walk.cpp only.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/element_type.hpp"
#include "io/h5.hpp"

namespace espalier::io {

// A file's structure is not what it should be; `where` names the object.
[[noreturn]] void damaged(const std::string& file, const std::string& where,
                          const std::string& reason);

// The type of stored elements; kOther for what we do not read.
//   throws   std::runtime_error with HDF5's reason, as all functions here
ElementType describe_type(hid_t type);

// The extents, empty for a scalar, [0] for a null space.
std::vector<std::int64_t> describe_shape(hid_t space);

// The value of an attribute: text, number, or a flat array of them; null for other types and for
// more than 1 Mi elements.
nlohmann::json read_attribute(hid_t attribute);

}  // namespace espalier::io
