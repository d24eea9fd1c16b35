#include <boost/test/unit_test.hpp>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "io/binsparse.hpp"
#include "io/json_text.hpp"
#include "tests/io/made_files.hpp"

BOOST_AUTO_TEST_SUITE(io_binsparse)

using namespace espalier;
using namespace espalier::tests;
using io::Catalog;
using io::ElementType;
using io::MatrixFormat;
using io::MatrixInfo;
using nlohmann::json;

namespace {

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

struct Part {
  ElementType type;
  std::vector<std::int64_t> shape;
};

// A catalog of one group /m, as a file of 100,000 bytes would give it.
Catalog catalog_of(const json& descriptor, const std::map<std::string, Part>& parts) {
  Catalog catalog;
  catalog.file = "f.h5";
  catalog.file_bytes = 100000;
  catalog.objects = {{"/", {}}, {"/m", {{"binsparse", descriptor.dump()}}}};
  for (const auto& [name, part] : parts) {
    const std::string path = "/m/" + name;
    catalog.objects[path];
    catalog.datasets[path] = {path, part.type, part.shape, {}, false};
  }
  return catalog;
}

json csr() {
  return {
      {"version", "0.1"},
      {"format", "CSR"},
      {"shape", {3, 4}},
      {"number_of_stored_values", 5},
      {"data_types", {{"pointers_to_1", "uint8"}, {"indices_1", "uint8"}, {"values", "float32"}}}};
}

std::map<std::string, Part> csr_parts() {
  return {{"pointers_to_1", {io::kUint8, {4}}},
          {"indices_1", {io::kUint8, {5}}},
          {"values", {io::kFloat32, {5}}}};
}

json changed(json descriptor, const char* key, const json& value) {
  descriptor[key] = value;
  return descriptor;
}

std::string refusal(const json& descriptor, const std::map<std::string, Part>& parts) {
  const Catalog catalog = catalog_of({{"binsparse", descriptor}}, parts);
  return error_of([&] { io::parse_matrix(catalog, "/m"); });
}

void check_refused(const json& descriptor, const std::map<std::string, Part>& parts,
                   const std::string& what) {
  BOOST_CHECK_EQUAL(refusal(descriptor, parts), "65 f.h5: " + what);
}

}  // namespace

BOOST_AUTO_TEST_CASE(reads_both_spellings) {
  for (const json& spelled : {json{{"binsparse", csr()}}, csr()}) {
    const Catalog catalog = catalog_of(spelled, csr_parts());
    const MatrixInfo matrix = io::parse_matrix(catalog, "/m");
    BOOST_CHECK(matrix.format == MatrixFormat::kCsr);
    BOOST_CHECK_EQUAL(matrix.group, "/m");
    BOOST_CHECK_EQUAL(matrix.rows, 3);
    BOOST_CHECK_EQUAL(matrix.cols, 4);
    BOOST_CHECK_EQUAL(matrix.stored, 5);
    BOOST_CHECK(!matrix.iso);
  }
}

BOOST_AUTO_TEST_CASE(writes_what_it_reads) {
  for (const MatrixFormat format :
       {MatrixFormat::kCsr, MatrixFormat::kCoo, MatrixFormat::kDmat, MatrixFormat::kDvec}) {
    const bool vector = format == MatrixFormat::kDvec, dense = format == MatrixFormat::kDmat;
    const bool iso = format == MatrixFormat::kCoo;
    const MatrixInfo matrix{"/m", format, 3, vector ? 1 : 4, vector ? 3 : dense ? 12 : 5, iso};
    auto parts = csr_parts();
    parts["indices_0"] = {io::kUint8, {5}};
    parts["values"] = {io::kFloat32, {iso ? 1 : matrix.stored}};
    std::map<std::string, ElementType> types;
    for (const auto& [name, part] : parts) {
      types[name] = part.type;
    }
    const std::string descriptor = io::make_descriptor(matrix, types);
    const MatrixInfo again = io::parse_matrix(catalog_of(json::parse(descriptor), parts), "/m");
    BOOST_CHECK(again.format == format);
    BOOST_CHECK_EQUAL(again.rows, matrix.rows);
    BOOST_CHECK_EQUAL(again.cols, matrix.cols);
    BOOST_CHECK_EQUAL(again.stored, matrix.stored);
    BOOST_CHECK_EQUAL(again.iso, iso);
  }
  BOOST_CHECK_EQUAL(
      io::make_descriptor({"/b", MatrixFormat::kDvec, 7, 1, 7, true}, {{"values", io::kFloat32}}),
      R"({"binsparse":{"data_types":{"values":"iso[float32]"},"format":"DVEC",)"
      R"("number_of_stored_values":7,"shape":[7],"version":"0.1"}})");
}

BOOST_AUTO_TEST_CASE(knows_other_names_and_shapes) {
  auto parts = csr_parts();
  parts["indices_0"] = {io::kUint8, {5}};
  const Catalog coo = catalog_of(changed(csr(), "format", "COOR"), parts);
  BOOST_CHECK(io::parse_matrix(coo, "/m").format == MatrixFormat::kCoo);
  json dense = changed(changed(csr(), "format", "DMATR"), "number_of_stored_values", 12);
  for (const auto& shape : {std::vector<std::int64_t>{12}, {3, 4}}) {
    const Catalog catalog = catalog_of(dense, {{"values", {io::kUint8, shape}}});
    BOOST_CHECK(io::parse_matrix(catalog, "/m").format == MatrixFormat::kDmat);
  }
  check_refused(dense, {{"values", {io::kUint8, {4, 3}}}},
                "/m: dataset values has shape [4,3], [3,4] or [12] would be right");
}

BOOST_AUTO_TEST_CASE(empty_matrices_are_matrices) {
  json empty = changed(csr(), "number_of_stored_values", 0);
  auto parts = csr_parts();
  parts["indices_1"].shape = {0};
  parts["values"].shape = {0};
  BOOST_CHECK_EQUAL(refusal(empty, parts), "no error");
  empty["data_types"]["values"] = "iso[float32]";
  BOOST_CHECK_EQUAL(refusal(empty, parts), "no error");
  parts["values"].shape = {1};
  BOOST_CHECK_EQUAL(refusal(empty, parts), "no error");
  parts["pointers_to_1"].shape = {1};
  empty["shape"] = {0, 0};
  BOOST_CHECK_EQUAL(refusal(empty, parts), "no error");
}

BOOST_AUTO_TEST_CASE(refuses_descriptors_that_are_none) {
  Catalog catalog = catalog_of(csr(), csr_parts());
  const auto found = [&](const json& attribute) {
    catalog.objects["/m"]["binsparse"] = attribute;
    return error_of([&] { io::parse_matrix(catalog, "/m"); });
  };
  const std::string none =
      "65 f.h5: /m: is no binsparse matrix: it has no text attribute binsparse";
  BOOST_CHECK_EQUAL(found(3), none);
  BOOST_CHECK_EQUAL(found(nullptr), none);
  BOOST_CHECK_EQUAL(found("{a"), "65 f.h5: /m: the attribute binsparse is no JSON object: \"{a\"");
  BOOST_CHECK(found("[1]").ends_with("is no JSON object: \"[1]\""));
  BOOST_CHECK(found("{\"binsparse\":3}").ends_with("the attribute binsparse holds no JSON object"));
  BOOST_CHECK_EQUAL(error_of([&] { io::parse_matrix(catalog, "/absent"); }),
                    "65 f.h5: /absent: there is no such group");
  BOOST_CHECK(error_of([&] {
                io::parse_matrix(catalog, "/m/values");
              }).starts_with("65 f.h5: /m/values: is a dataset"));
}

BOOST_AUTO_TEST_CASE(nested_json_cannot_overflow_the_stack) {
  const std::string deep = std::string(400000, '[') + std::string(400000, ']');
  BOOST_CHECK(io::parse_json(deep).is_discarded());
  BOOST_CHECK(io::parse_json("{\"shape\":" + deep + "}").is_discarded());
  BOOST_CHECK(io::parse_json("{\"shape\":" + deep.substr(0, 400000)).is_discarded());
  BOOST_CHECK(io::parse_json("[[[1]]]") == json({{{1}}}));
}

BOOST_AUTO_TEST_CASE(refuses_what_it_does_not_serve) {
  const auto parts = csr_parts();
  check_refused(changed(csr(), "version", "1.0"), parts,
                "/m: binsparse version \"1.0\" is not known, 0.1 would be right");
  check_refused(changed(csr(), "structure", "symmetric_lower"), parts,
                "/m: structure \"symmetric_lower\" is not supported, store the general matrix");
  check_refused(changed(csr(), "fill", true), parts,
                "/m: has a fill value; what is not stored must be zero");
  check_refused(
      changed(csr(), "format", "DCSR"), parts,
      "/m: format \"DCSR\" is not supported; CSR, CSC, COO, CVEC, DMAT, DVEC or that of blocks "
      "would be right");
  check_refused(changed(csr(), "format", 3), parts,
                "/m: the descriptor has no text key format, nor that of filters");
  check_refused(changed(csr(), "data_types", {{"values", "complex[float32]"}}), parts,
                "/m: values are complex[float32], real numbers are needed");
  check_refused(changed(csr(), "data_types", 1), parts,
                "/m: the descriptor has no object data_types");
  check_refused(changed(csr(), "shape", {3, 4, 5}), parts,
                "/m: the descriptor's shape is no list of 2 numbers");
  check_refused(changed(csr(), "shape", {3, std::int64_t{1} << 33}), parts,
                "/m: is 8589934592 wide, at most 4294967296 columns are supported");
  json iso = changed(csr(), "format", "DMAT");
  iso["data_types"]["values"] = "iso[float32]";
  check_refused(iso, parts, "/m: is a DMAT of one value for all; such a matrix is not supported");
}

BOOST_AUTO_TEST_CASE(compares_claims_with_what_is_stored) {
  const auto parts = csr_parts();
  check_refused(changed(csr(), "number_of_stored_values", 6), parts,
                "/m: dataset indices_1 has shape [5], [6] would be right");
  check_refused(changed(csr(), "number_of_stored_values", 13), parts,
                "/m: has 13 stored values, more than 3 x 4 positions");
  check_refused(changed(csr(), "number_of_stored_values", -1), parts,
                "/m: key number_of_stored_values is -1, a number from 0 to 9223372036854775807 "
                "would be right");
  check_refused(changed(csr(), "number_of_stored_values", 2.5), parts,
                "/m: key number_of_stored_values is 2.5, a whole number would be right");
  check_refused(changed(csr(), "shape", {4, 4}), parts,
                "/m: dataset pointers_to_1 has shape [4], [5] would be right");
  check_refused(changed(csr(), "shape", {kHuge, 4}), parts, text("/m: has ", kHuge, " rows"));
  BOOST_CHECK(refusal(changed(csr(), "shape", {kHuge - 1, 4}), parts).starts_with("65 f.h5: /m: "));
  json triplets = changed(changed(csr(), "format", "COO"), "shape", {kHuge - 1, 4});
  BOOST_CHECK(refusal(triplets, parts).ends_with("rows, at most 4294967296 are supported"));
  json dense = changed(csr(), "format", "DMAT");
  check_refused(dense, parts, "/m: has 5 stored values, but a DMAT of 3 x 4 stores all");

  auto missing = parts;
  missing.erase("values");
  check_refused(csr(), missing, "there is no dataset /m/values");
  auto floats = parts;
  floats["indices_1"].type = io::kFloat32;
  check_refused(csr(), floats,
                "/m: dataset indices_1 is of type float32, whole numbers would be right");
  auto texts = parts;
  texts["values"].type = {io::ElementClass::kText, 4};
  check_refused(csr(), texts, "/m: dataset values is of type text[4], numbers would be right");
  auto iso = csr();
  iso["data_types"]["values"] = "iso[float32]";
  check_refused(iso, parts, "/m: dataset values has shape [5], [1] would be right");
}

BOOST_AUTO_TEST_CASE(refuses_claims_that_no_compression_explains) {
  const std::int64_t claimed = std::int64_t{1} << 40;
  json descriptor =
      changed(changed(csr(), "shape", {3, std::int64_t{1} << 32}), "number_of_stored_values", 0);
  descriptor["shape"] = {claimed, 4};
  auto parts = csr_parts();
  parts["pointers_to_1"].shape = {claimed + 1};
  parts["indices_1"].shape = {0};
  parts["values"].shape = {0};
  check_refused(
      descriptor, parts,
      text("/m: dataset pointers_to_1 claims ", claimed + 1, " bytes in a file of 100000"));
}

BOOST_AUTO_TEST_SUITE_END()
