#include "jobs/machine.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/memory.hpp"
#include "framework/parallel.hpp"
#include "kernels/target.hpp"

namespace espalier::jobs {
namespace {

// A mask of this many cores does for any node we know; the kernel refuses one that is too small.
constexpr std::size_t kMaskBytes = 8192;

std::int64_t count_bits(std::span<const std::uint8_t> bytes) {
  std::int64_t bits = 0;
  for (const std::uint8_t byte : bytes) {
    bits += __builtin_popcount(byte);
  }
  return bits;
}

// This rank's share of the cores of its node.
std::int64_t share_of_cores(const Comm& world) {
  const Comm node = world.split_node();
  std::vector<std::uint8_t> mask(kMaskBytes, 0);
  if (sched_getaffinity(0, mask.size(), reinterpret_cast<cpu_set_t*>(mask.data())) < 0) {
    std::fill(mask.begin(), mask.end(), std::uint8_t{0});
  }
  const std::int64_t own = usable_cores();
  const std::int64_t wished = node.sum(own);
  node.bit_or(mask);
  const std::int64_t there = std::max(count_bits(mask), own);
  return wished <= there ? own : std::max<std::int64_t>(1, there / node.ranks());
}

}  // namespace

int set_threads_everywhere(const Comm& world, std::optional<std::int64_t> wanted) {
  const std::int64_t share = share_of_cores(world);
  const std::int64_t chosen = wanted.value_or(share);
  set_threads(narrow<int>(chosen));
  const std::int64_t lacking = chosen > usable_cores() ? usable_cores() : 0;
  const std::int64_t cores = world.max(lacking);
  if (cores > 0) {
    log_warning(text("--threads ", chosen, ", but a rank may run on ", cores,
                     cores == 1 ? " core" : " cores",
                     " only; ranks started by mpirun get more with "
                     "OMPI_MCA_hwloc_base_binding_policy=none or --map-by slot:PE=N"));
  }
  return narrow<int>(world.max(chosen));
}

std::int64_t third_cache_share_bytes() {
  return cache_bytes(3) / std::max<std::int64_t>(sysconf(_SC_NPROCESSORS_ONLN), 1);
}

void restrict_targets_everywhere(const Comm& world) {
  std::int64_t missing = ~kernels::supported_targets();
  std::vector<std::uint8_t> bytes(sizeof missing);
  std::memcpy(bytes.data(), &missing, sizeof missing);
  world.bit_or(bytes);
  std::memcpy(&missing, bytes.data(), sizeof missing);
  locally(world, "choosing SIMD instructions", [&] { kernels::restrict_targets(~missing); });
}

}  // namespace espalier::jobs
