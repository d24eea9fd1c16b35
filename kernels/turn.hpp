// Rows become columns: between samples as they lie in files and panels of neurons.
#pragma once

#include <cstdint>

namespace espalier::kernels {

struct TurnShape {
  std::int64_t rows, cols;  // of what is copied
  std::int64_t from_step;   // numbers from one of its rows to the next
  std::int64_t to_step;     // from one of its columns to the next, where it goes
};

// Copies a matrix turned: row r, column c goes to to[c * to_step + r].
//   shapes   from (rows x cols), to (cols x rows), not overlapping
//   cost     O(rows x cols), in squares of 16: a line of the cache is read or written at once,
//            because lines of several rows often share their place in the cache
void turn(const float* from, float* to, const TurnShape& shape);

}  // namespace espalier::kernels
