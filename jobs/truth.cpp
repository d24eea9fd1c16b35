#include "jobs/truth.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

#include "framework/error.hpp"
#include "framework/log.hpp"

namespace espalier::jobs {
namespace {

std::vector<std::int64_t> those_within(const std::vector<std::int64_t>& ids, Range samples) {
  return {std::lower_bound(ids.begin(), ids.end(), samples.begin),
          std::lower_bound(ids.begin(), ids.end(), samples.end)};
}

}  // namespace

std::vector<std::int64_t> alive_ids(Range samples, const std::vector<std::uint8_t>& alive) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < samples.size(); ++i) {
    if (alive[static_cast<std::size_t>(i)] != 0) {
      ids.push_back(samples.begin + i);
    }
  }
  return ids;
}

void compare_with_truth(const Comm& world, const TruthFiles& files, Range samples,
                        const std::vector<std::int64_t>& mine,
                        const std::vector<std::int64_t>& truth) {
  const std::vector<std::int64_t> wanted = those_within(truth, samples);
  std::vector<std::int64_t> missing, extra;
  std::set_difference(wanted.begin(), wanted.end(), mine.begin(), mine.end(),
                      std::back_inserter(missing));
  std::set_difference(mine.begin(), mine.end(), wanted.begin(), wanted.end(),
                      std::back_inserter(extra));
  std::int64_t first = samples.end;
  for (const auto& differing : {missing, extra}) {
    first = differing.empty() ? first : std::min(first, differing.front());
  }
  std::vector<std::int64_t> counts = {std::ssize(missing), std::ssize(extra)};
  world.sum(counts);
  std::vector<std::int64_t> lowest = {
      missing.empty() && extra.empty() ? std::numeric_limits<std::int64_t>::max() : first};
  world.min(lowest);
  if (counts[0] + counts[1] > 0) {
    throw SharedError(ExitStatus::kBadData,
                      text(files.result, " differs from ", files.truth, ": ", counts[0],
                           " categories missing, ", counts[1], " not expected; first at sample ",
                           lowest[0] + 1, " (counted from 1); the result is kept"));
  }
  const std::int64_t equal = world.sum(std::ssize(wanted));
  log_info(text("categories equal ", files.truth, ": ", equal, " of them"));
}

}  // namespace espalier::jobs
