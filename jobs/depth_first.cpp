#include "jobs/depth_first.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "framework/error.hpp"
#include "framework/timer.hpp"
#include "kernels/spmm.hpp"

namespace espalier::jobs {
namespace {

constexpr std::int64_t kWidth = kernels::kPanelWidth;

std::size_t to_size(std::int64_t value) { return static_cast<std::size_t>(value); }

std::size_t panels_of(std::size_t samples) { return (samples + kWidth - 1) / kWidth; }

std::int64_t panel_floats(const ShardedNetwork& network) {
  std::int64_t widest = network.layers.front().packed.inputs();
  for (const ShardLayer& layer : network.layers) {
    widest = std::max(widest, layer.packed.rows());
  }
  return widest * kWidth;
}

// Moves the columns `from` of one panel to the columns of `targets` from number `to` on.
void move_to(std::span<float* const> targets, std::int64_t to, std::int64_t rows,
             const float* source, std::span<const std::uint8_t> from) {
  while (!from.empty()) {
    const std::int64_t in_panel = to % kWidth;
    const auto part = from.first(std::min(from.size(), to_size(kWidth - in_panel)));
    kernels::move_columns(source, targets[to_size(to / kWidth)], rows, part, in_panel);
    to += std::ssize(part);
    from = from.subspan(part.size());
  }
}

}  // namespace

DepthFirst::DepthFirst(const ShardedNetwork& network, const PanelFeatures& features,
                       std::int64_t most_panels)
    : network_(network),
      features_(features),
      memory_(to_size(panel_floats(network) * pool_panels(most_panels))),
      waiting_(network.layers.size()),
      work_(network.layers.size()) {
  // Columns that no sample has yet are computed along: they must hold numbers.
  std::fill_n(memory_.data(), memory_.size(), 0.0F);
  for (std::int64_t panel = 0; panel < pool_panels(most_panels); ++panel) {
    free_.push_back(memory_.data() + panel * panel_floats(network));
  }
}

void DepthFirst::run(const kernels::CsrRows& samples, std::span<const std::int64_t> ids,
                     std::int64_t block_panels, DepthFirstOutcome& outcome) {
  block_panels_ = to_size(block_panels);
  const double start = now_seconds();
  Block block;
  block.samples.assign(ids.begin(), ids.end());
  block.bits.assign(ids.size(), 1U);
  for (std::size_t first = 0; first < ids.size(); first += kWidth) {
    block.panels.push_back(take_panel());
    features_.fill(samples, ids.subspan(first, std::min<std::size_t>(kWidth, ids.size() - first)),
                   block.panels.back());
  }
  work_.front().seconds += now_seconds() - start;
  descend(std::move(block), 0, true, outcome);
}

void DepthFirst::finish(DepthFirstOutcome& outcome) {
  for (std::size_t layer = 0; layer < waiting_.size(); ++layer) {
    if (!waiting_[layer].samples.empty()) {
      descend(std::exchange(waiting_[layer], {}), layer, false, outcome);
    }
  }
}

void DepthFirst::descend(Block block, std::size_t layer, bool may_wait,
                         DepthFirstOutcome& outcome) {
  for (; layer < network_.layers.size() && !block.samples.empty(); ++layer) {
    const double start = now_seconds();
    if (meet_waiting(block, layer, may_wait)) {
      return;
    }
    multiply(layer, block);
    if (layer + 1 < network_.layers.size() && network_.layers[layer + 1].zero_to_zero) {
      drop_dead(network_.layers[layer].packed.rows(), block);
    }
    work_[layer].seconds += now_seconds() - start;
  }
  emit(block, outcome);
  give_back(block);
}

// Joins the block that waits before `layer`, or waits there itself if half of a block's panels are
// enough for it. Returns whether it waits.
bool DepthFirst::meet_waiting(Block& block, std::size_t layer, bool may_wait) {
  Block& other = waiting_[layer];
  if (!other.samples.empty()) {
    if (panels_of(block.samples.size() + other.samples.size()) <= block_panels_) {
      append(network_.layers[layer].packed.inputs(), other, block);
      give_back(other);
    }
    return false;
  }
  // Another full block and a spare panel must find room.
  const bool has_room = free_.size() >= block_panels_ + 1;
  if (!may_wait || layer == 0 || 2 * block.panels.size() > block_panels_ || !has_room ||
      !network_.layers[layer].zero_to_zero) {
    return false;
  }
  other = std::move(block);
  return true;
}

std::int64_t DepthFirst::dead_of(const Block& block) {
  return std::count(block.bits.begin(), block.bits.end(), 0U);
}

void DepthFirst::multiply(std::size_t id, Block& block) {
  const ShardLayer& layer = network_.layers[id];
  const std::int64_t alive = std::ssize(block.samples) - (layer.zero_to_zero ? dead_of(block) : 0);
  work_[id].edges += layer.edges * alive;
  block.bits.assign(block.panels.size() * kWidth, 0U);
  for (std::size_t panel = 0; panel < block.panels.size(); ++panel) {
    float* const out = take_panel();
    const std::int64_t columns = std::min<std::int64_t>(
        kWidth, std::ssize(block.samples) - static_cast<std::int64_t>(panel) * kWidth);
    compute_rows(layer, block.panels[panel], out, {0, layer.packed.rows()},
                 block.bits.data() + panel * kWidth, columns);
    free_.push_back(std::exchange(block.panels[panel], out));
  }
  block.bits.resize(block.samples.size());
}

// Squeezes out the samples whose latest outputs are all zero if that frees a panel.
void DepthFirst::drop_dead(std::int64_t rows, Block& block) {
  const std::size_t count = block.samples.size();
  if (panels_of(count - to_size(dead_of(block))) == block.panels.size()) {
    return;
  }
  std::size_t kept = 0;
  std::array<std::uint8_t, kWidth> columns{};
  for (std::size_t panel = 0; panel < block.panels.size(); ++panel) {
    const std::size_t begin = panel * kWidth;
    const std::size_t before = kept;
    for (std::size_t i = begin; i < std::min(count, begin + kWidth); ++i) {
      if (block.bits[i] != 0) {
        columns[kept - before] = static_cast<std::uint8_t>(i - begin);
        block.samples[kept] = block.samples[i];
        block.bits[kept] = block.bits[i];
        ++kept;
      }
    }
    move_to(block.panels, static_cast<std::int64_t>(before), rows, block.panels[panel],
            std::span(columns).first(kept - before));
  }
  block.samples.resize(kept);
  block.bits.resize(kept);
  for (; block.panels.size() > panels_of(kept); block.panels.pop_back()) {
    free_.push_back(block.panels.back());
  }
}

// Adds the samples of `from` and their columns after those of `to`.
void DepthFirst::append(std::int64_t rows, const Block& from, Block& to) {
  const std::size_t before = to.samples.size();
  while (to.panels.size() < panels_of(before + from.samples.size())) {
    to.panels.push_back(take_panel());
  }
  std::array<std::uint8_t, kWidth> columns{};
  std::iota(columns.begin(), columns.end(), std::uint8_t{0});
  for (std::size_t begin = 0; begin < from.samples.size(); begin += kWidth) {
    const std::size_t count = std::min<std::size_t>(kWidth, from.samples.size() - begin);
    move_to(to.panels, static_cast<std::int64_t>(before + begin), rows, from.panels[begin / kWidth],
            std::span(columns).first(count));
  }
  to.samples.insert(to.samples.end(), from.samples.begin(), from.samples.end());
  to.bits.insert(to.bits.end(), from.bits.begin(), from.bits.end());
}

void DepthFirst::emit(Block& block, DepthFirstOutcome& outcome) {
  const std::int64_t panel_size = network_.layers.back().packed.rows() * kWidth;
  const std::int64_t first = outcome.panels_used.fetch_add(std::ssize(block.panels));
  for (std::size_t i = 0; i < block.samples.size(); ++i) {
    const std::size_t sample = to_size(block.samples[i]);
    outcome.computed[sample] = 1;
    outcome.alive[sample] = block.bits[i] != 0 ? 1 : 0;
    outcome.column[sample] = first * kWidth + static_cast<std::int64_t>(i);
  }
  for (std::size_t panel = 0; outcome.panels != nullptr && panel < block.panels.size(); ++panel) {
    std::copy_n(block.panels[panel], panel_size,
                outcome.panels + (first + static_cast<std::int64_t>(panel)) * panel_size);
  }
}

float* DepthFirst::take_panel() {
  expects(!free_.empty(), "a block and a spare panel are free");
  float* const panel = free_.back();
  free_.pop_back();
  return panel;
}

void DepthFirst::give_back(Block& block) {
  free_.insert(free_.end(), block.panels.begin(), block.panels.end());
  block = {};
}

}  // namespace espalier::jobs
