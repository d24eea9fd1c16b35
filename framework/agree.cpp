#include "framework/agree.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "framework/watchdog.hpp"

namespace espalier {
namespace {

constexpr std::size_t kExcerpt = 60;

// A few words of `whole` around position `at`, in quotes.
std::string excerpt(std::string_view whole, std::size_t at) {
  const std::size_t begin = at < kExcerpt / 2 ? 0 : at - kExcerpt / 2;
  const std::string_view part = whole.substr(begin, kExcerpt);
  return text("\"", begin > 0 ? "..." : "", part, begin + part.size() < whole.size() ? "..." : "",
              "\"");
}

}  // namespace

void agree(const Comm& comm, std::string_view doing, const std::optional<Failure>& mine) {
  std::int64_t failed = mine ? comm.rank() : comm.ranks();
  comm.min(std::span(&failed, 1));
  note_progress();
  if (failed == comm.ranks()) {
    return;
  }
  const int root = static_cast<int>(failed);
  std::int64_t status = 0;
  std::string message;
  if (comm.rank() == root) {
    status = static_cast<std::int64_t>(mine->status);
    message = mine->unexpected ? text(doing, ": ", mine->message) : mine->message;
  }
  comm.broadcast(std::as_writable_bytes(std::span(&status, 1)), root);
  message = comm.broadcast_string(message, root);
  throw SharedError(static_cast<ExitStatus>(status), message, comm.rank(), comm.ranks());
}

Failure describe(const std::exception& error) {
  if (const auto* known = dynamic_cast<const Error*>(&error)) {
    return {known->status(), known->what()};
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return {ExitStatus::kDoesNotFit,
            "out of memory; use more ranks or nodes, or a smaller --memory-per-rank", true};
  }
  return {ExitStatus::kOurBug, error.what(), true};
}

void same_everywhere(const Comm& comm, std::string_view what, std::string_view mine) {
  const std::string expected = comm.broadcast_string(std::string(mine), 0);
  std::optional<Failure> failure;
  if (mine != expected) {
    const auto place = std::mismatch(mine.begin(), mine.end(), expected.begin(), expected.end());
    const auto at = static_cast<std::size_t>(place.first - mine.begin());
    failure = {ExitStatus::kBadData,
               text(what, " must be the same on every rank, but rank ", comm.rank(), " has ",
                    excerpt(mine, at), " where rank 0 has ", excerpt(expected, at))};
  }
  agree(comm, what, failure);
}

}  // namespace espalier
