// The catalog of files as espalier-walk finds it. This process does not read with HDF5 itself.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/catalog.hpp"
#include "tests/io/made_files.hpp"

BOOST_AUTO_TEST_SUITE(io_catalog)

using namespace espalier;
using namespace espalier::tests;
using io::Catalog;
using nlohmann::json;

namespace {

Catalog catalog_of(const std::string& file) { return io::read_catalog(Comm(MPI_COMM_SELF), file); }

std::string refusal(const std::string& file) {
  return error_of([&] { catalog_of(file); });
}

const json& attribute(const Catalog& catalog, const std::string& object, const std::string& name) {
  static const json kAbsent = "(absent)";
  const json* found = catalog.find_attribute(object, name);
  return found == nullptr ? kAbsent : *found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(lists_groups_and_datasets_with_types_and_shapes) {
  const std::vector<std::uint16_t> values = {1, 2, 3, 4, 5, 6};
  {
    MadeFile file("a.h5");
    file.group("/empty");
    file.dataset("/layers/000000/plain", values, {{2, 3}});
    file.dataset("/layers/000000/plain-2", values);
    file.dataset("/swapped", std::vector<float>{1, 2}, {}, {.type = H5T_IEEE_F32BE});
    file.dataset("/packed", values, {}, {.chunk = {2}, .deflate = 4});
    file.dataset("/chunks", values, {}, {.chunk = {4}});
    file.dataset("/compact", values, {}, {.compact = true});
    file.dataset("/scalar", std::vector<double>{2.5}, std::vector<hsize_t>{});
    file.dataset("/nothing", std::vector<std::int64_t>{}, {{0, 7}});
  }
  const Catalog catalog = catalog_of("a.h5");
  BOOST_CHECK_EQUAL(catalog.file_bytes, std::filesystem::file_size("a.h5"));
  BOOST_CHECK(catalog.has_group("/") && catalog.has_group("/empty"));
  BOOST_CHECK(!catalog.has_group("/scalar") && !catalog.has_group("/absent"));
  BOOST_CHECK(catalog.children("/layers") == std::vector<std::string>{"000000"});
  BOOST_CHECK((catalog.children("/layers/000000") == std::vector<std::string>{"plain", "plain-2"}));
  BOOST_CHECK_EQUAL(catalog.children("/").size(), 8);
  BOOST_CHECK(catalog.children("/empty").empty());

  const io::Dataset& plain = catalog.dataset("/layers/000000/plain");
  BOOST_CHECK(plain.type == io::kUint16);
  BOOST_CHECK((plain.shape == std::vector<std::int64_t>{2, 3}));
  BOOST_CHECK_EQUAL(plain.bytes(), 12);
  BOOST_REQUIRE(plain.offset);
  BOOST_CHECK_EQUAL(bytes_of("a.h5").substr(static_cast<std::size_t>(*plain.offset), 12),
                    std::string("\1\0\2\0\3\0\4\0\5\0\6\0", 12));
  BOOST_CHECK(
      (catalog.dataset("/swapped").type == io::ElementType{io::ElementClass::kFloat, 4, false}));
  BOOST_CHECK(catalog.dataset("/swapped").offset);
  BOOST_CHECK(catalog.dataset("/packed").filtered && !catalog.dataset("/packed").offset);
  BOOST_CHECK(!catalog.dataset("/chunks").filtered && !catalog.dataset("/chunks").offset);
  BOOST_CHECK(!catalog.dataset("/compact").offset);
  BOOST_CHECK(catalog.dataset("/scalar").shape.empty());
  BOOST_CHECK_EQUAL(catalog.dataset("/scalar").count(), 1);
  BOOST_CHECK_EQUAL(catalog.dataset("/nothing").count(), 0);
  BOOST_CHECK_EQUAL(error_of([&] { catalog.dataset("/layers"); }),
                    "65 a.h5: there is no dataset /layers (it is a group)");
}

BOOST_AUTO_TEST_CASE(classifies_types_that_are_not_plain_numbers) {
  {
    MadeFile file("types.h5");
    const hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, 12);
    const hid_t enumeration = H5Tenum_create(H5T_STD_I8LE);
    const signed char zero = 0;
    H5Tenum_insert(enumeration, "FALSE", &zero);
    const hid_t brain = H5Tcopy(H5T_IEEE_F32LE);  // bfloat16
    H5Tset_fields(brain, 15, 7, 8, 0, 7);
    H5Tset_size(brain, 2);
    const hid_t odd = H5Tcopy(H5T_STD_U32LE);
    H5Tset_precision(odd, 24);
    const hid_t half = H5Tcopy(H5T_IEEE_F32BE);
    H5Tset_fields(half, 15, 10, 5, 0, 10);
    H5Tset_size(half, 2);
    H5Tset_ebias(half, 15);
    const hid_t variable = H5Tcopy(H5T_C_S1);
    H5Tset_size(variable, H5T_VARIABLE);
    const hsize_t count = 2;
    const hid_t space = H5Screate_simple(1, &count, nullptr);
    const auto make = [&](const char* name, hid_t type) {
      H5Dclose(
          good(H5Dcreate2(file.id(), name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
    };
    make("text", text);
    make("enumeration", enumeration);
    make("brain", brain);
    make("odd", odd);
    make("half", half);
    make("variable", variable);
    make("reference", H5T_STD_REF_OBJ);
    const hid_t null_space = H5Screate(H5S_NULL);
    H5Dclose(good(H5Dcreate2(file.id(), "null", H5T_STD_I64LE, null_space, H5P_DEFAULT, H5P_DEFAULT,
                             H5P_DEFAULT)));
    H5Tcommit2(file.id(), "named type", text, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  }
  const Catalog catalog = catalog_of("types.h5");
  const auto spelled = [&](const char* path) { return to_string(catalog.dataset(path).type); };
  BOOST_CHECK_EQUAL(spelled("/text"), "text[12]");
  BOOST_CHECK_EQUAL(spelled("/enumeration"), "int8");
  BOOST_CHECK_EQUAL(spelled("/brain"), "other[2]");
  BOOST_CHECK_EQUAL(spelled("/odd"), "other[4]");
  BOOST_CHECK_EQUAL(spelled("/half"), "float16");
  BOOST_CHECK(!catalog.dataset("/half").type.native_order);
  BOOST_CHECK(spelled("/variable").starts_with("other"));
  BOOST_CHECK(spelled("/reference").starts_with("other"));
  BOOST_CHECK(catalog.dataset("/null").shape == std::vector<std::int64_t>{0});
  BOOST_CHECK(!catalog.objects.contains("/named type"));
}

BOOST_AUTO_TEST_CASE(reads_attributes_of_all_kinds) {
  {
    MadeFile file("attributes.h5");
    file.text("/", "text", "Größe");
    file.text("/", "empty", "");
    file.text("/", "fixed", "abc", 8);
    file.text("/", "not_utf8", "a\xff\xfe z");
    file.number("/", "integer", std::int32_t{-7});
    file.number("/", "largest", std::numeric_limits<std::uint64_t>::max());
    file.number("/", "float", 0.25F);
    file.number("/", "nan", std::nan(""));
    file.numbers<std::int64_t>("/", "numbers", {3, -1});
    file.numbers<double>("/", "one", {0.5});
    file.numbers<double>("/", "none", {});
    file.numbers("/", "long", std::vector<std::int16_t>(2000, 5));
    const hid_t space = H5Screate(H5S_SCALAR);
    const hobj_ref_t reference = 0;
    file.attribute("/", "reference", H5T_STD_REF_OBJ, space, &reference);
    const hid_t compound = H5Tcreate(H5T_COMPOUND, 8);
    H5Tinsert(compound, "x", 0, H5T_NATIVE_DOUBLE);
    const double x = 1;
    file.attribute("/", "compound", compound, space, &x);
    file.dataset("/data", std::vector<float>{1});
    file.text("/data", "unit", "s");
  }
  const Catalog catalog = catalog_of("attributes.h5");
  const auto root = [&](const char* name) { return attribute(catalog, "/", name); };
  BOOST_CHECK_EQUAL(root("text"), json("Größe"));
  BOOST_CHECK_EQUAL(root("empty"), json(""));
  BOOST_CHECK_EQUAL(root("fixed"), json("abc"));
  BOOST_CHECK_EQUAL(root("not_utf8"), json("a\xEF\xBF\xBD\xEF\xBF\xBD z"));
  BOOST_CHECK_EQUAL(root("integer"), json(-7));
  BOOST_CHECK_EQUAL(root("largest"), json(std::numeric_limits<std::uint64_t>::max()));
  BOOST_CHECK_EQUAL(root("float"), json(0.25));
  BOOST_CHECK(root("float").is_number_float());
  BOOST_CHECK_EQUAL(root("numbers"), json({3, -1}));
  BOOST_CHECK_EQUAL(root("one"), json(std::vector<double>{0.5}));
  BOOST_CHECK_EQUAL(root("none"), json::array());
  BOOST_CHECK_EQUAL(root("long").size(), 2000);
  for (const char* name : {"nan", "reference", "compound"}) {
    BOOST_CHECK_MESSAGE(root(name).is_null(), name << ": " << root(name));
  }
  BOOST_CHECK_EQUAL(attribute(catalog, "/data", "unit"), json("s"));
  BOOST_CHECK(catalog.find_attribute("/data", "absent") == nullptr);
  BOOST_CHECK(catalog.find_attribute("/absent", "unit") == nullptr);
}

BOOST_AUTO_TEST_CASE(an_attribute_of_too_many_elements_is_null) {
  {
    const hid_t newest = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(newest, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    const hid_t file = good(H5Fcreate("long.h5", H5F_ACC_TRUNC, H5P_DEFAULT, newest));
    const hsize_t count = (1 << 20) + 1;
    const hid_t space = H5Screate_simple(1, &count, nullptr);
    const std::vector<std::int8_t> values(count, 1);
    const hid_t made =
        good(H5Acreate2(file, "many", H5T_STD_I8LE, space, H5P_DEFAULT, H5P_DEFAULT));
    good(H5Awrite(made, H5T_STD_I8LE, values.data()));
    H5Aclose(made);
    H5Fclose(file);
  }
  BOOST_CHECK(attribute(catalog_of("long.h5"), "/", "many").is_null());
}

BOOST_AUTO_TEST_CASE(follows_links_inside_the_file_only) {
  {
    MadeFile other("other.h5");
    other.dataset("/secret", std::vector<float>{1});
  }
  {
    MadeFile file("links.h5");
    file.dataset("/a/data", std::vector<float>{1, 2});
    const hid_t id = file.id();
    good(H5Lcreate_hard(id, "/a/data", id, "/again", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_hard(id, "/", id, "/a/root", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/a/data", id, "/soft", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/", id, "/a/up", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/nowhere", id, "/dangling", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/self", id, "/self", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_external("other.h5", "/", id, "/out", H5P_DEFAULT, H5P_DEFAULT));
    good(H5Lcreate_soft("/out/secret", id, "/by_way_of_out", H5P_DEFAULT, H5P_DEFAULT));
  }
  const Catalog catalog = catalog_of("links.h5");
  std::vector<std::string> found;
  for (const auto& [path, attributes] : catalog.objects) {
    found.push_back(path);
  }
  const std::vector<std::string> wanted = {"/",     "/a",     "/a/data", "/a/root",
                                           "/a/up", "/again", "/soft"};
  BOOST_CHECK_EQUAL_COLLECTIONS(found.begin(), found.end(), wanted.begin(), wanted.end());
  BOOST_CHECK(catalog.dataset("/again").offset == catalog.dataset("/a/data").offset);
  BOOST_CHECK(catalog.dataset("/soft").offset == catalog.dataset("/a/data").offset);
}

BOOST_AUTO_TEST_CASE(refuses_data_outside_the_file) {
  {
    MadeFile file("raw.h5");
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(list, "other.raw", 0, H5F_UNLIMITED);
    const hsize_t count = 4;
    const hid_t space = H5Screate_simple(1, &count, nullptr);
    H5Dclose(
        good(H5Dcreate2(file.id(), "raw", H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT)));
  }
  BOOST_CHECK_EQUAL(refusal("raw.h5"),
                    "65 raw.h5: /raw keeps its data in the external file other.raw; only data "
                    "inside the file are read");
  for (const char* source : {"other.h5", "."}) {
    MadeFile file("virtual.h5");
    file.dataset("/source", std::vector<std::int32_t>{1, 2, 3, 4});
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t count = 4;
    const hid_t space = H5Screate_simple(1, &count, nullptr);
    good(H5Pset_virtual(list, space, source, "/source", space));
    H5Dclose(good(
        H5Dcreate2(file.id(), "virtual", H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT)));
    good(H5Fflush(file.id(), H5F_SCOPE_GLOBAL));
    if (std::string(source) == ".") {
      BOOST_CHECK(!catalog_of("virtual.h5").dataset("/virtual").offset);
    } else {
      BOOST_CHECK_EQUAL(refusal("virtual.h5"),
                        "65 virtual.h5: /virtual keeps its data in the external file other.h5; "
                        "only data inside the file are read");
    }
  }
}

BOOST_AUTO_TEST_CASE(counts_a_user_block_into_offsets) {
  {
    const hid_t creation = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_userblock(creation, 1024);
    MadeFile file("block.h5", creation);
    file.dataset("/data", std::vector<std::uint8_t>{65, 66, 67});
  }
  const Catalog catalog = catalog_of("block.h5");
  BOOST_REQUIRE(catalog.dataset("/data").offset);
  BOOST_CHECK_EQUAL(
      bytes_of("block.h5").substr(static_cast<std::size_t>(*catalog.dataset("/data").offset), 3),
      "ABC");
}

BOOST_AUTO_TEST_CASE(refuses_groups_nested_too_deep) {
  {
    MadeFile file("deep.h5");
    std::string path;
    for (int depth = 0; depth < 80; ++depth) {
      path += "/g";
    }
    file.group(path);
  }
  const std::string found = refusal("deep.h5");
  BOOST_CHECK_MESSAGE(found.starts_with("65 deep.h5: damaged: /g/g/") &&
                          found.ends_with("groups are nested more than 64 deep"),
                      found);
}

BOOST_AUTO_TEST_CASE(says_what_is_there_instead_of_an_hdf5_file) {
  const std::string advice = "; networks, batches and results are HDF5 files";
  const auto check = [&](const std::string& bytes, const std::string& what) {
    write_bytes("x.h5", bytes);
    BOOST_CHECK_EQUAL(refusal("x.h5"), "65 x.h5: not an HDF5 file: it is " + what + advice);
  };
  check("", "an empty file");
  check("1\t2\t0.0625\n", "text, starting with \"1\\t2\\t0.0625\\n\"");
  check("\x1f\x8b\x08", "gzip data, unpack it first");
  check(std::string("\x00\x01\x02", 3), "a file that starts with \"\\x00\\x01\\x02\"");
  check("\x89HDF\r\n", "one with a damaged signature (as by a transfer in text mode)");
  BOOST_CHECK_EQUAL(refusal("missing.h5"), "66 cannot open missing.h5: No such file or directory");
  std::filesystem::create_directory("folder.h5");
  BOOST_CHECK(refusal("folder.h5").starts_with("66 folder.h5 is a folder"));
}

BOOST_AUTO_TEST_CASE(checks_what_the_child_says) {
  const auto refused = [](const std::string& spelled) {
    return error_of([&] { io::parse_catalog("f", spelled); }).starts_with("65 f: damaged: ");
  };
  const json sound = {{"file_bytes", 100},
                      {"objects", {{"/", json::object()}, {"/a", json::object()}}},
                      {"datasets",
                       {{"/a",
                         {{"kind", 0},
                          {"bytes", 4},
                          {"native", 1},
                          {"shape", {5, 4}},
                          {"offset", 20},
                          {"filtered", 0}}}}}};
  BOOST_CHECK_EQUAL(io::parse_catalog("f", sound.dump()).dataset("/a").bytes(), 80);
  const auto with = [&](const char* key, const json& value) {
    json changed = sound;
    changed["datasets"]["/a"][key] = value;
    return changed.dump();
  };
  BOOST_CHECK(refused(with("offset", 21)));
  BOOST_CHECK(refused(with("offset", -1)));
  BOOST_CHECK(refused(with("offset", std::numeric_limits<std::uint64_t>::max())));
  BOOST_CHECK(refused(with("kind", static_cast<int>(io::ElementClass::kOther) + 1)));
  BOOST_CHECK(refused(with("kind", "text")));
  BOOST_CHECK(refused(with("bytes", 3)));
  BOOST_CHECK(refused(with("bytes", std::int64_t{1} << 40)));
  BOOST_CHECK(refused(with("shape", 20)));
  BOOST_CHECK(refused(with("shape", {-1})));
  BOOST_CHECK(refused(with("shape", {std::int64_t{1} << 40, std::int64_t{1} << 40, 0})));
  BOOST_CHECK(refused(with("shape", {std::numeric_limits<std::int64_t>::max()})));
  BOOST_CHECK(refused("") && refused("[]") && refused("{") && refused("{\"objects\":3}"));
  json rootless = sound;
  rootless["objects"].erase("/");
  BOOST_CHECK(refused(rootless.dump()));
  json unlisted = sound;
  unlisted["objects"].erase("/a");
  BOOST_CHECK(refused(unlisted.dump()));
}

BOOST_AUTO_TEST_SUITE_END()
