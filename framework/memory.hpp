// Where memory lies: aligned buffers on huge pages, and what the process and the node have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace espalier {

// An aligned, uninitialised array of trivial T. 64-byte aligned; from 4 MiB on, 2 MiB aligned and
// advised for huge pages. First touch is the caller's: write it from the thread that will read it.
//   throws   std::bad_alloc
template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t count);
  // What was moved from is empty.
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::move(other.data_)), count_(std::exchange(other.count_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    count_ = std::exchange(other.count_, 0);
    return *this;
  }
  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return count_; }
  std::span<T> span() noexcept { return {data_.get(), count_}; }
  std::span<const T> span() const noexcept { return {data_.get(), count_}; }
  T& operator[](std::size_t i) noexcept { return data_.get()[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* pointer) const noexcept;
  };
  std::unique_ptr<T, Free> data_;
  std::size_t count_ = 0;
};

// Null for 0 bytes.
//   throws   std::bad_alloc
void* allocate_aligned(std::size_t bytes);
void free_aligned(void* pointer) noexcept;
// Advises huge pages for the whole ones within memory that nobody has touched yet. Advice only: a
// system without them goes on with small ones.
void advise_huge_pages(void* pointer, std::size_t bytes) noexcept;

// The cache of `level` 1 (data), 2 or 3 that a core sees; 32 KiB, 1 MiB and 32 MiB where the system
// does not say.
std::int64_t cache_bytes(int level);

// The largest resident size this process has had.
std::int64_t peak_rss_bytes();

// Where the figures on memory are read from; tests put their own files here.
struct MemorySources {
  std::string meminfo = "/proc/meminfo";
  std::string own_groups = "/proc/self/cgroup";
  std::string group_root = "/sys/fs/cgroup";
};

// What the node can still give: the least of its free memory, the limits of the control groups
// (v1 and v2) this process is in, and SLURM_MEM_PER_NODE. What cannot be read does not limit.
std::int64_t usable_memory_bytes(const MemorySources& sources = {});

// What a rank may use when the user does not say: 0.8 x (least of free memory of the node and the
// control group's limit), shared by the ranks on the node.
std::int64_t default_memory_per_rank(int ranks_on_node);

template <typename T>
AlignedBuffer<T>::AlignedBuffer(std::size_t count) : count_(count) {
  if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
    throw std::bad_alloc();
  }
  data_.reset(static_cast<T*>(allocate_aligned(count * sizeof(T))));
}

template <typename T>
void AlignedBuffer<T>::Free::operator()(T* pointer) const noexcept {
  free_aligned(pointer);
}

}  // namespace espalier
