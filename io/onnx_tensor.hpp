// The elements of ONNX tensors; for the sources of io that know ONNX.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/onnx_model.hpp"

namespace espalier::io {

//   throws   Error(kBadData) beginning with `where` if they are no numbers that are known
ElementType onnx_element_type(const std::string& where, int data_type);

// The elements that are part of the message, as they would lie in a file.
std::shared_ptr<const ByteSource> onnx_message_bytes(const onnx::TensorProto& tensor);

// The entries of a sparse constant of these dimensions, of which the first is the rows and the
// others the columns. `indices` are linear, or a row of them for each entry.
//   throws   Error(kBadData) if there are no such dimensions; reading it: naming an entry that lies
//            outside
std::unique_ptr<MatrixSource> sparse_constant(StoredArray values, StoredArray indices,
                                              const std::vector<std::int64_t>& dims);

}  // namespace espalier::io
