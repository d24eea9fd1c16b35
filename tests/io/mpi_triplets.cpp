// GraphChallenge TSV against a plain parser, at any number of ranks. The expected messages do not
// know how many ranks there are, so running this file at 1 to 4 ranks shows that they are the same.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "framework/comm.hpp"
#include "framework/error.hpp"
#include "framework/memory.hpp"
#include "framework/random.hpp"
#include "io/graphchallenge.hpp"
#include "io/line_feeder.hpp"

BOOST_AUTO_TEST_SUITE(io_triplets)

using namespace espalier;
using kernels::CsrRows;

namespace {

using Entries = std::map<std::pair<std::int64_t, std::int64_t>, float>;  // by row, column

void write_file(const Comm& world, const std::string& path, const std::string& content) {
  world.barrier();
  if (world.rank() == 0) {
    std::ofstream(path, std::ios::binary) << content;
  }
  world.barrier();
}

// The plain parser: sorted, zeros left out.
Entries parse_plainly(const std::string& content, bool row_is_first) {
  Entries entries;
  std::istringstream lines(content);
  std::int64_t i = 0, j = 0;
  std::string value;
  while (lines >> i >> j >> value) {
    const auto place = row_is_first ? std::pair(i - 1, j - 1) : std::pair(j - 1, i - 1);
    if (std::stof(value) != 0) {
      entries[place] = std::stof(value);
    }
  }
  return entries;
}

// Checks this rank's rows.
void check_rows(const Comm& world, const CsrRows& rows, const Entries& entries, std::int64_t count,
                std::int64_t cols) {
  const Range mine = split_evenly(count, world.ranks(), world.rank());
  BOOST_CHECK_EQUAL(rows.first_row, mine.begin);
  BOOST_CHECK_EQUAL(rows.rows(), mine.size());
  BOOST_CHECK_EQUAL(rows.cols, cols);
  kernels::CsrFault fault{};
  BOOST_CHECK(!kernels::find_fault(rows, fault));
  Entries found;
  for (std::int64_t r = 0; r < rows.rows(); ++r) {
    for (std::int64_t k = rows.pointers.at(static_cast<std::size_t>(r));
         k < rows.pointers.at(static_cast<std::size_t>(r) + 1); ++k) {
      found[{mine.begin + r, rows.indices.at(static_cast<std::size_t>(k))}] = rows.value(k);
    }
  }
  const Entries expected(entries.lower_bound({mine.begin, -1}),
                         entries.lower_bound({mine.end, -1}));
  BOOST_CHECK(found == expected);
  bool equal = !expected.empty();
  for (const auto& [place, value] : expected) {
    equal = equal && value == expected.begin()->second;
  }
  BOOST_CHECK_EQUAL(rows.iso, equal);
}

// What all ranks hear when `read` fails.
template <typename Read>
std::string complaint(const Comm& world, ExitStatus status, Read&& read) {
  std::string mine = "nothing is wrong";
  try {
    read();
  } catch (const SharedError& error) {
    BOOST_CHECK(error.status() == status);
    mine = error.what();
  }
  BOOST_CHECK_EQUAL(mine, world.broadcast_string(mine, 0));
  return mine;
}

std::string spell(float value, std::uint32_t form) {
  char text[64];
  static constexpr const char* kForms[] = {"%.9g", "%.9e", "%.6f", "%g"};
  std::snprintf(text, sizeof(text), kForms[form % 4], static_cast<double>(value));
  return text;
}

struct Style {
  std::string line_end = "\n";
  bool end_last_line = true;
  std::string tail;  // behind the last line
};

// A random network in random order: places and values of all kinds, zeros among them.
std::string random_text(std::int64_t neurons, double density, std::uint64_t seed,
                        const Style& style) {
  RandomStream random(seed, 1, 2);
  std::vector<std::string> lines;
  for (std::int64_t i = 1; i <= neurons; ++i) {
    for (std::int64_t j = 1; j <= neurons; ++j) {
      if (random.next_unit() <= density) {
        const float value =
            random.next_below(8) == 0 ? 0.0F : static_cast<float>(random.next_normal() * 10);
        lines.push_back(text(i, '\t', j, '\t', spell(value, random.next_word())));
      }
    }
  }
  for (std::size_t left = lines.size(); left > 1; --left) {
    std::swap(lines[left - 1], lines[random.next_below(left)]);
  }
  std::string content;
  for (std::size_t k = 0; k < lines.size(); ++k) {
    const bool ends = k + 1 < lines.size() || style.end_last_line;
    content += lines[k] + (ends ? style.line_end : "");
  }
  return content + style.tail;
}

const std::vector<Style>& styles() {
  static const std::vector<Style> all = {
      {"\n", true, ""},       {"\n", false, ""},        {"\r\n", true, ""},   {"\r\n", false, ""},
      {"\n", true, "\n\n\n"}, {"\r\n", true, "\r\n\n"}, {"\r\n", false, "\r"}};
  return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(random_networks_are_what_a_plain_parser_reads) {
  const Comm world(MPI_COMM_WORLD);
  std::uint64_t seed = 0;
  for (const std::int64_t neurons : {1, 2, 3, 7, 40, 150}) {
    for (const double density : {0.02, 0.3, 1.0}) {
      const Style& style = styles()[++seed % styles().size()];
      const std::string content = random_text(neurons, density, seed, style);
      write_file(world, "layer.tsv", content);
      const CsrRows rows = io::read_challenge_layer(world, "layer.tsv", neurons);
      check_rows(world, rows, parse_plainly(content, false), neurons, neurons);
      const auto features = io::read_challenge_features(world, "layer.tsv", neurons, neurons);
      BOOST_CHECK_EQUAL(features.samples, neurons);
      check_rows(world, features.rows, parse_plainly(content, true), neurons, neurons);
    }
  }
}

BOOST_AUTO_TEST_CASE(every_way_to_end_lines) {
  const Comm world(MPI_COMM_WORLD);
  for (const Style& style : styles()) {
    const std::string content = random_text(9, 0.5, 77, style);
    write_file(world, "ends.tsv", content);
    check_rows(world, io::read_challenge_layer(world, "ends.tsv", 9), parse_plainly(content, false),
               9, 9);
  }
}

BOOST_AUTO_TEST_CASE(files_of_several_pieces) {
  const Comm world(MPI_COMM_WORLD);
  const std::string content = random_text(420, 0.9, 5, {});
  BOOST_CHECK_GT(content.size(), 2 * io::LineFeeder::kLongestLine);
  write_file(world, "large.tsv", content);
  check_rows(world, io::read_challenge_layer(world, "large.tsv", 420),
             parse_plainly(content, false), 420, 420);
}

BOOST_AUTO_TEST_CASE(fewer_lines_than_ranks) {
  const Comm world(MPI_COMM_WORLD);
  for (const std::string content :
       {"", "\n", "\r\n\n", "2\t1\t1", "2\t1\t1\n", "2\t1\t1\n1\t2\t-3"}) {
    write_file(world, "tiny.tsv", content);
    check_rows(world, io::read_challenge_layer(world, "tiny.tsv", 2), parse_plainly(content, false),
               2, 2);
  }
}

BOOST_AUTO_TEST_CASE(equal_values_are_kept_once) {
  const Comm world(MPI_COMM_WORLD);
  std::string content;
  for (int j = 1; j <= 8; ++j) {
    content += text(9 - j, '\t', j, "\t6.250000e-02\n", j, '\t', j, "\t0.0625\n");
  }
  write_file(world, "iso.tsv", content);
  const CsrRows rows = io::read_challenge_layer(world, "iso.tsv", 8);
  BOOST_CHECK(rows.iso);
  BOOST_CHECK(rows.values == std::vector<float>{0.0625F});
  BOOST_CHECK_EQUAL(world.sum(rows.nnz()), 16);
}

BOOST_AUTO_TEST_CASE(samples_are_counted_or_given) {
  const Comm world(MPI_COMM_WORLD);
  const std::string content = "5\t1\t1\n2\t3\t1\n";
  write_file(world, "features.tsv", content);
  auto features = io::read_challenge_features(world, "features.tsv", 3, std::nullopt);
  BOOST_CHECK_EQUAL(features.samples, 5);
  check_rows(world, features.rows, parse_plainly(content, true), 5, 3);
  features = io::read_challenge_features(world, "features.tsv", 3, 11);
  BOOST_CHECK_EQUAL(features.samples, 11);
  check_rows(world, features.rows, parse_plainly(content, true), 11, 3);
  const std::string right =
      "; right is sample<TAB>feature<TAB>value with sample in 1..4 and feature in 1..3";
  BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData,
                              [&] { io::read_challenge_features(world, "features.tsv", 3, 4); }),
                    "features.tsv: line 1: sample \"5\" is out of range" + right);
  write_file(world, "none.tsv", "");
  BOOST_CHECK_EQUAL(io::read_challenge_features(world, "none.tsv", 3, std::nullopt).samples, 0);
}

BOOST_AUTO_TEST_CASE(an_absurd_sample_number_is_refused_before_memory_is_taken) {
  const Comm world(MPI_COMM_WORLD);
  write_file(world, "absurd.tsv", "1\t1\t1\n4294967295\t1\t1\n");
  if (usable_memory_bytes() < INT64_C(64) << 30) {
    const std::string what = complaint(world, ExitStatus::kDoesNotFit, [&] {
      io::read_challenge_features(world, "absurd.tsv", 1, std::nullopt);
    });
    BOOST_CHECK(what.find("absurd.tsv") != std::string::npos);
    BOOST_CHECK(what.find("4294967295") != std::string::npos);
  }
}

namespace {

constexpr const char* kRight =
    "right is input<TAB>output<TAB>weight with input in 1..40 and output in 1..40";

struct BadLine {
  std::string line, what;
};

const std::vector<BadLine>& bad_lines() {
  static const std::string right = text("; ", kRight);
  static const std::vector<BadLine> all = {
      {"3", text("found 1 field (\"3\"), ", kRight)},
      {"3\t4", text("found 2 fields (\"3\\t4\"), ", kRight)},
      {"3 4 0.5", text("found 1 field (\"3 4 0.5\"), ", kRight)},
      {"3\t4\t0.5\t6", text("found 4 fields (\"3\\t4\\t0.5\\t6\"), ", kRight)},
      {"3\t4\t", "the weight is missing" + right},
      {"\t4\t1", "the input is missing" + right},
      {"3\t\t1", "the output is missing" + right},
      {"three\t4\t1", "found \"three\" in place of the input (a whole number)" + right},
      {"3\t4.0\t1", "found \"4.0\" in place of the output (a whole number)" + right},
      {" 3\t4\t1", "found \" 3\" in place of the input (a whole number)" + right},
      {"-3\t4\t1", "found \"-3\" in place of the input (a whole number)" + right},
      {"0\t4\t1", "input \"0\" is out of range" + right},
      {"41\t4\t1", "input \"41\" is out of range" + right},
      {"3\t0\t1", "output \"0\" is out of range" + right},
      {"3\t99999999999999999999\t1", "output \"99999999999999999999\" is out of range" + right},
      {"3\t4\thalf", "found \"half\" in place of the weight (a number)" + right},
      {"3\t4\t0.5x", "found \"0.5x\" in place of the weight (a number)" + right},
      {"3\t4\t6.25e-", "found \"6.25e-\" in place of the weight (a number)" + right},
      {"3\t4\t0,5", "found \"0,5\" in place of the weight (a number)" + right},
      {"3\t4\tnan", "weight \"nan\" is not finite" + right},
      {"3\t4\t-inf", "weight \"-inf\" is not finite" + right},
      {"3\t4\t1e39", "weight \"1e39\" does not fit into float32" + right},
      {"3\t4\t1e-60", "weight \"1e-60\" does not fit into float32" + right},
      {"3\t4\t\x01\xff", "found \"\\x01\\xff\" in place of the weight (a number)" + right},
      {"3\t4\t" + std::string(50, '7') + "z",
       text("found \"", std::string(40, '7'), "...\" in place of the weight (a number)", right)},
      {"", "empty, but lines follow it; only the end of the file may have empty lines"}};
  return all;
}

// Twelve good lines, with `bad` in front of line `place` (from 0).
std::string with_bad_line(const std::string& bad, int place, const std::string& line_end) {
  std::string content;
  for (int k = 0; k < 12; ++k) {
    content += k == place ? bad + line_end : "";
    content += text(40 - k, '\t', k + 20, "\t0.5", line_end);
  }
  return content;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_bad_line_at_every_place_is_named) {
  const Comm world(MPI_COMM_WORLD);
  for (const BadLine& bad : bad_lines()) {
    for (int place = 0; place < 12; ++place) {
      write_file(world, "bad.tsv", with_bad_line(bad.line, place, place % 2 == 0 ? "\n" : "\r\n"));
      BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData,
                                  [&] { io::read_challenge_layer(world, "bad.tsv", 40); }),
                        text("bad.tsv: line ", place + 1, ": ", bad.what));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_truncated_last_line_is_named) {
  const Comm world(MPI_COMM_WORLD);
  for (const std::string tail : {"3", "3\t4", "3\t4\t", "3\t4\t6.25e-"}) {
    write_file(world, "cut.tsv", with_bad_line("", -1, "\n") + tail);
    const std::string what = complaint(world, ExitStatus::kBadData,
                                       [&] { io::read_challenge_layer(world, "cut.tsv", 40); });
    BOOST_CHECK_EQUAL(what.substr(0, 18), "cut.tsv: line 13: ");
  }
}

BOOST_AUTO_TEST_CASE(of_many_bad_lines_the_first_is_named) {
  const Comm world(MPI_COMM_WORLD);
  for (int place = 0; place < 12; ++place) {
    std::string content = with_bad_line("0\t1\t1", place, "\n");
    content += "x\ny\nz\n\n\n1\t1\n";
    write_file(world, "bad.tsv", content);
    BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData,
                                [&] { io::read_challenge_layer(world, "bad.tsv", 40); }),
                      text("bad.tsv: line ", place + 1, ": input \"0\" is out of range; ", kRight));
  }
}

// An empty line is wrong only because of what follows, maybe on another rank.
BOOST_AUTO_TEST_CASE(lines_after_empty_lines) {
  const Comm world(MPI_COMM_WORLD);
  for (const int empty_lines : {1, 3, 200}) {
    for (const std::string last : {"7\t7\t1\n", "7\t7\t1", "oops"}) {
      const std::string content =
          with_bad_line("", -1, "\n") + std::string(static_cast<std::size_t>(empty_lines), '\n');
      write_file(world, "gap.tsv", content + last);
      BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData,
                                  [&] { io::read_challenge_layer(world, "gap.tsv", 40); }),
                        "gap.tsv: line 13: empty, but lines follow it; only the end of the file "
                        "may have empty lines");
    }
  }
}

BOOST_AUTO_TEST_CASE(a_repeated_pair_is_named_with_both_lines) {
  const Comm world(MPI_COMM_WORLD);
  for (int place = 1; place < 12; ++place) {
    // The pair of line 1, with another value; then once more at the end.
    write_file(world, "twice.tsv",
               with_bad_line("40\t20\t7", place, "\n") + "40\t20\t0\n31\t29\t1\n");
    BOOST_CHECK_EQUAL(
        complaint(world, ExitStatus::kBadData,
                  [&] { io::read_challenge_layer(world, "twice.tsv", 40); }),
        text("twice.tsv: line ", place + 1,
             ": input 40 and output 20 stand on line 1 already, right is each pair once"));
  }
  write_file(world, "twice.tsv", with_bad_line("", -1, "\n") + "29\t31\t1\n34\t26\t0\n");
  BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData,
                              [&] { io::read_challenge_layer(world, "twice.tsv", 40); }),
                    "twice.tsv: line 13: input 29 and output 31 stand on line 12 already, right is "
                    "each pair once");
}

BOOST_AUTO_TEST_CASE(endless_lines_are_refused) {
  const Comm world(MPI_COMM_WORLD);
  const std::string endless(3 * io::LineFeeder::kLongestLine + 5, '1');
  const std::string what =
      text("longer than 1048576 bytes (\"", std::string(40, '1'), "...\"), ", kRight);
  for (const int place : {0, 5, 11}) {
    write_file(world, "endless.tsv", with_bad_line(endless, place, "\n"));
    BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData,
                                [&] { io::read_challenge_layer(world, "endless.tsv", 40); }),
                      text("endless.tsv: line ", place + 1, ": ", what));
  }
  // As long as a line may be, and no longer.
  const std::string digits(io::LineFeeder::kLongestLine - 7, '0');
  write_file(world, "long.tsv", with_bad_line("1\t1\t1." + digits, 6, "\n"));
  BOOST_CHECK_EQUAL(world.sum(io::read_challenge_layer(world, "long.tsv", 40).nnz()), 13);
  write_file(world, "long.tsv", with_bad_line("1\t1\t1." + digits + "0", 6, "\n"));
  BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData,
                              [&] { io::read_challenge_layer(world, "long.tsv", 40); })
                        .substr(0, 28),
                    "long.tsv: line 7: longer tha");
}

BOOST_AUTO_TEST_CASE(files_that_are_not_there_or_no_text) {
  const Comm world(MPI_COMM_WORLD);
  const auto read = [&](const std::string& path) {
    return [&world, path] { io::read_challenge_layer(world, path, 4); };
  };
  BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kNoInput, read("absent.tsv")),
                    "cannot open absent.tsv: No such file or directory");
  BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kNoInput, read(".")),
                    ". is a folder, right is the path of a file");
  write_file(world, "packed.tsv", "\x1f\x8b rest");
  BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData, read("packed.tsv")),
                    "packed.tsv is compressed with gzip; unpack it first (gunzip)");
}

BOOST_AUTO_TEST_CASE(truth_in_any_order) {
  const Comm world(MPI_COMM_WORLD);
  write_file(world, "truth.tsv", "9\r\n3\n7\n1\n\n");
  BOOST_CHECK(io::read_challenge_truth(world, "truth.tsv", 9) ==
              (std::vector<std::int64_t>{0, 2, 6, 8}));
  write_file(world, "truth.tsv", "");
  BOOST_CHECK(io::read_challenge_truth(world, "truth.tsv", 9).empty());
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"3\n10\n", "line 2: sample id \"10\" is out of range, right is 1..9"},
      {"0\n", "line 1: sample id \"0\" is out of range, right is 1..9"},
      {"1\nx\n", "line 2: found \"x\", right is one sample id a line, 1..9"},
      {"1\n2 3\n", "line 2: found \"2 3\", right is one sample id a line, 1..9"},
      {"99999999999999999999\n",
       "line 1: sample id \"99999999999999999999\" is out of range, right is 1..9"},
      {"1\n\n2\n",
       "line 2: empty, but lines follow it; only the end of the file may have empty lines"},
      {"1\n2\n5\n2\n1\n", "line 4: sample id 2 stands on line 2 already, right is each id once"}};
  for (const auto& [content, what] : bad) {
    write_file(world, "truth.tsv", content);
    BOOST_CHECK_EQUAL(complaint(world, ExitStatus::kBadData,
                                [&] { io::read_challenge_truth(world, "truth.tsv", 9); }),
                      "truth.tsv: " + what);
  }
}

BOOST_AUTO_TEST_SUITE_END()
