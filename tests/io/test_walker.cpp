// What read_catalog makes of a child that crashes, hangs or cannot run: small scripts stand in for
// espalier-walk.
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "framework/timer.hpp"
#include "io/walker.hpp"
#include "tests/io/made_files.hpp"

BOOST_AUTO_TEST_SUITE(io_walker)

using namespace espalier;
using namespace espalier::tests;

namespace {

std::string run(const std::string& script, double seconds = 60) {
  write_bytes("child", "#!/bin/sh\n" + script);
  std::filesystem::permissions("child", std::filesystem::perms::owner_all);
  std::string output;
  const std::string error = error_of([&] { output = io::run_walker("./child", "f.h5", seconds); });
  return error == "no error" ? output : error;
}

}  // namespace

BOOST_AUTO_TEST_CASE(returns_the_last_line) {
  BOOST_CHECK_EQUAL(run("echo some library talks\necho to stderr >&2\nprintf '{\"a\":1}'"),
                    "{\"a\":1}");
  const std::string large = run("head -c 3000000 /dev/zero | tr '\\0' x");
  BOOST_CHECK_EQUAL(large.size(), 3000000);
}

BOOST_AUTO_TEST_CASE(passes_the_file_and_no_variables_of_mpi) {
  ::setenv("OMPI_TEST_VARIABLE", "here", 1);
  ::setenv("PMIX_TEST_VARIABLE", "here", 1);
  ::setenv("OTHER_TEST_VARIABLE", "there", 1);
  BOOST_CHECK_EQUAL(run("printf \"$1 [$OMPI_TEST_VARIABLE$PMIX_TEST_VARIABLE] "
                        "$OTHER_TEST_VARIABLE\""),
                    "f.h5 [] there");
}

BOOST_AUTO_TEST_CASE(tells_death_from_complaint) {
  BOOST_CHECK_EQUAL(run("kill -SEGV $$"),
                    "65 f.h5: damaged: the HDF5 library crashed on its structure (signal 11)");
  BOOST_CHECK_EQUAL(run("kill -XCPU $$"),
                    "65 f.h5: damaged: the HDF5 library did not find its way through its "
                    "structure in 120 s");
  BOOST_CHECK_EQUAL(run("exit 1"),
                    "65 f.h5: damaged: the HDF5 library crashed on its structure (exit status 1)");
  BOOST_CHECK_EQUAL(run("echo; echo f.h5: truncated; exit 65"), "65 f.h5: truncated");
  BOOST_CHECK_EQUAL(run("echo f.h5: forbidden; exit 77"), "77 f.h5: forbidden");
  BOOST_CHECK_EQUAL(run("echo libhdf5.so is missing >&2; exit 127"),
                    "71 cannot run ./child: libhdf5.so is missing");
  BOOST_CHECK_EQUAL(error_of([] { io::run_walker("./absent", "f.h5", 1); }),
                    "71 cannot run ./absent: No such file or directory");
}

BOOST_AUTO_TEST_CASE(kills_what_hangs) {
  const double start = now_seconds();
  BOOST_CHECK_EQUAL(run("echo $$ > pid\nexec sleep 60", 0.5),
                    "65 f.h5: damaged: the HDF5 library did not find its way through its "
                    "structure in 0.5 s");
  BOOST_CHECK_LT(now_seconds() - start, 20);
  const std::string process = bytes_of("pid");
  BOOST_CHECK(!process.empty());
  BOOST_CHECK(!std::filesystem::exists("/proc/" + process.substr(0, process.find('\n'))));
}

BOOST_AUTO_TEST_CASE(finds_the_real_one) {
  BOOST_CHECK(std::filesystem::exists(io::find_walker()));
}

BOOST_AUTO_TEST_SUITE_END()
