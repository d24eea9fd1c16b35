#include "jobs/radixnet.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "framework/error.hpp"
#include "framework/random.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kShared = 16;  // inputs with the same remainder modulo N/16

}  // namespace

RadixNet::RadixNet(std::int64_t neurons, std::uint64_t seed) : neurons_(neurons), seed_(seed) {
  if (neurons < 2 * kShared || neurons > (INT64_C(1) << 31) ||
      !std::has_single_bit(static_cast<std::uint64_t>(neurons))) {
    throw Error(ExitStatus::kUsage,
                text("a RadiX-Net of ", neurons,
                     " neurons is not possible, right is a power of two from 32 to 2147483648"));
  }
  group_layers_ = std::countr_zero(static_cast<std::uint64_t>(neurons / kShared));
}

void RadixNet::prepare_group(std::int64_t group) {
  std::vector<std::uint32_t> went(static_cast<std::size_t>(neurons_));
  std::iota(went.begin(), went.end(), 0U);
  if (group > 0) {
    RandomStream random(seed_, narrow<std::uint32_t>(group), 0);
    for (std::size_t left = went.size(); left > 1; --left) {
      std::swap(went[left - 1], went[random.next_below(left)]);
    }
  }
  places_.resize(went.size());
  const std::int64_t remainders = neurons_ / kShared;
  for (std::int64_t m = 0; m < remainders; ++m) {
    const auto begin = places_.begin() + m * kShared;
    for (std::int64_t t = 0; t < kShared; ++t) {
      begin[t] = went[static_cast<std::size_t>(m + t * remainders)];
    }
    std::sort(begin, begin + kShared);
  }
  group_ = group;
}

kernels::CsrRows RadixNet::rows(std::int64_t layer, Range outputs) {
  expects(layer >= 0 && outputs.begin >= 0 && outputs.end <= neurons_, "rows are in the network");
  if (group_ != layer / group_layers_) {
    prepare_group(layer / group_layers_);
  }
  const std::int64_t remainders = neurons_ / kShared;
  const std::int64_t shift = INT64_C(1) << (layer % group_layers_);
  kernels::CsrRows rows;
  rows.first_row = outputs.begin;
  rows.cols = neurons_;
  rows.iso = true;
  rows.values = {kRadixWeight};
  rows.indices.resize(static_cast<std::size_t>(std::max<std::int64_t>(outputs.size(), 0)) *
                      kRadixFan);
  auto place = rows.indices.begin();
  for (std::int64_t j = outputs.begin; j < outputs.end; ++j) {
    const auto same = places_.begin() + j % remainders * kShared;
    const auto shifted = places_.begin() + (j + shift) % remainders * kShared;
    place = std::merge(same, same + kShared, shifted, shifted + kShared, place);
    rows.pointers.push_back(place - rows.indices.begin());
  }
  return rows;
}

}  // namespace espalier::jobs
