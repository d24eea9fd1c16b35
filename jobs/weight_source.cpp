#include "jobs/weight_source.hpp"

#include <algorithm>
#include <utility>

#include "framework/error.hpp"
#include "kernels/masks.hpp"

namespace espalier::jobs {
namespace {

using kernels::CsrRows;

// Short enough to be in the cache when it is looked at, long enough for fast reads.
constexpr std::int64_t kStretch = INT64_C(1) << 17;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

WeightSource::WeightSource(const io::LayerReader& reader, KeyRule rule)
    : reader_(reader), rule_(std::move(rule)) {
  for (std::int64_t id = 0; id < std::ssize(reader.network().layers); ++id) {
    if (is_dense(id) && stretch_.size() == 0) {
      stretch_ = AlignedBuffer<float>(to_size(kStretch));
      values_ = AlignedBuffer<float>(to_size(kStretch));
      indices_ = AlignedBuffer<std::uint32_t>(to_size(kStretch));
    }
  }
}

bool WeightSource::is_dense(std::int64_t layer) const {
  return !rule_ &&
         reader_.network().layers[to_size(layer)].weight.format == io::MatrixFormat::kDmat;
}

// At most kStretch elements of the row-major array.
std::span<const float> WeightSource::read_dense(std::int64_t layer, Range elements) {
  const auto stretch = stretch_.span().first(to_size(elements.size()));
  reader_.read_dense(layer, elements.begin, stretch);
  return stretch;
}

// Reads the rows of these elements once more to name the one that is not finite.
void WeightSource::complain(std::int64_t layer, Range elements) const {
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  reader_.read_rows(layer, {elements.begin / cols, (elements.end - 1) / cols + 1});
  expects(false, "a weight that is not finite is found again");
}

void WeightSource::count_dense(std::int64_t layer, Range rows, std::span<std::int64_t> counts) {
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  const auto not_finite = counts.subspan(kernels::kFirstNotFinite >> 16U);
  for (std::int64_t at = rows.begin * cols; at < rows.end * cols; at += kStretch) {
    const Range elements{at, std::min(at + kStretch, rows.end * cols)};
    kernels::count_upper(read_dense(layer, elements), counts);
    if (std::any_of(not_finite.begin(), not_finite.end(), [](std::int64_t n) { return n > 0; })) {
      complain(layer, elements);
    }
  }
}

double WeightSource::collect_dense(std::int64_t layer, Range rows, std::uint32_t least,
                                   CsrRows& found) {
  const std::int64_t cols = reader_.network().layers[to_size(layer)].weight.cols;
  double left_out = 0;
  // Whole rows if they are short, else pieces of a row.
  const std::int64_t step = cols <= kStretch ? kStretch / cols * cols : kStretch;
  for (std::int64_t at = rows.begin * cols; at < rows.end * cols;) {
    const std::int64_t row_end = (at / cols + 1) * cols;
    const std::int64_t end = std::min(at + step, cols <= kStretch ? rows.end * cols : row_end);
    const auto stretch = read_dense(layer, {at, end});
    for (std::int64_t done = 0; done < end - at;) {
      const std::int64_t column = (at + done) % cols;
      const std::int64_t length = std::min(cols - column, end - at - done);
      const kernels::Collected part = kernels::collect_dense(
          stretch.subspan(to_size(done), to_size(length)), least, indices_.data(), values_.data());
      const auto count = to_size(part.count);
      // What is not finite has the largest keys, so it is among what is found.
      if (!std::all_of(values_.data(), values_.data() + count, [](float value) {
            return kernels::magnitude_key(value) < kernels::kFirstNotFinite;
          })) {
        complain(layer, {at, end});
      }
      for (std::size_t k = 0; k < count; ++k) {
        indices_[k] += static_cast<std::uint32_t>(column);
      }
      found.indices.insert(found.indices.end(), indices_.data(), indices_.data() + count);
      found.values.insert(found.values.end(), values_.data(), values_.data() + count);
      left_out += part.left_out_squares;
      done += length;
      if (column + length == cols) {
        found.pointers.push_back(std::ssize(found.indices));
      }
    }
    at = end;
  }
  return left_out;
}

KeyedRows WeightSource::read_keyed(std::int64_t layer, Range rows) const {
  KeyedRows keyed;
  keyed.rows = reader_.read_rows(layer, rows);
  kernels::drop_zeros(keyed.rows);
  if (rule_) {
    keyed.keys = rule_(layer, keyed.rows);
    expects(std::ssize(keyed.keys) == keyed.rows.nnz(), "each weight has a key");
  }
  return keyed;
}

void WeightSource::count(std::int64_t layer, Range rows, std::span<std::int64_t> counts) {
  if (is_dense(layer)) {
    count_dense(layer, rows, counts);
    return;
  }
  const KeyedRows keyed = read_keyed(layer, rows);
  if (rule_) {
    kernels::count_upper(std::span<const std::uint32_t>(keyed.keys), counts);
  } else if (keyed.rows.iso && keyed.rows.nnz() > 0) {
    counts[kernels::magnitude_key(keyed.rows.values[0]) >> 16U] += keyed.rows.nnz();
  } else {
    kernels::count_upper(std::span<const float>(keyed.rows.values), counts);
  }
}

double WeightSource::collect(std::int64_t layer, Range rows, std::uint32_t least,
                             KeyedRows& found) {
  if (is_dense(layer)) {
    found.rows.first_row = rows.begin;
    found.rows.cols = reader_.network().layers[to_size(layer)].weight.cols;
    found.rows.iso = false;
    found.rows.pointers.assign(1, 0);
    found.rows.indices.clear();
    found.rows.values.clear();
    found.keys.clear();
    return collect_dense(layer, rows, least, found.rows);
  }
  found = read_keyed(layer, rows);
  double left_out = 0;
  std::size_t to = 0;
  kernels::RowFilter::apply(found.rows, [&](std::int64_t k) {
    const std::uint32_t key = found.key(k);
    const bool stays = key >= least;
    if (!stays) {
      const auto value = static_cast<double>(found.rows.value(k));
      left_out += value * value;
    } else if (rule_) {
      found.keys[to++] = key;
    }
    return stays;
  });
  found.keys.resize(to);
  return left_out;
}

}  // namespace espalier::jobs
