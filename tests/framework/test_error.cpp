#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <string>

#include "framework/error.hpp"

BOOST_AUTO_TEST_SUITE(framework_error)

using namespace espalier;

BOOST_AUTO_TEST_CASE(text_joins_as_the_stream_prints) {
  BOOST_TEST(text() == "");
  BOOST_TEST(text("layer ", 7, ": ", 2.5, 'x', std::string("!")) == "layer 7: 2.5x!");
}

BOOST_AUTO_TEST_CASE(expects_names_the_place_and_what_was_violated) {
  BOOST_CHECK_NO_THROW(expects(true, "nothing"));
  try {
    expects(false, "rows are sorted");
    BOOST_ERROR("a violated expectation went unnoticed");
  } catch (const BugError& bug) {
    const std::string message = bug.what();
    BOOST_TEST(message.starts_with("framework/test_error.cpp:"));
    BOOST_TEST(message.ends_with(": violated: rows are sorted"));
  }
}

BOOST_AUTO_TEST_CASE(each_errno_has_its_status) {
  const struct {
    int number;
    ExitStatus status;
  } cases[] = {
      {ENOENT, ExitStatus::kNoInput},      {EACCES, ExitStatus::kNoPermission},
      {EPERM, ExitStatus::kNoPermission},  {EROFS, ExitStatus::kNoPermission},
      {ENOSPC, ExitStatus::kIoFailed},     {EDQUOT, ExitStatus::kIoFailed},
      {EIO, ExitStatus::kIoFailed},        {ENOTDIR, ExitStatus::kCannotCreate},
      {EMFILE, ExitStatus::kCannotCreate},
  };
  for (const auto& [number, status] : cases) {
    try {
      throw_errno(number, "opening", "a/net.h5", ExitStatus::kCannotCreate);
    } catch (const Error& error) {
      BOOST_TEST(static_cast<int>(error.status()) == static_cast<int>(status), "errno " << number);
      BOOST_TEST(std::string(error.what()).starts_with("opening a/net.h5: "));
    }
  }
  BOOST_CHECK_EXCEPTION(throw_errno(ENOENT, "opening", "a/net.h5", ExitStatus::kIoFailed), Error,
                        [](const Error& error) {
                          return std::string(error.what()) ==
                                 "opening a/net.h5: No such file or directory";
                        });
}

BOOST_AUTO_TEST_CASE(narrow_keeps_what_fits) {
  BOOST_TEST(narrow<std::uint8_t>(255) == 255);
  BOOST_TEST(narrow<std::int8_t>(-128) == -128);
  BOOST_TEST(narrow<std::int64_t>(std::size_t{7}) == 7);
  BOOST_TEST(narrow<std::uint64_t>(std::int64_t{5}) == 5U);
  static_assert(narrow<std::int16_t>(std::int64_t{-32768}) == -32768);
}

BOOST_AUTO_TEST_CASE(narrow_refuses_what_does_not_fit) {
  BOOST_CHECK_THROW(narrow<std::uint8_t>(256), BugError);
  BOOST_CHECK_THROW(narrow<std::uint8_t>(-1), BugError);
  BOOST_CHECK_THROW(narrow<std::int8_t>(128), BugError);
  BOOST_CHECK_THROW(narrow<int>(std::int64_t{1} << 31), BugError);
  // Same width, other sign: the bits survive but the value does not.
  BOOST_CHECK_THROW(narrow<std::uint64_t>(std::int64_t{-1}), BugError);
  BOOST_CHECK_THROW(narrow<std::int64_t>(std::numeric_limits<std::uint64_t>::max()), BugError);
  BOOST_CHECK_THROW(narrow<std::uint32_t>(std::int64_t{-1}), BugError);
}

BOOST_AUTO_TEST_CASE(a_shared_error_knows_who_knows) {
  const SharedError everybody(ExitStatus::kBadData, "damaged");
  BOOST_TEST(everybody.known_to_all(5));
  BOOST_TEST(everybody.speaks());
  const SharedError part(ExitStatus::kBadData, "damaged", 1, 2);
  BOOST_TEST(part.known_to_all(2));
  BOOST_TEST(!part.known_to_all(4));
  BOOST_TEST(!part.speaks());
}

BOOST_AUTO_TEST_SUITE_END()
