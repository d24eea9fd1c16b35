#include "kernels/layout.hpp"

#include <cmath>
#include <cstddef>

namespace espalier::kernels {
namespace {

bool find_row_fault(const CsrRows& rows, std::int64_t row, CsrFault& fault) {
  std::int64_t last = -1;
  for (std::int64_t k = rows.pointers[static_cast<std::size_t>(row)];
       k < rows.pointers[static_cast<std::size_t>(row) + 1]; ++k) {
    const std::int64_t column = rows.indices[static_cast<std::size_t>(k)];
    fault.row = rows.first_row + row;
    fault.column = column;
    if (column >= rows.cols) {
      fault.kind = CsrFault::Kind::kColumnRange;
      return true;
    }
    if (column <= last) {
      fault.kind = column == last ? CsrFault::Kind::kDuplicate : CsrFault::Kind::kColumnOrder;
      return true;
    }
    if (!std::isfinite(rows.value(k))) {
      fault.kind = CsrFault::Kind::kNotFinite;
      return true;
    }
    last = column;
  }
  return false;
}

}  // namespace

bool find_fault(const CsrRows& rows, CsrFault& fault) {
  // Pointers first: only when all of them are sound may the indices be walked.
  std::int64_t previous = 0;
  const auto stored = static_cast<std::int64_t>(rows.indices.size());
  for (std::size_t i = 0; i < rows.pointers.size(); ++i) {
    const std::int64_t pointer = rows.pointers[i];
    const bool last = i + 1 == rows.pointers.size();
    if (pointer < previous || pointer > stored || (i == 0 && pointer != 0) ||
        (last && pointer != stored)) {
      const std::int64_t row = i == 0 ? 0 : static_cast<std::int64_t>(i) - 1;
      fault = {CsrFault::Kind::kPointersDescend, rows.first_row + row, 0};
      return true;
    }
    previous = pointer;
  }
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    if (find_row_fault(rows, row, fault)) return true;
  }
  return false;
}

}  // namespace espalier::kernels
