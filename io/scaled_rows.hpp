// A matrix whose rows are multiplied by factors as they are read.
#pragma once

#include <memory>
#include <vector>

#include "io/matrix_source.hpp"

namespace espalier::io {

//   shapes   factors (source->rows)
//   throws   what the source throws; Error(kBadData) where a product is not finite
//   exact    products are made in double and rounded once
std::unique_ptr<MatrixSource> scaled_rows(std::unique_ptr<MatrixSource> source,
                                          std::vector<double> factors);

}  // namespace espalier::io
