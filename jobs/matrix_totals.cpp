#include "jobs/matrix_totals.hpp"

#include <algorithm>
#include <bit>

namespace espalier::jobs {
namespace {

std::int64_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

}  // namespace

void MatrixTotals::add(const kernels::CsrRows& rows) {
  if (rows.nnz() == 0) {
    return;
  }
  nnz_ += rows.nnz();
  for (const float value : rows.values) {
    low_ = std::min(low_, bits_of(value));
    high_ = std::max(high_, bits_of(value));
  }
}

void MatrixTotals::join(const Comm& comm, std::vector<MatrixTotals>& matrices) {
  std::vector<std::int64_t> nnz, low, high;
  for (const MatrixTotals& matrix : matrices) {
    nnz.push_back(matrix.nnz_);
    low.push_back(matrix.low_);
    high.push_back(matrix.high_);
  }
  comm.sum(nnz);
  comm.min(low);
  comm.max(high);
  for (std::size_t m = 0; m < matrices.size(); ++m) {
    matrices[m].nnz_ = nnz[m];
    matrices[m].low_ = low[m];
    matrices[m].high_ = high[m];
  }
}

std::optional<float> MatrixTotals::iso() const {
  return low_ == high_ ? std::optional(std::bit_cast<float>(static_cast<std::uint32_t>(low_)))
                       : std::nullopt;
}

void spell_values(kernels::CsrRows& rows, std::optional<float> iso) {
  if (iso) {
    rows.values = {*iso};
  } else if (rows.iso) {
    const float value = rows.nnz() > 0 ? rows.values.at(0) : 0;
    rows.values.assign(static_cast<std::size_t>(rows.nnz()), value);
  }
  rows.iso = iso.has_value();
}

}  // namespace espalier::jobs
