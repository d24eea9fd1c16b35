#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <thread>

#include "framework/error.hpp"
#include "framework/log.hpp"

BOOST_AUTO_TEST_SUITE(framework_log)

using namespace espalier;

namespace {

std::string content_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::filesystem::path scratch(const std::string& name) {
  const auto path = std::filesystem::temp_directory_path() / name;
  std::filesystem::remove_all(path);
  return path;
}

// Points stderr elsewhere for as long as it lives.
class Redirected {
 public:
  explicit Redirected(int target) : saved_(dup(STDERR_FILENO)) { dup2(target, STDERR_FILENO); }
  ~Redirected() {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

 private:
  int saved_;
};

// What `work` writes to stderr.
template <typename Work>
std::string stderr_of(Work&& work) {
  const auto file = scratch("stderr");
  const int descriptor = open(file.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  {
    const Redirected redirected(descriptor);
    work();
  }
  close(descriptor);
  return content_of(file);
}

void say_everything() {
  log_info("reading");
  log_detail("reading layer 3");
  log_warning("slow disk");
}

}  // namespace

BOOST_AUTO_TEST_CASE(each_verbosity_says_what_it_should) {
  start_log(0, Verbosity::kNormal, "");
  BOOST_TEST(stderr_of(say_everything) == "reading\nwarning: slow disk\n");
  start_log(0, Verbosity::kQuiet, "");
  BOOST_TEST(stderr_of(say_everything) == "warning: slow disk\n");
  start_log(0, Verbosity::kVerbose, "");
  BOOST_TEST(stderr_of(say_everything) == "reading\nreading layer 3\nwarning: slow disk\n");
}

BOOST_AUTO_TEST_CASE(other_ranks_are_silent) {
  start_log(3, Verbosity::kVerbose, "");
  BOOST_TEST(stderr_of(say_everything) == "");
}

BOOST_AUTO_TEST_CASE(the_log_file_gets_every_line_and_is_appended_to) {
  const auto folder = scratch("logs") / "deep";
  start_log(12, Verbosity::kQuiet, folder.string());
  BOOST_TEST(stderr_of(say_everything) == "");
  start_log(12, Verbosity::kQuiet, folder.string());
  log_info("again");
  start_log(0, Verbosity::kNormal, "");
  const std::string time = "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ ";
  const std::regex lines(time + "info reading\n" + time + "detail reading layer 3\n" + time +
                         "warning warning: slow disk\n" + time + "info again\n");
  const std::string written = content_of(folder / "rank-0012.log");
  BOOST_TEST(std::regex_match(written, lines), written);
}

BOOST_AUTO_TEST_CASE(a_log_folder_that_cannot_be_is_an_error) {
  const auto file = scratch("in_the_way");
  std::ofstream(file) << "a file";
  const auto cannot_create = [](const Error& error) {
    return error.status() == ExitStatus::kCannotCreate &&
           std::string(error.what()).find("in_the_way") != std::string::npos;
  };
  BOOST_CHECK_EXCEPTION(start_log(0, Verbosity::kNormal, file.string()), Error, cannot_create);
  BOOST_CHECK_EXCEPTION(start_log(0, Verbosity::kNormal, (file / "deeper").string()), Error,
                        cannot_create);
  const auto folder = scratch("log_folder");
  std::filesystem::create_directories(folder / "rank-0000.log");
  BOOST_CHECK_EXCEPTION(
      start_log(0, Verbosity::kNormal, folder.string()), Error,
      [](const Error& error) { return error.status() == ExitStatus::kCannotCreate; });
  start_log(0, Verbosity::kNormal, "");
}

BOOST_AUTO_TEST_CASE(durations_are_spelled_for_people) {
  BOOST_TEST(spelled_duration(-1) == "0 s");
  BOOST_TEST(spelled_duration(0.4) == "0 s");
  BOOST_TEST(spelled_duration(59.4) == "59 s");
  BOOST_TEST(spelled_duration(59.6) == "1:00 min");
  BOOST_TEST(spelled_duration(185) == "3:05 min");
  BOOST_TEST(spelled_duration(26 * 3600 + 3 * 60 + 5) == "26:03:05 h");
}

BOOST_AUTO_TEST_CASE(progress_tells_rate_and_time_left) {
  BOOST_TEST(progress_line("computing", "layers", 40, 120, 10) ==
             "computing: 40 of 120 layers (33 %), 4.00 layers/s, 20 s left");
  BOOST_TEST(progress_line("reading", "samples", 0, 60000, 3) ==
             "reading: 0 of 60000 samples (0 %)");
  BOOST_TEST(progress_line("reading", "samples", 60000, 60000, 120) ==
             "reading: 60000 of 60000 samples (100 %), 500 samples/s, took 2:00 min");
  BOOST_TEST(progress_line("reading", "samples", 0, 0, 0) == "reading: 0 of 0 samples (100 %)");
  // 99.9 % is not yet everything.
  BOOST_TEST(progress_line("x", "rows", 999, 1000, 20).find("(99 %), 50.0 rows/s") !=
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_short_phase_without_a_terminal_says_nothing) {
  start_log(0, Verbosity::kNormal, "");
  BOOST_TEST(stderr_of([] {
               Progress progress("computing", 2, "layers");
               progress.done(1);
               std::this_thread::sleep_for(std::chrono::milliseconds(300));
               progress.done(2);
             }) == "");
  BOOST_CHECK_THROW(Progress("computing", -1, "layers"), BugError);
}

namespace {

// What a terminal shows of `work`, escape sequences included.
template <typename Work>
std::string terminal_of(Work&& work) {
  const int screen = posix_openpt(O_RDWR | O_NOCTTY);
  BOOST_TEST_REQUIRE(screen >= 0);
  BOOST_TEST_REQUIRE(grantpt(screen) == 0);
  BOOST_TEST_REQUIRE(unlockpt(screen) == 0);
  const int terminal = open(ptsname(screen), O_RDWR | O_NOCTTY);
  BOOST_TEST_REQUIRE(terminal >= 0);
  {
    const Redirected redirected(terminal);
    work();
  }
  close(terminal);
  // What was written arrives a little later, and the end only behind it.
  std::string seen;
  std::array<char, 4096> piece{};
  for (ssize_t length = 0; (length = read(screen, piece.data(), piece.size())) > 0;) {
    seen.append(piece.data(), static_cast<std::size_t>(length));
  }
  close(screen);
  return seen;
}

void work_for_a_while() {
  Progress progress("computing", 4, "layers");
  progress.done(0);
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  progress.done(2);
  log_info("between");
  progress.done(4);
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_terminal_gets_a_bar_that_lines_do_not_tear) {
  start_log(0, Verbosity::kNormal, "");
  const std::string seen = terminal_of(work_for_a_while);
  const std::string clear = "\r\033[K";
  // The bar half full, cleared for the line between, and the full bar with the end of its line.
  BOOST_TEST(seen.starts_with(clear + "[############............] computing: 2 of 4 layers (50 %)"),
             seen);
  BOOST_TEST(seen.find(clear + "between\r\n") != std::string::npos, seen);
  BOOST_TEST(seen.find(clear + "[########################] computing: 4 of 4") != std::string::npos,
             seen);
  BOOST_TEST(seen.ends_with("\r\n"), seen);
}

BOOST_AUTO_TEST_CASE(a_quiet_terminal_shows_no_bar) {
  start_log(0, Verbosity::kQuiet, "");
  BOOST_TEST(terminal_of(work_for_a_while) == "");
  start_log(1, Verbosity::kNormal, "");
  BOOST_TEST(terminal_of(work_for_a_while) == "");
  start_log(0, Verbosity::kNormal, "");
}

BOOST_AUTO_TEST_SUITE_END()
