#include <boost/test/unit_test.hpp>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include "framework/agree.hpp"
#include "framework/comm.hpp"
#include "framework/error.hpp"

BOOST_AUTO_TEST_SUITE(framework_agree_on_failures)

using namespace espalier;

namespace {

// What this rank gets to hear; every rank must hear the same.
struct Heard {
  bool shared = false;
  ExitStatus status = ExitStatus::kDone;
  std::string message;
};

template <typename Call>
Heard hear(Call&& call) {
  try {
    call();
  } catch (const SharedError& error) {
    return {true, error.status(), error.what()};
  } catch (const std::exception& error) {
    return {false, ExitStatus::kDone, error.what()};
  }
  return {};
}

void check_heard(const Heard& heard, ExitStatus status, const std::string& message) {
  BOOST_CHECK(heard.shared);
  BOOST_CHECK(heard.status == status);
  BOOST_CHECK_EQUAL(heard.message, message);
}

}  // namespace

BOOST_AUTO_TEST_CASE(without_failure_the_result_comes_back) {
  const Comm world(MPI_COMM_WORLD);
  BOOST_CHECK_EQUAL(locally(world, "counting", [&] { return world.rank() + 1; }), world.rank() + 1);
  int runs = 0;
  locally(world, "counting", [&] { ++runs; });
  BOOST_CHECK_EQUAL(runs, 1);
}

BOOST_AUTO_TEST_CASE(results_may_be_movable_only) {
  const Comm world(MPI_COMM_WORLD);
  const auto result = locally(world, "making", [] { return std::make_unique<int>(7); });
  BOOST_CHECK_EQUAL(*result, 7);
}

// Every set of failing ranks: the lowest one's text and status reach all ranks.
BOOST_AUTO_TEST_CASE(the_lowest_failing_rank_is_heard_everywhere) {
  const Comm world(MPI_COMM_WORLD);
  const ExitStatus statuses[] = {ExitStatus::kBadData, ExitStatus::kNoInput, ExitStatus::kIoFailed,
                                 ExitStatus::kNoPermission};
  const auto status_of = [&](int rank) { return statuses[rank % 4]; };
  for (int failing = 1; failing < 1 << world.ranks(); ++failing) {
    const Heard heard = hear([&] {
      locally(world, "reading shard", [&] {
        if ((failing >> world.rank() & 1) != 0) {
          throw Error(status_of(world.rank()), text("rows of rank ", world.rank()));
        }
      });
    });
    int lowest = 0;
    while ((failing >> lowest & 1) == 0) {
      ++lowest;
    }
    check_heard(heard, status_of(lowest), text("rows of rank ", lowest));
  }
  BOOST_CHECK_EQUAL(world.sum(1), world.ranks());
}

BOOST_AUTO_TEST_CASE(work_with_a_result_fails_alike) {
  const Comm world(MPI_COMM_WORLD);
  for (int failing = 0; failing < world.ranks(); ++failing) {
    const Heard heard = hear([&] {
      return locally(world, "reading shard", [&]() -> std::string {
        if (world.rank() == failing) {
          throw Error(ExitStatus::kNoInput, "no such file");
        }
        return "read";
      });
    });
    check_heard(heard, ExitStatus::kNoInput, "no such file");
  }
}

BOOST_AUTO_TEST_CASE(unexpected_errors_say_what_was_being_done) {
  const Comm world(MPI_COMM_WORLD);
  const bool last = world.rank() == world.ranks() - 1;
  check_heard(hear([&] {
                locally(world, "reading shard", [&] {
                  if (last) {
                    throw std::out_of_range("index 7");
                  }
                });
              }),
              ExitStatus::kOurBug, "reading shard: index 7");
  check_heard(hear([&] {
                locally(world, "reading shard", [&] {
                  if (last) {
                    throw BugError("here.cpp:1: violated: sorted");
                  }
                });
              }),
              ExitStatus::kOurBug, "reading shard: here.cpp:1: violated: sorted");
}

BOOST_AUTO_TEST_CASE(running_out_of_memory_does_not_fit_and_says_what_helps) {
  const Comm world(MPI_COMM_WORLD);
  const Heard heard = hear([&] {
    locally(world, "packing layer 7", [&] {
      if (world.rank() == world.ranks() / 2) {
        throw std::bad_alloc();
      }
    });
  });
  BOOST_CHECK(heard.shared);
  BOOST_CHECK(heard.status == ExitStatus::kDoesNotFit);
  BOOST_CHECK(heard.message.starts_with("packing layer 7: out of memory"));
  BOOST_CHECK(heard.message.find("more ranks") != std::string::npos);
  BOOST_CHECK(heard.message.find("--memory-per-rank") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(empty_and_long_messages_arrive_whole) {
  const Comm world(MPI_COMM_WORLD);
  for (const std::string& message : {std::string(), std::string(200'000, 'm')}) {
    check_heard(hear([&] {
                  agree(world, "x", Failure{ExitStatus::kUsage, message});
                }),
                ExitStatus::kUsage, message);
  }
  BOOST_CHECK_NO_THROW(agree(world, "x", std::nullopt));
}

BOOST_AUTO_TEST_CASE(on_root_runs_on_rank_0_and_its_failure_is_everybodys) {
  const Comm world(MPI_COMM_WORLD);
  int runs = 0;
  on_root(world, "opening", [&] { ++runs; });
  BOOST_CHECK_EQUAL(runs, world.rank() == 0 ? 1 : 0);
  check_heard(hear([&] {
                on_root(world, "opening",
                        [] { throw Error(ExitStatus::kNoInput, "net.h5 is missing"); });
              }),
              ExitStatus::kNoInput, "net.h5 is missing");
}

BOOST_AUTO_TEST_CASE(a_group_knows_that_it_is_not_everybody) {
  const Comm world(MPI_COMM_WORLD);
  const Comm group = world.split(world.rank() == 0 ? 0 : 1, world.rank());
  try {
    agree(group, "x", Failure{ExitStatus::kBadData, "damaged"});
    BOOST_ERROR("a failure went unnoticed");
  } catch (const SharedError& error) {
    BOOST_CHECK_EQUAL(error.known_to_all(world.ranks()), group.ranks() == world.ranks());
    BOOST_CHECK_EQUAL(error.speaks(), group.rank() == 0);
  }
}

BOOST_AUTO_TEST_CASE(the_same_text_everywhere_passes) {
  const Comm world(MPI_COMM_WORLD);
  BOOST_CHECK_NO_THROW(same_everywhere(world, "the options", "--sparsity 0.9"));
  BOOST_CHECK_NO_THROW(same_everywhere(world, "the options", ""));
}

BOOST_AUTO_TEST_CASE(the_first_rank_that_differs_is_named) {
  const Comm world(MPI_COMM_WORLD);
  for (int odd = 1; odd < world.ranks(); ++odd) {
    check_heard(hear([&] {
                  same_everywhere(world, "the number of layers",
                                  world.rank() >= odd ? text("12", world.rank()) : "120");
                }),
                ExitStatus::kBadData,
                text("the number of layers must be the same on every rank, but rank ", odd,
                     " has \"12", odd, "\" where rank 0 has \"120\""));
  }
  // If rank 0 is the odd one, rank 1 is the first that differs from it.
  const Heard heard =
      hear([&] { same_everywhere(world, "the options", world.rank() == 0 ? "short" : "shorter"); });
  BOOST_CHECK_EQUAL(heard.shared, world.ranks() > 1);
  BOOST_CHECK_EQUAL(
      heard.message.find("rank 1 has \"shorter\" where rank 0 has \"short\"") != std::string::npos,
      world.ranks() > 1);
}

BOOST_AUTO_TEST_CASE(of_long_texts_the_differing_place_is_shown) {
  const Comm world(MPI_COMM_WORLD);
  std::string mine(100'000, '.');
  if (world.rank() == world.ranks() - 1 && world.rank() > 0) {
    mine.replace(50'000, 4, "here");
  }
  const Heard heard = hear([&] { same_everywhere(world, "the config", mine); });
  BOOST_CHECK_EQUAL(heard.shared, world.ranks() > 1);
  BOOST_CHECK_EQUAL(heard.message.find("here") != std::string::npos, world.ranks() > 1);
  BOOST_CHECK_LT(heard.message.size(), 300U);
}

BOOST_AUTO_TEST_SUITE_END()
