// Making rows of CSR from entries as they come.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/layout.hpp"

namespace espalier::io {

// Sorts one row by column unless it is sorted already. Returns false if a column stands there
// twice; the order among its values is not kept.
//   shapes   indices and values (nnz of the row)
bool sort_row(std::span<std::uint32_t> indices, std::span<float> values);

// Sorts every row; returns false if a row has a column twice. `rows` has one value for each.
bool sort_rows(kernels::CsrRows& rows);

// Drops the entries that are zero. `rows` has one value for each.
void leave_out_zeros(kernels::CsrRows& rows);

}  // namespace espalier::io
