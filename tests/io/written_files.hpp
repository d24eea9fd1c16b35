// What the tests of written networks, batches and results share.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "io/catalog.hpp"
#include "tests/io/made_files.hpp"
#include "tests/io/written_rows.hpp"

namespace espalier::tests {

// Sample ids of any type.
inline std::vector<std::byte> ids_of(const io::ElementType& type, Range samples) {
  std::vector<std::byte> ids;
  for (std::int64_t sample = samples.begin; sample < samples.end; ++sample) {
    const std::string spelled = text(1000000000 + sample);
    for (int byte = 0; byte < type.bytes; ++byte) {
      ids.push_back(static_cast<std::byte>(spelled[spelled.size() - 1 - (byte % 10)]));
    }
  }
  return ids;
}

// Content is the same whether compressed or not.
inline void check_digests(const Comm& comm, const std::string& plain,
                          const std::string& compressed) {
  const auto a = io::read_catalog(comm, plain);
  const auto b = io::read_catalog(comm, compressed);
  BOOST_CHECK_EQUAL(*a.find_attribute("/", "digest"), *b.find_attribute("/", "digest"));
}

inline const io::OutputOptions kCompressed = [] {
  io::OutputOptions options;
  options.compress = true;
  return options;
}();

}  // namespace espalier::tests
