#include <boost/test/unit_test.hpp>

#include "jobs/job.hpp"
#include "jobs/options.hpp"

using namespace espalier;
using namespace espalier::jobs;

namespace {

namespace po = boost::program_options;

Job job_for_test() {
  Job job;
  job.name = "knit";
  job.usage = "knit PATTERN -o SCARF";
  job.positional = {"pattern"};
  // clang-format off
  job.options.add_options()
      ("pattern", po::value<std::string>()->required())
      ("out,o", po::value<std::string>())
      ("rows", po::value<std::int64_t>()->default_value(12))
      ("needles", po::value<unsigned>())
      ("tension", po::value<double>()->default_value(-0.5))
      ("colour", po::value<std::vector<std::string>>()->multitoken())
      ("stitch", po::value<std::string>()->default_value("plain"))
      ("fringe", po::bool_switch());
  // clang-format on
  return job;
}

Options parse(const std::vector<std::string>& arguments, const std::string& config = "",
              const std::map<std::string, std::string>& environment = {}) {
  return Options::parse(job_for_test(), arguments, {environment, config, {"of-others"}});
}

auto says(ExitStatus status, const std::string& words) {
  return [=](const Error& error) {
    BOOST_TEST_MESSAGE(error.what());
    return error.status() == status && std::string(error.what()).find(words) != std::string::npos;
  };
}

}  // namespace

BOOST_AUTO_TEST_CASE(defaults_count_as_had_but_not_as_given) {
  const Options options = parse({"scarf.txt"});
  BOOST_TEST(options.has("rows"));
  BOOST_TEST(!options.given("rows"));
  BOOST_TEST(options.integer("rows") == 12);
  BOOST_TEST(options.number("tension") == -0.5);
  BOOST_TEST(options.text("pattern") == "scarf.txt");
  BOOST_TEST(!options.flag("fringe"));
  BOOST_TEST(!options.has("out"));
  BOOST_TEST(options.text("grid") == "auto");
}

BOOST_AUTO_TEST_CASE(values_come_from_the_first_source_that_has_them) {
  const std::vector<std::string> file = {"p", "--config", "k.ini"};
  BOOST_TEST(parse(file, "rows = 3\nfringe = on").integer("rows") == 3);
  BOOST_TEST(parse(file, "rows = 3\nfringe = on").flag("fringe"));
  BOOST_TEST(parse(file, "rows = 3", {{"ESPALIER_ROWS", "4"}}).integer("rows") == 4);
  BOOST_TEST(parse({"p", "--config", "k.ini", "--rows=5"}, "rows = 3", {{"ESPALIER_ROWS", "4"}})
                 .integer("rows") == 5);
  BOOST_TEST(parse({"p"}, "", {{"ESPALIER_ROWS", ""}}).integer("rows") == 12);
}

BOOST_AUTO_TEST_CASE(bare_words_and_short_options_and_negative_numbers) {
  BOOST_TEST(parse({"p", "-o", "scarf"}).text("out") == "scarf");
  BOOST_TEST(parse({"-oscarf", "p"}).text("out") == "scarf");
  BOOST_TEST(parse({"--tension", "-0.25", "p"}).number("tension") == -0.25);
  BOOST_TEST(parse({"--pattern=p"}).text("pattern") == "p");
  BOOST_TEST(parse({"--", "--odd-name"}).text("pattern") == "--odd-name");
}

BOOST_AUTO_TEST_CASE(several_values_only_where_declared) {
  const Options options = parse({"p", "--colour", "red", "blue", "-o", "x"});
  BOOST_TEST(options.texts("colour").size() == 2);
  BOOST_TEST(parse({"p", "--config", "k"}, "colour = red\ncolour = blue").texts("colour").size() ==
             2);
  BOOST_CHECK_EXCEPTION(parse({"p", "--rows", "1", "--rows", "2"}), Error,
                        says(ExitStatus::kUsage, "--rows is given twice"));
  BOOST_CHECK_EXCEPTION(parse({"p", "q"}), Error, says(ExitStatus::kUsage, "'q'"));
  BOOST_CHECK_EXCEPTION(parse({"p", "--config", "k"}, "rows = 1\nrows = 2"), Error,
                        says(ExitStatus::kBadConfig, "k:2"));
}

BOOST_AUTO_TEST_CASE(abbreviations_are_refused_with_a_hint) {
  BOOST_CHECK_EXCEPTION(parse({"p", "--ten", "1"}), Error,
                        says(ExitStatus::kUsage,
                             "unknown option --ten (names are written in full: "
                             "--tension?)"));
  BOOST_CHECK_EXCEPTION(parse({"p", "--dry_run"}), Error, says(ExitStatus::kUsage, "--dry-run"));
  BOOST_CHECK_EXCEPTION(
      parse({"p", "--purl=2"}), Error,
      says(ExitStatus::kUsage, "unknown option --purl; see espalier knit --help"));
}

BOOST_AUTO_TEST_CASE(typed_values_are_checked_before_the_job_starts) {
  BOOST_CHECK_EXCEPTION(parse({"p", "--rows", "12abc"}), Error,
                        says(ExitStatus::kUsage, "--rows: '12abc'"));
  BOOST_CHECK_EXCEPTION(parse({"p", "--needles", "-1"}), Error,
                        says(ExitStatus::kUsage, "0 or more"));
  BOOST_CHECK_EXCEPTION(parse({"p", "--tension", "tight"}), Error,
                        says(ExitStatus::kUsage, "'tight'"));
  BOOST_CHECK_EXCEPTION(parse({"p", "--config", "k"}, "rows = many"), Error,
                        says(ExitStatus::kBadConfig, "rows in k: 'many'"));
  BOOST_CHECK_EXCEPTION(parse({"p"}, "", {{"ESPALIER_FRINGE", "perhaps"}}), Error,
                        says(ExitStatus::kBadConfig, "ESPALIER_FRINGE: 'perhaps'"));
}

BOOST_AUTO_TEST_CASE(values_are_checked_when_asked_for) {
  const Options options = parse({"p", "--stitch", "cable", "--memory-per-rank", "4G"});
  BOOST_CHECK_EXCEPTION(options.integer("rows", 20), SharedError,
                        says(ExitStatus::kUsage, "20 or more"));
  BOOST_CHECK_EXCEPTION(options.integer("rows", 1, 9), SharedError,
                        says(ExitStatus::kUsage, "1 to 9"));
  BOOST_CHECK_EXCEPTION(options.choice("stitch", {"plain", "purl"}), SharedError,
                        says(ExitStatus::kUsage, "--stitch: 'cable' is none of plain, purl"));
  BOOST_CHECK_EXCEPTION(options.bytes("memory-per-rank"), SharedError,
                        says(ExitStatus::kUsage, "'4G'"));
  BOOST_CHECK_EXCEPTION(options.text("out"), SharedError,
                        says(ExitStatus::kUsage, "--out is missing; usage: espalier knit PATTERN"));
  BOOST_CHECK_THROW(options.text("nonsense"), BugError);
}

BOOST_AUTO_TEST_CASE(required_ones_are_named) {
  BOOST_CHECK_EXCEPTION(parse({}).check_complete(), SharedError,
                        says(ExitStatus::kUsage, "argument pattern is missing"));
  BOOST_CHECK_NO_THROW(parse({"p"}).check_complete());
}

BOOST_AUTO_TEST_CASE(unknown_keys_and_variables) {
  BOOST_CHECK_EXCEPTION(parse({"p", "--config", "k"}, "\nrow = 3"), Error,
                        says(ExitStatus::kBadConfig, "k:2: unknown key 'row'"));
  BOOST_CHECK_EXCEPTION(parse({"p"}, "", {{"ESPALIER_ROW", "3"}}), Error,
                        says(ExitStatus::kBadConfig, "ESPALIER_ROW "));
  BOOST_CHECK_NO_THROW(parse({"p"}, "", {{"ESPALIER_OF_OTHERS", "3"}}));
}

BOOST_AUTO_TEST_CASE(the_configuration_file_may_be_named_twice) {
  const std::map<std::string, std::string> environment = {{"ESPALIER_CONFIG", "e.ini"}};
  const Job job = job_for_test();
  BOOST_TEST(!Options::config_file(job, {"p"}, {}).has_value());
  BOOST_TEST((Options::config_file(job, {"p"}, environment) == "e.ini"));
  BOOST_TEST((Options::config_file(job, {"p", "--config", "c.ini"}, environment) == "c.ini"));
}

BOOST_AUTO_TEST_CASE(what_is_printed_is_accepted_and_the_same) {
  const std::string first =
      parse({" odd # name ", "--colour", "a b", "c", "--fringe", "--tension", "1e-3"}).as_config();
  BOOST_TEST(parse({"--config", "k.ini"}, first).as_config() == first);
  BOOST_TEST(first.find("fringe = on\n") != std::string::npos);
  BOOST_TEST(first.find("config") == std::string::npos);
}
