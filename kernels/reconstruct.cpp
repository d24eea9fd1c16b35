#include "kernels/reconstruct.hpp"

#include <algorithm>

namespace espalier::kernels {
namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

void prune_block(DenseView weights, std::span<const std::uint8_t> stays, ConstDenseView factor,
                 DenseView errors) {
  for (std::int64_t i = 0; i < weights.rows; ++i) {
    double* row = weights.row(i);
    for (std::int64_t j = 0; j < weights.cols; ++j) {
      double& error = errors.row(i)[j];
      error = 0;
      if (stays[static_cast<std::size_t>(i * weights.cols + j)] != 0 || row[j] == 0) continue;
      error = row[j] / factor.row(j)[j];
      row[j] = 0;
      const double taken = -error;
      add_rows(factor.block(j, j + 1, 1, weights.cols - j - 1), {&taken, 1}, row + j + 1);
    }
  }
}

void refine_row(ConstDenseView gram, std::span<const std::uint32_t> columns,
                std::span<const double> residual, std::span<double> values,
                LeastSquaresRoom& room) {
  const std::size_t m = columns.size();
  room.matrix.resize(m * m);
  for (std::size_t i = 0; i < m; ++i) {
    const double* row = gram.row(columns[i]);
    for (std::size_t j = 0; j < m; ++j) room.matrix[i * m + j] = row[columns[j]];
  }
  const auto size = static_cast<std::int64_t>(m);
  const ConstDenseView matrix{room.matrix.data(), size, size, size};
  room.residual.assign(residual.begin(), residual.end());
  room.scaled.resize(m);
  const auto scale = [&] {
    for (std::size_t i = 0; i < m; ++i) {
      const double diagonal = room.matrix[i * m + i];
      room.scaled[i] = diagonal > 0 ? room.residual[i] / diagonal : 0;
    }
    return dot(room.residual, room.scaled);
  };
  double size_now = scale();
  const double small = size_now * kSmallResidual * kSmallResidual;
  room.direction = room.scaled;
  for (int step = 0; step < kMostSteps && size_now > small; ++step) {
    room.image.assign(m, 0);
    add_rows(matrix, room.direction, room.image.data());
    const double bend = dot(room.direction, room.image);
    if (!(bend > 0)) break;
    const double length = size_now / bend;
    for (std::size_t i = 0; i < m; ++i) {
      values[i] += length * room.direction[i];
      room.residual[i] -= length * room.image[i];
    }
    const double size_next = scale();
    const double share = size_next / size_now;
    size_now = size_next;
    for (std::size_t i = 0; i < m; ++i) {
      room.direction[i] = room.scaled[i] + share * room.direction[i];
    }
  }
}

}  // namespace espalier::kernels
