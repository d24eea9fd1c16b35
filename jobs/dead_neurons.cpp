#include "jobs/dead_neurons.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "framework/agree.hpp"
#include "jobs/candidates.hpp"
#include "jobs/matrix_totals.hpp"
#include "jobs/unit_bytes.hpp"
#include "kernels/masks.hpp"
#include "kernels/reference.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

constexpr std::int64_t kNotConstant = -1;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

double square_of(float value) { return static_cast<double>(value) * static_cast<double>(value); }

}  // namespace

DeadNeurons::DeadNeurons(const Comm& comm, const io::NetworkReader& reader, const Pieces& pieces,
                         UnitRun& run)
    : comm_(comm),
      reader_(reader),
      pieces_(pieces),
      run_(run),
      layers_(reader),
      source_(layers_, {}),
      biases_(to_size(pieces.count())),
      folded_(to_size(pieces.layers()), 0),
      removed_squares_(to_size(pieces.layers()), 0),
      iso_(to_size(pieces.layers())),
      output_(reader.network()) {}

std::vector<float> DeadNeurons::full_bias(std::int64_t layer, Range rows) const {
  std::vector<float> bias = reader_.read_bias(layer, rows);
  if (bias.size() != to_size(rows.size())) {
    bias.assign(to_size(rows.size()), bias.empty() ? 0.0F : bias[0]);
  }
  return bias;
}

// What a neuron without incoming weights puts out, if the next layer can do without it.
std::int64_t DeadNeurons::constant_of(std::int64_t layer, float bias) const {
  const auto& layers = reader_.network().layers;
  const kernels::Epilogue& epilogue = layers[to_size(layer)].epilogue;
  if (layer + 1 == std::ssize(layers)) {
    return kNotConstant;
  }
  const double sum = epilogue.bias_where_nonzero ? 0 : static_cast<double>(bias);
  double value = kernels::reference::activate(sum, epilogue);
  if (epilogue.has_clamp) {
    value = std::min(value, static_cast<double>(epilogue.clamp));
  }
  const auto constant = static_cast<float>(value);
  if (!std::isfinite(constant) ||
      (constant != 0 && layers[to_size(layer) + 1].epilogue.bias_where_nonzero)) {
    return kNotConstant;
  }
  return std::bit_cast<std::uint32_t>(constant);
}

Range DeadNeurons::items(std::int64_t layer, std::int64_t round) const {
  return pieces_.items(0, layer, pieces_.rows(layer, round, comm_.rank()));
}

// Folds the constant inputs of one piece into its biases.
DeadNeurons::Folded DeadNeurons::fold_piece(std::int64_t layer, std::int64_t round,
                                            const Constants& inputs) {
  const Range range = pieces_.rows(layer, round, comm_.rank());
  KeyedRows found;
  source_.collect(layer, range, 0, found);
  Folded piece;
  piece.bias = full_bias(layer, range);
  std::vector<double> sums(piece.bias.begin(), piece.bias.end());
  std::size_t row = 0;
  kernels::RowFilter::apply(found.rows, [&](std::int64_t k) {
    while (found.rows.pointers[row + 1] <= k) {
      ++row;
    }
    const std::int64_t constant = inputs[found.rows.indices[to_size(k)]];
    if (constant == kNotConstant) {
      return true;
    }
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(constant));
    sums[row] += static_cast<double>(found.rows.value(k)) * static_cast<double>(value);
    piece.removed_squares += square_of(found.rows.value(k));
    return false;
  });
  for (std::size_t r = 0; r < piece.bias.size(); ++r) {
    const auto folded = static_cast<float>(sums[r]);
    if (!std::isfinite(folded)) {
      throw Error(ExitStatus::kBadData,
                  text(reader_.data().catalog().file, ": layer ", layer, ", neuron ",
                       range.begin + static_cast<std::int64_t>(r),
                       ": its bias with the constants of dead neurons is ", folded,
                       "; a finite number would be right"));
    }
    piece.changed |= folded != piece.bias[r] ? 1 : 0;
    piece.bias[r] = folded;
  }
  piece.rows = std::move(found.rows);
  return piece;
}

// Folds one piece, or takes it as it was finished before, and finds its own constants.
void DeadNeurons::take_piece(std::int64_t layer, std::int64_t round, const Constants& inputs,
                             Constants& mine) {
  const Range unit = items(layer, round);
  if (unit.empty()) {
    return;
  }
  Folded piece;
  if (run_.record().has(unit)) {
    const std::vector<std::byte> bytes = run_.record().read_whole(unit);
    std::span<const std::byte> rest = bytes;
    piece.rows = take_rows(rest);
    piece.bias = take_array<float>(rest, piece.rows.rows());
    piece.changed = take_array<std::int64_t>(rest, 1)[0];
    piece.removed_squares = take_array<double>(rest, 1)[0];
  } else {
    piece = fold_piece(layer, round, inputs);
    std::vector<std::byte> bytes;
    put_rows(bytes, piece.rows);
    put_array(bytes, piece.bias);
    put_array(bytes, std::vector<std::int64_t>{piece.changed});
    put_array(bytes, std::vector<double>{piece.removed_squares});
    run_.record().add(unit, bytes);
  }
  folded_[to_size(layer)] |= piece.changed;
  removed_squares_[to_size(layer)] += piece.removed_squares;
  const std::int64_t first = pieces_.rows(layer, round, comm_.rank()).begin;
  for (std::size_t r = 0; r < piece.bias.size(); ++r) {
    if (piece.rows.pointers[r] == piece.rows.pointers[r + 1]) {
      mine[to_size(first) + r] = constant_of(layer, piece.bias[r]);
    }
  }
  biases_[to_size(pieces_.number(layer, round))] = std::move(piece.bias);
}

CsrRows DeadNeurons::fetch(std::int64_t layer, std::int64_t round) const {
  const Range unit = items(layer, round);
  if (unit.empty()) {
    CsrRows none;
    none.first_row = pieces_.rows(layer, round, comm_.rank()).begin;
    none.cols = reader_.network().layers[to_size(layer)].weight.cols;
    return none;
  }
  const std::vector<std::byte> bytes = run_.record().read_whole(unit);
  std::span<const std::byte> rest = bytes;
  return take_rows(rest);
}

void DeadNeurons::sweep_forward() {
  Constants inputs(to_size(reader_.network().inputs()), kNotConstant);
  for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
    const std::int64_t rows = reader_.network().layers[to_size(layer)].weight.rows;
    Constants constants(to_size(rows), kNotConstant);
    for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
      locally(comm_, "looking for dead neurons",
              [&] { take_piece(layer, round, inputs, constants); });
      run_.after_unit(pieces_.items(0, layer, pieces_.rows(layer, round)));
    }
    comm_.max(constants);
    if (std::find(constants.begin(), constants.end(), kNotConstant) == constants.end()) {
      constants[0] = kNotConstant;  // a layer has at least one neuron
    }
    std::vector<std::uint8_t> stays;
    for (const std::int64_t constant : constants) {
      stays.push_back(constant == kNotConstant ? 1 : 0);
    }
    stays_.push_back(std::move(stays));
    inputs = std::move(constants);
  }
  comm_.max(folded_);
}

void DeadNeurons::sweep_back() {
  for (std::int64_t layer = pieces_.layers() - 1; layer > 0; --layer) {
    std::vector<std::uint8_t>& before = stays_[to_size(layer) - 1];
    std::vector<std::uint8_t> read_by_any(before.size(), 0);
    locally(comm_, "looking for neurons that nobody reads", [&] {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        const CsrRows rows = fetch(layer, round);
        for (std::int64_t row = 0; row < rows.rows(); ++row) {
          if (stays_[to_size(layer)][to_size(rows.first_row + row)] == 0) {
            continue;
          }
          for (std::int64_t k = rows.pointers[to_size(row)]; k < rows.pointers[to_size(row) + 1];
               ++k) {
            read_by_any[rows.indices[to_size(k)]] = 1;
          }
        }
      }
    });
    comm_.bit_or(read_by_any);
    const auto first = std::find(before.begin(), before.end(), std::uint8_t{1}) - before.begin();
    for (std::size_t i = 0; i < before.size(); ++i) {
      before[i] = before[i] & read_by_any[i];
    }
    if (std::find(before.begin(), before.end(), std::uint8_t{1}) == before.end()) {
      before[to_size(first)] = 1;
    }
  }
}

// Rows and columns that stay, under their new numbers.
CsrRows DeadNeurons::renumbered(std::int64_t layer, CsrRows rows) const {
  const auto& neurons = stays_[to_size(layer)];
  const auto before = [](const std::vector<std::uint8_t>& stays, std::int64_t end) {
    return std::count(stays.begin(), stays.begin() + end, std::uint8_t{1});
  };
  const std::int64_t first = rows.first_row;
  std::size_t row = 0;
  kernels::RowFilter::apply(rows, [&](std::int64_t k) {
    while (rows.pointers[row + 1] <= k) {
      ++row;
    }
    return neurons[to_size(first) + row] != 0;
  });
  CsrRows left = std::move(rows);
  std::vector<std::int64_t> pointers = {0};
  for (std::int64_t r = 0; r < left.rows(); ++r) {
    if (neurons[to_size(first + r)] != 0) {
      pointers.push_back(left.pointers[to_size(r) + 1]);
    }
  }
  left.pointers = std::move(pointers);
  left.first_row = before(neurons, first);
  if (layer > 0) {
    const auto& inputs = stays_[to_size(layer) - 1];
    std::vector<std::uint32_t> numbers(inputs.size());
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      numbers[i] = next;
      next += inputs[i];
    }
    for (std::uint32_t& column : left.indices) {
      column = numbers[column];
    }
    left.cols = next;
  }
  return left;
}

void DeadNeurons::count() {
  std::vector<MatrixTotals> totals(to_size(pieces_.layers()));
  locally(comm_, "counting weights", [&] {
    for (std::int64_t layer = 0; layer < pieces_.layers(); ++layer) {
      for (std::int64_t round = 0; round < pieces_.rounds(layer); ++round) {
        const CsrRows all = fetch(layer, round);
        double squares = 0;
        for (std::int64_t k = 0; k < all.nnz(); ++k) {
          squares += square_of(all.value(k));
        }
        const CsrRows left = renumbered(layer, all);
        for (std::int64_t k = 0; k < left.nnz(); ++k) {
          squares -= square_of(left.value(k));
        }
        removed_squares_[to_size(layer)] += std::max(squares, 0.0);
        totals[to_size(layer)].add(left);
      }
    }
  });
  MatrixTotals::join(comm_, totals);
  removed_squares_ = exchange_sums(comm_, removed_squares_);
  for (std::size_t id = 0; id < totals.size(); ++id) {
    io::Layer& layer = output_.layers[id];
    layer.weight.rows = std::count(stays_[id].begin(), stays_[id].end(), std::uint8_t{1});
    layer.weight.cols = id == 0 ? layer.weight.cols : output_.layers[id - 1].weight.rows;
    layer.weight.stored = totals[id].nnz();
    iso_[id] = totals[id].iso();
    layer.weight.iso = iso_[id].has_value();
    if (folded_[id] != 0) {
      layer.bias = io::BiasKind::kFull;
    }
  }
}

void DeadNeurons::find() {
  sweep_forward();
  sweep_back();
  count();
}

double DeadNeurons::removed_squares(std::int64_t layer) const {
  return removed_squares_[to_size(layer)];
}

LayerPiece DeadNeurons::read(std::int64_t layer, std::int64_t round) const {
  const auto number = to_size(pieces_.number(layer, round));
  CsrRows all = fetch(layer, round);
  const std::int64_t first = all.first_row;
  LayerPiece left{renumbered(layer, std::move(all)), {}};
  spell_values(left.rows, iso_[to_size(layer)]);
  const io::BiasKind kind = output_.layers[to_size(layer)].bias;
  if (kind == io::BiasKind::kIso) {
    left.bias = reader_.read_bias(layer, {0, 1});
  }
  for (std::size_t r = 0; kind == io::BiasKind::kFull && r < biases_[number].size(); ++r) {
    if (stays_[to_size(layer)][to_size(first) + r] != 0) {
      left.bias.push_back(biases_[number][r]);
    }
  }
  return left;
}

}  // namespace espalier::jobs
