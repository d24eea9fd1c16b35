#include <boost/test/unit_test.hpp>
#include <string>

#include "framework/comm.hpp"
#include "framework/error.hpp"
#include "framework/grid.hpp"

BOOST_AUTO_TEST_SUITE(framework_grid)

using namespace espalier;

BOOST_AUTO_TEST_CASE(every_factorisation_maps_ranks_to_places) {
  const Comm world(MPI_COMM_WORLD);
  for (int row_shards = 1; row_shards <= world.ranks(); ++row_shards) {
    if (world.ranks() % row_shards != 0) {
      continue;
    }
    const GridShape shape{row_shards, world.ranks() / row_shards};
    const ProcessGrid grid(world, shape);
    BOOST_CHECK(grid.shape() == shape);
    BOOST_CHECK_EQUAL(grid.row_shard(), world.rank() % row_shards);
    BOOST_CHECK_EQUAL(grid.sample_group(), world.rank() / row_shards);
    BOOST_CHECK_EQUAL(grid.group().ranks(), row_shards);
    BOOST_CHECK_EQUAL(grid.group().rank(), grid.row_shard());
    // The group is the right one: its ranks sum up to its own ranks of the world.
    const std::int64_t first = std::int64_t{grid.sample_group()} * row_shards;
    BOOST_CHECK_EQUAL(grid.group().sum(world.rank()),
                      row_shards * first + std::int64_t{row_shards} * (row_shards - 1) / 2);
  }
}

BOOST_AUTO_TEST_CASE(a_shape_that_does_not_fit_is_refused_on_every_rank) {
  const Comm world(MPI_COMM_WORLD);
  for (const GridShape shape :
       {GridShape{world.ranks(), 2}, GridShape{world.ranks() + 1, 1}, GridShape{0, 0},
        GridShape{-1, -world.ranks()}, GridShape{1 << 30, 1 << 30}}) {
    BOOST_CHECK_EXCEPTION(ProcessGrid(world, shape), SharedError, [&](const SharedError& error) {
      return error.status() == ExitStatus::kUsage &&
             std::string(error.what()).find(text("but there are ", world.ranks())) !=
                 std::string::npos;
    });
  }
  BOOST_CHECK_EQUAL(world.sum(1), world.ranks());
}

BOOST_AUTO_TEST_CASE(shapes_that_differ_between_ranks_are_refused) {
  const Comm world(MPI_COMM_WORLD);
  const bool last = world.rank() == world.ranks() - 1;
  const GridShape mine = last ? GridShape{world.ranks(), 1} : GridShape{1, world.ranks()};
  if (world.ranks() == 1) {
    BOOST_CHECK_NO_THROW(ProcessGrid(world, mine));
  } else {
    BOOST_CHECK_EXCEPTION(ProcessGrid(world, mine), SharedError, [](const SharedError& error) {
      return error.status() == ExitStatus::kBadData;
    });
  }
}

BOOST_AUTO_TEST_SUITE_END()
