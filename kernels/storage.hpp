// Vectors that are written once, in full: their elements start without a value.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace espalier::kernels {

// Told once of new memory for a Storage, before anybody touches it; a program may ask for larger
// pages there. None at first.
using StorageAdvice = void (*)(void* begin, std::size_t bytes) noexcept;
inline std::atomic<StorageAdvice> storage_advice{nullptr};

// Leaves elements that get no value uninitialised: a first pass of zeros over what packing then
// writes took as long as the packing.
template <class T>
struct Uninitialized : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = Uninitialized<U>;
  };
  T* allocate(std::size_t count) {
    T* const place = std::allocator<T>::allocate(count);
    const StorageAdvice advice = storage_advice.load(std::memory_order_relaxed);
    if (advice != nullptr) advice(place, count * sizeof(T));
    return place;
  }
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
