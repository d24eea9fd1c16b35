// Dense matrices in double precision: products, and the factor of an inverse.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace espalier::kernels {

// Row-major, borrowed: element (i, j) is data[i * stride + j].
template <typename T>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0, cols = 0, stride = 0;

  T* row(std::int64_t i) const noexcept { return data + i * stride; }
  Matrix block(std::int64_t i, std::int64_t j, std::int64_t height, std::int64_t width) const {
    return {data + i * stride + j, height, width, stride};
  }
};
using DenseView = Matrix<double>;
using ConstDenseView = Matrix<const double>;
inline ConstDenseView as_const(const DenseView& view) {
  return {view.data, view.rows, view.cols, view.stride};
}

// c += a b, or c -= a b.
//   shapes   a (m x k), b (k x n), c (m x n), not overlapping
//   where    local; thread-safe for disjoint c
//   cost     m k n multiply-adds
//   exact    each element of c is one chain of fused multiply-adds in ascending k: the same bits
//            for any split into rows, columns or ranges of k taken in order, and on any target with
//            FMA
void add_product(ConstDenseView a, ConstDenseView b, DenseView c);
void subtract_product(ConstDenseView a, ConstDenseView b, DenseView c);

// sums += the rows of `matrix`, each times its factor, in order.
//   shapes   matrix (n x m), factors (n), sums (m)
//   exact    as add_product
void add_rows(ConstDenseView matrix, std::span<const double> factors, double* sums);

// Replaces a symmetric matrix H (its lower triangle is read) by the upper triangular U with
// U^T U = H^-1, zeros below the diagonal.
// `pause` is called every O(n) multiply-adds; it may throw to end the work.
//   returns  false if H is not positive definite; the matrix is spoilt then
//   throws   what `pause` throws
//   cost     2/3 n^3 multiply-adds
//   exact    the same bits on any target with FMA
bool invert_to_upper_factor(DenseView matrix, const std::function<void()>& pause);

}  // namespace espalier::kernels
