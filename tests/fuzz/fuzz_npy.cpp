// A whole .npy file: its array is read, or refused with an Error.
#include "framework/error.hpp"
#include "io/npy.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_all.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace espalier;
  const fuzz::MemoryFile file(data, size);
  try {
    fuzz::read_all(*io::dense_source(io::open_npy(file.path()), "w", true));
  } catch (const Error&) {
  }
  return 0;
}
