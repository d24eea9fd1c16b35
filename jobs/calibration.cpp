#include "jobs/calibration.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "framework/agree.hpp"
#include "framework/parallel.hpp"
#include "kernels/dense.hpp"
#include "kernels/exact_sum.hpp"
#include "kernels/pack.hpp"
#include "kernels/spmm.hpp"

namespace espalier::jobs {
namespace {

using kernels::ExactSum;

constexpr std::int64_t kWidth = kernels::kPanelWidth;
// Rows of the Gram matrix that are worked on, and passed on, together.
constexpr std::int64_t kGramRows = 64;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

template <typename T>
void broadcast(const Comm& comm, std::vector<T>& values, std::int64_t count, int root) {
  values.resize(to_size(count));
  comm.broadcast(std::as_writable_bytes(std::span(values)), root);
}

}  // namespace

Calibration::Calibration(const Comm& comm, const io::NetworkReader& reader,
                         const io::BatchReader& batch, std::function<void()> pause)
    : comm_(comm),
      reader_(reader),
      batch_(batch),
      pause_(std::move(pause)),
      walk_(locally(comm, "planning the calibration",
                    [&] { return LayerWalk(reader, batch.batch().features.cols); })),
      samples_(batch.batch().samples()) {
  locally(comm, "planning the calibration", [&] {
    if (samples_ == 0) {
      throw Error(ExitStatus::kBadData,
                  text(batch.data().catalog().file, " has no samples; calibration needs some"));
    }
  });
}

std::int64_t Calibration::bytes(const io::Network& network, std::int64_t samples, int ranks) {
  const std::int64_t mine = split_evenly(samples, ranks, 0).size();
  const std::int64_t padded = (mine + kWidth - 1) / kWidth * kWidth;
  std::int64_t most = 0;
  for (const io::Layer& layer : network.layers) {
    const std::int64_t sums = static_cast<std::int64_t>(ExactSum::kLimbs * sizeof(std::int64_t));
    most = std::max(
        most, (layer.weight.rows + layer.weight.cols) * padded * 4 + layer.weight.cols * 2 * sums);
  }
  return most;
}

Range Calibration::samples_of(int rank) const {
  return split_evenly(samples_, comm_.ranks(), rank);
}

void Calibration::restart() {
  inputs_ = {};
  inputs_ = locally(comm_, "reading samples",
                    [&] { return walk_.start(batch_.read_samples(samples_of(comm_.rank()))); });
}

// Sums of |x| or x^2 over those x for which `counts` holds, one an input.
std::vector<double> Calibration::exchange_sums_of(const std::function<bool(float)>& counts,
                                                  bool squares) const {
  constexpr auto kLimbs = static_cast<std::int64_t>(ExactSum::kLimbs);
  std::vector<std::int64_t> limbs(to_size(inputs_.rows * kLimbs), 0);
  parallel_for(inputs_.rows, [&](std::int64_t input, int) {
    const auto sum = std::span(limbs).subspan(to_size(input * kLimbs), ExactSum::kLimbs);
    for (std::int64_t sample = 0; sample < inputs_.samples; ++sample) {
      const float value = inputs_.at(input, sample);
      if (value != 0 && counts(value)) {
        squares ? ExactSum::add_square(sum, value) : ExactSum::add(sum, value);
      }
    }
  });
  comm_.sum(limbs);
  std::vector<double> sums;
  for (std::int64_t input = 0; input < inputs_.rows; ++input) {
    sums.push_back(
        ExactSum::value(std::span(limbs).subspan(to_size(input * kLimbs), ExactSum::kLimbs)));
  }
  return sums;
}

InputStats Calibration::exchange_stats() const {
  const auto squares = exchange_sums_of([](float) { return true; }, true);
  const auto above = exchange_sums_of([](float value) { return value > 0; }, false);
  const auto below = exchange_sums_of([](float value) { return value < 0; }, false);
  const auto count = static_cast<double>(samples_);
  InputStats stats;
  for (std::size_t i = 0; i < squares.size(); ++i) {
    const double mean = (above[i] - below[i]) / count;
    stats.mean.push_back(mean);
    stats.norm.push_back(std::sqrt(squares[i]));
    stats.deviation.push_back(std::sqrt(std::max(squares[i] / count - mean * mean, 0.0)));
  }
  return stats;
}

std::vector<double> Calibration::exchange_gram() const {
  const std::int64_t n = inputs_.rows, blocks = (n + kGramRows - 1) / kGramRows;
  std::vector<double> gram(to_size(n * n), 0), x(to_size(n * kWidth)), turned(to_size(n * kWidth));
  std::vector<float> panel(to_size(n * kWidth));
  const kernels::DenseView all{gram.data(), n, n, n};
  const std::int64_t mine = (blocks + comm_.ranks() - 1 - comm_.rank()) / comm_.ranks();
  for (int rank = 0; rank < comm_.ranks(); ++rank) {
    const std::int64_t samples = samples_of(rank).size();
    for (std::int64_t first = 0; first < samples; first += kWidth) {
      if (rank == comm_.rank()) {
        std::copy_n(inputs_.panel(first / kWidth), n * kWidth, panel.data());
      }
      comm_.broadcast(std::as_writable_bytes(std::span(panel)), rank);
      const std::int64_t count = std::min(kWidth, samples - first);
      for (std::int64_t i = 0; i < n * kWidth; ++i) {
        x[to_size(i)] = static_cast<double>(panel[to_size(i)]);
        turned[to_size(i % kWidth * n + i / kWidth)] = x[to_size(i)];
      }
      locally(comm_, "multiplying inputs", [&] {
        pause_();
        parallel_for(mine, [&](std::int64_t item, int) {
          const std::int64_t begin = (item * comm_.ranks() + comm_.rank()) * kGramRows;
          const std::int64_t height = std::min(kGramRows, n - begin);
          kernels::add_product({x.data() + begin * kWidth, height, count, kWidth},
                               {turned.data() + begin, count, n - begin, n},
                               all.block(begin, begin, height, n - begin));
        });
      });
    }
  }
  for (std::int64_t block = 0; block < blocks && comm_.ranks() > 1; ++block) {
    const std::int64_t begin = block * kGramRows, height = std::min(kGramRows, n - begin);
    comm_.broadcast(
        std::as_writable_bytes(std::span(gram).subspan(to_size(begin * n), to_size(height * n))),
        static_cast<int>(block % comm_.ranks()));
  }
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) all.row(i)[j] = all.row(j)[i];
  }
  return gram;
}

LayerPiece Calibration::exchange_piece(const LayerPiece& mine, int root) const {
  const kernels::CsrRows& rows = mine.rows;
  std::array<std::int64_t, 6> sizes = {rows.first_row, rows.cols,        rows.rows(),
                                       rows.nnz(),     rows.iso ? 1 : 0, std::ssize(mine.bias)};
  comm_.broadcast(std::as_writable_bytes(std::span(sizes)), root);
  LayerPiece piece;
  if (root == comm_.rank()) {
    piece = mine;
  }
  piece.rows.first_row = sizes[0];
  piece.rows.cols = sizes[1];
  piece.rows.iso = sizes[4] != 0;
  broadcast(comm_, piece.rows.pointers, sizes[2] + 1, root);
  broadcast(comm_, piece.rows.indices, sizes[3], root);
  broadcast(comm_, piece.rows.values, piece.rows.iso ? 1 : sizes[3], root);
  broadcast(comm_, piece.bias, sizes[5], root);
  return piece;
}

// The sums of the piece's rows over this rank's samples.
void Calibration::multiply(const LayerPiece& piece, Panels& sums, std::vector<float>& bias) const {
  const kernels::CsrRows& rows = piece.rows;
  for (std::int64_t row = 0; row < rows.rows() && !piece.bias.empty(); ++row) {
    const bool one = std::ssize(piece.bias) < rows.rows();
    bias[to_size(rows.first_row + row)] = piece.bias[to_size(one ? 0 : row)];
  }
  std::vector<std::uint32_t> all(to_size(rows.cols));
  std::iota(all.begin(), all.end(), 0U);
  const kernels::PackedLayer packed = kernels::pack_layer(rows, all, {}, {});
  parallel_for(sums.panels(), [&](std::int64_t number, int) {
    std::uint32_t alive[kernels::kPanelWidth] = {};
    kernels::spmm(packed, inputs_.panel(number), sums.panel(number) + rows.first_row * kWidth, 0,
                  packed.rows(), alive);
  });
}

void Calibration::exchange_layer(std::int64_t layer, std::int64_t rounds,
                                 const std::function<LayerPiece(std::int64_t round)>& piece) {
  const io::MatrixInfo& weight = reader_.network().layers[to_size(layer)].weight;
  Panels sums(weight.rows, inputs_.samples);
  std::vector<float> bias(to_size(weight.rows), 0.0F);
  for (std::int64_t round = 0; round < rounds; ++round) {
    const LayerPiece mine = locally(comm_, "fetching what stays", [&] { return piece(round); });
    for (int rank = 0; rank < comm_.ranks(); ++rank) {
      const LayerPiece theirs = comm_.ranks() > 1 ? exchange_piece(mine, rank) : LayerPiece();
      locally(comm_, "carrying samples on", [&] {
        pause_();
        multiply(comm_.ranks() > 1 ? theirs : mine, sums, bias);
      });
    }
  }
  locally(comm_, "carrying samples on",
          [&] { walk_.finish(layer, samples_of(comm_.rank()).begin, bias, sums); });
  inputs_ = std::move(sums);
}

}  // namespace espalier::jobs
