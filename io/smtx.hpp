// .smtx: three lines of text, "rows, columns, entries", the pointers and the columns of CSR.
#pragma once

#include <memory>
#include <string>

#include "io/matrix_source.hpp"

namespace espalier::io {

// By its name, unless it begins as Matrix Market does.
bool is_smtx(const std::string& path);

// Its entries have the value 1. One part reads all of it, the others nothing.
//   throws   as open_matrix_market
std::unique_ptr<MatrixSource> open_smtx(const std::string& path);

}  // namespace espalier::io
