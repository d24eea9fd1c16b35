// Weights as they are stored, seen as words: for dense_counting and dense_pruning alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "framework/shard.hpp"
#include "io/weight_type.hpp"
#include "kernels/dense_words.hpp"

namespace espalier::jobs {

// Elements that a thread works on at a time: they stay in its cache.
inline constexpr std::int64_t kChunkElements = INT64_C(1) << 17;

inline bool is_short(io::WeightType type) { return io::bytes_of(type) == 2; }

inline kernels::WordKind kind_of(io::WeightType type) {
  return type == io::WeightType::kBf16  ? kernels::WordKind::kBfloat16
         : type == io::WeightType::kF16 ? kernels::WordKind::kHalf
                                        : kernels::WordKind::kFloat;
}

// Calls use(span of words) on weights of 16 or 32 bits.
template <typename Use>
auto with_words(kernels::WordKind kind, std::span<std::byte> bytes, Use&& use) {
  if (kind == kernels::WordKind::kFloat) {
    return use(std::span(reinterpret_cast<std::uint32_t*>(bytes.data()), bytes.size() / 4));
  }
  return use(std::span(reinterpret_cast<std::uint16_t*>(bytes.data()), bytes.size() / 2));
}

template <typename Word>
std::int64_t count_from(std::span<Word> words, std::uint32_t least) {
  return kernels::count_from(std::span<const Word>(words), least);
}

// float64 weights as float32, in which magnitudes are compared.
inline std::vector<float> rounded_words(std::span<const std::byte> doubles) {
  std::vector<float> floats(doubles.size() / sizeof(double));
  io::to_floats(io::WeightType::kF64, doubles, floats);
  return floats;
}

// Rows of `cols` columns, cut to what a thread works on at a time.
inline std::vector<Range> cut_rows(Range rows, std::int64_t cols) {
  const std::int64_t step = std::max<std::int64_t>(kChunkElements / cols, 1);
  std::vector<Range> chunks;
  for (std::int64_t row = rows.begin; row < rows.end; row += step) {
    chunks.push_back({row, std::min(row + step, rows.end)});
  }
  return chunks;
}

}  // namespace espalier::jobs
