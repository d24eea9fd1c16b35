#include <boost/test/unit_test.hpp>

#include "framework/error.hpp"
#include "framework/shard.hpp"
#include "jobs/plan.hpp"
#include "kernels/layout.hpp"

using namespace espalier;
using namespace espalier::jobs;

namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

io::Network square_network(std::int64_t neurons, std::int64_t layers, std::int64_t nnz) {
  io::Network network;
  for (std::int64_t id = 0; id < layers; ++id) {
    io::Layer layer;
    layer.weight = {"", io::MatrixFormat::kCsr, neurons, neurons, nnz, false};
    layer.inputs = {id - 1};
    network.layers.push_back(layer);
  }
  return network;
}

ExitStatus status_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.status();
  }
  return ExitStatus::kDone;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(plan)

BOOST_AUTO_TEST_CASE(a_small_network_takes_one_shard) {
  const auto plan =
      plan_inference(square_network(1024, 120, 32768), 60000, std::nullopt, {4, 4096 * kMiB});
  BOOST_TEST((plan.grid == GridShape{1, 4}));
  BOOST_TEST(plan.wave_samples % kernels::kPanelWidth == 0);
  BOOST_TEST(plan.waves * plan.wave_samples >= 15000);
}

BOOST_AUTO_TEST_CASE(the_smallest_number_of_shards_that_fits_is_taken) {
  // 10 layers of 50 M weights: 3.0 GiB packed (16-bit indices, float32 values).
  const io::Network network = square_network(65536, 10, 50'000'000);
  BOOST_TEST(packed_bytes(network) >= 10 * 50'000'000LL * 6);
  for (const int ranks : {1, 2, 3, 4, 6, 8, 12}) {
    for (const std::int64_t memory : {600 * kMiB, 1200 * kMiB, 2000 * kMiB, 5000 * kMiB}) {
      int expected = 0;
      for (int shards = 1; shards <= ranks && expected == 0; ++shards) {
        const auto fits = [&] {
          plan_inference(network, 1000, GridShape{shards, ranks / shards}, {ranks, memory});
        };
        expected = ranks % shards == 0 && status_of(fits) == ExitStatus::kDone ? shards : 0;
      }
      if (expected == 0) {
        BOOST_TEST((status_of([&] {
                      plan_inference(network, 1000, std::nullopt, {ranks, memory});
                    }) == ExitStatus::kDoesNotFit));
      } else {
        const auto plan = plan_inference(network, 1000, std::nullopt, {ranks, memory});
        BOOST_TEST(plan.grid.row_shards == expected);
        BOOST_TEST(plan.grid.sample_groups == ranks / expected);
        BOOST_TEST(plan.bytes_per_rank() <= memory);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(panels_go_depth_first_where_two_or_more_fit_the_cache) {
  const auto block = [](std::int64_t neurons, std::int64_t memory, int ranks = 1,
                        std::int64_t second = 2 * kMiB, std::int64_t third = 0) {
    Allocation allocation = {ranks, memory, 2, second};
    allocation.third_cache_bytes = third;
    const auto plan = plan_inference(square_network(neurons, 8, 32 * neurons), 100000,
                                     GridShape{ranks, 1}, allocation);
    BOOST_TEST(plan.bytes_per_rank() <= memory);
    return plan.block_panels;
  };
  BOOST_TEST(block(1024, 1024 * kMiB) == 5);  // six panels of 256 KiB are three quarters of 2 MiB
  BOOST_TEST(block(2048, 1024 * kMiB) == 2);
  BOOST_TEST(block(2080, 1024 * kMiB) == 0);
  BOOST_TEST(block(32, 1024 * kMiB) == 8);
  BOOST_TEST(block(1024, 1024 * kMiB, 2) == 0);  // shards exchange after every layer
  BOOST_TEST(block(1024, 110 * kMiB) == 0);      // no room for the threads' own panels
  BOOST_TEST(block(1024, 1024 * kMiB, 1, kMiB / 2, 16 * kMiB) == 8);  // in the third level
  BOOST_TEST(block(1024, 1024 * kMiB, 1, kMiB / 2, 2 * kMiB) == 5);
  BOOST_TEST(block(1024, 1024 * kMiB, 1, 2 * kMiB, 16 * kMiB) == 8);  // which holds more
  BOOST_TEST(block(1024, 110 * kMiB, 1, kMiB / 2, 16 * kMiB) == 0);
  BOOST_TEST(block(32768, 1024 * kMiB, 1, kMiB / 2, 16 * kMiB) == 0);
}

BOOST_AUTO_TEST_CASE(waves_are_short_where_no_sample_is_ever_left_out) {
  const auto wave = [](const std::function<void(io::Layer&)>& change, int threads = 1) {
    io::Network network = square_network(1024, 8, 32 * 1024);
    change(network.layers.back());
    Allocation allocation = {1, 4096 * kMiB, threads, 2 * kMiB};
    allocation.sample_bytes = 8192;
    return plan_inference(network, 20000, GridShape{1, 1}, allocation).wave_samples;
  };
  const std::int64_t all = 20032;  // whole panels
  BOOST_TEST(wave([](io::Layer&) {}) == all);
  BOOST_TEST(wave([](io::Layer& last) { last.bias = io::BiasKind::kFull; }) == 1024);
  BOOST_TEST(wave([](io::Layer& last) { last.bias = io::BiasKind::kFull; }, 4) == 2 * 4 * 5 * 64);
  BOOST_TEST(wave([](io::Layer& last) {
               last.epilogue.activation = kernels::Activation::kSigmoid;
             }) == 1024);
  BOOST_TEST(wave([](io::Layer& last) {
               last.bias = io::BiasKind::kFull;
               last.epilogue.bias_where_nonzero = true;
             }) == all);
}

BOOST_AUTO_TEST_CASE(a_grid_of_other_than_all_ranks_is_a_usage_error) {
  const io::Network network = square_network(32, 1, 32);
  BOOST_TEST((status_of([&] {
                plan_inference(network, 1, GridShape{2, 2}, {3, 4096 * kMiB});
              }) == ExitStatus::kUsage));
}

BOOST_AUTO_TEST_CASE(every_group_has_the_same_waves_and_all_samples_are_in_one) {
  const io::Network network = square_network(4096, 2, 4096);
  for (const std::int64_t samples : {0, 1, 63, 64, 65, 1000, 100000}) {
    for (const int groups : {1, 2, 3, 7}) {
      const auto plan =
          plan_inference(network, samples, GridShape{1, groups}, {groups, 300 * kMiB});
      BOOST_TEST(plan.waves * plan.wave_samples >= split_evenly(samples, groups, 0).size());
      BOOST_TEST((plan.waves == 0) == (samples == 0));
      BOOST_TEST(plan.chunk_panels >= 1);
    }
  }
}

BOOST_AUTO_TEST_CASE(units_cover_what_is_left_once_and_no_more) {
  const std::vector<std::vector<Range>> cases = {
      {}, {{0, 1}}, {{0, 1000}}, {{3, 64}, {70, 71}, {200, 903}}, {{0, 10}, {20, 30}, {40, 50}}};
  for (const auto& left : cases) {
    for (const int groups : {1, 2, 3, 7, 40}) {
      for (const std::int64_t most : {1, 9, 64, 5000}) {
        std::vector<Range> joined;
        std::int64_t longest = 0;
        for (int group = 0; group < groups; ++group) {
          const UnitPlan plan = plan_units(left, groups, group, most);
          longest = std::max(longest, std::ssize(plan.units));
          for (const Range& unit : plan.units) {
            BOOST_TEST(unit.size() >= 1);
            BOOST_TEST(unit.size() <= most);
            if (!joined.empty() && joined.back().end == unit.begin) {
              joined.back().end = unit.end;
            } else {
              joined.push_back(unit);
            }
          }
        }
        BOOST_TEST((joined == left));
        BOOST_TEST(plan_units(left, groups, 0, most).rounds == longest);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(waves_are_no_larger_than_asked_for) {
  const io::Network network = square_network(64, 2, 640);
  Allocation allocation = {1, 4096 * kMiB};
  allocation.most_wave_samples = 100;
  const auto plan = plan_inference(network, 10000, GridShape{1, 1}, allocation);
  BOOST_TEST(plan.wave_samples == 128);  // whole panels
}

BOOST_AUTO_TEST_CASE(outputs_stream_by_where_they_are_many_and_not_kept) {
  const auto last_of = [](std::int64_t outputs) {
    io::Network network = square_network(64, 2, 640);
    network.layers.back().weight.rows = outputs;
    return network;
  };
  BOOST_TEST(!streams_outputs(last_of(1000), false));
  io::Network network = last_of(1'000'000);
  BOOST_TEST(streams_outputs(network, false));
  BOOST_TEST(!streams_outputs(network, true));
  Allocation allocation = {1, 4096 * kMiB};
  const auto held = plan_inference(network, 64, GridShape{1, 1}, allocation);
  allocation.streams_outputs = true;
  allocation.top_k = 5;
  const auto streamed = plan_inference(network, 64, GridShape{1, 1}, allocation);
  BOOST_TEST(held.activations_bytes > 2 * 64 * 4 * 1'000'000);
  BOOST_TEST(streamed.activations_bytes < 1 * kMiB);
  network.scaling.output_shift = true;
  BOOST_TEST(!streams_outputs(network, false));
  network.scaling.output_shift = false;
  network.layers.back().epilogue.activation = kernels::Activation::kSoftmax;
  BOOST_TEST(!streams_outputs(network, false));
}

BOOST_AUTO_TEST_CASE(pieces_are_few_unless_rows_are_many) {
  constexpr std::int64_t kWeights = std::int64_t{1} << 20;
  BOOST_TEST(rows_of_piece(65536, 32 * kWeights, false) == 65536);
  BOOST_TEST(rows_of_piece(65536, 33 * kWeights, false) == 32768);
  BOOST_TEST(rows_of_piece(14336, 100 * kWeights, false) == 4096);
  BOOST_TEST(rows_of_piece(10, 100 * kWeights, false) == 2048);
  BOOST_TEST(rows_of_piece(65536, kWeights, true) == 1024);
  BOOST_TEST(rows_of_piece(0, 0, false) == 1);
}

BOOST_AUTO_TEST_SUITE_END()
