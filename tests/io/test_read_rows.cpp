#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "io/matrix_rows.hpp"
#include "tests/io/checksummed.hpp"

BOOST_AUTO_TEST_SUITE(io_read_rows)

using namespace espalier;
using namespace espalier::tests;
using io::Catalog;
using io::DataFile;
using io::MatrixFormat;
using io::MatrixInfo;
using kernels::CsrRows;
using nlohmann::json;

namespace {

struct Triplets {
  std::int64_t rows = 0, cols = 0;
  std::vector<std::int64_t> row, column;
  std::vector<float> value;
};

Triplets random_matrix(std::int64_t rows, std::int64_t cols, double density) {
  Triplets matrix{rows, cols, {}, {}, {}};
  RandomStream random(11, 0, 0);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < cols; ++column) {
      if (random.next_unit() < density) {
        matrix.row.push_back(row);
        matrix.column.push_back(column);
        matrix.value.push_back(static_cast<float>(random.next_normal()));
      }
    }
  }
  return matrix;
}

std::vector<std::int64_t> pointers_of(const Triplets& matrix) {
  std::vector<std::int64_t> pointers;
  for (std::int64_t row = 0; row <= matrix.rows; ++row) {
    pointers.push_back(std::lower_bound(matrix.row.begin(), matrix.row.end(), row) -
                       matrix.row.begin());
  }
  return pointers;
}

struct Spelling {
  std::string format;
  hid_t index = H5T_STD_I64LE, value = H5T_IEEE_F32LE;
  std::vector<hsize_t> chunk = {};
  bool iso = false;
};

// Writes the group /m as others might; what it holds is taken as it is.
void put_matrix(MadeFile& file, const Triplets& matrix, const std::vector<std::int64_t>& pointers,
                const Spelling& spelling) {
  const Storage indices{
      .chunk = spelling.chunk, .deflate = spelling.chunk.empty() ? 0 : 1, .type = spelling.index};
  const Storage values{
      .chunk = spelling.chunk, .deflate = spelling.chunk.empty() ? 0 : 1, .type = spelling.value};
  auto stored = matrix.value;
  auto count = static_cast<std::int64_t>(matrix.column.size());
  file.group("/m");
  if (spelling.format == "DMAT") {
    count = matrix.rows * matrix.cols;
    stored.assign(static_cast<std::size_t>(count), 0);
    for (std::size_t k = 0; k < matrix.value.size(); ++k) {
      stored[static_cast<std::size_t>(matrix.row[k] * matrix.cols + matrix.column[k])] =
          matrix.value[k];
    }
  } else {
    file.dataset("/m/indices_1", matrix.column, {}, indices);
  }
  if (spelling.format == "CSR") {
    file.dataset("/m/pointers_to_1", pointers, {}, indices);
  } else if (spelling.format == "COO") {
    file.dataset("/m/indices_0", matrix.row, {}, indices);
  }
  if (spelling.iso) {
    stored.resize(1);
  }
  file.dataset("/m/values", stored, {}, values);
  file.text("/m", "binsparse",
            json{{"binsparse",
                  {{"version", "0.1"},
                   {"format", spelling.format},
                   {"shape", {matrix.rows, matrix.cols}},
                   {"number_of_stored_values", count},
                   {"data_types", {{"values", spelling.iso ? "iso[float32]" : "float32"}}}}}}
                .dump());
}

CsrRows read(const std::string& path, Range range) {
  const Catalog catalog = walked(path);
  const DataFile file(catalog);
  return read_rows(file, io::parse_matrix(catalog, "/m"), range);
}

void check_rows(const CsrRows& found, const Triplets& matrix, Range range) {
  BOOST_CHECK_EQUAL(found.first_row, range.begin);
  BOOST_CHECK_EQUAL(found.cols, matrix.cols);
  BOOST_REQUIRE_EQUAL(found.rows(), range.size());
  std::size_t k = static_cast<std::size_t>(
      std::lower_bound(matrix.row.begin(), matrix.row.end(), range.begin) - matrix.row.begin());
  for (std::int64_t r = 0; r < found.rows(); ++r) {
    for (std::int64_t at = found.pointers[static_cast<std::size_t>(r)];
         at < found.pointers[static_cast<std::size_t>(r) + 1]; ++at, ++k) {
      BOOST_REQUIRE_LT(k, matrix.row.size());
      BOOST_REQUIRE_EQUAL(matrix.row[k], range.begin + r);
      BOOST_REQUIRE_EQUAL(found.indices[static_cast<std::size_t>(at)], matrix.column[k]);
      BOOST_REQUIRE_EQUAL(found.value(at), matrix.value[k]);
    }
  }
  BOOST_CHECK(k == matrix.row.size() || matrix.row[k] >= range.end);
}

// What reading all rows of a CSR matrix of the given arrays says.
std::string refusal(const Triplets& matrix, const std::vector<std::int64_t>& pointers,
                    Range range = {-1, 0}) {
  {
    MadeFile file("hostile.h5");
    put_matrix(file, matrix, pointers, {.format = pointers.empty() ? "COO" : "CSR"});
  }
  return error_of([&] { read("hostile.h5", range.begin < 0 ? Range{0, matrix.rows} : range); });
}

const float kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace

BOOST_AUTO_TEST_CASE(all_formats_and_types_give_the_same_rows) {
  const Triplets matrix = random_matrix(60, 50, 0.2);
  for (const Spelling& spelling : std::vector<Spelling>{
           {.format = "CSR"},
           {.format = "COO"},
           {.format = "DMAT"},
           {.format = "CSR", .index = H5T_STD_U32LE},
           {.format = "COO", .index = H5T_STD_U32BE, .value = H5T_IEEE_F64BE},
           {.format = "CSR", .index = H5T_STD_U32LE, .value = H5T_IEEE_F64LE, .chunk = {50}},
           {.format = "COO", .index = H5T_STD_I16LE, .chunk = {100}},
           {.format = "DMAT", .chunk = {1000}}}) {
    for (const bool summed : {false, true}) {
      {
        MadeFile file("m.h5");
        put_matrix(file, matrix, pointers_of(matrix), spelling);
      }
      if (summed) {
        add_checksums("m.h5");
      }
      const Catalog catalog = walked("m.h5");
      const DataFile file(catalog);
      const MatrixInfo info = io::parse_matrix(catalog, "/m");
      for (const Range range : {Range{0, 60}, {0, 1}, {17, 33}, {59, 60}, {60, 60}, {5, 5}}) {
        check_rows(read_rows(file, info, range), matrix, range);
      }
      for (std::int64_t row = 0; row <= 60; ++row) {
        const std::int64_t wanted = spelling.format == "DMAT"
                                        ? row * 50
                                        : pointers_of(matrix)[static_cast<std::size_t>(row)];
        BOOST_REQUIRE_EQUAL(nnz_before(file, info, row), wanted);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(one_value_for_all_stays_one) {
  Triplets matrix = random_matrix(10, 20, 0.3);
  std::fill(matrix.value.begin(), matrix.value.end(), 0.0625F);
  for (const std::string format : {"CSR", "COO"}) {
    {
      MadeFile file("iso.h5");
      put_matrix(file, matrix, pointers_of(matrix), {.format = format, .iso = true});
    }
    const CsrRows rows = read("iso.h5", {2, 9});
    BOOST_CHECK(rows.iso);
    BOOST_CHECK_EQUAL(rows.values.size(), 1);
    check_rows(rows, matrix, {2, 9});
  }
}

BOOST_AUTO_TEST_CASE(one_value_that_is_not_finite_matters_where_it_stands) {
  {
    MadeFile file("iso.h5");
    put_matrix(file, {3, 4, {}, {1, 2}, {kNan}}, {0, 0, 2, 2}, {.format = "CSR", .iso = true});
  }
  BOOST_CHECK_EQUAL(error_of([] {
                      read("iso.h5", {0, 3});
                    }),
                    "65 iso.h5: /m: row 1, column 1: the value is not finite");
  BOOST_CHECK_EQUAL(read("iso.h5", {0, 1}).nnz(), 0);
}

BOOST_AUTO_TEST_CASE(memory_given_back_changes_nothing) {
  const Triplets matrix = random_matrix(40, 30, 0.3);
  CsrRows reuse;
  for (const std::string format : {"DMAT", "CSR", "COO", "DMAT"}) {
    {
      MadeFile file("again.h5");
      put_matrix(file, matrix, pointers_of(matrix), {.format = format});
    }
    const Catalog catalog = walked("again.h5");
    const DataFile file(catalog);
    for (const Range range : {Range{0, 40}, {30, 40}, {3, 3}, {0, 1}}) {
      reuse.iso = true;
      reuse = read_rows(file, io::parse_matrix(catalog, "/m"), range, std::move(reuse));
      check_rows(reuse, matrix, range);
      BOOST_CHECK_EQUAL(reuse.indices.size(), reuse.nnz());
      BOOST_CHECK_EQUAL(reuse.values.size(), reuse.nnz());
    }
  }
}

// Rows across the borders at which reading pauses, with faults on either side of one.
BOOST_AUTO_TEST_CASE(faults_are_found_around_the_borders_of_turns) {
  const std::int64_t width = 50000, count = 3 * width;
  std::vector<std::int64_t> columns(static_cast<std::size_t>(count));
  for (std::size_t k = 0; k < columns.size(); ++k) {
    columns[k] = static_cast<std::int64_t>(k) % width;
  }
  const std::vector<float> values(columns.size(), 1);
  const auto change = [&](std::size_t at, std::int64_t column, float value) {
    auto changed = columns;
    changed[at] = column;
    auto changed_values = values;
    changed_values[at] = value;
    return refusal({3, width, {}, changed, changed_values}, {0, width, 2 * width, count});
  };
  BOOST_CHECK_EQUAL(change(5, 5, 1), "no error");
  for (const std::size_t at : {49999U, 50001U, 131071U, 131072U, 131073U, 149999U}) {
    const auto column = static_cast<std::int64_t>(at) % width;
    const std::string place = text("65 hostile.h5: /m: row ", at / 50000);
    BOOST_CHECK_EQUAL(change(at, column - 1, 1), text(place, " has column ", column - 1, " twice"));
    BOOST_CHECK_EQUAL(change(at, column, kNan),
                      text(place, ", column ", column, ": the value is not finite"));
    BOOST_CHECK_EQUAL(change(at, width, 1),
                      text(place, " has column ", width, " but the matrix is ", width, " wide"));
  }
}

// Enough for several threads to share it.
BOOST_AUTO_TEST_CASE(threads_read_the_same_rows_and_find_the_same_faults) {
  const Triplets matrix = random_matrix(30, 50000, 0.9);
  const std::vector<std::int64_t> pointers = pointers_of(matrix);
  BOOST_REQUIRE_GT(matrix.value.size(), 10 * 131072U);
  {
    MadeFile file("large.h5");
    put_matrix(file, matrix, pointers, {.format = "CSR", .index = H5T_STD_U32LE});
  }
  const Catalog catalog = walked("large.h5");
  const MatrixInfo info = io::parse_matrix(catalog, "/m");
  for (const int threads : {1, 3}) {
    set_threads(threads);
    const DataFile file(catalog);
    check_rows(read_rows(file, info, {1, 30}), matrix, {1, 30});
    // Indices, values and the pointers of 29 rows.
    const auto first = static_cast<std::size_t>(pointers[1]);
    BOOST_CHECK_GE(file.bytes_read(), 8 * (matrix.value.size() - first));
    for (const std::size_t at : {first, std::size_t{10 * 131072}, matrix.value.size() - 1}) {
      Triplets changed = matrix;
      changed.value[at] = kNan;
      BOOST_CHECK_EQUAL(refusal(changed, pointers),
                        text("65 hostile.h5: /m: row ", matrix.row[at], ", column ",
                             matrix.column[at], ": the value is not finite"));
    }
    Triplets changed = matrix;
    const auto end = static_cast<std::size_t>(pointers[20]);
    changed.column[end - 1] = changed.column[end - 2];
    BOOST_CHECK_EQUAL(refusal(changed, pointers), text("65 hostile.h5: /m: row 19 has column ",
                                                       matrix.column[end - 2], " twice"));
  }
  set_threads(1);
}

BOOST_AUTO_TEST_CASE(nothing_stored_is_no_error) {
  for (const std::string format : {"CSR", "COO"}) {
    for (const std::int64_t rows : {0, 3}) {
      const Triplets matrix{rows, 5, {}, {}, {}};
      {
        MadeFile file("none.h5");
        put_matrix(file, matrix, pointers_of(matrix), {.format = format});
      }
      check_rows(read("none.h5", {0, rows}), matrix, {0, rows});
    }
  }
  const Triplets dense{4, 0, {}, {}, {}};
  {
    MadeFile file("none.h5");
    put_matrix(file, dense, {}, {.format = "DMAT"});
  }
  check_rows(read("none.h5", {1, 4}), dense, {1, 4});
}

BOOST_AUTO_TEST_CASE(hostile_pointers_are_refused) {
  const Triplets matrix{3, 4, {}, {0, 1, 2, 3}, {1, 1, 1, 1}};
  const std::string m = "65 hostile.h5: /m: ";
  BOOST_CHECK_EQUAL(refusal(matrix, {0, 3, 2, 4}),
                    m + "row 1 begins at stored value 3 and ends at 2: pointers must ascend");
  BOOST_CHECK_EQUAL(refusal(matrix, {0, 2, 5, 4}),
                    m + "row 2 begins at stored value 5, but there are 4");
  BOOST_CHECK_EQUAL(refusal(matrix, {0, -1, 2, 4}),
                    m + "row 1 begins at stored value -1, but there are 4");
  BOOST_CHECK_EQUAL(refusal(matrix, {1, 1, 2, 4}), m + "the first pointer is 1, 0 would be right");
  BOOST_CHECK_EQUAL(refusal(matrix, {0, 1, 2, 3}), m + "the last pointer is 3, 4 would be right");
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  BOOST_CHECK_EQUAL(refusal(matrix, {0, 0, huge, 4}),
                    m + text("row 2 begins at stored value ", huge, ", but there are 4"));
  const Catalog catalog = walked("hostile.h5");
  const DataFile file(catalog);
  BOOST_CHECK(error_of([&] {
                nnz_before(file, io::parse_matrix(catalog, "/m"), 2);
              }).starts_with(m + "row 2 begins"));
}

BOOST_AUTO_TEST_CASE(bad_indices_and_values_are_named_with_their_place) {
  const auto change = [](std::vector<std::int64_t> columns, std::vector<float> values) {
    return refusal({3, 4, {}, std::move(columns), std::move(values)}, {0, 2, 2, 4});
  };
  const std::string m = "65 hostile.h5: /m: ";
  BOOST_CHECK_EQUAL(change({0, 1, 2, 900}, {1, 1, 1, 1}),
                    m + "row 2 has column 900 but the matrix is 4 wide");
  BOOST_CHECK_EQUAL(change({0, 1, 3, 2}, {1, 1, 1, 1}),
                    m + "row 2 has column 2 after a larger one: columns must ascend");
  BOOST_CHECK_EQUAL(change({1, 1, 2, 3}, {1, 1, 1, 1}), m + "row 0 has column 1 twice");
  BOOST_CHECK_EQUAL(change({0, 1, 2, 3}, {1, 1, kNan, 1}),
                    m + "row 2, column 2: the value is not finite");
  BOOST_CHECK_EQUAL(change({0, 1, -2, 3}, {1, 1, 1, 1}),
                    "65 hostile.h5: /m/indices_1[2] is -2, which does not fit uint32 (0 to "
                    "4294967295)");
}

BOOST_AUTO_TEST_CASE(unsorted_triplets_are_refused_by_whoever_reads_them) {
  const auto change = [](std::vector<std::int64_t> rows, Range range) {
    return refusal({4, 8, std::move(rows), {0, 1, 2, 3, 4, 5}, {1, 1, 1, 1, 1, 1}}, {}, range);
  };
  const std::string m = "65 hostile.h5: /m: ";
  BOOST_CHECK_EQUAL(change({0, 1, 0, 2, 2, 3}, {0, 4}),
                    m + "triplet 2 is of row 0: triplets must be sorted by row");
  BOOST_CHECK_EQUAL(change({0, 1, 1, 2, 2, 9}, {0, 4}),
                    m + "triplet 5 is of row 9, but the matrix has 4 rows");
  BOOST_CHECK_EQUAL(change({0, 1, 1, 2, 2, -3}, {0, 4}),
                    m + "triplet 5 is of row -3, but the matrix has 4 rows");
  // However the rows are divided, somebody reads each triplet, and sees that it is not his.
  RandomStream random(5, 0, 0);
  for (int i = 0; i < 40; ++i) {
    std::vector<std::int64_t> rows(6);
    std::generate(rows.begin(), rows.end(),
                  [&] { return static_cast<std::int64_t>(random.next_below(4)); });
    const auto cut = static_cast<std::int64_t>(random.next_below(5));
    const std::string upper = change(rows, {0, cut});
    const std::string lower = change(rows, {cut, 4});
    BOOST_CHECK_EQUAL(std::is_sorted(rows.begin(), rows.end()),
                      upper == "no error" && lower == "no error");
  }
}

BOOST_AUTO_TEST_SUITE_END()
