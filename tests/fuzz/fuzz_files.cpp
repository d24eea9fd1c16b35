// Network, batch and result readers, and those of other people's HDF5, on any catalog and any file:
// the first line of the input is the catalog as espalier-walk prints it, the rest is the file that
// it is said to describe.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "framework/error.hpp"
#include "io/batch_file.hpp"
#include "io/binsparse_source.hpp"
#include "io/foreign_hdf5.hpp"
#include "io/network_file.hpp"
#include "io/result_file.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_all.hpp"

namespace {

using namespace espalier;

// So that reading ends soon, and memory that a sound but large file takes is not taken for a fault.
constexpr std::int64_t kMostRows = 64;
constexpr std::int64_t kMostCols = INT64_C(1) << 20;
constexpr std::size_t kMostLayers = 8;

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

// What imports look for in files of others.
void read_foreign(const io::Catalog& catalog) {
  refusing([&] {
    for (const auto& source : io::open_binsparse(catalog, "/")) {
      if (source->cols <= kMostCols) {
        refusing([&] { fuzz::read_all(*source); });
      }
    }
  });
  const io::DataFile data(catalog);
  for (const auto& object : catalog.objects) {
    const std::string& path = object.first;
    refusing([&] {
      const io::ForeignFeatures found = io::find_foreign_features(catalog, path, std::nullopt);
      if (found.features <= kMostCols) {
        io::read_foreign_features(data, found, {0, std::min(found.samples, kMostRows)});
      }
    });
    refusing([&] {
      const io::Dataset& labels = io::find_foreign_labels(catalog, path, 3);
      std::vector<std::int64_t> numbers(3);
      data.read(labels, 0, numbers);
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  const auto line = input.find('\n');
  const std::size_t begin = line == std::string_view::npos ? size : line + 1;
  const fuzz::MemoryFile file(bytes + begin, size - begin);
  refusing([&] {
    const io::Catalog catalog = io::parse_catalog(file.path(), input.substr(0, line));
    refusing([&] { io::parse_network(catalog); });
    refusing([&] { io::parse_batch(catalog); });
    refusing([&] { io::parse_result(catalog); });
    if (plain(catalog)) {
      refusing([&] { read_network(catalog); });
      refusing([&] { read_batch(catalog); });
      refusing([&] { read_result(catalog); });
      refusing([&] { read_foreign(catalog); });
    }
  });
  return 0;
}
