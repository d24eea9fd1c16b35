// Seeded matrices and panels for the kernel tests, and a walk over the SIMD targets.
#pragma once

#include <hwy/aligned_allocator.h>

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/layout.hpp"
#include "kernels/target.hpp"

namespace espalier::kernels::testing {

// One of so many random cases is enough where each takes long: sanitizers watch what a kernel
// touches, which other cases touch as well.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ESPALIER_TEST_SANITIZED 1
#endif
#endif
#ifdef ESPALIER_TEST_SANITIZED
inline constexpr int kOneOf = 5;
#else
inline constexpr int kOneOf = 1;
#endif

// A small generator whose sequence is fixed by this code, not by the standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n));
  }
  double unit() { return static_cast<double>(next() >> 11U) * 0x1p-53; }
  float symmetric() { return static_cast<float>(2 * unit() - 1); }
  bool coin() { return (next() & 1U) != 0; }

 private:
  std::uint64_t state_;
};

// Floats on a 64-byte boundary.
class Floats {
 public:
  explicit Floats(std::int64_t count, float value = 0)
      : data_(hwy::AllocateAligned<float>(static_cast<std::size_t>(count) + 1)),
        count_(static_cast<std::size_t>(count)) {
    for (float& x : span()) x = value;
  }
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  std::span<float> span() { return {data_.get(), count_}; }
  std::span<const float> span() const { return {data_.get(), count_}; }
  float& operator[](std::int64_t i) { return data_.get()[i]; }
  float operator[](std::int64_t i) const { return data_.get()[i]; }

 private:
  hwy::AlignedFreeUniquePtr<float[]> data_;
  std::size_t count_;
};

// Rows with a random weight wherever `wanted(row, column)`, all equal when iso.
template <class Wanted>
CsrRows rows_where(Random& random, std::int64_t rows, std::int64_t cols, bool iso, Wanted wanted) {
  CsrRows csr;
  csr.cols = cols;
  csr.iso = iso;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < cols; ++column) {
      if (!wanted(row, column)) continue;
      csr.indices.push_back(static_cast<std::uint32_t>(column));
      if (!iso) csr.values.push_back(random.symmetric());
    }
    csr.pointers.push_back(static_cast<std::int64_t>(csr.indices.size()));
  }
  if (iso) csr.values = {random.symmetric()};
  return csr;
}

inline CsrRows random_rows(Random& random, std::int64_t rows, std::int64_t cols, double density,
                           bool iso = false) {
  return rows_where(random, rows, cols, iso,
                    [&](std::int64_t, std::int64_t) { return random.unit() < density; });
}

// Rows in groups of at most `group` that share their inputs, in shuffled order.
inline CsrRows grouped_rows(Random& random, std::int64_t rows, std::int64_t cols,
                            std::int64_t group, double density) {
  const std::int64_t patterns = (rows + group - 1) / group;
  const CsrRows pattern = random_rows(random, patterns, cols, density);
  CsrRows csr;
  csr.cols = cols;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto p = static_cast<std::size_t>(random.below(patterns));
    for (std::int64_t k = pattern.pointers[p]; k < pattern.pointers[p + 1]; ++k) {
      csr.indices.push_back(pattern.indices[static_cast<std::size_t>(k)]);
      csr.values.push_back(random.symmetric());
    }
    csr.pointers.push_back(static_cast<std::int64_t>(csr.indices.size()));
  }
  return csr;
}

inline Floats random_floats(Random& random, std::int64_t count) {
  Floats floats(count);
  for (float& x : floats.span()) x = random.symmetric();
  return floats;
}

inline std::vector<std::uint32_t> all_inputs(std::int64_t cols) {
  std::vector<std::uint32_t> inputs;
  for (std::int64_t c = 0; c < cols; ++c) inputs.push_back(static_cast<std::uint32_t>(c));
  return inputs;
}

inline std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

inline std::vector<std::int64_t> single_targets() {
  std::vector<std::int64_t> targets;
  for (std::int64_t left = supported_targets(); left != 0; left &= left - 1) {
    targets.push_back(left & -left);
  }
  return targets;
}

// Keeps the kernels on one target until the end of the scope.
class OnTarget {
 public:
  explicit OnTarget(std::int64_t target) { restrict_targets(target); }
  ~OnTarget() { restrict_targets(supported_targets()); }
  OnTarget(const OnTarget&) = delete;
  OnTarget& operator=(const OnTarget&) = delete;
  static bool fuses() {
    const std::string name = target_name();
    return name.rfind("AVX", 0) == 0 || name.rfind("NEON", 0) == 0 || name.rfind("SVE", 0) == 0;
  }
};

}  // namespace espalier::kernels::testing
