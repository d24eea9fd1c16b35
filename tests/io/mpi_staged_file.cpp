// Outputs are complete and checked or absent, and their bytes do not depend on who wrote what.
#include "io/staged_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "framework/agree.hpp"
#include "framework/random.hpp"
#include "io/catalog.hpp"
#include "io/checksum.hpp"
#include "io/data_file.hpp"
#include "io/output_file.hpp"
#include "tests/io/made_files.hpp"
#include "tests/io/written_rows.hpp"

BOOST_AUTO_TEST_SUITE(io_staged_file)

using namespace espalier;
using namespace espalier::tests;

namespace {

struct Planned {
  std::string path;
  io::ElementType type;
  std::vector<std::int64_t> shape;

  std::int64_t row_elements() const { return shape.size() == 2 ? shape[1] : 1; }
  std::int64_t row_bytes() const { return row_elements() * type.bytes; }
};

const std::vector<Planned> kPlan = {
    {"/z/last", io::kFloat32, {50000}},
    {"/a/table", io::kInt64, {701, 13}},
    {"/a/narrow", io::kUint8, {200001}},
    {"/empty", io::kFloat64, {0}},
    {"/empty_table", io::kUint16, {0, 4}},
    {"/one", io::kUint16, {1}},
    {"/text", {io::ElementClass::kText, 7}, {999}},
    {"/big_endian", {io::ElementClass::kSigned, 4, false}, {77}},
};

std::vector<std::byte> content_of(std::size_t dataset) {
  const Planned& planned = kPlan[dataset];
  std::vector<std::byte> content;
  RandomStream random(9, 1, dataset);
  for (std::int64_t i = 0; i < planned.shape[0] * planned.row_bytes(); ++i) {
    content.push_back(static_cast<std::byte>('a' + random.next_below(20)));
  }
  return content;
}

std::vector<int> plan(io::StagedFile& file) {
  std::vector<int> handles;
  for (const Planned& planned : kPlan) {
    handles.push_back(file.add_dataset(planned.path, planned.type, planned.shape));
  }
  file.add_group("/group/below");
  file.add_attribute("/group", "words", "non-ASCII \u00e4, and \"quotes\"");
  file.add_attribute("/group", "empty", "");
  file.add_attribute("/group", "whole", -7);
  file.add_attribute("/group", "real", 0.1);
  file.add_attribute("/group/below", "list", std::vector<int>{3, -1, 4});
  file.add_attribute("/z/last", "reals", std::vector<double>{0.5, 2});
  return handles;
}

// Rows of each dataset in pieces, each piece of any rank; a rank with nothing left writes nothing.
void write_pieces(const Comm& comm, io::StagedFile& file, const std::vector<int>& handles,
                  std::uint64_t seed) {
  RandomStream random(seed, 3, 0);
  for (std::size_t d = 0; d < kPlan.size(); ++d) {
    const Planned& planned = kPlan[d];
    const auto content = content_of(d);
    const auto most = static_cast<std::uint64_t>(1 + planned.shape[0] / (1 + seed % 4));
    std::vector<Range> mine;
    for (std::int64_t at = 0; at < planned.shape[0];) {
      const auto end =
          std::min(planned.shape[0], at + 1 + static_cast<std::int64_t>(random.next_below(most)));
      if (random.next_below(static_cast<std::uint64_t>(comm.ranks())) ==
          static_cast<std::uint64_t>(comm.rank())) {
        mine.push_back({at, end});
      }
      at = end;
    }
    const auto calls = static_cast<std::size_t>(comm.max(std::ssize(mine)));
    for (std::size_t call = 0; call < calls; ++call) {
      const Range rows = call < mine.size() ? mine[call] : Range{};
      file.write(
          handles[d], rows.begin * planned.row_elements(),
          std::span(content).subspan(static_cast<std::size_t>(rows.begin * planned.row_bytes()),
                                     static_cast<std::size_t>(rows.size() * planned.row_bytes())));
    }
  }
}

void write_file(const Comm& comm, const std::string& path, std::uint64_t seed,
                io::OutputOptions options = {}) {
  options.force = true;
  io::StagedFile file(comm, path, provenance_of("network"), options);
  const auto handles = plan(file);
  file.create();
  write_pieces(comm, file, handles, seed);
  file.finish();
}

std::string digest_of(const Comm& comm, const std::string& path) {
  const io::Catalog catalog = io::read_catalog(comm, path);
  const auto* digest = catalog.find_attribute("/", "digest");
  return digest == nullptr ? "" : digest->get<std::string>();
}

bool exists(const std::string& path) { return std::filesystem::exists(path); }

// What an output says if `path` is not free, from planning to finish.
std::string outcome(const Comm& comm, const std::string& path, bool force) {
  return error_of([&] {
    io::OutputOptions options;
    options.force = force;
    io::StagedFile file(comm, path, provenance_of("batch"), options);
    const int handle = file.add_dataset("/d", io::kUint8, {3});
    file.create();
    const std::vector<std::byte> bytes(comm.rank() == 0 ? 3 : 0);
    file.write(handle, 0, bytes);
    file.finish();
  });
}

}  // namespace

BOOST_AUTO_TEST_CASE(bytes_do_not_depend_on_ranks_or_divisions) {
  const Comm world(MPI_COMM_WORLD);
  const auto [shared, alone] = file_pair("bytes", world);
  write_file(Comm(MPI_COMM_SELF), alone, 1);
  const std::string expected = bytes_of(alone);
  BOOST_CHECK(expected.size() > 470000);
  for (std::uint64_t seed = 2; seed <= 9; ++seed) {
    io::OutputOptions options;
    options.round_bytes = seed % 2 == 0 ? options.round_bytes : 30000;
    write_file(world, shared, seed, options);
    BOOST_CHECK_MESSAGE(io::sha256(bytes_of(shared)) == io::sha256(expected), "seed " << seed);
    world.barrier();
  }
}

BOOST_AUTO_TEST_CASE(what_was_written_is_read_back) {
  const Comm world(MPI_COMM_WORLD);
  for (const bool compress : {false, true}) {
    io::OutputOptions options;
    options.compress = compress;
    write_file(world, "back.h5", 5, options);
    const io::Catalog catalog = io::read_catalog(world, "back.h5");
    BOOST_CHECK(io::verify_checksums(world, catalog));
    const io::DataFile data(catalog);
    for (std::size_t d = 0; d < kPlan.size(); ++d) {
      const io::Dataset& dataset = catalog.dataset(kPlan[d].path);
      BOOST_CHECK(dataset.type == kPlan[d].type);
      BOOST_CHECK(dataset.shape == kPlan[d].shape);
      std::vector<std::byte> read(static_cast<std::size_t>(dataset.bytes()));
      data.read_raw(dataset, 0, read);
      BOOST_CHECK_MESSAGE(read == content_of(d), kPlan[d].path);
      BOOST_CHECK_EQUAL(dataset.filtered, compress && dataset.count() > 0);
    }
    BOOST_CHECK_EQUAL(*catalog.find_attribute("/group", "words"),
                      "non-ASCII \u00e4, and \"quotes\"");
    BOOST_CHECK_EQUAL(*catalog.find_attribute("/group", "empty"), "");
    BOOST_CHECK_EQUAL(*catalog.find_attribute("/group", "whole"), -7);
    BOOST_CHECK_EQUAL(*catalog.find_attribute("/group", "real"), 0.1);
    BOOST_CHECK_EQUAL(catalog.find_attribute("/group/below", "list")->dump(), "[3,-1,4]");
    BOOST_CHECK_EQUAL(catalog.find_attribute("/z/last", "reals")->dump(), "[0.5,2.0]");
    const auto origin =
        nlohmann::json::parse(catalog.find_attribute("/", "espalier")->get<std::string>());
    BOOST_CHECK_EQUAL(origin["kind"], "network");
    BOOST_CHECK_EQUAL(origin["format"], 1);
    BOOST_CHECK_EQUAL(origin["job"], "test");
    BOOST_CHECK_EQUAL(origin["options"].dump(), "{\"seed\":1}");
    BOOST_CHECK_EQUAL(origin["inputs"].dump(), "[\"0123\",\"4567\"]");
    BOOST_CHECK_EQUAL(origin["job_digest"], io::job_digest(provenance_of("network")));
  }
}

// So much that each rank syncs while it writes.
BOOST_AUTO_TEST_CASE(what_is_long_is_whole) {
  const Comm world(MPI_COMM_WORLD);
  constexpr std::int64_t kPiece = io::OutputFile::kSyncBytes / 3 + 1;
  const std::int64_t pieces = 4 * world.ranks();
  const auto content = [](std::int64_t piece) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(kPiece));
    for (std::int64_t i = 0; i < kPiece; ++i) {
      bytes[static_cast<std::size_t>(i)] = static_cast<std::byte>((i >> 4) * 31 + i + piece);
    }
    return bytes;
  };
  io::OutputOptions options;
  options.force = true;
  io::StagedFile file(world, "long.h5", provenance_of("network"), options);
  const int handle = file.add_dataset("/d", io::kUint8, {pieces * kPiece});
  file.create();
  for (std::int64_t piece = world.rank(); piece < pieces; piece += world.ranks()) {
    file.write(handle, piece * kPiece, content(piece));
  }
  file.finish();
  const io::Catalog catalog = io::read_catalog(world, "long.h5");
  const io::DataFile data(catalog);
  for (std::int64_t piece = world.rank(); piece < pieces; piece += world.ranks()) {
    std::vector<std::byte> read(static_cast<std::size_t>(kPiece));
    data.read_raw(catalog.dataset("/d"), piece * kPiece, read);
    BOOST_CHECK_MESSAGE(read == content(piece), "piece " << piece);
  }
  world.barrier();
  on_root(world, "removing", [] { std::filesystem::remove("long.h5"); });
}

BOOST_AUTO_TEST_CASE(compressed_files_are_smaller_and_equal_in_content) {
  const Comm world(MPI_COMM_WORLD);
  io::OutputOptions options;
  write_file(world, "plain.h5", 3, options);
  options.compress = true;
  for (std::uint64_t seed = 4; seed <= 7; ++seed) {
    write_file(world, "small.h5", seed, options);
    BOOST_CHECK_EQUAL(digest_of(world, "small.h5"), digest_of(world, "plain.h5"));
    const auto bytes = std::filesystem::file_size("small.h5");
    BOOST_CHECK(bytes < std::filesystem::file_size("plain.h5"));
    // What was set aside for chunks is given back.
    struct stat status {};
    BOOST_CHECK_EQUAL(::stat("small.h5", &status), 0);
    BOOST_CHECK_LE(status.st_blocks * 512, static_cast<std::int64_t>(bytes) + 65536);
    world.barrier();
  }
}

BOOST_AUTO_TEST_CASE(an_output_given_up_leaves_nothing) {
  const Comm world(MPI_COMM_WORLD);
  const std::vector<std::byte> three(world.rank() == 0 ? 3 : 0);
  const auto give_up_after = [&](int step) {
    return error_of([&] {
      io::StagedFile file(world, "given_up.h5", provenance_of("batch"), {});
      const int handle = file.add_dataset("/d", io::kUint8, {3});
      const int other = file.add_dataset("/e", io::kUint8, {3});
      if (step >= 1) {
        file.create();
        locally(world, "looking", [] {
          expects(exists("given_up.h5.part") && !exists("given_up.h5"), "an output is staged");
        });
      }
      if (step >= 2) {
        file.write(handle, 0, three);
      }
      if (step == 3) {
        file.finish();  // lacks /e
      }
      if (step == 4) {
        file.write(other, 1, three);  // beyond the end
      }
      if (step == 5) {
        file.write(handle, 0, three);
        file.write(other, 0, three);
        file.finish();  // has /d twice
      }
      locally(world, "working", [&] {
        if (world.rank() == world.ranks() - 1) {
          throw Error(ExitStatus::kBadData, "the input ends here");
        }
      });
    });
  };
  for (int step = 0; step <= 5; ++step) {
    const std::string found = give_up_after(step);
    BOOST_CHECK_MESSAGE(found.starts_with(step < 3 ? "65 the input ends here" : "70 "), found);
    world.barrier();
    BOOST_CHECK_MESSAGE(!exists("given_up.h5.part") && !exists("given_up.h5"), "step " << step);
    world.barrier();
  }
  BOOST_CHECK_EQUAL(outcome(world, "given_up.h5", false), "no error");
}

BOOST_AUTO_TEST_CASE(a_disk_too_small_is_noticed_at_the_start) {
  const Comm world(MPI_COMM_WORLD);
  for (const bool compress : {false, true}) {
    const std::string found = error_of([&] {
      io::OutputOptions options;
      options.compress = compress;
      io::StagedFile file(world, "huge.h5", provenance_of("batch"), options);
      file.add_dataset("/d", io::kInt64, {std::int64_t{1} << 50});
      file.create();
    });
    BOOST_CHECK_MESSAGE(found.starts_with("74 no space for huge.h5.part: it needs 90077490105") &&
                            found.find(" are free") != std::string::npos,
                        found);
    world.barrier();
    BOOST_CHECK(!exists("huge.h5.part") && !exists("huge.h5"));
  }
}

BOOST_AUTO_TEST_CASE(two_runs_do_not_write_one_output) {
  const Comm world(MPI_COMM_WORLD);
  {
    io::StagedFile first(world, "both.h5", provenance_of("batch"), {});
    first.add_dataset("/d", io::kUint8, {3});
    first.create();
    const std::string found = outcome(world, "both.h5", false);
    BOOST_CHECK_EQUAL(found, "73 cannot create both.h5: another run is writing both.h5.part");
    world.barrier();
    BOOST_CHECK(exists("both.h5.part"));
    world.barrier();
  }
  // What a killed run has left is in nobody's way.
  if (world.rank() == 0) {
    write_bytes("both.h5.part", std::string(100000, 'x'));
  }
  world.barrier();
  BOOST_CHECK_EQUAL(outcome(world, "both.h5", false), "no error");
  world.barrier();
  BOOST_CHECK(exists("both.h5") && !exists("both.h5.part"));
}

BOOST_AUTO_TEST_CASE(what_stands_in_the_way_is_named) {
  const Comm world(MPI_COMM_WORLD);
  if (world.rank() == 0) {
    write_bytes("there.h5", "something else");
    std::filesystem::create_directory("folder");
    std::filesystem::create_directory("staged.h5.part");
  }
  world.barrier();
  BOOST_CHECK_EQUAL(outcome(world, "there.h5", false),
                    "73 cannot create there.h5: the file exists; --force replaces it");
  BOOST_CHECK_EQUAL(bytes_of("there.h5"), "something else");
  BOOST_CHECK_EQUAL(outcome(world, "folder", true), "73 cannot create folder: it is a folder");
  BOOST_CHECK_EQUAL(outcome(world, "missing/x.h5", true),
                    "73 cannot create missing/x.h5: there is no folder missing");
  BOOST_CHECK_EQUAL(outcome(world, "/dev/null", true),
                    "73 cannot create /dev/null: it is no regular file");
  BOOST_CHECK_EQUAL(outcome(world, "there.h5/x", true).substr(0, 2), "73");
  BOOST_CHECK_EQUAL(outcome(world, "staged.h5", true).substr(0, 2), "73");
  world.barrier();
  BOOST_CHECK_EQUAL(outcome(world, "there.h5", true), "no error");
  BOOST_CHECK(bytes_of("there.h5") != "something else");
}

BOOST_AUTO_TEST_CASE(a_finished_job_is_recognised) {
  const Comm world(MPI_COMM_WORLD);
  const std::string digest = io::job_digest(provenance_of("batch"));
  const auto state = [&](const std::string& path, const std::string& asked, bool force) {
    io::OutputOptions options;
    options.force = force;
    std::string said;
    const std::string found = error_of([&] {
      said = io::check_output(world, path, asked, options) == io::OutputState::kAlreadyDone
                 ? "already done"
                 : "free";
    });
    return found == "no error" ? said : found;
  };
  BOOST_CHECK(!io::output_exists(world, "done.h5"));
  BOOST_CHECK_EQUAL(state("done.h5", digest, false), "free");
  BOOST_CHECK_EQUAL(outcome(world, "done.h5", false), "no error");
  BOOST_CHECK(io::output_exists(world, "done.h5"));
  BOOST_CHECK_EQUAL(state("done.h5", digest, false), "already done");
  BOOST_CHECK_EQUAL(state("done.h5", digest, true), "free");
  const std::string other = state("done.h5", io::sha256("another job"), false);
  BOOST_CHECK_EQUAL(other,
                    "73 cannot create done.h5: the file exists and is not what this job would "
                    "write; --force replaces it");
  BOOST_CHECK_EQUAL(state("done.h5", io::sha256("another job"), true), "free");

  if (world.rank() == 0) {
    write_bytes("text.h5", "no HDF5 at all");
    std::filesystem::create_directory("a_folder");
  }
  world.barrier();
  BOOST_CHECK_EQUAL(state("text.h5", digest, false).substr(0, 29),
                    other.substr(0, 17) + "text.h5: the");
  BOOST_CHECK_EQUAL(state("text.h5", digest, true), "free");
  for (const bool force : {false, true}) {
    BOOST_CHECK_EQUAL(state("a_folder", digest, force),
                      "73 cannot create a_folder: it is a folder");
    BOOST_CHECK_EQUAL(state("nowhere/x.h5", digest, force),
                      "73 cannot create nowhere/x.h5: there is no folder nowhere");
  }
}

BOOST_AUTO_TEST_CASE(a_job_digest_depends_on_all_that_matters) {
  const io::Provenance base = provenance_of("batch");
  io::Provenance other = base;
  BOOST_CHECK_EQUAL(io::job_digest(base).size(), 64);
  BOOST_CHECK_EQUAL(io::job_digest(other), io::job_digest(base));
  other.job = "infer";
  BOOST_CHECK(io::job_digest(other) != io::job_digest(base));
  other = base;
  other.options["seed"] = 2;
  BOOST_CHECK(io::job_digest(other) != io::job_digest(base));
  other = base;
  other.inputs = {"4567", "0123"};
  BOOST_CHECK(io::job_digest(other) != io::job_digest(base));
}

BOOST_AUTO_TEST_CASE(a_whole_file_is_written_or_not_at_all) {
  const Comm world(MPI_COMM_WORLD);
  const std::string content = "1\n2\n3\n";
  const auto bytes = std::as_bytes(std::span(content));
  const auto mine = bytes.first(world.rank() == 0 ? bytes.size() : 0);
  const auto write = [&](bool force) {
    io::OutputOptions options;
    options.force = force;
    return error_of([&] { io::write_whole_file(world, "ids.tsv", mine, options); });
  };
  BOOST_CHECK_EQUAL(write(false), "no error");
  world.barrier();
  BOOST_CHECK_EQUAL(bytes_of("ids.tsv"), content);
  BOOST_CHECK(!exists("ids.tsv.part"));
  world.barrier();
  BOOST_CHECK_EQUAL(write(false), "73 cannot create ids.tsv: the file exists; --force replaces it");
  BOOST_CHECK_EQUAL(write(true), "no error");
}

BOOST_AUTO_TEST_SUITE_END()
