// Matrix Market files (.mtx): coordinate and array; real, integer and pattern; general, symmetric
// and skew-symmetric. And .smtx: three lines of text with the pattern of a CSR matrix.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "io/matrix_source.hpp"

namespace espalier::io {

// Opens either, told apart by the first line. A pattern's values are 1; an array is dense, one
// of a single column a vector; what is stored once of a symmetric matrix stands in its two places.
//   where    local; the text is read part by part, never as a whole
//   throws   Error: kNoInput, kNoPermission; kBadData naming file, line, what was found and what
//            would be right. Entries that are missing at the end are found by whoever counts them.
//   source   Boisvert, Pozo, Remington: The Matrix Market Exchange Formats, NISTIR 5935 (1996);
//            .smtx as the Deep Learning Matrix Collection has it
std::unique_ptr<MatrixSource> open_matrix_market(const std::string& path);

}  // namespace espalier::io
