#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <map>
#include <regex>
#include <string>

#include "framework/provenance.hpp"

BOOST_AUTO_TEST_SUITE(framework_provenance)

using namespace espalier;

BOOST_AUTO_TEST_CASE(version_is_three_numbers) {
  BOOST_TEST(std::regex_match(version(), std::regex("\\d+\\.\\d+\\.\\d+")), version());
  BOOST_TEST(!git_version().empty());
}

BOOST_AUTO_TEST_CASE(mpi_version_is_a_name_and_a_number_on_one_line) {
  const std::string spelled = mpi_version();
  BOOST_TEST(std::regex_match(spelled, std::regex("[A-Za-z][^,\n]*[0-9]+\\.[0-9][^,\n]*")),
             spelled);
}

BOOST_AUTO_TEST_CASE(utc_now_is_in_the_form_of_iso_8601) {
  const std::string now = utc_now();
  BOOST_TEST(
      std::regex_match(now, std::regex("20\\d\\d-[01]\\d-[0-3]\\dT[0-2]\\d:[0-5]\\d:[0-6]\\dZ")),
      now);
  // The local time zone must not show.
  setenv("TZ", "Pacific/Auckland", 1);
  BOOST_TEST(utc_now().substr(0, 13) >= now.substr(0, 13));
  BOOST_TEST(utc_now().substr(0, 10) <= "2999-12-31");
  unsetenv("TZ");
}

BOOST_AUTO_TEST_CASE(slurm_variables_are_those_that_identify_the_job) {
  setenv("SLURM_JOB_ID", "4711", 1);
  setenv("SLURM_ARRAY_TASK_ID", "3", 1);
  setenv("SLURM_UNRELATED", "x", 1);
  const auto found = slurm_variables();
  BOOST_TEST(found.at("SLURM_JOB_ID") == "4711");
  BOOST_TEST(found.at("SLURM_ARRAY_TASK_ID") == "3");
  BOOST_TEST(!found.contains("SLURM_UNRELATED"));
  unsetenv("SLURM_JOB_ID");
  unsetenv("SLURM_ARRAY_TASK_ID");
  unsetenv("SLURM_UNRELATED");
  BOOST_TEST(!slurm_variables().contains("SLURM_JOB_ID"));
}

BOOST_AUTO_TEST_SUITE_END()
