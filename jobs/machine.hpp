// What the ranks agree on about the machine before a job starts.
#pragma once

#include <cstdint>
#include <optional>

#include "framework/comm.hpp"

namespace espalier::jobs {

// Sets the threads of this rank: as wanted, else its share of the cores it may run on: ranks bound
// to cores of their own use those, others divide the node's. Warns where a rank has fewer cores
// than threads.
//   where    collective over `world`
//   returns  the most threads of any rank
int set_threads_everywhere(const Comm& world, std::optional<std::int64_t> wanted);

// A core's share of the third-level cache, if all cores of the node have one together.
std::int64_t third_cache_share_bytes();

// Restricts the kernels to SIMD targets that every rank has, so that all compute the same bits.
//   where    collective over `world`
void restrict_targets_everywhere(const Comm& world);

}  // namespace espalier::jobs
