// Compiled once for each target: the lines up to HWY_ONCE are included again by foreach_target.h.
#include "kernels/turn.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/turn.cpp"
#include <hwy/foreach_target.h>
// after foreach_target.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
constexpr int64_t kCorner = 1;

HWY_INLINE void turn_corner(const float* from, float* to, const TurnShape&) { *to = *from; }
#else
constexpr int64_t kCorner = 4;

// Four rows of four.
HWY_INLINE void turn_corner(const float* from, float* to, const TurnShape& shape) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<uint64_t, 2> pairs;
  const auto a = hn::LoadU(d, from);
  const auto b = hn::LoadU(d, from + shape.from_step);
  const auto c = hn::LoadU(d, from + 2 * shape.from_step);
  const auto e = hn::LoadU(d, from + 3 * shape.from_step);
  const auto ab = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
  const auto ce = hn::BitCast(pairs, hn::InterleaveLower(d, c, e));
  const auto ab_upper = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
  const auto ce_upper = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab, ce)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab, ce)), d, to + shape.to_step);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab_upper, ce_upper)), d,
             to + 2 * shape.to_step);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab_upper, ce_upper)), d,
             to + 3 * shape.to_step);
}
#endif

// The rows [row, row_end) and columns [col, col_end).
HWY_INLINE void turn_square(const float* from, float* to, const TurnShape& shape, int64_t row,
                            int64_t row_end, int64_t col, int64_t col_end) {
  const int64_t even_rows = row + (row_end - row) / kCorner * kCorner;
  const int64_t even_cols = col + (col_end - col) / kCorner * kCorner;
  for (int64_t c = col; c < even_cols; c += kCorner) {
    for (int64_t r = row; r < even_rows; r += kCorner) {
      turn_corner(from + r * shape.from_step + c, to + c * shape.to_step + r, shape);
    }
  }
  for (int64_t r = row; r < row_end; ++r) {
    for (int64_t c = r < even_rows ? even_cols : col; c < col_end; ++c) {
      to[c * shape.to_step + r] = from[r * shape.from_step + c];
    }
  }
}

// Square by square along the longer side.
void turn_squares(const float* from, float* to, const TurnShape& shape) {
  constexpr int64_t kSide = 16;
  const bool tall = shape.rows > shape.cols;
  const int64_t outer_end = tall ? shape.cols : shape.rows;
  const int64_t inner_end = tall ? shape.rows : shape.cols;
  for (int64_t outer = 0; outer < outer_end; outer += kSide) {
    const int64_t outer_stop = HWY_MIN(outer + kSide, outer_end);
    for (int64_t inner = 0; inner < inner_end; inner += kSide) {
      const int64_t inner_stop = HWY_MIN(inner + kSide, inner_end);
      tall ? turn_square(from, to, shape, inner, inner_stop, outer, outer_stop)
           : turn_square(from, to, shape, outer, outer_stop, inner, inner_stop);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace espalier::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier::kernels {

HWY_EXPORT(turn_squares);

void turn(const float* from, float* to, const TurnShape& shape) {
  HWY_DYNAMIC_DISPATCH(turn_squares)(from, to, shape);
}

}  // namespace espalier::kernels
#endif  // HWY_ONCE
