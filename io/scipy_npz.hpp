// SciPy's sparse matrices in .npz archives (scipy.sparse.save_npz): csr, csc, coo, bsr.
#pragma once

#include <memory>

#include "io/matrix_source.hpp"
#include "io/zip.hpp"

namespace espalier::io {

// Whether the archive holds a sparse matrix, and not just arrays.
bool is_scipy_npz(const ZipArchive& archive);

// The matrix; its sizes and the arrays' lengths are checked here, indices and values as they are
// read. Rows of csr and bsr are read in order, the entries of csc and coo as they come.
//   where    local
//   throws   Error(kBadData) naming archive, array, what was found and what would be right
std::unique_ptr<MatrixSource> open_scipy_npz(const ZipArchive& archive);

}  // namespace espalier::io
