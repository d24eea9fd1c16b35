#include <boost/test/unit_test.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/checksum.hpp"
#include "io/data_file.hpp"
#include "tests/io/checksummed.hpp"

BOOST_AUTO_TEST_SUITE(io_mpi_checksum)

using namespace espalier;
using namespace espalier::tests;
using io::Catalog;

namespace {

template <typename Work>
void on_rank_0(const Comm& world, Work&& work) {
  world.barrier();
  if (world.rank() == 0) {
    work();
  }
  world.barrier();
}

void make_file(const std::string& path, bool packed) {
  {
    MadeFile file(path);
    std::vector<std::uint16_t> values(150000);
    std::iota(values.begin(), values.end(), std::uint16_t{0});
    const Storage storage{.chunk = packed ? std::vector<hsize_t>{40000} : std::vector<hsize_t>{},
                          .deflate = packed ? 1 : 0};
    file.dataset("/first", std::vector<float>(3, 1));
    file.dataset("/none", std::vector<float>{});
    file.dataset("/values", values, {}, storage);
    // 7 bytes an element: blocks and elements do not line up
    const hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, 7);
    const hsize_t count = 30000, chunk = 1000;
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    if (packed) {
      H5Pset_chunk(list, 1, &chunk);
    }
    const hid_t space = H5Screate_simple(1, &count, nullptr);
    const hid_t made =
        good(H5Dcreate2(file.id(), "text", text, space, H5P_DEFAULT, list, H5P_DEFAULT));
    good(H5Dwrite(made, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, std::string(7 * 30000, 'x').data()));
    file.text("/", "espalier", "{}");
  }
  add_checksums(path);
}

std::string verified(const Comm& world, const Catalog& catalog) {
  try {
    return io::verify_checksums(world, catalog) ? "sound" : "no checksums";
  } catch (const SharedError& error) {
    return text(static_cast<int>(error.status()), " ", error.what());
  }
}

void check_damage(const Comm& world, const Catalog& catalog, std::int64_t at,
                  const std::string& wanted) {
  on_rank_0(world, [&] { flip_byte(catalog.file, at); });
  const std::string found = verified(world, catalog);
  BOOST_CHECK_MESSAGE(found.starts_with("65 " + catalog.file + ": " + wanted), found);
  on_rank_0(world, [&] { flip_byte(catalog.file, at); });
}

}  // namespace

BOOST_AUTO_TEST_CASE(verifies_every_block_of_plain_and_packed_files) {
  const Comm world(MPI_COMM_WORLD);
  for (const bool packed : {false, true}) {
    on_rank_0(world, [&] { make_file("v.h5", packed); });
    const Catalog catalog = io::read_catalog(world, "v.h5");
    BOOST_CHECK_EQUAL(verified(world, catalog), "sound");
  }
}

BOOST_AUTO_TEST_CASE(finds_damage_in_data_table_and_structure) {
  const Comm world(MPI_COMM_WORLD);
  on_rank_0(world, [&] { make_file("d.h5", false); });
  const Catalog catalog = io::read_catalog(world, "d.h5");
  const auto offset = [&](const char* path) { return catalog.dataset(path).offset.value_or(0); };
  for (const std::int64_t at : {0, 65535, 65536, 140000, 299999}) {
    const std::int64_t block = at / 65536;
    check_damage(world, catalog, offset("/values") + at,
                 text("/values: damaged: bytes ", block * 65536, " to "));
  }
  check_damage(world, catalog, offset("/text") + 70000, "/text: damaged: bytes 65536 to 131071 ");
  check_damage(world, catalog, offset("/text") + 209999, "/text: damaged: bytes 196608 to 209999 ");
  check_damage(world, catalog, offset("/first"), "/first: damaged: bytes 0 to 11 (block 0)");
  const std::string structure = "damaged: its structure, attributes or checksums have changed";
  check_damage(world, catalog, offset(io::kChecksumPath) + 5, structure);
  Catalog changed = catalog;
  changed.objects["/"]["espalier"] = "{\"kind\":\"network\"}";
  BOOST_CHECK(verified(world, changed).starts_with("65 d.h5: " + structure));
  changed = catalog;
  changed.objects["/"].erase("digest");
  BOOST_CHECK_EQUAL(verified(world, changed),
                    "65 d.h5: damaged: it has checksums but no attribute digest");
}

BOOST_AUTO_TEST_CASE(the_first_of_several_damages_is_named) {
  const Comm world(MPI_COMM_WORLD);
  on_rank_0(world, [&] { make_file("two.h5", false); });
  const Catalog catalog = io::read_catalog(world, "two.h5");
  const std::int64_t offset = catalog.dataset("/values").offset.value_or(0);
  on_rank_0(world, [&] {
    flip_byte("two.h5", offset + 299999);
    flip_byte("two.h5", offset + 70000);
  });
  const std::string found = verified(world, catalog);
  BOOST_CHECK_MESSAGE(found.starts_with("65 two.h5: /values: damaged: bytes 65536 to "), found);
}

BOOST_AUTO_TEST_CASE(files_of_others_have_nothing_to_verify) {
  const Comm world(MPI_COMM_WORLD);
  on_rank_0(world, [&] {
    MadeFile file("foreign.h5");
    file.dataset("/data", std::vector<float>{1});
    MadeFile bare("bare.h5");
    bare.text("/", "digest", "0123");
  });
  BOOST_CHECK_EQUAL(verified(world, io::read_catalog(world, "foreign.h5")), "no checksums");
  BOOST_CHECK_EQUAL(verified(world, io::read_catalog(world, "bare.h5")),
                    "65 bare.h5: damaged: it has a digest but no checksums");
}

BOOST_AUTO_TEST_CASE(digests_of_files_do_not_depend_on_ranks) {
  const Comm world(MPI_COMM_WORLD);
  std::string large(3000001, '\0');
  for (std::size_t k = 0; k < large.size(); ++k) {
    large[k] = static_cast<char>(k * k >> 3U);
  }
  on_rank_0(world, [&] {
    write_bytes("large", large);
    write_bytes("empty", "");
    write_bytes("tiny", "a");
  });
  const auto line = [](const std::string& content) {
    return text(content.size(), " ", io::crc32(std::as_bytes(std::span(content))), "\n");
  };
  BOOST_CHECK_EQUAL(io::digest_files(world, {"large", "empty", "tiny"}),
                    io::sha256(line(large) + line("") + line("a")));
  BOOST_CHECK_NE(io::digest_files(world, {"tiny", "empty"}),
                 io::digest_files(world, {"empty", "tiny"}));
  BOOST_CHECK_EQUAL(io::digest_files(world, {}), io::sha256(""));
  BOOST_CHECK_EQUAL(error_of([&] {
                      io::digest_files(world, {"tiny", "absent"});
                    }),
                    "66 cannot open absent: No such file or directory");
}

BOOST_AUTO_TEST_CASE(an_input_stands_for_its_content) {
  const Comm world(MPI_COMM_WORLD);
  on_rank_0(world, [&] {
    make_file("plain.h5", false);
    make_file("packed.h5", true);
    MadeFile file("other.h5");
    file.dataset("/data", std::vector<float>{1});
  });
  const auto digest = [&](const char* path) {
    return io::input_digest(world, io::read_catalog(world, path));
  };
  BOOST_CHECK_EQUAL(digest("plain.h5"), digest("packed.h5"));
  BOOST_CHECK_EQUAL(digest("other.h5"), io::digest_files(world, {"other.h5"}));
}

BOOST_AUTO_TEST_SUITE_END()
