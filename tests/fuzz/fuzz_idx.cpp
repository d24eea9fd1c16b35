// A whole IDX file: its items are read, or it is refused with an Error.
#include "framework/error.hpp"
#include "io/idx.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_all.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace espalier;
  const fuzz::MemoryFile file(data, size);
  try {
    const io::IdxHeader header = io::read_idx_header(file.path());
    fuzz::check(!header.shape.empty());
    const std::int64_t items = header.shape[0];
    const std::size_t first = io::read_idx(file.path(), header, {0, items / 2}).size();
    const std::size_t second = io::read_idx(file.path(), header, {items / 2, items}).size();
    fuzz::check(first + second + static_cast<std::size_t>(header.data_offset) == size);
  } catch (const Error&) {
  }
  return 0;
}
