// label: full
// timeout: 400
// Damaged files end in success or in one error, never in a crash or a hang: whole files cut short
// and bytes flipped one at a time.
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "framework/comm.hpp"
#include "io/catalog.hpp"
#include "io/data_file.hpp"
#include "tests/io/made_files.hpp"

BOOST_AUTO_TEST_SUITE(io_damaged)

using namespace espalier;
using namespace espalier::tests;

namespace {

// A little of everything that HDF5 spells in its headers, in its oldest or newer form.
std::string make_small(const std::string& path, bool newer) {
  const hid_t access = good(H5Pcreate(H5P_FILE_ACCESS));
  if (newer) {
    good(H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST));
  }
  {
    MadeFile file(path, H5P_DEFAULT, access);
    file.dataset("/layers/000000/weight/values", std::vector<float>(20, 1));
    file.dataset("/packed", std::vector<std::uint16_t>(500, 3), {}, {.chunk = {100}, .deflate = 1});
    file.dataset("/compact", std::vector<std::int64_t>{1, 2, 3}, {}, {.compact = true});
    file.text("/layers/000000/weight", "binsparse", "{\"binsparse\":{}}");
    file.text("/layers/000000", "name", "first", 8);
    file.number("/layers/000000", "clamp", 32.0);
    file.numbers<std::int64_t>("/layers/000000", "inputs", {-1});
    good(H5Lcreate_soft("/packed", file.id(), "/soft", H5P_DEFAULT, H5P_DEFAULT));
  }
  return bytes_of(path);
}

// Looks at the file as any job would, and reads what lies there plainly.
std::string look_at(const std::string& path) {
  return error_of([&] {
    const io::Catalog catalog = io::read_catalog(Comm(MPI_COMM_SELF), path);
    const io::DataFile file(catalog);
    for (const auto& [name, dataset] : catalog.datasets) {
      if (dataset.offset && dataset.type.kind != io::ElementClass::kOther) {
        std::vector<std::byte> bytes(static_cast<std::size_t>(dataset.bytes()));
        file.read_raw(dataset, 0, bytes);
      }
    }
  });
}

// 65, or nothing noticed.
void check_outcome(const std::string& found, const std::string& what) {
  BOOST_CHECK_MESSAGE(found == "no error" || found.starts_with("65 x.h5: "), what << ": " << found);
  BOOST_CHECK_MESSAGE(found.find('\n') == std::string::npos, what << ": " << found);
}

}  // namespace

BOOST_AUTO_TEST_CASE(truncated_files_are_refused_at_any_length) {
  for (const bool newer : {false, true}) {
    const std::string whole = make_small("small.h5", newer);
    BOOST_CHECK_EQUAL(look_at("small.h5"), "no error");
    int refused = 0, cut_short = 0;
    for (std::size_t length = 0; length < whole.size(); length += whole.size() / 30) {
      write_bytes("x.h5", whole.substr(0, length));
      const std::string found = look_at("x.h5");
      check_outcome(found, text("cut to ", length));
      refused += found != "no error";
      ++cut_short;
    }
    BOOST_CHECK_EQUAL(refused, cut_short);
  }
}

BOOST_AUTO_TEST_CASE(flipped_bytes_do_no_harm) {
  for (const bool newer : {false, true}) {
    const std::string whole = make_small("small.h5", newer);
    const std::size_t end = std::min<std::size_t>(whole.size(), 4096);
    int refused = 0;
    for (std::size_t at = newer ? 3 : 0; at < end; at += 17) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (at % 2 == 0 ? 0xff : 0x10));
      write_bytes("x.h5", damaged);
      const std::string found = look_at("x.h5");
      check_outcome(found, text("flipped byte ", at));
      refused += found != "no error";
    }
    BOOST_CHECK_GT(refused, 0);
  }
}

BOOST_AUTO_TEST_SUITE_END()
