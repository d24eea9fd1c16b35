// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/dense.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dense.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kTileRows = 4;
constexpr size_t kTileVectors = 3;
// Rows of b that are packed at a time: a tile's part of them stays in the first-level cache.
constexpr int64_t kDepth = 128;
constexpr size_t kMostLanes = 8;

// One tile of kTileRows x (kTileVectors vectors): c += or -= a b.
//   shapes   rows: pointers to depth elements each; b (depth x tile width); c with its stride
template <bool kSubtract, class D>
HWY_INLINE void multiply_tile(D d, const double* const* rows, const double* b, int64_t depth,
                              double* c, int64_t stride) {
  const size_t lanes = hn::Lanes(d);
  const auto at = [&](int64_t i, size_t v)
                      HWY_ATTR { return c + i * stride + static_cast<int64_t>(v * lanes); };
  auto c00 = hn::LoadU(d, at(0, 0)), c01 = hn::LoadU(d, at(0, 1)), c02 = hn::LoadU(d, at(0, 2));
  auto c10 = hn::LoadU(d, at(1, 0)), c11 = hn::LoadU(d, at(1, 1)), c12 = hn::LoadU(d, at(1, 2));
  auto c20 = hn::LoadU(d, at(2, 0)), c21 = hn::LoadU(d, at(2, 1)), c22 = hn::LoadU(d, at(2, 2));
  auto c30 = hn::LoadU(d, at(3, 0)), c31 = hn::LoadU(d, at(3, 1)), c32 = hn::LoadU(d, at(3, 2));
  for (int64_t k = 0; k < depth; ++k) {
    const auto b0 = hn::LoadU(d, b), b1 = hn::LoadU(d, b + lanes), b2 = hn::LoadU(d, b + 2 * lanes);
    b += kTileVectors * lanes;
    const auto step = [&](const double* row, auto& x, auto& y, auto& z) HWY_ATTR {
      const auto a = hn::Set(d, row[k]);
      if (kSubtract) {
        x = hn::NegMulAdd(a, b0, x);
        y = hn::NegMulAdd(a, b1, y);
        z = hn::NegMulAdd(a, b2, z);
      } else {
        x = hn::MulAdd(a, b0, x);
        y = hn::MulAdd(a, b1, y);
        z = hn::MulAdd(a, b2, z);
      }
    };
    step(rows[0], c00, c01, c02);
    step(rows[1], c10, c11, c12);
    step(rows[2], c20, c21, c22);
    step(rows[3], c30, c31, c32);
  }
  hn::StoreU(c00, d, at(0, 0));
  hn::StoreU(c01, d, at(0, 1));
  hn::StoreU(c02, d, at(0, 2));
  hn::StoreU(c10, d, at(1, 0));
  hn::StoreU(c11, d, at(1, 1));
  hn::StoreU(c12, d, at(1, 2));
  hn::StoreU(c20, d, at(2, 0));
  hn::StoreU(c21, d, at(2, 1));
  hn::StoreU(c22, d, at(2, 2));
  hn::StoreU(c30, d, at(3, 0));
  hn::StoreU(c31, d, at(3, 1));
  hn::StoreU(c32, d, at(3, 2));
}

template <bool kSubtract>
void multiply(const ConstDenseView& a, const ConstDenseView& b, const DenseView& c) {
  const hn::CappedTag<double, kMostLanes> d;
  const auto width = static_cast<int64_t>(kTileVectors * hn::Lanes(d));
  HWY_ALIGN double packed[kDepth * kTileVectors * kMostLanes];
  HWY_ALIGN double edge[kTileRows * kTileVectors * kMostLanes];
  for (int64_t k = 0; k < a.cols; k += kDepth) {
    const int64_t depth = a.cols - k < kDepth ? a.cols - k : kDepth;
    for (int64_t j = 0; j < c.cols; j += width) {
      const int64_t used = c.cols - j < width ? c.cols - j : width;
      for (int64_t r = 0; r < depth; ++r) {
        for (int64_t x = 0; x < width; ++x) {
          packed[r * width + x] = x < used ? b.row(k + r)[j + x] : 0;
        }
      }
      for (int64_t i = 0; i < c.rows; i += kTileRows) {
        const int64_t high = c.rows - i < kTileRows ? c.rows - i : kTileRows;
        const double* rows[kTileRows];
        for (int64_t r = 0; r < kTileRows; ++r) rows[r] = a.row(i + (r < high ? r : 0)) + k;
        if (high == kTileRows && used == width) {
          multiply_tile<kSubtract>(d, rows, packed, depth, c.row(i) + j, c.stride);
          continue;
        }
        for (int64_t r = 0; r < high; ++r) {
          for (int64_t x = 0; x < used; ++x) edge[r * width + x] = c.row(i + r)[j + x];
        }
        multiply_tile<kSubtract>(d, rows, packed, depth, edge, width);
        for (int64_t r = 0; r < high; ++r) {
          for (int64_t x = 0; x < used; ++x) c.row(i + r)[j + x] = edge[r * width + x];
        }
      }
    }
  }
}

void multiply_add(const ConstDenseView& a, const ConstDenseView& b, const DenseView& c) {
  multiply<false>(a, b, c);
}
void multiply_subtract(const ConstDenseView& a, const ConstDenseView& b, const DenseView& c) {
  multiply<true>(a, b, c);
}

// Four rows at a time, so that the sums are loaded and stored less often.
void combine_rows(const ConstDenseView& matrix, const double* factors, double* sums) {
  const hn::CappedTag<double, kMostLanes> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t vectors = matrix.cols / lanes * lanes;
  int64_t i = 0;
  for (; i + 4 <= matrix.rows; i += 4) {
    const auto f0 = hn::Set(d, factors[i]), f1 = hn::Set(d, factors[i + 1]);
    const auto f2 = hn::Set(d, factors[i + 2]), f3 = hn::Set(d, factors[i + 3]);
    const double *m0 = matrix.row(i), *m1 = matrix.row(i + 1);
    const double *m2 = matrix.row(i + 2), *m3 = matrix.row(i + 3);
    for (int64_t j = 0; j < vectors; j += lanes) {
      auto sum = hn::MulAdd(f0, hn::LoadU(d, m0 + j), hn::LoadU(d, sums + j));
      sum = hn::MulAdd(f1, hn::LoadU(d, m1 + j), sum);
      sum = hn::MulAdd(f2, hn::LoadU(d, m2 + j), sum);
      hn::StoreU(hn::MulAdd(f3, hn::LoadU(d, m3 + j), sum), d, sums + j);
    }
    const hn::CappedTag<double, 1> one;
    for (int64_t j = vectors; j < matrix.cols; ++j) {
      auto sum =
          hn::MulAdd(hn::Set(one, factors[i]), hn::LoadU(one, m0 + j), hn::LoadU(one, sums + j));
      sum = hn::MulAdd(hn::Set(one, factors[i + 1]), hn::LoadU(one, m1 + j), sum);
      sum = hn::MulAdd(hn::Set(one, factors[i + 2]), hn::LoadU(one, m2 + j), sum);
      sum = hn::MulAdd(hn::Set(one, factors[i + 3]), hn::LoadU(one, m3 + j), sum);
      hn::StoreU(sum, one, sums + j);
    }
  }
  for (; i < matrix.rows; ++i) {
    const hn::CappedTag<double, 1> one;
    const double* row = matrix.row(i);
    const auto factor = hn::Set(d, factors[i]);
    for (int64_t j = 0; j < vectors; j += lanes) {
      hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, row + j), hn::LoadU(d, sums + j)), d, sums + j);
    }
    for (int64_t j = vectors; j < matrix.cols; ++j) {
      const auto last = hn::Set(one, factors[i]);
      hn::StoreU(hn::MulAdd(last, hn::LoadU(one, row + j), hn::LoadU(one, sums + j)), one,
                 sums + j);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <cmath>
#include <utility>

namespace espalier::kernels {

HWY_EXPORT(multiply_add);
HWY_EXPORT(multiply_subtract);
HWY_EXPORT(combine_rows);

namespace {

constexpr std::int64_t kBlock = 64;

std::vector<double> transposed(ConstDenseView a) {
  std::vector<double> result(static_cast<std::size_t>(a.rows * a.cols));
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j < a.cols; ++j) {
      result[static_cast<std::size_t>(j * a.rows + i)] = a.row(i)[j];
    }
  }
  return result;
}

// Row by row: a = L with L L^T = a, of its lower triangle.
bool factor_block(DenseView a) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = a.row(i)[j];
      for (std::int64_t k = 0; k < j; ++k) sum = std::fma(-a.row(i)[k], a.row(j)[k], sum);
      if (i == j && !(sum > 0 && std::isfinite(sum))) return false;
      a.row(i)[j] = i == j ? std::sqrt(sum) : sum / a.row(j)[j];
    }
  }
  return true;
}

// Of a lower triangular block, by columns of the inverse; full, zeros above the diagonal.
std::vector<double> inverse_block(ConstDenseView a) {
  const std::int64_t n = a.rows;
  std::vector<double> inverse(static_cast<std::size_t>(n * n), 0);
  const DenseView to{inverse.data(), n, n, n};
  for (std::int64_t j = 0; j < n; ++j) {
    to.row(j)[j] = 1 / a.row(j)[j];
    for (std::int64_t i = j + 1; i < n; ++i) {
      double sum = 0;
      for (std::int64_t k = j; k < i; ++k) sum = std::fma(-a.row(i)[k], to.row(k)[j], sum);
      to.row(i)[j] = sum / a.row(i)[i];
    }
  }
  return inverse;
}

// Lower Cholesky in place; the upper triangle is left as it is.
bool factor(DenseView a, const std::function<void()>& pause) {
  const std::int64_t n = a.rows;
  std::vector<double> panel;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t width = std::min(kBlock, n - begin), end = begin + width;
    if (!factor_block(a.block(begin, begin, width, width))) return false;
    const std::int64_t below = n - end;
    if (below == 0) break;
    // What is below becomes itself times the inverse of the block, transposed.
    const auto inverse = inverse_block(as_const(a.block(begin, begin, width, width)));
    const auto upper = transposed({inverse.data(), width, width, width});
    panel.assign(static_cast<std::size_t>(below * width), 0);
    const DenseView solved{panel.data(), below, width, width};
    const DenseView target = a.block(end, begin, below, width);
    add_product(as_const(target), {upper.data(), width, width, width}, solved);
    for (std::int64_t i = 0; i < below; ++i) {
      std::copy_n(solved.row(i), width, target.row(i));
    }
    const auto across = transposed(as_const(solved));
    for (std::int64_t i = 0; i < below; i += kBlock) {
      pause();
      const std::int64_t height = std::min(kBlock, below - i);
      subtract_product(as_const(solved.block(i, 0, height, width)),
                       {across.data(), width, i + height, below},
                       a.block(end + i, end, height, i + height));
    }
  }
  return true;
}

// Inverse of a lower triangular matrix in place. Blocks on the diagonal get zeros above it, other
// blocks above it are left as they are.
void invert_lower(DenseView a, const std::function<void()>& pause) {
  const std::int64_t n = a.rows;
  std::vector<double> sums;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t height = std::min(kBlock, n - begin);
    const auto inverse = inverse_block(as_const(a.block(begin, begin, height, height)));
    sums.assign(static_cast<std::size_t>(height * begin), 0);
    const DenseView left{sums.data(), height, begin, begin};
    for (std::int64_t k = 0; k < begin; k += kBlock) {
      pause();
      // Rows k of the inverse so far reach to their own diagonal block.
      add_product(as_const(a.block(begin, k, height, kBlock)),
                  as_const(a.block(k, 0, kBlock, k + kBlock)),
                  left.block(0, 0, height, k + kBlock));
    }
    const DenseView target = a.block(begin, 0, height, begin);
    for (std::int64_t i = 0; i < height; ++i) std::fill_n(target.row(i), begin, 0.0);
    subtract_product({inverse.data(), height, height, height}, as_const(left), target);
    for (std::int64_t i = 0; i < height; ++i) {
      std::copy_n(inverse.data() + i * height, height, a.row(begin + i) + begin);
    }
  }
}

// Element (i, j) changes places with (n - 1 - i, n - 1 - j).
void turn_around(DenseView a) {
  for (std::int64_t i = 0, j = a.rows - 1; i <= j; ++i, --j) {
    if (i == j) {
      std::reverse(a.row(i), a.row(i) + a.cols);
    } else {
      std::reverse(a.row(i), a.row(i) + a.cols);
      std::reverse(a.row(j), a.row(j) + a.cols);
      std::swap_ranges(a.row(i), a.row(i) + a.cols, a.row(j));
    }
  }
}

}  // namespace

void add_product(ConstDenseView a, ConstDenseView b, DenseView c) {
  HWY_DYNAMIC_DISPATCH(multiply_add)(a, b, c);
}

void subtract_product(ConstDenseView a, ConstDenseView b, DenseView c) {
  HWY_DYNAMIC_DISPATCH(multiply_subtract)(a, b, c);
}

void add_rows(ConstDenseView matrix, std::span<const double> factors, double* sums) {
  HWY_DYNAMIC_DISPATCH(combine_rows)(matrix, factors.data(), sums);
}

// With the order of rows and columns turned around, H = L L^T; turned back, L is an upper
// triangular R with H = R R^T, so its inverse is U.
bool invert_to_upper_factor(DenseView matrix, const std::function<void()>& pause) {
  for (std::int64_t i = 0; i < matrix.rows; ++i) {
    for (std::int64_t j = 0; j < i; ++j) matrix.row(j)[i] = matrix.row(i)[j];
  }
  turn_around(matrix);
  if (!factor(matrix, pause)) return false;
  invert_lower(matrix, pause);
  for (std::int64_t i = 0; i < matrix.rows; ++i) {
    std::fill(matrix.row(i) + i + 1, matrix.row(i) + matrix.cols, 0.0);
  }
  turn_around(matrix);
  return true;
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
