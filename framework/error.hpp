// Errors and their exit statuses. Which mechanism when: see framework/DESIGN.md.
#pragma once

#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace espalier {

// The exit statuses of the program (sysexits.h values; 75 means "run the same command again").
enum class ExitStatus : int {
  kDone = 0,
  kUsage = 64,
  kBadData = 65,
  kNoInput = 66,
  kDoesNotFit = 69,
  kOurBug = 70,
  kSystem = 71,
  kCannotCreate = 73,
  kIoFailed = 74,
  kStoppedEarly = 75,
  kNoPermission = 77,
  kBadConfig = 78,
};

// Joins its arguments into one string, as operator<< prints them.
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  static_cast<void>((out << ... << parts));
  return std::move(out).str();
}

// A fault of the user's input, files or machine, noticed on this rank only.
// Inside `locally` it becomes a SharedError; elsewhere it ends the whole job through MPI_Abort.
class Error : public std::runtime_error {
 public:
  Error(ExitStatus status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  ExitStatus status() const noexcept { return status_; }

 private:
  ExitStatus status_;
};

// The same fault, known to every rank of the communicator with the same text and status.
class SharedError : public Error {
 public:
  using Error::Error;
  // `knows_rank` is this rank among the `knows_ranks` ranks that throw the same error.
  SharedError(ExitStatus status, const std::string& message, int knows_rank, int knows_ranks)
      : Error(status, message), knows_rank_(knows_rank), knows_ranks_(knows_ranks) {}
  // Whether all `ranks` ranks of the job know, so that none waits for an answer.
  bool known_to_all(int ranks) const noexcept { return knows_ranks_ == 0 || knows_ranks_ == ranks; }
  // Whether this rank speaks for those who know.
  bool speaks() const noexcept { return knows_rank_ == 0; }

 private:
  int knows_rank_ = 0;
  int knows_ranks_ = 0;  // 0: everybody
};

// A violated precondition: our bug, never the user's. Exit status 70.
class BugError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Checks a precondition or invariant of our own code, in every build.
//   throws   BugError naming the place if `condition` is false
void expects(bool condition, std::string_view what,
             std::source_location where = std::source_location::current());

// Turns the errno of a failed call on `path` into an Error with the fitting status
// (ENOENT 66, EACCES/EPERM/EROFS 77, ENOSPC/EDQUOT/EIO 74, others `otherwise`).
//   throws   Error always: "<what> <path>: <the system's text>"
[[noreturn]] void throw_errno(int error_number, std::string_view what, std::string_view path,
                              ExitStatus otherwise);

// Converts between integer types.
//   throws   BugError if the value does not survive
template <typename To, typename From>
constexpr To narrow(From value, std::source_location where = std::source_location::current()) {
  static_assert(std::is_integral_v<To> && std::is_integral_v<From>);
  const To result = static_cast<To>(value);
  if (static_cast<From>(result) != value || ((result < To{}) != (value < From{}))) {
    expects(false, "value survives a narrowing conversion", where);
  }
  return result;
}

}  // namespace espalier
