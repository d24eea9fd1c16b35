// Network, batch and result readers on any catalog and any file: the first line of the input is the
// catalog as espalier-walk prints it, the rest is the file that it is said to describe.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "framework/error.hpp"
#include "io/batch_file.hpp"
#include "io/network_file.hpp"
#include "io/result_file.hpp"

namespace {

using namespace espalier;

// So that reading ends soon, and memory that a sound but large file takes is not taken for a fault.
constexpr std::int64_t kMostRows = 64;
constexpr std::int64_t kMostCols = INT64_C(1) << 20;
constexpr std::size_t kMostLayers = 8;

// A file that is in memory only.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content) : descriptor_(memfd_create("fuzz", MFD_CLOEXEC)) {
    while (!content.empty()) {
      const ssize_t done = ::write(descriptor_, content.data(), content.size());
      if (done <= 0) {
        break;
      }
      content.remove_prefix(static_cast<std::size_t>(done));
    }
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

// Refusals are what hostile files are there for; anything else is a fault.
template <typename Work>
void refusing(Work&& work) {
  try {
    work();
  } catch (const Error&) {
  }
}

// Chunked data would go to the HDF5 library, which is not looked at here.
bool plain(const io::Catalog& catalog) {
  return std::all_of(catalog.datasets.begin(), catalog.datasets.end(), [](const auto& entry) {
    return entry.second.offset.has_value() && !entry.second.filtered;
  });
}

bool small(const io::MatrixInfo& matrix) { return matrix.cols <= kMostCols; }

void read_network(const io::Catalog& catalog) {
  const io::NetworkReader reader(catalog);
  const auto& layers = reader.network().layers;
  for (std::size_t id = 0; id < std::min(layers.size(), kMostLayers); ++id) {
    if (small(layers[id].weight)) {
      const auto layer = static_cast<std::int64_t>(id);
      const Range rows{0, std::min(layers[id].weight.rows, kMostRows)};
      refusing([&] { reader.read_rows(layer, rows); });
      refusing([&] { reader.read_bias(layer, rows); });
      refusing([&] { reader.nnz_before(layer, rows.end); });
    }
  }
}

void read_batch(const io::Catalog& catalog) {
  const io::BatchReader reader(catalog);
  const Range samples{0, std::min(reader.batch().samples(), kMostRows)};
  if (small(reader.batch().features)) {
    refusing([&] { reader.read_samples(samples); });
  }
  refusing([&] {
    if (reader.batch().labels) {
      reader.read_labels(samples);
    }
  });
}

void read_result(const io::Catalog& catalog) {
  const io::Result result = io::parse_result(catalog);
  const io::DataFile data(catalog);
  if (result.output && small(*result.output)) {
    refusing([&] {
      io::read_rows(data, *result.output, {0, std::min(result.samples, kMostRows)});
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  const auto line = input.find('\n');
  const MemoryFile file(line == std::string_view::npos ? "" : input.substr(line + 1));
  refusing([&] {
    const io::Catalog catalog = io::parse_catalog(file.path(), input.substr(0, line));
    refusing([&] { io::parse_network(catalog); });
    refusing([&] { io::parse_batch(catalog); });
    refusing([&] { io::parse_result(catalog); });
    if (plain(catalog)) {
      refusing([&] { read_network(catalog); });
      refusing([&] { read_batch(catalog); });
      refusing([&] { read_result(catalog); });
    }
  });
  return 0;
}
