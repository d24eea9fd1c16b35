// Windows that slide over images of neurons: convolution and pooling as sparse rows.
#pragma once

#include <cstdint>

#include "kernels/layout.hpp"

namespace espalier::kernels {

// One direction of a window. Output o sees the inputs o * stride - pad_begin + k * dilation for
// k in 0 .. kernel - 1, as far as they exist.
struct WindowAxis {
  std::int64_t inputs = 1, kernel = 1, stride = 1, pad_begin = 0, pad_end = 0, dilation = 1;

  std::int64_t extent() const noexcept { return (kernel - 1) * dilation + 1; }
  bool fits() const noexcept { return extent() <= inputs + pad_begin + pad_end; }
  std::int64_t outputs() const noexcept {
    return (inputs + pad_begin + pad_end - extent()) / stride + 1;
  }
  // Pairs of an output and an input that it sees.
  //   cost     O(kernel)
  std::int64_t pairs() const noexcept;
};

// Neurons stand as (channel, y, x), row-major, in and out. Output channels are dealt evenly to
// `groups`, input channels too, and an output sees the input channels of its group.
struct Window {
  std::int64_t channels = 1, out_channels = 1, groups = 1;
  WindowAxis y, x;
  bool count_padding = false;  // average pooling: divide by all taps, not by those that exist

  std::int64_t taps() const noexcept { return y.kernel * x.kernel; }
  std::int64_t group_channels() const noexcept { return channels / groups; }
  std::int64_t positions() const noexcept { return y.outputs() * x.outputs(); }
  std::int64_t inputs() const noexcept { return channels * y.inputs * x.inputs; }
  std::int64_t outputs() const noexcept { return out_channels * positions(); }
};

// The connections of output neurons [begin, end) of a convolution: of neuron (c, y, x) those that
// filter row c makes there. Zeros make none, nor do taps beyond the image's edge.
//   shapes   filters: rows for the output channels of all these neurons at least, columns
//            (input channel of the group, tap), as wide as group_channels x taps; result (neurons
//            x window.inputs()), columns ascending. `reuse` is memory to use again.
//   cost     O(result), allocates at most the filters' values x positions entries
CsrRows convolution_rows(const Window& window, const CsrRows& filters, std::int64_t begin,
                         std::int64_t end, CsrRows reuse = {});

enum class Pooling { kMaximum, kAverage };

// The connections of output neurons [begin, end) of a pooling: for kAverage with the weight
// 1 / number of inputs, as float32; for kMaximum all with weight 1. A neuron that sees no input has
// none.
//   shapes   out_channels = channels = groups; result as of convolution_rows
CsrRows pooling_rows(const Window& window, Pooling pooling, std::int64_t begin, std::int64_t end,
                     CsrRows reuse = {});

}  // namespace espalier::kernels
