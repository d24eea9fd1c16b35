// label: full
// Every form of a matrix is read back as it was written, by any rows and weight by weight, and its
// bytes are those that one process alone writes.
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "io/catalog.hpp"
#include "tests/io/made_files.hpp"
#include "tests/io/written_rows.hpp"

BOOST_AUTO_TEST_SUITE(io_forms)

using namespace espalier;
using namespace espalier::tests;
using io::DataFile;
using io::MatrixFormat;
using io::MatrixInfo;
using kernels::CsrRows;

namespace {

struct Shape {
  std::int64_t rows, cols;
  double density;
  bool iso;
};

// Sizes cross the borders of 8- and 16-bit indices and of maps' buckets.
const std::vector<Shape> kShapes = {
    {300, 256, 0.05, false}, {700, 300, 0.01, true}, {3, 70000, 0.5, false},
    {257, 3, 0.4, true},     {5, 257, 0, false},     {1, 1, 1, true},
    {1, 1, 1, false},        {1, 1, 0, false},       {2000, 40000, 1e-5, false}};
const std::vector<MatrixFormat> kForms = {
    MatrixFormat::kCsr, MatrixFormat::kCsc,  MatrixFormat::kCoo,   MatrixFormat::kTensor,
    MatrixFormat::kMap, MatrixFormat::kList, MatrixFormat::kVector};

// The matrix as rows; `lines` are how it is written: by columns for CSC.
RowRecipe recipe_of(const Shape& shape, MatrixFormat form) {
  return {5, form == MatrixFormat::kCsc ? shape.rows : shape.cols, shape.density, shape.iso, false};
}

std::int64_t lines_of(const Shape& shape, MatrixFormat form) {
  return form == MatrixFormat::kCsc ? shape.cols : shape.rows;
}

std::map<std::pair<std::int64_t, std::int64_t>, float> weights_of(const Shape& shape,
                                                                  MatrixFormat form) {
  std::map<std::pair<std::int64_t, std::int64_t>, float> weights;
  const CsrRows lines = rows_of(recipe_of(shape, form), {0, lines_of(shape, form)});
  for (std::int64_t line = 0; line < lines.rows(); ++line) {
    for (auto k = lines.pointers[static_cast<std::size_t>(line)];
         k < lines.pointers[static_cast<std::size_t>(line) + 1]; ++k) {
      const std::int64_t across = lines.indices[static_cast<std::size_t>(k)];
      weights[form == MatrixFormat::kCsc ? std::pair(across, line) : std::pair(line, across)] =
          lines.value(k);
    }
  }
  return weights;
}

std::string group_of(MatrixFormat form) { return "/" + io::to_string(form); }

MatrixInfo plan(const Shape& shape, MatrixFormat form) {
  MatrixInfo matrix;
  matrix.group = group_of(form);
  matrix.format = form;
  matrix.rows = shape.rows;
  matrix.cols = shape.cols;
  matrix.iso = shape.iso && form != MatrixFormat::kTensor && form != MatrixFormat::kList;
  matrix.stored = nnz_of(recipe_of(shape, form), lines_of(shape, form));
  if (form == MatrixFormat::kTensor) {
    matrix.block_rows = 3;
    matrix.block_cols = 2;
    matrix.stored = 6 * io::count_blocks(rows_of(recipe_of(shape, form), {0, shape.rows}), matrix);
  }
  return matrix;
}

void write_rows(const Comm& comm, const Shape& shape, MatrixFormat form, io::MatrixWriter& writer) {
  const MatrixInfo matrix = plan(shape, form);
  std::int64_t stored = 0;
  const std::int64_t lines = lines_of(shape, form);
  const std::int64_t half = lines / 2 / matrix.block_rows * matrix.block_rows;
  for (const Range part : {Range{0, half}, Range{half, lines}}) {
    const std::int64_t steps = (part.size() + matrix.block_rows - 1) / matrix.block_rows;
    const Range share = random_share(steps, comm, 3);
    const auto line_of = [&](std::int64_t step) {
      return std::min(part.end, part.begin + step * matrix.block_rows);
    };
    CsrRows rows = rows_of(recipe_of(shape, form), {line_of(share.begin), line_of(share.end)});
    if (rows.iso && !matrix.iso) {
      rows.values = values_of(rows);
      rows.iso = false;
    }
    writer.write_rows(rows, stored + comm.sum_before(rows.nnz()));
    stored += comm.sum(rows.nnz());
  }
}

// A group for each form.
void write_forms(const Comm& comm, const std::string& path, const Shape& shape) {
  io::OutputOptions options;
  options.force = true;
  io::StagedFile file(comm, path, provenance_of("network"), options);
  std::vector<io::MatrixWriter> writers;
  for (const MatrixFormat form : kForms) {
    writers.emplace_back(file, plan(shape, form));
  }
  file.create();
  for (std::size_t i = 0; i < kForms.size(); ++i) {
    write_rows(comm, shape, kForms[i], writers[i]);
  }
  file.finish();
}

void check_rows(const DataFile& file, const MatrixInfo& matrix, const Shape& shape, Range range) {
  const auto weights = weights_of(shape, matrix.format);
  const CsrRows rows = io::read_rows(file, matrix, range);
  BOOST_CHECK_EQUAL(rows.first_row, range.begin);
  BOOST_CHECK_EQUAL(rows.rows(), range.size());
  auto next = weights.lower_bound({range.begin, 0});
  bool equal = true;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (auto k = rows.pointers[static_cast<std::size_t>(row)];
         k < rows.pointers[static_cast<std::size_t>(row) + 1]; ++k, ++next) {
      const std::pair<std::int64_t, std::int64_t> place(range.begin + row,
                                                        rows.indices[static_cast<std::size_t>(k)]);
      equal =
          equal && next != weights.end() && next->first == place && next->second == rows.value(k);
    }
  }
  BOOST_CHECK(equal);
  BOOST_CHECK(next == weights.lower_bound({range.end, 0}));
}

void check_counts(const DataFile& file, const MatrixInfo& matrix, const Shape& shape) {
  const auto weights = weights_of(shape, matrix.format);
  for (const std::int64_t row : {std::int64_t{0}, shape.rows / 3, shape.rows / 2, shape.rows}) {
    const std::int64_t before = io::nnz_before(file, matrix, row);
    if (matrix.format == MatrixFormat::kTensor) {
      BOOST_CHECK(before >= 0 && before <= matrix.stored);
    } else {
      BOOST_CHECK_EQUAL(before, std::distance(weights.begin(), weights.lower_bound({row, 0})));
    }
  }
  BOOST_CHECK_EQUAL(io::nnz_before(file, matrix, shape.rows), matrix.stored);
}

// Stored ones and their neighbours.
void check_single_weights(const DataFile& file, const MatrixInfo& matrix, const Shape& shape) {
  const auto weights = weights_of(shape, matrix.format);
  const auto check = [&](std::int64_t row, std::int64_t column) {
    const auto found = io::find_weight(file, matrix, row, column);
    const auto wanted = weights.find({row, column});
    BOOST_CHECK_EQUAL(found.has_value(), wanted != weights.end());
    if (found && wanted != weights.end()) {
      BOOST_CHECK_EQUAL(*found, wanted->second);
    }
  };
  check(0, 0);
  check(shape.rows - 1, shape.cols - 1);
  std::size_t number = 0;
  for (const auto& [place, value] : weights) {
    if (number++ % (1 + weights.size() / 40) == 0) {
      check(place.first, place.second);
      check(place.first, (place.second + 1) % shape.cols);
      check((place.first + 1) % shape.rows, place.second);
    }
  }
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(all_forms_of_all_shapes) {
  const Comm world(MPI_COMM_WORLD), self(MPI_COMM_SELF);
  const FilePair files = file_pair("form", world);
  for (const Shape& shape : kShapes) {
    write_forms(world, files.shared, shape);
    write_forms(self, files.alone, shape);
    const std::string bytes = bytes_of(files.shared);
    BOOST_CHECK(!bytes.empty() && bytes == bytes_of(files.alone));
    const io::Catalog catalog = io::read_catalog(self, files.alone);
    const DataFile file(catalog);
    for (const MatrixFormat form : kForms) {
      BOOST_TEST_CONTEXT(io::to_string(form)
                         << " " << shape.rows << " x " << shape.cols << " at " << shape.density) {
        const MatrixInfo matrix = io::parse_matrix(catalog, group_of(form));
        BOOST_CHECK(matrix.format == form && matrix.rows == shape.rows &&
                    matrix.cols == shape.cols && matrix.stored == plan(shape, form).stored);
        for (const Range range : {Range{0, shape.rows}, Range{shape.rows / 3, shape.rows / 2},
                                  Range{shape.rows / 2, shape.rows}, Range{0, 0}}) {
          check_rows(file, matrix, shape, range);
        }
        check_counts(file, matrix, shape);
        check_single_weights(file, matrix, shape);
      }
    }
    world.barrier();  // before the next file takes this one's name
  }
}

BOOST_AUTO_TEST_SUITE_END()
