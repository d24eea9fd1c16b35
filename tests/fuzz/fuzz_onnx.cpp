// A whole ONNX model: its layers are read, or it is refused with an Error.
#include <cmath>

#include "framework/error.hpp"
#include "io/onnx.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_all.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace espalier;
  const fuzz::MemoryFile file(data, size);
  try {
    const io::OnnxChain chain = io::open_onnx(file.path());
    fuzz::check(!chain.layers.empty());
    for (const io::OnnxLayer& layer : chain.layers) {
      for (const float bias : layer.bias) {
        fuzz::check(std::isfinite(bias));
      }
      if (layer.weight) {
        fuzz::check(layer.bias.empty() || std::ssize(layer.bias) == layer.weight->rows);
        fuzz::read_all(*layer.weight);
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
