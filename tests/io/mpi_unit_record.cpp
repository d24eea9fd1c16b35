// Finished units survive the run that made them, and are taken for nothing else.
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>

#include "framework/agree.hpp"
#include "io/unit_record.hpp"

using namespace espalier;
using io::UnitRecord;

namespace {

constexpr std::int64_t kItems = 1000;

const Comm& world() {
  static const Comm comm(MPI_COMM_WORLD);
  return comm;
}

io::Provenance provenance(int option = 1) {
  return {"result", "test", {{"option", option}}, {"digest-of-a", "digest-of-b"}};
}

UnitRecord::Job job(int option = 1, bool resume = true) {
  return {"out.h5", provenance(option), kItems, resume};
}

void start_afresh() {
  world().barrier();
  const UnitRecord record(world(), job(1, false));
}

// What a unit holds is a function of its first item; lengths differ, some are empty.
std::vector<std::byte> content_of(std::int64_t begin) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(begin % 7 * 100));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(static_cast<std::size_t>(begin) * 31 + i);
  }
  return bytes;
}

// Units of 10 items in [from, to), dealt to the ranks in turns.
void add_units(UnitRecord& record, std::int64_t from, std::int64_t to) {
  for (std::int64_t begin = from; begin < to; begin += 10) {
    if (begin / 10 % world().ranks() == world().rank()) {
      record.add({begin, begin + 10}, content_of(begin));
    }
  }
}

// How many units all ranks hold, each with its right content.
std::int64_t count_right_units(const UnitRecord& record) {
  std::int64_t right = 0;
  for (std::size_t unit = 0; unit < record.units(); ++unit) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(record.bytes(unit)));
    record.read(unit, 0, bytes);
    right += bytes == content_of(record.items(unit).begin) ? 1 : 0;
    if (bytes.size() > 50) {
      std::vector<std::byte> part(20);
      record.read(unit, 30, part);
      BOOST_TEST((std::equal(part.begin(), part.end(), bytes.begin() + 30)));
    }
  }
  return world().sum(right);
}

std::string refusal(const UnitRecord::Job& wanted) {
  try {
    const UnitRecord record(world(), wanted);
  } catch (const SharedError& error) {
    BOOST_TEST((error.status() == ExitStatus::kBadData));
    return error.what();
  }
  return "";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(unit_record)

BOOST_AUTO_TEST_CASE(without_a_save_there_is_no_folder) {
  start_afresh();
  UnitRecord record(world(), job());
  add_units(record, 0, 200);
  BOOST_TEST(count_right_units(record) == 20);
  BOOST_TEST(!std::filesystem::exists(record.folder()));
  record.remove();
}

BOOST_AUTO_TEST_CASE(what_was_saved_is_found_and_what_was_not_is_not) {
  start_afresh();
  {
    UnitRecord record(world(), job());
    add_units(record, 0, 100);
    record.save();
    add_units(record, 500, 600);
    record.save();
    BOOST_TEST(count_right_units(record) == 20);
    add_units(record, 900, 1000);  // lost
    BOOST_TEST(count_right_units(record) == 30);
  }
  world().barrier();
  {
    UnitRecord record(world(), job());
    BOOST_TEST(record.earlier_runs() == 1);
    BOOST_TEST(record.finished().size() == 20U);
    BOOST_TEST(count_right_units(record) == 20);
    const auto left = gaps_between(record.finished(), kItems);
    BOOST_TEST((left == std::vector<Range>{{100, 500}, {600, 1000}}));
    add_units(record, 100, 500);
    record.save();
  }
  world().barrier();
  UnitRecord record(world(), job());
  BOOST_TEST(record.earlier_runs() == 2);
  BOOST_TEST(count_right_units(record) == 60);
  record.remove();
  BOOST_TEST(!std::filesystem::exists(record.folder()));
}

BOOST_AUTO_TEST_CASE(another_job_is_refused_and_may_start_afresh) {
  start_afresh();
  {
    UnitRecord record(world(), job());
    add_units(record, 0, 100);
    record.save();
  }
  world().barrier();
  BOOST_TEST(refusal(job(2)).find("option (1, now 2)") != std::string::npos);
  auto other = job();
  other.provenance.inputs[1] = "digest-of-c";
  BOOST_TEST(refusal(other).find("input 2") != std::string::npos);
  BOOST_TEST(refusal(job()).empty());
  world().barrier();
  const UnitRecord record(world(), job(2, false));
  BOOST_TEST(record.finished().empty());
  BOOST_TEST(!std::filesystem::exists(record.folder()));
}

BOOST_AUTO_TEST_CASE(a_flipped_bit_is_noticed_wherever_it_is) {
  start_afresh();
  {
    UnitRecord record(world(), job());
    add_units(record, 10, 60);
    record.save();
  }
  world().barrier();
  const std::string folder = UnitRecord::folder_of_output("out.h5");
  std::int64_t files = 0;
  for (const char* name : {"/manifest", "/run-0001-rank-00000.units"}) {
    files += std::filesystem::exists(folder + name) ? 1 : 0;
    for (const std::streamoff at : {3, 99}) {
      const auto flip = [&] {
        if (world().rank() == 0) {
          std::fstream file(folder + name, std::ios::in | std::ios::out | std::ios::binary);
          file.seekg(at);
          const auto byte = static_cast<char>(file.get() ^ 4);
          file.seekp(at);
          file.put(byte);
        }
        world().barrier();
      };
      flip();
      BOOST_TEST(refusal(job()).find("damaged") != std::string::npos);
      flip();
    }
  }
  BOOST_TEST(files == 2);
  BOOST_TEST(refusal(job()).empty());
  start_afresh();
}

BOOST_AUTO_TEST_SUITE_END()
