#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "framework/agree.hpp"
#include "io/safetensors.hpp"
#include "jobs/activation_stats.hpp"

BOOST_AUTO_TEST_SUITE(jobs_activation_stats)

using namespace espalier;
using jobs::ActivationStats;

namespace {

// Tensors of F32 with these values, written by rank 0.
void write_stats(const Comm& world, const std::vector<io::Tensor>& tensors,
                 const std::vector<float>& values) {
  on_root(world, "writing a file", [&] {
    std::ofstream file("stats.safetensors", std::ios::binary);
    file << io::spell_tensor_header(io::make_tensor_header(tensors, {}));
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(float)));
  });
}

template <typename Use>
void check_refused(Use&& use, const std::string& what) {
  BOOST_CHECK_EXCEPTION(use(), Error, [&](const Error& error) {
    BOOST_CHECK_EQUAL(error.what(), "stats.safetensors: " + what);
    return error.status() == ExitStatus::kBadData;
  });
}

}  // namespace

BOOST_AUTO_TEST_CASE(norms_and_gram_matrices_are_found_by_layer_or_weight) {
  const Comm world(MPI_COMM_WORLD);
  write_stats(world,
              {{"a.norms", "F32", {3}, 0, 0},
               {"b.weight.gram", "F32", {2, 2}, 0, 0},
               {"odd.norms", "F32", {2}, 0, 0}},
              {1, 2, 3, 4, 1, 1, 9, -1, INFINITY});
  const ActivationStats stats(world, "stats.safetensors");
  const std::vector<float> norms = {1, 2, 3};
  BOOST_CHECK(stats.norms("a", 3) == norms);
  BOOST_CHECK(stats.norms("a.weight", 3) == norms);
  BOOST_CHECK(!stats.has_gram("a"));
  BOOST_CHECK(stats.has_gram("b"));
  BOOST_CHECK(stats.norms("b.weight", 2) == (std::vector<float>{2, 3}));
  BOOST_CHECK(stats.gram("b", 2, {1, 2}) == (std::vector<float>{1, 9}));
  BOOST_CHECK(stats.gram("b", 2, {0, 2}) == (std::vector<float>{4, 1, 1, 9}));
  check_refused([&] { stats.norms("c", 3); },
                "has no tensor c.norms, which would be right for layer c");
  check_refused(
      [&] {
        stats.gram("a", 3, {0, 1});
      },
      "has no tensor a.gram, which would be right for layer a");
  check_refused([&] { stats.norms("a", 4); },
                "tensor \"a.norms\" is F32 [3]; F32 [4] would be right");
  check_refused([&] { stats.norms("odd", 2); },
                "tensor \"odd.norms\", element 1 is inf; a finite number would be right");
}

BOOST_AUTO_TEST_SUITE_END()
