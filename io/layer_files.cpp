#include "io/layer_files.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "framework/error.hpp"
#include "io/file_writer.hpp"
#include "io/npy.hpp"
#include "io/zip.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kPieceBytes = INT64_C(8) << 20;  // of weights in memory at a time
constexpr std::int64_t kLargestInt32 = std::numeric_limits<std::int32_t>::max();

const Layer& layer_of(const NetworkReader& reader, std::int64_t layer) {
  return reader.network().layers.at(static_cast<std::size_t>(layer));
}

// Calls take(rows) for all rows, some at a time; none of their weights is zero.
template <typename Take>
void for_each_piece(const NetworkReader& reader, std::int64_t layer, Take&& take) {
  const MatrixInfo& weight = layer_of(reader, layer).weight;
  const std::int64_t row_bytes = 8 * (weight.cols + 1);
  const std::int64_t step = std::max<std::int64_t>(kPieceBytes / row_bytes, 1);
  kernels::CsrRows rows;
  for (std::int64_t begin = 0; begin < weight.rows; begin += step) {
    rows = reader.read_rows(layer, {begin, std::min(begin + step, weight.rows)}, std::move(rows));
    take(rows);
  }
}

// Calls take(global row, column, value) for all weights that are not zero.
template <typename Take>
void for_each_weight(const kernels::CsrRows& rows, Take&& take) {
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const auto r = static_cast<std::size_t>(row);
    for (std::int64_t k = rows.pointers[r]; k < rows.pointers[r + 1]; ++k) {
      if (rows.value(k) != 0) {
        take(rows.first_row + row, std::int64_t{rows.indices[static_cast<std::size_t>(k)]},
             rows.value(k));
      }
    }
  }
}

std::int64_t count_weights(const NetworkReader& reader, std::int64_t layer) {
  std::int64_t count = 0;
  for_each_piece(reader, layer, [&](const kernels::CsrRows& rows) {
    for_each_weight(rows, [&](std::int64_t, std::int64_t, float) { ++count; });
  });
  return count;
}

template <typename Number>
void add_number(std::string& line, Number number, char after) {
  char place[64];
  const auto [end, error] = std::to_chars(place, place + sizeof(place), number);
  expects(error == std::errc(), "a number has at most 64 characters");
  line.append(place, end);
  line += after;
}

// A line for each weight: where it is, from 1, and its value.
struct LineForm {
  bool input_first;
  char between;
};

void append_lines(const NetworkReader& reader, std::int64_t layer, LineForm form,
                  FileWriter& file) {
  for_each_piece(reader, layer, [&](const kernels::CsrRows& rows) {
    std::string lines;
    for_each_weight(rows, [&](std::int64_t output, std::int64_t input, float value) {
      add_number(lines, 1 + (form.input_first ? input : output), form.between);
      add_number(lines, 1 + (form.input_first ? output : input), form.between);
      add_number(lines, value, '\n');
    });
    file.append(std::string_view(lines));
  });
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// One member of an archive: a .npy array whose elements `bring` appends.
template <typename Bring>
void add_member(ZipWriter& zip, const std::string& key, ElementType type,
                const std::vector<std::int64_t>& shape, Bring&& bring) {
  const std::string header = npy_header(type, shape);
  std::int64_t bytes = std::ssize(header);
  bytes += type.bytes * (shape.empty() ? 1 : shape[0]);
  zip.begin(key + ".npy", bytes);
  zip.append(std::as_bytes(std::span(header)));
  bring();
}

// Row pointers or column indices, 32 bits wide where SciPy would have them so.
class Indices {
 public:
  Indices(ZipWriter& zip, bool wide) : zip_(zip), wide_(wide) {}
  ElementType type() const { return wide_ ? kInt64 : ElementType{ElementClass::kSigned, 4}; }
  void append(const std::vector<std::int64_t>& values) {
    if (wide_) {
      zip_.append(bytes_of(values));
    } else {
      const std::vector<std::int32_t> narrow(values.begin(), values.end());
      zip_.append(bytes_of(narrow));
    }
  }

 private:
  ZipWriter& zip_;
  bool wide_;
};

// The bias of every output, whether one is stored for all or one for each.
std::vector<float> read_biases(const NetworkReader& reader, std::int64_t layer) {
  const Layer& of = layer_of(reader, layer);
  std::vector<float> bias = reader.read_bias(layer, {0, of.weight.rows});
  if (of.bias == BiasKind::kIso) {
    bias.assign(static_cast<std::size_t>(of.weight.rows), bias.at(0));
  }
  return bias;
}

}  // namespace

void write_npy(const NetworkReader& reader, std::int64_t layer, const std::string& path,
               bool force) {
  const MatrixInfo& weight = layer_of(reader, layer).weight;
  FileWriter file(path, force);
  file.append(npy_header(kFloat32, {weight.rows, weight.cols}));
  std::vector<float> dense(static_cast<std::size_t>(weight.cols));
  for_each_piece(reader, layer, [&](const kernels::CsrRows& rows) {
    for (std::int64_t row = 0; row < rows.rows(); ++row) {
      const auto r = static_cast<std::size_t>(row);
      std::fill(dense.begin(), dense.end(), 0.0F);
      for (std::int64_t k = rows.pointers[r]; k < rows.pointers[r + 1]; ++k) {
        dense[rows.indices[static_cast<std::size_t>(k)]] = rows.value(k);
      }
      file.append(bytes_of(dense));
    }
  });
  file.finish();
}

void write_scipy_npz(const NetworkReader& reader, std::int64_t layer, const std::string& path,
                     bool force) {
  const MatrixInfo& weight = layer_of(reader, layer).weight;
  const std::int64_t nnz = count_weights(reader, layer);
  FileWriter file(path, force);
  ZipWriter zip(file);
  Indices indices(zip, std::max({nnz, weight.rows, weight.cols}) > kLargestInt32);
  add_member(zip, "indices", indices.type(), {nnz}, [&] {
    for_each_piece(reader, layer, [&](const kernels::CsrRows& rows) {
      std::vector<std::int64_t> columns;
      for_each_weight(rows, [&](std::int64_t, std::int64_t col, float) { columns.push_back(col); });
      indices.append(columns);
    });
  });
  add_member(zip, "indptr", indices.type(), {weight.rows + 1}, [&] {
    std::int64_t before = 0;
    indices.append({0});
    for_each_piece(reader, layer, [&](const kernels::CsrRows& rows) {
      std::vector<std::int64_t> ends(static_cast<std::size_t>(rows.rows()));
      for_each_weight(rows, [&](std::int64_t row, std::int64_t, float) {
        ++ends[static_cast<std::size_t>(row - rows.first_row)];
      });
      for (std::int64_t& end : ends) {
        end += before;
        before = end;
      }
      indices.append(ends);
    });
  });
  const ElementType word{ElementClass::kText, 3};
  add_member(zip, "format", word, {}, [&] { zip.append(std::as_bytes(std::span("csr", 3))); });
  add_member(zip, "shape", kInt64, {2}, [&] {
    zip.append(bytes_of(std::vector<std::int64_t>{weight.rows, weight.cols}));
  });
  add_member(zip, "data", kFloat32, {nnz}, [&] {
    for_each_piece(reader, layer, [&](const kernels::CsrRows& rows) {
      std::vector<float> values;
      for_each_weight(rows,
                      [&](std::int64_t, std::int64_t, float value) { values.push_back(value); });
      zip.append(bytes_of(values));
    });
  });
  zip.finish();
  file.finish();
}

void write_mtx(const NetworkReader& reader, std::int64_t layer, const std::string& path,
               bool force) {
  const MatrixInfo& weight = layer_of(reader, layer).weight;
  FileWriter file(path, force);
  file.append(text("%%MatrixMarket matrix coordinate real general\n", weight.rows, " ", weight.cols,
                   " ", count_weights(reader, layer), "\n"));
  append_lines(reader, layer, {false, ' '}, file);
  file.finish();
}

void write_challenge_layer(const NetworkReader& reader, std::int64_t layer, const std::string& path,
                           bool force) {
  FileWriter file(path, force);
  append_lines(reader, layer, {true, '\t'}, file);
  file.finish();
}

void write_npy_bias(const NetworkReader& reader, std::int64_t layer, const std::string& path,
                    bool force) {
  const std::vector<float> bias = read_biases(reader, layer);
  FileWriter file(path, force);
  file.append(npy_header(kFloat32, {std::ssize(bias)}));
  file.append(bytes_of(bias));
  file.finish();
}

void write_mtx_bias(const NetworkReader& reader, std::int64_t layer, const std::string& path,
                    bool force) {
  const std::vector<float> bias = read_biases(reader, layer);
  FileWriter file(path, force);
  std::string lines = text("%%MatrixMarket matrix array real general\n", bias.size(), " 1\n");
  for (const float value : bias) {
    add_number(lines, value, '\n');
  }
  file.append(std::string_view(lines));
  file.finish();
}

}  // namespace espalier::io
