// A whole Matrix Market file: its entries are read, or refused with an Error.
#include "framework/error.hpp"
#include "io/matrix_market.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_all.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace espalier;
  const fuzz::MemoryFile file(data, size);
  try {
    fuzz::read_all(*io::open_matrix_market(file.path()));
  } catch (const Error&) {
  }
  return 0;
}
