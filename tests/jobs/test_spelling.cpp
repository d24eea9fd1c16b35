#include <boost/test/unit_test.hpp>
#include <limits>

#include "jobs/config_text.hpp"
#include "jobs/options.hpp"
#include "jobs/spelling.hpp"

using namespace espalier;
using namespace espalier::jobs;

BOOST_AUTO_TEST_CASE(whole_numbers_are_whole) {
  BOOST_TEST((read_integer("12") == 12));
  BOOST_TEST((read_integer("-9223372036854775808") == std::numeric_limits<std::int64_t>::min()));
  for (const char* wrong :
       {"", " 12", "12 ", "12abc", "+12", "1.0", "1e3", "0x10", "--1", "9223372036854775808"}) {
    BOOST_TEST(!read_integer(wrong).has_value(), wrong);
  }
}

BOOST_AUTO_TEST_CASE(numbers_are_finite) {
  BOOST_TEST((read_number(".0625") == 0.0625));
  BOOST_TEST((read_number("-3e-1") == -0.3));
  for (const char* wrong : {"", "nan", "inf", "-infinity", "1e999", "1,5", "0.5x", " 1"}) {
    BOOST_TEST(!read_number(wrong).has_value(), wrong);
  }
}

BOOST_AUTO_TEST_CASE(sizes_take_binary_units) {
  BOOST_TEST(parse_bytes("--size", "1536") == 1536);
  BOOST_TEST(parse_bytes("--size", "64KiB") == 65536);
  BOOST_TEST(parse_bytes("--size", "1.5GiB") == 1610612736);
  BOOST_TEST(parse_bytes("--size", "0") == 0);
  for (const char* wrong : {"", "4G", "4GB", "4 GiB", "-1", "-1KiB", "1.5", "KiB", "nanKiB",
                            "9000000TiB", "99999999999999999999"}) {
    BOOST_TEST(!read_size(wrong).has_value(), wrong);
  }
  BOOST_CHECK_EXCEPTION(parse_bytes("--size", "4G"), Error, [](const Error& error) {
    const std::string what = error.what();
    return error.status() == ExitStatus::kUsage && what.find("--size") == 0 &&
           what.find("'4G'") != std::string::npos && what.find("GiB") != std::string::npos;
  });
}

BOOST_AUTO_TEST_CASE(times_are_seconds_or_clocks) {
  BOOST_TEST(parse_seconds("--time", "90") == 90);
  BOOST_TEST(parse_seconds("--time", "90.5") == 90.5);
  BOOST_TEST(parse_seconds("--time", "1:30:00") == 5400);
  BOOST_TEST(parse_seconds("--time", "100:00:01") == 360001);
  BOOST_TEST(parse_seconds("--time", "2-00:00:05") == 172805);
  for (const char* wrong : {"", "1:30", "1:60:00", "1:00:60", "1-24:00:00", "-1:00:00", "1:-2:00",
                            "x-1:00:00", "1:00:00:00", "1-5", "1 s", "-5"}) {
    BOOST_TEST(!read_duration(wrong).has_value(), wrong);
  }
  BOOST_CHECK_THROW(parse_seconds("--time", "1:30"), Error);
}

BOOST_AUTO_TEST_CASE(people_read_grouped_and_rounded_numbers) {
  BOOST_TEST(grouped(0) == "0");
  BOOST_TEST(grouped(999) == "999");
  BOOST_TEST(grouped(1000) == "1,000");
  BOOST_TEST(grouped(-1234567) == "-1,234,567");
  BOOST_TEST(spelled_bytes(512) == "512 B");
  BOOST_TEST(spelled_bytes(1536) == "1.5 KiB");
  BOOST_TEST(spelled_bytes(std::int64_t{3} << 40) == "3 TiB");
  BOOST_TEST(rounded(0.03126) == "0.0313");
  BOOST_TEST(rounded(-3.126) == "-3.13");
  BOOST_TEST(rounded(1234.4) == "1234");
  BOOST_TEST(rounded(100) == "100");
  BOOST_TEST(rounded(32) == "32");
  BOOST_TEST(rounded(0) == "0");
  BOOST_TEST(rounded(1.5e12) == "1.5e+12");
}

BOOST_AUTO_TEST_CASE(configuration_lines_survive_a_round) {
  for (const std::string value : {"plain", "", " blanks ", "#no comment", "a = b", "\"quoted\"",
                                  "two\nlines", "back\\slash"}) {
    const auto lines = read_config_text("x.ini", config_line("name", value));
    BOOST_REQUIRE_EQUAL(lines.size(), 1);
    BOOST_TEST(lines[0].name == "name");
    BOOST_TEST(lines[0].value == value);
  }
}

BOOST_AUTO_TEST_CASE(configuration_lines_that_make_no_sense_are_named) {
  const auto names_line_2 = [](const Error& error) {
    return error.status() == ExitStatus::kBadConfig &&
           std::string(error.what()).find("x.ini:2: ") == 0;
  };
  for (const std::string line : {"[section]", "word", "= value", "name = \"open"}) {
    BOOST_CHECK_EXCEPTION(read_config_text("x.ini", "# comment\n" + line), Error, names_line_2);
  }
  BOOST_TEST(read_config_text("x.ini", "\n ; note\n\r\n a=b \r\n").size() == 1);
}
