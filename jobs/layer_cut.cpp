#include "jobs/layer_cut.hpp"

#include <algorithm>

#include "kernels/select.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

LayerCut exchange_cut(
    const Comm& comm, std::int64_t rounds, std::int64_t keep,
    const std::function<std::span<const std::uint32_t>(std::int64_t round)>& keys) {
  kernels::RadixSelect narrowing(keep);
  std::vector<std::int64_t> counts(kernels::kDigitValues, 0);
  std::int64_t nothing = 0;
  for (std::int64_t round = 0; round < rounds; ++round) {
    const auto some = keys(round);
    kernels::count_upper(some, counts);
    nothing += std::count(some.begin(), some.end(), 0U);
  }
  counts[0] -= nothing;
  comm.sum(counts);
  narrowing.narrow_upper(counts);
  std::fill(counts.begin(), counts.end(), 0);
  if (!narrowing.settled()) {
    for (std::int64_t round = 0; round < rounds; ++round) {
      kernels::count_lower(keys(round), narrowing.upper(), counts);
    }
    counts[0] -= narrowing.upper() == 0 ? nothing : 0;
    comm.sum(counts);
    narrowing.narrow_lower(counts);
  }
  const kernels::Cut cut = narrowing.cut();
  LayerCut result{cut.key, {}};
  std::vector<std::int64_t> equals(to_size(rounds * comm.ranks()), 0);
  for (std::int64_t round = 0; round < rounds; ++round) {
    const auto some = keys(round);
    equals[to_size(round * comm.ranks() + comm.rank())] =
        cut.key == 0 ? 0 : std::count(some.begin(), some.end(), cut.key);
  }
  comm.sum(equals);
  std::int64_t left = cut.equals;
  for (std::size_t at = 0; at < equals.size(); ++at) {
    const std::int64_t taken = std::min(left, equals[at]);
    left -= taken;
    if (static_cast<std::int64_t>(at) % comm.ranks() == comm.rank()) {
      result.equals.push_back(taken);
    }
  }
  return result;
}

}  // namespace espalier::jobs
