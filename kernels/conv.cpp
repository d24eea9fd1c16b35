#include "kernels/conv.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace espalier::kernels {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// One stored weight of a filter row, seen from the output's place (0, 0).
struct Tap {
  std::int64_t plane;  // first neuron of its input channel
  std::int64_t y, x;   // may lie before the edge
  float value;
};

bool inside(std::int64_t place, std::int64_t count) { return place >= 0 && place < count; }

std::vector<Tap> taps_of(const Window& window, const CsrRows& filters, std::int64_t channel) {
  const std::int64_t group = channel / (window.out_channels / window.groups);
  const std::int64_t row = channel - filters.first_row;
  std::vector<Tap> taps;
  for (std::int64_t k = filters.pointers[at(row)]; k < filters.pointers[at(row) + 1]; ++k) {
    if (filters.value(k) == 0) continue;
    const std::int64_t column = filters.indices[at(k)], tap = column % window.taps();
    const std::int64_t in_channel = group * window.group_channels() + column / window.taps();
    taps.push_back({in_channel * window.y.inputs * window.x.inputs,
                    tap / window.x.kernel * window.y.dilation - window.y.pad_begin,
                    tap % window.x.kernel * window.x.dilation - window.x.pad_begin,
                    filters.value(k)});
  }
  return taps;
}

// Calls use(channel, y, x) for the neurons in order.
template <typename Use>
void for_each_neuron(const Window& window, std::int64_t begin, std::int64_t end, Use use) {
  const std::int64_t width = window.x.outputs(), positions = window.positions();
  for (std::int64_t neuron = begin; neuron < end; ++neuron) {
    const std::int64_t position = neuron % positions;
    use(neuron / positions, position / width, position % width);
  }
}

CsrRows start_rows(const Window& window, std::int64_t begin, std::int64_t end, CsrRows reuse) {
  CsrRows rows = std::move(reuse);
  rows.first_row = begin;
  rows.cols = window.inputs();
  rows.iso = false;
  rows.pointers.assign(1, 0);
  rows.pointers.reserve(at(end - begin) + 1);
  rows.indices.clear();
  rows.values.clear();
  return rows;
}

}  // namespace

std::int64_t WindowAxis::pairs() const noexcept {
  std::int64_t pairs = 0;
  for (std::int64_t k = 0; k < kernel; ++k) {
    // Outputs o with 0 <= o * stride + shift < inputs.
    const std::int64_t shift = k * dilation - pad_begin;
    const std::int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
    const std::int64_t end = shift >= inputs ? 0 : (inputs - 1 - shift) / stride + 1;
    pairs += std::max<std::int64_t>(0, std::min(end, outputs()) - first);
  }
  return pairs;
}

CsrRows convolution_rows(const Window& window, const CsrRows& filters, std::int64_t begin,
                         std::int64_t end, CsrRows reuse) {
  CsrRows rows = start_rows(window, begin, end, std::move(reuse));
  std::vector<Tap> taps;
  std::int64_t latest = -1;
  for_each_neuron(window, begin, end, [&](std::int64_t channel, std::int64_t y, std::int64_t x) {
    if (channel != latest) {
      latest = channel;
      taps = taps_of(window, filters, channel);
      const std::int64_t here = std::min(window.positions() * (channel + 1), end) -
                                std::max(window.positions() * channel, begin);
      rows.indices.reserve(rows.indices.size() + taps.size() * at(here));
      rows.values.reserve(rows.values.size() + taps.size() * at(here));
    }
    for (const Tap& tap : taps) {
      const std::int64_t in_y = y * window.y.stride + tap.y, in_x = x * window.x.stride + tap.x;
      if (inside(in_y, window.y.inputs) && inside(in_x, window.x.inputs)) {
        rows.indices.push_back(
            static_cast<std::uint32_t>(tap.plane + in_y * window.x.inputs + in_x));
        rows.values.push_back(tap.value);
      }
    }
    rows.pointers.push_back(static_cast<std::int64_t>(rows.indices.size()));
  });
  return rows;
}

CsrRows pooling_rows(const Window& window, Pooling pooling, std::int64_t begin, std::int64_t end,
                     CsrRows reuse) {
  CsrRows rows = start_rows(window, begin, end, std::move(reuse));
  rows.iso = pooling == Pooling::kMaximum;
  for_each_neuron(window, begin, end, [&](std::int64_t channel, std::int64_t y, std::int64_t x) {
    const std::size_t before = rows.indices.size();
    for (std::int64_t tap = 0; tap < window.taps(); ++tap) {
      const std::int64_t in_y =
          y * window.y.stride - window.y.pad_begin + tap / window.x.kernel * window.y.dilation;
      const std::int64_t in_x =
          x * window.x.stride - window.x.pad_begin + tap % window.x.kernel * window.x.dilation;
      if (inside(in_y, window.y.inputs) && inside(in_x, window.x.inputs)) {
        rows.indices.push_back(static_cast<std::uint32_t>(
            (channel * window.y.inputs + in_y) * window.x.inputs + in_x));
      }
    }
    const std::size_t seen = rows.indices.size() - before;
    if (!rows.iso) {
      const std::size_t of = window.count_padding ? at(window.taps()) : seen;
      rows.values.resize(rows.indices.size(), 1.0F / static_cast<float>(of));
    }
    rows.pointers.push_back(static_cast<std::int64_t>(rows.indices.size()));
  });
  if (rows.iso) rows.values.assign(1, 1.0F);
  return rows;
}

}  // namespace espalier::kernels
