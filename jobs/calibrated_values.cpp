// Where CalibratedPruning changes the values of weights that stay.
#include <algorithm>
#include <cmath>
#include <utility>

#include "framework/agree.hpp"
#include "framework/parallel.hpp"
#include "jobs/calibrated_pruning.hpp"
#include "jobs/layer_cut.hpp"
#include "kernels/masks.hpp"
#include "kernels/reconstruct.hpp"

namespace espalier::jobs {
namespace {

using kernels::ConstDenseView;
using kernels::CsrRows;
using kernels::DenseView;

// Errors are passed on to later columns this many at a time.
constexpr std::int64_t kBlockColumns = 128;
// Rows that one thread works on at a time.
constexpr std::int64_t kStripRows = 64;
constexpr double kDamping = 0.01;  // of the mean of the diagonal

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

void for_each_strip(std::int64_t rows, const std::function<void(Range, int)>& work) {
  parallel_for((rows + kStripRows - 1) / kStripRows, [&](std::int64_t strip, int thread) {
    work({strip * kStripRows, std::min((strip + 1) * kStripRows, rows)}, thread);
  });
}

}  // namespace

// Rows of one round as they are changed.
struct CalibratedPruning::Weights {
  explicit Weights(const CsrRows& from)
      : first_row(from.first_row), values(to_size(from.rows() * from.cols), 0) {
    view = {values.data(), from.rows(), from.cols, from.cols};
    for (std::int64_t row = 0; row < from.rows(); ++row) {
      for (std::int64_t k = from.pointers[to_size(row)]; k < from.pointers[to_size(row) + 1]; ++k) {
        view.row(row)[from.indices[to_size(k)]] = static_cast<double>(from.value(k));
      }
    }
  }
  CsrRows as_rows() const {
    CsrRows rows;
    rows.first_row = first_row;
    rows.cols = view.cols;
    for (std::int64_t row = 0; row < view.rows; ++row) {
      for (std::int64_t column = 0; column < view.cols; ++column) {
        const auto value = static_cast<float>(view.row(row)[column]);
        if (value != 0) {
          rows.indices.push_back(static_cast<std::uint32_t>(column));
          rows.values.push_back(value);
        }
      }
      rows.pointers.push_back(std::ssize(rows.indices));
    }
    return rows;
  }

  std::int64_t first_row;
  std::vector<double> values;
  DenseView view;
  std::vector<std::uint32_t> keys;  // of the block of columns in work
};

// Of one layer: its matrices, dense rows with their keys, a block of columns with its errors.
std::int64_t CalibratedPruning::layer_bytes(const PruneSettings& settings, std::int64_t rows,
                                            std::int64_t n) {
  const bool blocks = settings.method == PruneMethod::kSparseGpt;
  const std::int64_t square = n * n * static_cast<std::int64_t>(sizeof(double));
  std::int64_t bytes = rows * n * 8;
  if (blocks || settings.update) {
    bytes += square + 2 * kStripRows * n * 8;
  }
  if (blocks) {
    bytes += square + rows * n * 8 + rows * kBlockColumns * 16;
  }
  if (settings.update) {
    bytes += threads() * square / 4;  // least squares for rows that are half full
  }
  return bytes;
}

void CalibratedPruning::prune_by_blocks(std::int64_t layer, double sparsity,
                                        std::span<const double> gram) {
  const std::int64_t n = pruning_.network().layers[to_size(layer)].weight.cols;
  std::vector<double> factor(gram.begin(), gram.end());
  const DenseView upper{factor.data(), n, n, n};
  std::vector<Weights> rounds;
  locally(comm_, "inverting the inputs' Gram matrix", [&] {
    double mean = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      mean += upper.row(i)[i] / static_cast<double>(n);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      upper.row(i)[i] += mean > 0 ? kDamping * mean : 1;
    }
    if (!kernels::invert_to_upper_factor(upper, [&] { run_.check_time(); })) {
      throw Error(
          ExitStatus::kBadData,
          text("layer ", layer, ": the Gram matrix of its inputs is not positive definite"));
    }
    for (const LayerPiece& piece : layer_) {
      rounds.emplace_back(piece.rows);
    }
  });
  for (std::int64_t begin = 0; begin < n; begin += kBlockColumns) {
    prune_columns(layer, {begin, std::min(begin + kBlockColumns, n)}, sparsity,
                  kernels::as_const(upper), rounds);
  }
  locally(comm_, "pruning", [&] {
    for (std::size_t round = 0; round < layer_.size(); ++round) {
      layer_[round].rows = rounds[round].as_rows();
    }
  });
}

void CalibratedPruning::prune_columns(std::int64_t layer, Range columns, double sparsity,
                                      ConstDenseView factor, std::vector<Weights>& rounds) {
  const std::int64_t width = columns.size(), n = factor.rows;
  const std::int64_t rows = pruning_.network().layers[to_size(layer)].weight.rows;
  const ConstDenseView block = factor.block(columns.begin, columns.begin, width, width);
  locally(comm_, "weighing weights", [&] {
    for (Weights& weights : rounds) {
      weights.keys.clear();
      for (std::int64_t row = 0; row < weights.view.rows; ++row) {
        for (std::int64_t j = 0; j < width; ++j) {
          const auto value = weights.view.row(row)[columns.begin + j];
          weights.keys.push_back(value == 0 ? 0
                                            : std::max(kernels::magnitude_key(static_cast<float>(
                                                           std::abs(value) / block.row(j)[j])),
                                                       1U));
        }
      }
    }
  });
  const LayerCut cut = exchange_cut(
      comm_, std::ssize(rounds), keep_of(rows * width, sparsity),
      [&](std::int64_t round) { return std::span(std::as_const(rounds[to_size(round)].keys)); });
  locally(comm_, "pruning", [&] {
    for (std::size_t round = 0; round < rounds.size(); ++round) {
      Weights& weights = rounds[round];
      std::vector<std::uint8_t> stays;
      std::int64_t equals = cut.equals[round];
      for (const std::uint32_t key : weights.keys) {
        stays.push_back(key > cut.key || (key != 0 && key == cut.key && equals-- > 0) ? 1 : 0);
      }
      std::vector<double> errors(weights.keys.size());
      for_each_strip(weights.view.rows, [&](Range strip, int) {
        run_.check_time();
        const DenseView lost{errors.data() + strip.begin * width, strip.size(), width, width};
        kernels::prune_block(
            weights.view.block(strip.begin, columns.begin, strip.size(), width),
            std::span(stays).subspan(to_size(strip.begin * width), to_size(strip.size() * width)),
            block, lost);
        kernels::subtract_product(
            kernels::as_const(lost),
            factor.block(columns.begin, columns.end, width, n - columns.end),
            weights.view.block(strip.begin, columns.end, strip.size(), n - columns.end));
      });
    }
  });
}

// Moves the weights that stay to where the layer's sums over the samples are nearest to those of
// the rows before.
void CalibratedPruning::update(std::int64_t layer, std::span<const double> gram) {
  const std::int64_t n = pruning_.network().layers[to_size(layer)].weight.cols;
  const ConstDenseView inputs{gram.data(), n, n, n};
  locally(comm_, "updating weights", [&] {
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      CsrRows& rows = layer_[to_size(round)].rows;
      spell_values(rows, std::nullopt);
      CsrRows whole = pruning_.weights->read_rows(layer, rows_of(layer, round));
      std::vector<kernels::LeastSquaresRoom> rooms(to_size(threads()));
      for_each_strip(rows.rows(), [&](Range strip, int thread) {
        std::vector<double> off(to_size(strip.size() * n), 0), image(off.size(), 0);
        const auto add = [&](const CsrRows& from, double sign) {
          for (std::int64_t row = strip.begin; row < strip.end; ++row) {
            for (std::int64_t k = from.pointers[to_size(row)]; k < from.pointers[to_size(row) + 1];
                 ++k) {
              off[to_size((row - strip.begin) * n + from.indices[to_size(k)])] +=
                  sign * static_cast<double>(from.value(k));
            }
          }
        };
        add(whole, 1);
        add(rows, -1);
        kernels::add_product({off.data(), strip.size(), n, n}, inputs,
                             {image.data(), strip.size(), n, n});
        std::vector<double> residual, values;
        for (std::int64_t row = strip.begin; row < strip.end; ++row) {
          run_.check_time();
          const auto begin = to_size(rows.pointers[to_size(row)]);
          const auto count = to_size(rows.pointers[to_size(row) + 1]) - begin;
          const auto columns = std::span(rows.indices).subspan(begin, count);
          residual.clear();
          for (const std::uint32_t column : columns) {
            residual.push_back(image[to_size((row - strip.begin) * n + column)]);
          }
          values.assign(rows.values.begin() + static_cast<std::ptrdiff_t>(begin),
                        rows.values.begin() + static_cast<std::ptrdiff_t>(begin + count));
          kernels::refine_row(inputs, columns, residual, values, rooms[to_size(thread)]);
          for (std::size_t k = 0; k < count; ++k) {
            rows.values[begin + k] = static_cast<float>(values[k]);
          }
        }
      });
      kernels::drop_zeros(rows);
    }
  });
}

}  // namespace espalier::jobs
