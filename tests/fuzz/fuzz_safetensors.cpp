// The bytes of a whole safetensors file: what comes out is sound, or it is refused with an Error.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "framework/error.hpp"
#include "io/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace espalier;
  std::uint64_t length = 0;
  if (size < sizeof length) {
    return 0;
  }
  std::memcpy(&length, data, sizeof length);
  if (length > size - sizeof length) {
    return 0;
  }
  try {
    const auto header = io::parse_tensor_header(
        "fuzz", std::string(reinterpret_cast<const char*>(data) + sizeof length, length),
        static_cast<std::int64_t>(size - sizeof length - length));
    std::int64_t end = 0;
    for (const io::Tensor& tensor : header.tensors) {
      const bool sound = tensor.offset == end && tensor.bytes >= 0 && tensor.count() >= 0 &&
                         header.find(tensor.name) != nullptr;
      if (!sound) {
        std::abort();
      }
      end += tensor.bytes;
    }
    if (end != header.data_bytes() ||
        header.data_start() + end != static_cast<std::int64_t>(size)) {
      std::abort();
    }
  } catch (const Error&) {
  }
  return 0;
}
