// Matrices of binsparse HDF5 files that others have written.
#pragma once

#include <string>

#include "io/catalog.hpp"
#include "io/matrix_source.hpp"

namespace espalier::io {

// The matrix that the group `below` is, or those in groups below it, in ascending order of their
// paths; labels are the paths without the slash in front. DMAT and DVEC are dense, DVEC a vector,
// everything else is sparse; both spellings of the metadata are taken.
//   where    local; `catalog` is borrowed
//   throws   Error(kBadData) naming file, group, what was found and what would be right; also if
//            there is no matrix
MatrixSources open_binsparse(const Catalog& catalog, const std::string& below);

}  // namespace espalier::io
