// The expected messages do not know how many ranks there are: running this at 1 to 4 ranks shows
// that all ranks say the same.
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "framework/agree.hpp"
#include "framework/comm.hpp"
#include "io/catalog.hpp"
#include "tests/io/made_files.hpp"

BOOST_AUTO_TEST_SUITE(io_mpi_catalog)

using namespace espalier;
using namespace espalier::tests;
using io::Catalog;

namespace {

template <typename Work>
void make_on_root(const Comm& world, Work&& work) {
  world.barrier();
  if (world.rank() == 0) {
    work();
  }
  world.barrier();
}

std::string refusal(const Comm& world, const std::string& file) {
  try {
    io::read_catalog(world, file);
  } catch (const SharedError& error) {
    return text(static_cast<int>(error.status()), " ", error.what());
  }
  return "no error";
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_rank_gets_the_same_catalog) {
  const Comm world(MPI_COMM_WORLD);
  make_on_root(world, [] {
    MadeFile file("shared.h5");
    for (int k = 0; k < 200; ++k) {
      file.dataset("/group-" + std::to_string(k) + "/data", std::vector<float>{1, 2, 3});
      file.text("/group-" + std::to_string(k), "name", "a name");
    }
  });
  const Catalog catalog = io::read_catalog(world, "shared.h5");
  BOOST_CHECK_EQUAL(catalog.datasets.size(), 200);
  BOOST_CHECK_EQUAL(catalog.objects.size(), 401);
  BOOST_CHECK(catalog.dataset("/group-77/data").offset);
  same_everywhere(world, "an offset",
                  std::to_string(catalog.dataset("/group-77/data").offset.value_or(0)));
}

BOOST_AUTO_TEST_CASE(every_rank_says_the_same_of_a_file_that_is_none) {
  const Comm world(MPI_COMM_WORLD);
  BOOST_CHECK_EQUAL(refusal(world, "missing.h5"),
                    "66 cannot open missing.h5: No such file or directory");
  make_on_root(world, [] { write_bytes("text.h5", "hello\n"); });
  BOOST_CHECK_EQUAL(refusal(world, "text.h5"),
                    "65 text.h5: not an HDF5 file: it is text, starting with \"hello\\n\"; "
                    "networks, batches and results are HDF5 files");
  make_on_root(world, [] {
    {
      MadeFile file("whole.h5");
      file.dataset("/data", std::vector<float>(1000, 1));
    }
    write_bytes("cut.h5", bytes_of("whole.h5").substr(0, 1000));
  });
  const std::string cut = refusal(world, "cut.h5");
  BOOST_CHECK_MESSAGE(cut.starts_with("65 cut.h5: truncated: it has 1000 of "), cut);
}

BOOST_AUTO_TEST_SUITE_END()
