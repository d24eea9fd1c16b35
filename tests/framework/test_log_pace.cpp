// label: night
#include <fcntl.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "framework/log.hpp"
#include "framework/timer.hpp"

BOOST_AUTO_TEST_SUITE(framework_log_pace)

using namespace espalier;

BOOST_AUTO_TEST_CASE(without_a_terminal_there_is_a_line_every_30_seconds) {
  start_log(0, Verbosity::kNormal, "");
  const auto file = std::filesystem::temp_directory_path() / "pace";
  const int descriptor = open(file.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  const int saved = dup(STDERR_FILENO);
  dup2(descriptor, STDERR_FILENO);
  {
    Progress progress("computing", 1000, "layers");
    const double end = now_seconds() + 32;
    for (std::int64_t layer = 1; now_seconds() < end; ++layer) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      progress.done(layer);
    }
  }
  dup2(saved, STDERR_FILENO);
  std::vector<std::string> lines;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  // One after 30 s and one at the end.
  BOOST_TEST(lines.size() == 2U);
  const std::regex form("computing: \\d+ of 1000 layers \\(\\d+ %\\), [\\d.]+ layers/s, .* left");
  for (const std::string& line : lines) {
    BOOST_TEST(std::regex_match(line, form), line);
  }
}

BOOST_AUTO_TEST_SUITE_END()
