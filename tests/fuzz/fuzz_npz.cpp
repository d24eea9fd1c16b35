// A whole .npz archive, of arrays or of a sparse matrix: it is read, or refused with an Error.
#include "framework/error.hpp"
#include "io/npy.hpp"
#include "io/scipy_npz.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_all.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace espalier;
  const fuzz::MemoryFile file(data, size);
  try {
    const io::ZipArchive archive(file.path());
    if (io::is_scipy_npz(archive)) {
      fuzz::read_all(*io::open_scipy_npz(archive));
    } else {
      for (const auto& source : io::open_npz(archive, true)) {
        fuzz::read_all(*source);
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
