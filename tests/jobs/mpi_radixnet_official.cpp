// The generated topology against the challenge's own files.
// label: data full
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "framework/comm.hpp"
#include "framework/error.hpp"
#include "io/graphchallenge.hpp"
#include "jobs/radixnet.hpp"

BOOST_AUTO_TEST_SUITE(jobs_radixnet_official)

using namespace espalier;

// The first group of the official network is not permuted.
BOOST_AUTO_TEST_CASE(the_first_six_official_layers_are_generated) {
  const char* data = std::getenv("ESPALIER_DATA");
  const std::string folder = text(data == nullptr ? "." : data, "/graphchallenge/neuron1024");
  if (!std::filesystem::is_directory(folder)) {
    std::cout << "SKIPPED: no folder ESPALIER_DATA with graphchallenge in it" << std::endl;
    return;
  }
  const Comm world(MPI_COMM_WORLD);
  jobs::RadixNet net(1024, 1);
  for (std::int64_t layer = 0; layer < 7; ++layer) {
    const auto official =
        io::read_challenge_layer(world, io::challenge_layer_file(folder, 1024, layer + 1), 1024);
    const auto generated = net.rows(layer, split_evenly(1024, world.ranks(), world.rank()));
    const bool same = official.pointers == generated.pointers &&
                      official.indices == generated.indices && official.iso &&
                      official.values == generated.values;
    BOOST_CHECK_EQUAL(same, layer < 6);  // the seventh begins the first group that is permuted
  }
}

BOOST_AUTO_TEST_SUITE_END()
