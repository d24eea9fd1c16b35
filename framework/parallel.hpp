// OpenMP threads inside a rank.
#pragma once

#include <cstdint>
#include <functional>

namespace espalier {

// The number of cores this process may run on (its affinity mask).
int usable_cores();

// Sets the number of threads parallel_for uses; 1 until then. threads >= 1.
void set_threads(int threads);
int threads();

// Calls work(item, thread) for every item in [0, count), dynamically dealt to threads.
// `thread` is in [0, threads()): no two calls that run at the same time share it.
//   where    local; `work` must not call MPI, HDF5 or parallel_for
//   throws   what the first failing `work` threw, after all threads have stopped; the items not yet
//            begun by then are skipped. BugError if called from inside `work`
//   exact    order of items is not fixed: each must write its own place
void parallel_for(std::int64_t count, const std::function<void(std::int64_t, int)>& work);

}  // namespace espalier
