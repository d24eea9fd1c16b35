// Vectors that are written once, in full: their elements start without a value.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace espalier::kernels {

// Leaves elements that get no value uninitialised: a first pass of zeros over what packing then
// writes took as long as the packing.
template <class T>
struct Uninitialized : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = Uninitialized<U>;
  };
  template <class U, class... Args>
  void construct(U* place, Args&&... args) {
    if constexpr (sizeof...(Args) == 0) {
      ::new (static_cast<void*>(place)) U;
    } else {
      ::new (static_cast<void*>(place)) U(std::forward<Args>(args)...);
    }
  }
};

template <class T>
using Storage = std::vector<T, Uninitialized<T>>;

}  // namespace espalier::kernels
