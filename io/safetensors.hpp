// safetensors: named arrays behind a JSON header (source: io/FORMAT.md, "safetensors").
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/input_file.hpp"

namespace espalier::io {

inline constexpr std::int64_t kMostHeaderBytes = 100'000'000;

struct Tensor {
  std::string name;
  std::string dtype;  // as it is spelled: "F32", "BF16", "I64", …
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // of its first byte, from the start of the data
  std::int64_t bytes = 0;

  std::int64_t count() const noexcept;  // elements; 1 for a scalar
};

// What stands in front of the data.
struct TensorHeader {
  std::string text;             // the JSON as it stands in the file, blanks behind it included
  std::vector<Tensor> tensors;  // in the order of their data, without gaps
  std::map<std::string, std::string> metadata;

  std::int64_t data_start() const noexcept { return 8 + std::ssize(text); }
  std::int64_t data_bytes() const noexcept;
  const Tensor* find(std::string_view name) const noexcept;  // nullptr if absent; linear
};

// The bits of an element, 0 for a type that this code does not know.
int bits_of_dtype(std::string_view dtype) noexcept;

// Parses and checks the text of a header: keys, types, no name twice, sizes that go with shapes,
// data without holes or overlaps that end with the file. Types of unknown size are taken at their
// word.
//   where    pure; `file` is for messages
//   throws   Error(kBadData) naming file, tensor, what was found and what would be right
//   cost     memory in proportion to the text, whatever it claims
TensorHeader parse_tensor_header(const std::string& file, std::string text,
                                 std::int64_t data_bytes);

// Reads the header of a file.
//   throws   as parse_tensor_header, also if the file is no safetensors file or truncated
TensorHeader read_tensor_header(const InputFile& file);

// The header of a new file with these tensors one after the other, whose offsets and bytes it
// fills in. Data begin at a multiple of 8.
TensorHeader make_tensor_header(std::vector<Tensor> tensors,
                                std::map<std::string, std::string> metadata);

// The first bytes of a file: the header's length and the header.
std::string spell_tensor_header(const TensorHeader& header);

}  // namespace espalier::io
