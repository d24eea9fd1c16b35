#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>
#include <vector>

#include "framework/error.hpp"
#include "jobs/generate.hpp"
#include "jobs/radixnet.hpp"

BOOST_AUTO_TEST_SUITE(jobs_radixnet)

using namespace espalier;
using jobs::RadixNet;
using kernels::CsrRows;

namespace {

int layers_of_a_group(std::int64_t neurons) {
  int layers = 0;
  for (std::int64_t left = neurons / 16; left > 1; left /= 2) {
    ++layers;
  }
  return layers;
}

// The inputs of output j in the first group, straight from the definition.
std::vector<std::uint32_t> plain_inputs(std::int64_t neurons, int k, std::int64_t j) {
  std::vector<std::uint32_t> inputs;
  const std::int64_t remainders = neurons / 16;
  for (std::int64_t i = 0; i < neurons; ++i) {
    const std::int64_t shifted = ((i - (INT64_C(1) << k)) % remainders + remainders) % remainders;
    if (i % remainders == j % remainders || shifted == j % remainders) {
      inputs.push_back(static_cast<std::uint32_t>(i));
    }
  }
  return inputs;
}

std::vector<std::uint32_t> inputs_of(const CsrRows& rows, std::int64_t row) {
  const auto r = static_cast<std::size_t>(row - rows.first_row);
  return {rows.indices.begin() + rows.pointers.at(r),
          rows.indices.begin() + rows.pointers.at(r + 1)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_first_group_is_the_definition) {
  for (const std::int64_t neurons : {32, 64, 256, 1024}) {
    RadixNet net(neurons, 5);
    for (int k = 0; k < layers_of_a_group(neurons); ++k) {
      const CsrRows rows = net.rows(k, {0, neurons});
      bool right = true;
      for (std::int64_t j = 0; j < neurons; ++j) {
        right = right && inputs_of(rows, j) == plain_inputs(neurons, k, j);
      }
      BOOST_CHECK_MESSAGE(right, neurons << " neurons, layer " << k);
    }
  }
}

// The benchmark's own sizes and all others that are quick to check, three groups each.
BOOST_AUTO_TEST_CASE(every_neuron_has_32_inputs_and_32_outputs) {
  for (std::int64_t neurons = 32; neurons <= 65536; neurons *= 2) {
    RadixNet net(neurons, 42);
    for (int layer = 0; layer < 3 * layers_of_a_group(neurons); ++layer) {
      const CsrRows rows = net.rows(layer, {0, neurons});
      kernels::CsrFault fault{};
      bool right = !kernels::find_fault(rows, fault) && rows.cols == neurons && rows.iso &&
                   rows.values == std::vector<float>{0.0625F} && rows.rows() == neurons;
      std::vector<int> outputs(static_cast<std::size_t>(neurons));
      for (const std::uint32_t input : rows.indices) {
        ++outputs.at(input);
      }
      right = right && std::all_of(outputs.begin(), outputs.end(), [](int n) { return n == 32; });
      for (std::size_t r = 0; right && r + 1 < rows.pointers.size(); ++r) {
        right = rows.pointers[r + 1] - rows.pointers[r] == 32;
      }
      BOOST_CHECK_MESSAGE(right, neurons << " neurons, layer " << layer);
    }
  }
}

// A later group is the first one behind a permutation of the inputs, the same for all its layers:
// what feeds the same outputs in every layer of the first group are the 16 inputs of one remainder,
// and in later groups 16 others take their place.
BOOST_AUTO_TEST_CASE(later_groups_permute_their_inputs) {
  constexpr std::int64_t kNeurons = 256, kRemainders = kNeurons / 16;
  const int layers = layers_of_a_group(kNeurons);
  RadixNet net(kNeurons, 3);
  using Fed =
      std::vector<std::int64_t>;  // the outputs that an input feeds in all layers of a group
  std::map<Fed, std::int64_t> remainder_of;
  std::set<std::vector<std::int64_t>> seen;
  for (int group = 0; group < 4; ++group) {
    std::vector<Fed> fed(kNeurons);
    for (int k = 0; k < layers; ++k) {
      const CsrRows rows = net.rows(group * layers + k, {0, kNeurons});
      for (std::int64_t j = 0; j < kNeurons; ++j) {
        for (const std::uint32_t input : inputs_of(rows, j)) {
          fed[input].push_back(k * kNeurons + j);
        }
      }
    }
    std::vector<std::int64_t> remainders;
    for (std::size_t i = 0; i < kNeurons; ++i) {
      if (group == 0) {
        remainder_of.emplace(fed[i], static_cast<std::int64_t>(i) % kRemainders);
      }
      BOOST_CHECK(remainder_of.contains(fed[i]));
      remainders.push_back(remainder_of[fed[i]]);
    }
    BOOST_CHECK_EQUAL(remainder_of.size(), static_cast<std::size_t>(kRemainders));
    for (std::int64_t m = 0; m < kRemainders; ++m) {
      BOOST_CHECK_EQUAL(std::count(remainders.begin(), remainders.end(), m), 16);
    }
    BOOST_CHECK_MESSAGE(seen.insert(remainders).second, "group " << group << " repeats another");
  }
}

BOOST_AUTO_TEST_CASE(parts_and_any_order_of_layers_give_the_same_rows) {
  RadixNet whole(64, 9), parts(64, 9), other(64, 10);
  bool differs = false;
  for (const int layer : {7, 1, 4, 0, 5, 7}) {
    const CsrRows all = whole.rows(layer, {0, 64});
    std::vector<std::uint32_t> joined;
    for (const Range range : {Range{0, 1}, Range{1, 30}, Range{30, 30}, Range{30, 64}}) {
      const CsrRows some = parts.rows(layer, range);
      BOOST_CHECK_EQUAL(some.first_row, range.begin);
      BOOST_CHECK_EQUAL(some.rows(), range.size());
      joined.insert(joined.end(), some.indices.begin(), some.indices.end());
    }
    BOOST_CHECK(joined == all.indices);
    differs = differs || other.rows(layer, {0, 64}).indices != all.indices;
  }
  BOOST_CHECK_MESSAGE(differs, "another seed gives another network");
}

BOOST_AUTO_TEST_CASE(only_powers_of_two_from_32) {
  for (const std::int64_t neurons : {-32, 0, 1, 16, 33, 48, 1000, 65535}) {
    BOOST_CHECK_EXCEPTION(RadixNet(neurons, 1), Error,
                          [](const Error& error) { return error.status() == ExitStatus::kUsage; });
  }
  BOOST_CHECK_THROW(RadixNet(INT64_C(1) << 32, 1), Error);
}

BOOST_AUTO_TEST_CASE(the_bias_is_the_challenge_and_the_line_through_it) {
  BOOST_CHECK_EQUAL(jobs::radixnet_bias(1024), -0.30F);
  BOOST_CHECK_EQUAL(jobs::radixnet_bias(65536), -0.45F);
  BOOST_CHECK_CLOSE(jobs::radixnet_bias(32), -0.175F, 1e-4);
  BOOST_CHECK_CLOSE(jobs::radixnet_bias(2048), -0.325F, 1e-4);
  BOOST_CHECK_CLOSE(jobs::radixnet_bias(262144), -0.50F, 1e-4);
}

BOOST_AUTO_TEST_SUITE_END()
