#include "jobs/row_spool.hpp"

#include <algorithm>
#include <bit>
#include <span>

#include "framework/error.hpp"

namespace espalier::jobs {
namespace {

std::int64_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

template <typename T>
std::int64_t byte_count(const std::vector<T>& values) {
  return static_cast<std::int64_t>(values.size() * sizeof(T));
}

}  // namespace

void RowSpool::append(const kernels::CsrRows& rows) {
  const std::int64_t position = file_.append(std::as_bytes(std::span(rows.pointers)));
  file_.append(std::as_bytes(std::span(rows.indices)));
  file_.append(std::as_bytes(std::span(rows.values)));
  pieces_.push_back({position, rows.rows(), rows.nnz(), rows.first_row, rows.cols, rows.iso});
}

kernels::CsrRows RowSpool::read(std::size_t piece) const {
  expects(piece < pieces_.size(), "the piece has been put in");
  const Piece& info = pieces_[piece];
  kernels::CsrRows rows;
  rows.first_row = info.first_row;
  rows.cols = info.cols;
  rows.iso = info.iso;
  rows.pointers.resize(static_cast<std::size_t>(info.rows) + 1);
  rows.indices.resize(static_cast<std::size_t>(info.nnz));
  rows.values.resize(static_cast<std::size_t>(info.iso ? 1 : info.nnz));
  std::int64_t position = info.position;
  file_.read(position, std::as_writable_bytes(std::span(rows.pointers)));
  position += byte_count(rows.pointers);
  file_.read(position, std::as_writable_bytes(std::span(rows.indices)));
  position += byte_count(rows.indices);
  file_.read(position, std::as_writable_bytes(std::span(rows.values)));
  return rows;
}

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
