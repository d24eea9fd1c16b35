#include "kernels/masks.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace espalier::kernels {
namespace {

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Marks the `keep` entries of [begin, end) with the largest keys, the first ones among equals.
//   order   room that is used again from call to call
void mark_largest(std::span<const std::uint32_t> keys, std::int64_t begin, std::int64_t end,
                  std::int64_t keep, std::vector<std::int64_t>& order,
                  std::vector<std::uint8_t>& marks) {
  if (end - begin <= keep) {
    std::fill(marks.begin() + begin, marks.begin() + end, std::uint8_t{1});
    return;
  }
  order.resize(to_size(end - begin));
  std::iota(order.begin(), order.end(), begin);
  const auto before = [&](std::int64_t a, std::int64_t b) {
    return keys[to_size(a)] != keys[to_size(b)] ? keys[to_size(a)] > keys[to_size(b)] : a < b;
  };
  std::nth_element(order.begin(), order.begin() + keep, order.end(), before);
  for (std::int64_t i = 0; i < keep; ++i) {
    marks[to_size(order[to_size(i)])] = 1;
  }
}

// Calls use(k, value) for every entry of `rows`, with the value `other` has there or 0.
template <typename Use>
void match(const CsrRows& rows, const CsrRows& other, Use&& use) {
  for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
    std::int64_t at = other.pointers[row];
    for (std::int64_t k = rows.pointers[row]; k < rows.pointers[row + 1]; ++k) {
      const std::uint32_t column = rows.indices[to_size(k)];
      while (at < other.pointers[row + 1] && other.indices[to_size(at)] < column) ++at;
      const bool stored = at < other.pointers[row + 1] && other.indices[to_size(at)] == column;
      use(k, stored ? other.value(at) : 0.0F);
    }
  }
}

}  // namespace

std::int64_t kept_of(std::int64_t positions, double sparsity) {
  const double pruned = std::floor(sparsity * static_cast<double>(positions) + 0.5);
  return std::clamp(positions - static_cast<std::int64_t>(pruned), std::int64_t{0}, positions);
}

std::vector<double> erk_densities(std::span<const LayerShape> layers, double density) {
  std::vector<double> densities(layers.size(), 0);
  std::vector<bool> full(layers.size(), false);
  double total = 0;
  for (const LayerShape& layer : layers) {
    total += static_cast<double>(layer.rows) * static_cast<double>(layer.cols);
  }
  // Each round fixes at least one more layer at 1, or is the last one.
  for (bool again = density > 0; again;) {
    again = false;
    double wanted = density * total;
    double share = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto rows = static_cast<double>(layers[i].rows);
      const auto cols = static_cast<double>(layers[i].cols);
      wanted -= full[i] ? rows * cols : 0;
      share += full[i] ? 0 : rows + cols;
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto rows = static_cast<double>(layers[i].rows);
      const auto cols = static_cast<double>(layers[i].cols);
      if (!full[i]) {
        densities[i] = std::max(wanted, 0.0) / share * (rows + cols) / (rows * cols);
      }
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (!full[i] && densities[i] > 1) {
        densities[i] = 1;
        full[i] = again = true;
      }
    }
  }
  return densities;
}

std::vector<std::uint32_t> magnitude_keys(const CsrRows& rows) {
  std::vector<std::uint32_t> keys(to_size(rows.nnz()));
  for (std::size_t k = 0; k < keys.size(); ++k) {
    keys[k] = magnitude_key(rows.value(static_cast<std::int64_t>(k)));
  }
  return keys;
}

void drop_zeros(CsrRows& rows) {
  RowFilter::apply(rows, [&](std::int64_t k) { return rows.value(k) != 0; });
}

void keep_from(CsrRows& rows, double least) {
  RowFilter::apply(rows, [&](std::int64_t k) {
    return rows.value(k) != 0 && std::abs(static_cast<double>(rows.value(k))) >= least;
  });
}

void keep_above(CsrRows& rows, std::span<const std::uint32_t> keys, Cut cut) {
  RowFilter::apply(rows, [&](std::int64_t k) {
    const std::uint32_t key = keys[to_size(k)];
    return key > cut.key || (key == cut.key && cut.equals-- > 0);
  });
}

void keep_per_row(CsrRows& rows, std::span<const std::uint32_t> keys, std::int64_t keep) {
  std::vector<std::uint8_t> marks(to_size(rows.nnz()), 0);
  std::vector<std::int64_t> order;
  for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
    mark_largest(keys, rows.pointers[row], rows.pointers[row + 1], keep, order, marks);
  }
  RowFilter::apply(rows, [&](std::int64_t k) { return marks[to_size(k)] != 0; });
}

void keep_n_of_m(CsrRows& rows, std::int64_t n, std::int64_t m) {
  const auto keys = magnitude_keys(rows);
  std::vector<std::uint8_t> marks(keys.size(), 0);
  std::vector<std::int64_t> order;
  for (std::size_t row = 0; row + 1 < rows.pointers.size(); ++row) {
    const std::int64_t end = rows.pointers[row + 1];
    for (std::int64_t begin = rows.pointers[row]; begin < end;) {
      const std::int64_t group = rows.indices[to_size(begin)] / m;
      std::int64_t next = begin;
      while (next < end && rows.indices[to_size(next)] / m == group) ++next;
      mark_largest(keys, begin, next, n, order, marks);
      begin = next;
    }
  }
  RowFilter::apply(rows, [&](std::int64_t k) { return marks[to_size(k)] != 0; });
}

void keep_where(CsrRows& rows, const CsrRows& mask) {
  std::vector<std::uint8_t> marks(to_size(rows.nnz()), 0);
  match(rows, mask, [&](std::int64_t k, float value) { marks[to_size(k)] = value != 0 ? 1 : 0; });
  RowFilter::apply(rows, [&](std::int64_t k) { return marks[to_size(k)] != 0; });
}

std::vector<float> values_at(const CsrRows& rows, const CsrRows& scores) {
  std::vector<float> values(to_size(rows.nnz()));
  match(rows, scores, [&](std::int64_t k, float value) { values[to_size(k)] = value; });
  return values;
}

}  // namespace espalier::kernels
