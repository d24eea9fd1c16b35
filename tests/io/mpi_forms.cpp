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
    {1, 1, 1, false},        {1, 1, 0, false},       {400, 15000, 5e-6, false}};
const std::vector<MatrixFormat> kForms = {
    MatrixFormat::kCsr, MatrixFormat::kCsc,  MatrixFormat::kCoo,   MatrixFormat::kTensor,
    MatrixFormat::kMap, MatrixFormat::kList, MatrixFormat::kVector};

std::string group_of(MatrixFormat form) { return "/" + io::to_string(form); }

// A matrix in one form: what is written, and where its weights are.
struct Made {
  MatrixInfo matrix;
  CsrRows lines;  // rows; of CSC columns
  std::map<std::pair<std::int64_t, std::int64_t>, float> weights;
};

CsrRows part_of(const CsrRows& all, Range lines) {
  const auto pointer = [&](std::int64_t line) {
    return all.pointers[static_cast<std::size_t>(line)];
  };
  CsrRows part;
  part.first_row = lines.begin;
  part.cols = all.cols;
  part.iso = all.iso;
  for (std::int64_t line = lines.begin; line < lines.end; ++line) {
    part.pointers.push_back(pointer(line + 1) - pointer(lines.begin));
  }
  part.indices.assign(all.indices.begin() + pointer(lines.begin),
                      all.indices.begin() + pointer(lines.end));
  part.values = all.iso ? all.values
                        : std::vector<float>(all.values.begin() + pointer(lines.begin),
                                             all.values.begin() + pointer(lines.end));
  return part;
}

Made make(const Shape& shape, MatrixFormat form) {
  const bool by_columns = form == MatrixFormat::kCsc;
  Made made;
  made.lines = rows_of({5, by_columns ? shape.rows : shape.cols, shape.density, shape.iso, false},
                       {0, by_columns ? shape.cols : shape.rows});
  for (std::int64_t line = 0; line < made.lines.rows(); ++line) {
    for (auto k = made.lines.pointers[static_cast<std::size_t>(line)];
         k < made.lines.pointers[static_cast<std::size_t>(line) + 1]; ++k) {
      const std::int64_t across = made.lines.indices[static_cast<std::size_t>(k)];
      made.weights[by_columns ? std::pair(across, line) : std::pair(line, across)] =
          made.lines.value(k);
    }
  }
  MatrixInfo& matrix = made.matrix;
  matrix.group = group_of(form);
  matrix.format = form;
  matrix.rows = shape.rows;
  matrix.cols = shape.cols;
  matrix.iso = shape.iso && form != MatrixFormat::kTensor && form != MatrixFormat::kList;
  matrix.stored = made.lines.nnz();
  if (form == MatrixFormat::kTensor) {
    matrix.block_rows = 3;
    matrix.block_cols = 2;
    matrix.stored = 6 * io::count_blocks(made.lines, matrix);
  }
  return made;
}

std::vector<Made> make_forms(const Shape& shape) {
  std::vector<Made> forms;
  for (const MatrixFormat form : kForms) {
    forms.push_back(make(shape, form));
  }
  return forms;
}

void write_rows(const Comm& comm, const Made& made, io::MatrixWriter& writer) {
  const std::int64_t step = made.matrix.block_rows, lines = made.lines.rows();
  const std::int64_t half = lines / 2 / step * step;
  std::int64_t stored = 0;
  for (const Range part : {Range{0, half}, Range{half, lines}}) {
    const Range share = random_share((part.size() + step - 1) / step, comm, 3);
    const auto line_of = [&](std::int64_t number) {
      return std::min(part.end, part.begin + number * step);
    };
    CsrRows rows = part_of(made.lines, {line_of(share.begin), line_of(share.end)});
    if (rows.iso && !made.matrix.iso) {
      rows.values = values_of(rows);
      rows.iso = false;
    }
    writer.write_rows(rows, stored + comm.sum_before(rows.nnz()));
    stored += comm.sum(rows.nnz());
  }
}

// A group for each form.
void write_forms(const Comm& comm, const std::string& path, const std::vector<Made>& forms) {
  io::OutputOptions options;
  options.force = true;
  io::StagedFile file(comm, path, provenance_of("network"), options);
  std::vector<io::MatrixWriter> writers;
  for (const Made& made : forms) {
    writers.emplace_back(file, made.matrix);
  }
  file.create();
  for (std::size_t i = 0; i < forms.size(); ++i) {
    write_rows(comm, forms[i], writers[i]);
  }
  file.finish();
}

void check_rows(const DataFile& file, const MatrixInfo& matrix, const Made& made, Range range) {
  const CsrRows rows = io::read_rows(file, matrix, range);
  BOOST_CHECK_EQUAL(rows.first_row, range.begin);
  BOOST_CHECK_EQUAL(rows.rows(), range.size());
  auto next = made.weights.lower_bound({range.begin, 0});
  bool equal = true;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (auto k = rows.pointers[static_cast<std::size_t>(row)];
         k < rows.pointers[static_cast<std::size_t>(row) + 1]; ++k) {
      const std::pair<std::int64_t, std::int64_t> place(range.begin + row,
                                                        rows.indices[static_cast<std::size_t>(k)]);
      equal = equal && next != made.weights.end() && next->first == place &&
              next->second == rows.value(k);
      next = next == made.weights.end() ? next : std::next(next);
    }
  }
  BOOST_CHECK(equal);
  BOOST_CHECK(next == made.weights.lower_bound({range.end, 0}));
}

void check_counts(const DataFile& file, const MatrixInfo& matrix, const Made& made) {
  const auto& weights = made.weights;
  for (const std::int64_t row : {std::int64_t{0}, matrix.rows / 3, matrix.rows / 2, matrix.rows}) {
    const std::int64_t before = io::nnz_before(file, matrix, row);
    if (matrix.format == MatrixFormat::kTensor) {
      BOOST_CHECK(before >= 0 && before <= matrix.stored);
    } else {
      BOOST_CHECK_EQUAL(before, std::distance(weights.begin(), weights.lower_bound({row, 0})));
    }
  }
  BOOST_CHECK_EQUAL(io::nnz_before(file, matrix, matrix.rows), matrix.stored);
}

// Stored ones and their neighbours.
void check_single_weights(const DataFile& file, const MatrixInfo& matrix, const Made& made) {
  const auto& weights = made.weights;
  const auto check = [&](std::int64_t row, std::int64_t column) {
    const auto found = io::find_weight(file, matrix, row, column);
    const auto wanted = weights.find({row, column});
    BOOST_CHECK_EQUAL(found.has_value(), wanted != weights.end());
    if (found && wanted != weights.end()) {
      BOOST_CHECK_EQUAL(*found, wanted->second);
    }
  };
  check(0, 0);
  check(matrix.rows - 1, matrix.cols - 1);
  std::size_t number = 0;
  for (const auto& [place, value] : weights) {
    if (number++ % (1 + weights.size() / 40) == 0) {
      check(place.first, place.second);
      check(place.first, (place.second + 1) % matrix.cols);
      check((place.first + 1) % matrix.rows, place.second);
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
    const std::vector<Made> forms = make_forms(shape);
    write_forms(world, files.shared, forms);
    write_forms(self, files.alone, forms);
    const std::string bytes = bytes_of(files.shared);
    BOOST_CHECK(!bytes.empty() && bytes == bytes_of(files.alone));
    const io::Catalog catalog = io::read_catalog(self, files.alone);
    const DataFile file(catalog);
    for (const Made& made : forms) {
      BOOST_TEST_CONTEXT(made.matrix.group << " " << shape.rows << " x " << shape.cols << " at "
                                           << shape.density) {
        const MatrixInfo matrix = io::parse_matrix(catalog, made.matrix.group);
        BOOST_CHECK(matrix.format == made.matrix.format && matrix.rows == shape.rows &&
                    matrix.cols == shape.cols && matrix.stored == made.matrix.stored);
        for (const Range range : {Range{0, shape.rows}, Range{shape.rows / 3, shape.rows / 2},
                                  Range{shape.rows / 2, shape.rows}, Range{0, 0}}) {
          check_rows(file, matrix, made, range);
        }
        check_counts(file, matrix, made);
        check_single_weights(file, matrix, made);
      }
    }
    world.barrier();  // before the next file takes this one's name
  }
}

BOOST_AUTO_TEST_SUITE_END()
