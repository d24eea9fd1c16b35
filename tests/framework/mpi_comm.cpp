#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "framework/comm.hpp"
#include "framework/error.hpp"
#include "framework/pieces.hpp"
#include "framework/random.hpp"

BOOST_AUTO_TEST_SUITE(framework_comm)

using namespace espalier;

namespace {

using Bytes = std::vector<std::byte>;

// The message that `from` sends to `to` in `round`: its bytes are a function of these three, so
// the receiver can check them on its own.
Bytes message(int from, int to, std::uint64_t round, std::size_t length) {
  RandomStream random(round, static_cast<std::uint32_t>(from), static_cast<std::uint64_t>(to));
  Bytes bytes(length);
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(random.next_word());
  }
  return bytes;
}

// A length for each pair of ranks; every third message is empty.
std::size_t length_of(int from, int to, std::uint64_t round) {
  RandomStream random(1000 + round, static_cast<std::uint32_t>(from),
                      static_cast<std::uint64_t>(to));
  return random.next_below(3) == 0 ? 0 : random.next_below(100'000);
}

}  // namespace

BOOST_AUTO_TEST_CASE(pieces_cover_everything_once) {
  for (const std::size_t count : {0U, 1U, 9U, 10U, 11U, 20U, 25U}) {
    std::size_t next = 0;
    std::size_t calls = 0;
    for_each_piece(count, 10, [&](std::size_t offset, std::size_t length) {
      BOOST_CHECK_EQUAL(offset, next);
      BOOST_CHECK(length >= 1 && length <= 10);
      next += length;
      ++calls;
    });
    BOOST_CHECK_EQUAL(next, count);
    BOOST_CHECK_EQUAL(calls, piece_count(count, 10));
  }
}

BOOST_AUTO_TEST_CASE(a_comm_is_a_duplicate_that_moves) {
  Comm world(MPI_COMM_WORLD);
  int same = MPI_IDENT;
  MPI_Comm_compare(world.raw(), MPI_COMM_WORLD, &same);
  BOOST_CHECK_EQUAL(same, MPI_CONGRUENT);
  const MPI_Comm raw = world.raw();
  const int rank = world.rank();
  const int ranks = world.ranks();
  Comm moved(std::move(world));
  BOOST_CHECK(moved.raw() == raw);
  BOOST_CHECK(world.raw() == MPI_COMM_NULL);
  Comm other(MPI_COMM_SELF);
  other = std::move(moved);
  BOOST_CHECK(other.raw() == raw);
  BOOST_CHECK_EQUAL(other.rank(), rank);
  BOOST_CHECK_EQUAL(other.sum(1), ranks);
}

namespace {

int freed = 0;
int count_free(MPI_Comm, int, void*, void*) {
  ++freed;
  return MPI_SUCCESS;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_comm_is_freed_once_but_never_while_unwinding) {
  int key = MPI_KEYVAL_INVALID;
  MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, count_free, &key, nullptr);
  freed = 0;
  {
    Comm first(MPI_COMM_WORLD);
    MPI_Comm_set_attr(first.raw(), key, nullptr);
    const Comm second(std::move(first));
  }
  BOOST_CHECK_EQUAL(freed, 1);
  try {
    const Comm lost(MPI_COMM_WORLD);
    MPI_Comm_set_attr(lost.raw(), key, nullptr);
    throw std::runtime_error("on the way out");
  } catch (const std::runtime_error&) {
  }
  BOOST_CHECK_EQUAL(freed, 1);
  MPI_Comm_free_keyval(&key);
}

BOOST_AUTO_TEST_CASE(broadcast_copies_from_any_root) {
  const Comm world(MPI_COMM_WORLD);
  for (int root = 0; root < world.ranks(); ++root) {
    for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{70'000}}) {
      const Bytes expected = message(root, root, 1, length);
      Bytes mine = world.rank() == root ? expected : Bytes(length);
      world.broadcast(mine, root);
      BOOST_CHECK(mine == expected);
    }
  }
}

BOOST_AUTO_TEST_CASE(broadcast_string_copies_any_length) {
  const Comm world(MPI_COMM_WORLD);
  for (int root = 0; root < world.ranks(); ++root) {
    for (const std::string& expected :
         {std::string(), std::string("one\0two", 7), std::string(5'000'000, 'l')}) {
      const std::string mine = world.rank() == root ? expected : "something else";
      BOOST_CHECK(world.broadcast_string(mine, root) == expected);
    }
  }
}

BOOST_AUTO_TEST_CASE(reductions_work_elementwise) {
  const Comm world(MPI_COMM_WORLD);
  const std::int64_t rank = world.rank();
  const std::int64_t last = world.ranks() - 1;
  std::vector<std::int64_t> values = {rank, -rank, std::int64_t{1} << 60};
  auto sums = values;
  world.sum(sums);
  BOOST_CHECK_EQUAL(sums[0], last * (last + 1) / 2);
  BOOST_CHECK_EQUAL(sums[1], -last * (last + 1) / 2);
  BOOST_CHECK_EQUAL(sums[2], (std::int64_t{1} << 60) * world.ranks());
  auto least = values;
  world.min(least);
  BOOST_CHECK_EQUAL(least[0], 0);
  BOOST_CHECK_EQUAL(least[1], -last);
  auto most = values;
  world.max(most);
  BOOST_CHECK_EQUAL(most[0], last);
  BOOST_CHECK_EQUAL(most[1], 0);
  std::vector<double> numbers = {0.5 + static_cast<double>(rank)};
  world.max(numbers);
  BOOST_CHECK_EQUAL(numbers[0], 0.5 + static_cast<double>(last));
  numbers[0] = static_cast<double>(-rank);
  world.min(numbers);
  BOOST_CHECK_EQUAL(numbers[0], static_cast<double>(-last));
  std::vector<std::uint8_t> bits = {static_cast<std::uint8_t>(1U << rank), 0};
  world.bit_or(bits);
  BOOST_CHECK_EQUAL(bits[0], (1U << world.ranks()) - 1);
  BOOST_CHECK_EQUAL(bits[1], 0);
  world.sum(std::span<std::int64_t>());
}

BOOST_AUTO_TEST_CASE(single_values_are_summed_and_gathered) {
  const Comm world(MPI_COMM_WORLD);
  const std::int64_t rank = world.rank();
  BOOST_CHECK_EQUAL(world.sum(rank + 1), world.ranks() * (world.ranks() + 1) / 2);
  BOOST_CHECK_EQUAL(world.max(10 - rank), 10);
  BOOST_CHECK_EQUAL(world.sum_before(rank + 1), rank * (rank + 1) / 2);
  const auto gathered = world.gather_all(rank * rank);
  BOOST_CHECK_EQUAL(gathered.size(), static_cast<std::size_t>(world.ranks()));
  for (std::size_t other = 0; other < gathered.size(); ++other) {
    BOOST_CHECK_EQUAL(gathered[other], static_cast<std::int64_t>(other * other));
  }
}

BOOST_AUTO_TEST_CASE(gather_all_bytes_keeps_rank_order_and_lengths) {
  const Comm world(MPI_COMM_WORLD);
  // Rank 0 has nothing, rank 1 a little, and so on.
  const auto length = [](int rank) { return static_cast<std::size_t>(rank) * 1000; };
  const auto gathered = world.gather_all_bytes(message(world.rank(), 0, 2, length(world.rank())));
  BOOST_CHECK_EQUAL(gathered.size(), static_cast<std::size_t>(world.ranks()));
  for (int rank = 0; rank < world.ranks(); ++rank) {
    BOOST_CHECK(gathered[static_cast<std::size_t>(rank)] == message(rank, 0, 2, length(rank)));
  }
}

BOOST_AUTO_TEST_CASE(split_makes_groups_in_the_order_of_the_key) {
  const Comm world(MPI_COMM_WORLD);
  const Comm reversed = world.split(0, -world.rank());
  BOOST_CHECK_EQUAL(reversed.rank(), world.ranks() - 1 - world.rank());
  const Comm halves = world.split(world.rank() % 2, world.rank());
  BOOST_CHECK_EQUAL(halves.rank(), world.rank() / 2);
  BOOST_CHECK_EQUAL(halves.ranks(), (world.ranks() + 1 - world.rank() % 2) / 2);
  BOOST_CHECK_THROW(world.split(-1, 0), BugError);
}

BOOST_AUTO_TEST_CASE(ranks_of_a_node_are_in_world_order) {
  const Comm world(MPI_COMM_WORLD);
  const Comm node = world.split_node();
  const auto members = node.gather_all(world.rank());
  BOOST_CHECK(std::is_sorted(members.begin(), members.end()));
  BOOST_CHECK_EQUAL(members[static_cast<std::size_t>(node.rank())], world.rank());
}

BOOST_AUTO_TEST_CASE(exchange_all_delivers_random_sizes) {
  const Comm world(MPI_COMM_WORLD);
  for (std::uint64_t round = 0; round < 20; ++round) {
    std::vector<Bytes> to_rank;
    for (int to = 0; to < world.ranks(); ++to) {
      to_rank.push_back(message(world.rank(), to, round, length_of(world.rank(), to, round)));
    }
    const auto came = world.exchange_all(to_rank);
    BOOST_CHECK_EQUAL(came.size(), to_rank.size());
    for (int from = 0; from < world.ranks(); ++from) {
      const auto expected =
          message(from, world.rank(), round, length_of(from, world.rank(), round));
      BOOST_CHECK(came[static_cast<std::size_t>(from)] == expected);
    }
  }
}

BOOST_AUTO_TEST_CASE(exchange_all_of_nothing_is_fine) {
  const Comm world(MPI_COMM_WORLD);
  const std::vector<Bytes> nothing(static_cast<std::size_t>(world.ranks()));
  BOOST_CHECK(world.exchange_all(nothing) == nothing);
  BOOST_CHECK_THROW(
      world.exchange_all(std::vector<Bytes>(static_cast<std::size_t>(world.ranks()) + 1)),
      BugError);
}

// Three messages, the middle one empty, to every rank and to oneself: they arrive in list order.
BOOST_AUTO_TEST_CASE(exchange_keeps_the_order_of_the_lists) {
  const Comm world(MPI_COMM_WORLD);
  const std::size_t lengths[] = {100'000, 0, 7};
  std::vector<Bytes> sent;
  std::vector<Bytes> expected;
  for (std::uint64_t which = 0; which < 3; ++which) {
    for (int other = 0; other < world.ranks(); ++other) {
      sent.push_back(message(world.rank(), other, which, lengths[which]));
      expected.push_back(message(other, world.rank(), which, lengths[which]));
    }
  }
  std::vector<Bytes> places(expected.size());
  std::vector<Outgoing> out;
  std::vector<Incoming> in;
  for (std::size_t i = 0; i < sent.size(); ++i) {
    const int other = static_cast<int>(i) % world.ranks();
    places[i].resize(expected[i].size());
    out.push_back({other, sent[i]});
    in.push_back({other, places[i]});
  }
  world.exchange(out, in);
  BOOST_CHECK(places == expected);
}

BOOST_AUTO_TEST_CASE(exchange_of_nothing_waits_for_nobody) {
  const Comm world(MPI_COMM_WORLD);
  Bytes none;
  const std::vector<Outgoing> out = {{0, none}};
  const std::vector<Incoming> in = {{world.ranks() - 1, none}};
  BOOST_CHECK_NO_THROW(world.exchange(out, in));
  BOOST_CHECK_NO_THROW(world.exchange({}, {}));
}

BOOST_AUTO_TEST_CASE(a_ring_of_neighbours_passes_on) {
  const Comm world(MPI_COMM_WORLD);
  const int next = (world.rank() + 1) % world.ranks();
  const int previous = (world.rank() + world.ranks() - 1) % world.ranks();
  // The k-th exchange must not take the messages of the next: later ones are shorter.
  for (std::uint64_t round = 0; round < 10; ++round) {
    const Bytes mine = message(world.rank(), next, round, 50 - round);
    Bytes place(50 - round);
    const std::vector<Outgoing> out = {{next, mine}};
    const std::vector<Incoming> in = {{previous, place}};
    world.exchange(out, in);
    BOOST_CHECK(place == message(previous, world.rank(), round, 50 - round));
  }
}

BOOST_AUTO_TEST_CASE(messages_to_oneself_must_match) {
  const Comm world(MPI_COMM_WORLD);
  const Bytes five(5);
  Bytes four(4);
  const std::vector<Outgoing> out = {{world.rank(), five}};
  const std::vector<Incoming> in = {{world.rank(), four}};
  BOOST_CHECK_THROW(world.exchange(out, in), BugError);
  BOOST_CHECK_THROW(world.exchange(out, {}), BugError);
  BOOST_CHECK_THROW(world.exchange({}, in), BugError);
}

BOOST_AUTO_TEST_CASE(lengths_that_differ_are_noticed_by_the_receiver) {
  const Comm world(MPI_COMM_WORLD);
  const Bytes five(5);
  const std::vector<Outgoing> out = {{1, five}};
  for (const std::size_t room : {std::size_t{6}, std::size_t{4}}) {
    Bytes place(room);
    const std::vector<Incoming> in = {{0, place}};
    if (world.ranks() == 1) {
      BOOST_CHECK_THROW(world.exchange({}, in), BugError);
    } else if (world.rank() == 0) {
      BOOST_CHECK_NO_THROW(world.exchange(out, {}));
    } else if (world.rank() == 1 && room > five.size()) {
      BOOST_CHECK_THROW(world.exchange({}, in), BugError);
    } else if (world.rank() == 1) {
      BOOST_CHECK_EXCEPTION(world.exchange({}, in), Error, [](const Error& error) {
        return error.status() == ExitStatus::kSystem;
      });
    }
    world.barrier();
  }
}

BOOST_AUTO_TEST_CASE(a_failed_call_becomes_an_error_with_the_text_of_mpi) {
  const Comm world(MPI_COMM_WORLD);
  Bytes bytes(1);
  BOOST_CHECK_EXCEPTION(world.broadcast(bytes, world.ranks()), Error, [](const Error& error) {
    const std::string text = error.what();
    return error.status() == ExitStatus::kSystem && text.starts_with("MPI_Bcast failed: ") &&
           text.find("root") != std::string::npos;
  });
  BOOST_CHECK_NO_THROW(check_mpi(MPI_SUCCESS, "nothing"));
  BOOST_CHECK_THROW(check_mpi(MPI_ERR_COMM, "MPI_Nothing"), Error);
}

BOOST_AUTO_TEST_SUITE_END()
