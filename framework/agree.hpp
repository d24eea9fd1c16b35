// One rank fails, all ranks say the same, nobody hangs (shared rule: framework/DESIGN.md).
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "framework/comm.hpp"
#include "framework/error.hpp"

namespace espalier {

// The outcome of one rank's work: no value means success.
struct Failure {
  ExitStatus status;
  std::string message;
  bool unexpected = false;  // not worded for the user: agree prefixes what was being done
};

// Agrees on the outcome of work that each rank has just done.
//   where    collective over `comm`
//   throws   SharedError on every rank if any rank failed: lowest failing rank's text and status
//   cost     one allreduce of one number; small broadcasts more on failure
void agree(const Comm& comm, std::string_view doing, const std::optional<Failure>& mine);

// The failure that `error` stands for. Error keeps its status, bad_alloc becomes kDoesNotFit,
// BugError and anything else become kOurBug; all but Error are marked unexpected.
Failure describe(const std::exception& error);

// Runs `work`, which may fail and must not communicate, then agrees on the outcome.
// `doing` is a phrase such as "reading shard"; it prefixes messages of unexpected errors only.
//   where    collective over `comm`
//   throws   SharedError if any rank's work threw
template <typename Work>
auto locally(const Comm& comm, std::string_view doing, Work&& work) {
  using Result = std::invoke_result_t<Work>;
  std::optional<Failure> failure;
  if constexpr (std::is_void_v<Result>) {
    try {
      work();
    } catch (const std::exception& error) {
      failure = describe(error);
    }
    agree(comm, doing, failure);
  } else {
    std::optional<Result> result;
    try {
      result.emplace(work());
    } catch (const std::exception& error) {
      failure = describe(error);
    }
    agree(comm, doing, failure);
    return std::move(*result);
  }
}

// Runs `work` on rank 0 only and agrees. Returns nothing: broadcast what is needed.
template <typename Work>
void on_root(const Comm& comm, std::string_view doing, Work&& work) {
  locally(comm, doing, [&] {
    if (comm.rank() == 0) {
      work();
    }
  });
}

// Checks that every rank holds the same text (options, versions, counts).
//   where    collective over `comm`
//   throws   SharedError(kBadData) naming `what` and the first rank that differs from rank 0
//   cost     a broadcast of rank 0's text and one allreduce
void same_everywhere(const Comm& comm, std::string_view what, std::string_view mine);

}  // namespace espalier
