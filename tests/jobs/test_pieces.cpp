// Pieces of a network: all rows once, in order, none larger than memory allows.
#include <boost/test/unit_test.hpp>

#include "framework/error.hpp"
#include "jobs/pieces.hpp"
#include "jobs/plan.hpp"

using namespace espalier;
using namespace espalier::jobs;

namespace {

io::Network network_of(const std::vector<std::pair<std::int64_t, std::int64_t>>& shapes) {
  io::Network network;
  for (const auto& [rows, cols] : shapes) {
    io::Layer layer;
    layer.weight.rows = rows;
    layer.weight.cols = cols;
    network.layers.push_back(layer);
  }
  return network;
}

// Entries as in dense layers.
Pieces dense_pieces(const io::Network& network, int ranks, std::int64_t entries, std::int64_t step,
                    std::vector<std::int64_t> cut = {}) {
  return Pieces(network, ranks, {entries, 0, 0},
                [&](std::int64_t layer, std::int64_t row) {
                  return row * network.layers[static_cast<std::size_t>(layer)].weight.cols;
                },
                {step, std::move(cut)});
}

}  // namespace

BOOST_AUTO_TEST_SUITE(jobs_pieces)

BOOST_AUTO_TEST_CASE(rows_come_once_in_order_and_fit) {
  const io::Network network = network_of({{301, 50}, {1, 301}, {40, 1}, {9, 300}});
  for (const int ranks : {1, 2, 3, 7}) {
    for (const std::int64_t step : {1, 2, 7}) {
      const std::int64_t entries = 7000;
      const Pieces pieces = dense_pieces(network, ranks, entries, step);
      std::int64_t number = 0;
      for (std::int64_t layer = 0; layer < pieces.layers(); ++layer) {
        const io::MatrixInfo& weight = network.layers[static_cast<std::size_t>(layer)].weight;
        std::int64_t next = 0;
        for (std::int64_t round = 0; round < pieces.rounds(layer); ++round) {
          BOOST_TEST(pieces.number(layer, round) == number++);
          for (int rank = 0; rank < ranks; ++rank) {
            const Range rows = pieces.rows(layer, round, rank);
            BOOST_TEST(rows.begin == next);
            BOOST_TEST((rows.begin % step == 0 || rows.begin == weight.rows));
            BOOST_TEST(rows.size() * weight.cols <= entries);
            next = rows.end;
          }
        }
        BOOST_TEST(next == weight.rows);
      }
      BOOST_TEST(pieces.count() == number);
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_beyond_memory_are_refused) {
  const io::Network network = network_of({{4, 1000}});
  BOOST_CHECK_NO_THROW(dense_pieces(network, 1, 2000, 1));
  BOOST_CHECK_THROW(dense_pieces(network, 1, 999, 1), Error);
  BOOST_CHECK_THROW(dense_pieces(network, 1, 2000, 3), Error);
}

BOOST_AUTO_TEST_CASE(memory_is_divided) {
  const PieceMemory memory = plan_pieces(kProgramBytes + (INT64_C(100) << 20));
  BOOST_TEST(memory.piece_entries * kEntryBytes + 2 * memory.kept_bytes + memory.group_bytes <=
             INT64_C(100) << 20);
  BOOST_TEST(memory.piece_entries > 1000000);
  BOOST_CHECK_THROW(plan_pieces(kProgramBytes), Error);
  BOOST_CHECK_THROW(plan_pieces(0), Error);
}

BOOST_AUTO_TEST_SUITE_END()
