// label: night
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <iostream>
#include <vector>

#include "framework/comm.hpp"
#include "framework/memory.hpp"

BOOST_AUTO_TEST_SUITE(framework_large_messages)

using namespace espalier;

namespace {

// Just beyond what an int can count, and no multiple of the piece length.
constexpr std::size_t kBytes = (std::size_t{1} << 31) + 12'345;

std::byte byte_at(std::size_t position) {
  return static_cast<std::byte>((position * 0x9E3779B97F4A7C15U) >> 56);
}

bool has_room(const Comm& world) {
  const bool room = usable_memory_bytes() > (std::int64_t{6} << 30);
  const bool all = world.sum(room ? 1 : 0) == world.ranks();
  if (!all && world.rank() == 0) {
    std::cout << "SKIPPED: needs 6 GiB of free memory" << std::endl;
  }
  return all;
}

bool is_pattern(const std::vector<std::byte>& bytes) {
  for (std::size_t position = 0; position < bytes.size(); ++position) {
    if (bytes[position] != byte_at(position)) {
      return false;
    }
  }
  return true;
}

std::vector<std::byte> pattern() {
  std::vector<std::byte> bytes(kBytes);
  for (std::size_t position = 0; position < kBytes; ++position) {
    bytes[position] = byte_at(position);
  }
  return bytes;
}

}  // namespace

// From the first to the last rank, which are one and the same if there is only one.
BOOST_AUTO_TEST_CASE(a_message_beyond_the_count_of_an_int_arrives) {
  const Comm world(MPI_COMM_WORLD);
  if (!has_room(world)) {
    return;
  }
  const int last = world.ranks() - 1;
  std::vector<std::byte> sent;
  std::vector<std::byte> place;
  std::vector<Outgoing> out;
  std::vector<Incoming> in;
  if (world.rank() == 0) {
    sent = pattern();
    out.push_back({last, sent});
  }
  if (world.rank() == last) {
    place.resize(kBytes);
    in.push_back({0, place});
  }
  world.exchange(out, in);
  BOOST_CHECK(is_pattern(place));
  BOOST_CHECK_EQUAL(place.empty(), world.rank() != last);
}

BOOST_AUTO_TEST_CASE(a_broadcast_beyond_the_count_of_an_int_arrives) {
  const Comm world(MPI_COMM_WORLD);
  if (!has_room(world)) {
    return;
  }
  const Comm pair = world.split(world.rank() / 2, world.rank());
  // The pairs take turns, so that no more than two ranks hold the data at a time.
  for (int turn = 0; turn * 2 < world.ranks(); ++turn) {
    if (world.rank() / 2 == turn) {
      std::vector<std::byte> bytes = pair.rank() == 0 ? pattern() : std::vector<std::byte>(kBytes);
      pair.broadcast(bytes, 0);
      BOOST_CHECK(is_pattern(bytes));
    }
    world.barrier();
  }
}

BOOST_AUTO_TEST_SUITE_END()
