// Reads a whole foreign matrix as an import would, and holds what comes out to what it promises.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "io/matrix_source.hpp"

namespace espalier::fuzz {

inline void check(bool promise) {
  if (!promise) {
    std::abort();
  }
}

inline void check_rows(const io::MatrixSource& source) {
  constexpr std::int64_t kMostRows = 4096;  // a short file may have very many empty ones
  std::int64_t found = 0;
  const std::int64_t end = std::min(source.rows, kMostRows);
  for (std::int64_t begin = 0; begin < end; begin += 7) {
    const auto rows = source.read_rows({begin, std::min(begin + 7, end)});
    kernels::CsrFault fault{};
    check(!kernels::find_fault(rows, fault) && rows.first_row == begin);
    for (const float value : rows.values) {
      check(value != 0);
    }
    found += rows.nnz();
  }
  check(found <= source.stored);
}

inline void check_entries(const io::MatrixSource& source) {
  constexpr int kParts = 3;
  for (int part = 0; part < kParts; ++part) {
    const auto stream = source.entries(part, kParts);
    std::vector<io::Entry> entries;
    while (stream->read(entries)) {
      for (const io::Entry& entry : entries) {
        check(entry.row < source.rows && entry.col < source.cols && std::isfinite(entry.value));
      }
      entries.clear();
    }
    check(stream->passed() >= 0);
  }
}

inline void read_all(const io::MatrixSource& source) {
  constexpr std::int64_t kMostCells = 1 << 24;  // what is dense is spread out in memory
  constexpr std::int64_t kMostRows = 1 << 24;
  check(source.rows >= 1 && source.cols >= 1 && source.stored >= 0);
  if ((source.dense && source.rows * source.cols > kMostCells) || source.rows > kMostRows) {
    return;
  }
  if (source.by_rows()) {
    check_rows(source);
  } else {
    check_entries(source);
  }
}

}  // namespace espalier::fuzz
