#include "io/matrix_source.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "framework/error.hpp"
#include "io/tidy_rows.hpp"

namespace espalier::io {
namespace {

using kernels::CsrRows;

constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  throw Error(ExitStatus::kBadData, name + ": " + what);
}

// Entries of a source that reads by rows.
class RowEntries : public EntryStream {
 public:
  RowEntries(const MatrixSource& source, Range rows) : source_(source), rows_(rows) {
    const std::int64_t in_row = source.stored / source.rows + 1;
    step_ = std::max<std::int64_t>(static_cast<std::int64_t>(kAtATime) / in_row, 1);
  }
  bool read(std::vector<Entry>& out) override {
    if (rows_.empty()) {
      return false;
    }
    const CsrRows rows = source_.read_rows({rows_.begin, std::min(rows_.begin + step_, rows_.end)});
    rows_.begin += rows.rows();
    for (std::int64_t r = 0; r < rows.rows(); ++r) {
      const auto at = static_cast<std::size_t>(r);
      for (std::int64_t k = rows.pointers[at]; k < rows.pointers[at + 1]; ++k) {
        out.push_back({static_cast<std::uint32_t>(rows.first_row + r),
                       rows.indices[static_cast<std::size_t>(k)], rows.value(k)});
      }
    }
    passed_ += rows.nnz();
    return true;
  }
  std::int64_t passed() const override { return passed_; }

 private:
  const MatrixSource& source_;
  Range rows_;
  std::int64_t step_ = 1, passed_ = 0;
};

class DenseSource : public MatrixSource {
 public:
  explicit DenseSource(StoredArray array) : array_(std::move(array)) {
    name = array_.name;
    type = array_.type;
    dense = true;
  }

  void transpose() {
    std::swap(rows, cols);
    array_.column_major = !array_.column_major;
  }
  // Strided reads of a stream would start again and again.
  bool by_rows() const override { return !(array_.column_major && array_.bytes->forward_only()); }

  CsrRows read_rows(Range range) const override {
    CsrRows out;
    out.first_row = range.begin;
    out.cols = cols;
    const auto height = static_cast<std::size_t>(range.size());
    const auto width = static_cast<std::size_t>(cols);
    std::vector<float> values(height * width);
    if (array_.column_major) {
      for (std::size_t c = 0; c < width; ++c) {
        array_.read(static_cast<std::int64_t>(c) * rows + range.begin,
                    std::span(values).subspan(c * height, height));
      }
    } else {
      array_.read(range.begin * cols, std::span(values));
    }
    const std::size_t down = array_.column_major ? 1 : width;
    const std::size_t along = array_.column_major ? height : 1;
    for (std::size_t r = 0; r < height; ++r) {
      for (std::size_t c = 0; c < width; ++c) {
        const float value = values[r * down + c * along];
        if (value != 0) {
          out.indices.push_back(static_cast<std::uint32_t>(c));
          out.values.push_back(value);
        }
      }
      out.pointers.push_back(std::ssize(out.indices));
    }
    tidy(*this, out);
    return out;
  }

  std::unique_ptr<EntryStream> entries(int part, int parts) const override {
    if (by_rows()) {
      return MatrixSource::entries(part, parts);
    }
    return std::make_unique<Elements>(*this, split_evenly(rows * cols, parts, part));
  }

 private:
  // A column-major array from its beginning to its end.
  class Elements : public EntryStream {
   public:
    Elements(const DenseSource& source, Range range)
        : source_(source), range_(range), first_(range.begin) {}
    bool read(std::vector<Entry>& out) override {
      const std::int64_t count =
          std::min<std::int64_t>(range_.end - range_.begin, static_cast<std::int64_t>(kAtATime));
      std::vector<float> values(static_cast<std::size_t>(std::max<std::int64_t>(count, 0)));
      source_.array_.read(range_.begin, std::span(values));
      for (const float value : values) {
        const std::int64_t row = range_.begin % source_.rows, col = range_.begin / source_.rows;
        ++range_.begin;
        if (!std::isfinite(value)) {
          refuse(source_.name,
                 text("row ", row, ", column ", col, " (from 0): the value is not finite"));
        }
        out.push_back({static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(col), value});
      }
      return !values.empty();
    }
    std::int64_t passed() const override { return range_.begin - first_; }

   private:
    const DenseSource& source_;
    Range range_;
    std::int64_t first_;
  };

  StoredArray array_;
};

class TransposedSource : public MatrixSource {
 public:
  explicit TransposedSource(std::unique_ptr<MatrixSource> source) : source_(std::move(source)) {
    name = source_->name;
    label = source_->label;
    rows = source_->cols;
    cols = source_->rows;
    stored = source_->stored;
    dense = source_->dense;
    type = source_->type;
  }
  bool by_rows() const override { return false; }
  std::unique_ptr<EntryStream> entries(int part, int parts) const override {
    return std::make_unique<Swapped>(source_->entries(part, parts));
  }

 private:
  class Swapped : public EntryStream {
   public:
    explicit Swapped(std::unique_ptr<EntryStream> stream) : stream_(std::move(stream)) {}
    bool read(std::vector<Entry>& out) override {
      const std::size_t before = out.size();
      const bool more = stream_->read(out);
      for (std::size_t k = before; k < out.size(); ++k) {
        std::swap(out[k].row, out[k].col);
      }
      return more;
    }
    std::int64_t passed() const override { return stream_->passed(); }

   private:
    std::unique_ptr<EntryStream> stream_;
  };

  std::unique_ptr<MatrixSource> source_;
};

}  // namespace

CsrRows MatrixSource::read_rows(Range) const {
  expects(false, "rows are read of a source that has them in order");
  return {};
}

std::unique_ptr<EntryStream> MatrixSource::entries(int part, int parts) const {
  return std::make_unique<RowEntries>(*this, split_evenly(rows, parts, part));
}

std::unique_ptr<MatrixSource> dense_source(StoredArray array, const std::string& label,
                                           bool flatten) {
  const std::vector<std::int64_t> shape = array.shape;
  if (!is_number(array.type)) {
    refuse(array.name, text("holds ", to_string(array.type), ", right is an array of numbers"));
  }
  if (shape.empty() || (shape.size() > 2 && (!flatten || array.column_major))) {
    refuse(array.name, text("has ", shape.size(), " dimensions, right is 1 or 2",
                            flatten ? ", or more in C order" : ""));
  }
  auto source = std::make_unique<DenseSource>(std::move(array));
  source->label = label;
  source->vector = shape.size() == 1;
  source->rows = shape[0];
  source->cols = 1;
  for (std::size_t d = 1; d < shape.size(); ++d) {
    source->cols *= shape[d];
  }
  source->stored = source->rows * source->cols;
  check_shape(*source);
  return source;
}

std::unique_ptr<MatrixSource> transposed(std::unique_ptr<MatrixSource> source) {
  if (auto* dense = dynamic_cast<DenseSource*>(source.get())) {
    dense->transpose();
    return source;
  }
  return std::make_unique<TransposedSource>(std::move(source));
}

void check_shape(const MatrixSource& source) {
  if (source.rows < 1 || source.cols < 1 || source.rows > kMost || source.cols > kMost) {
    refuse(source.name, text("is ", source.rows, " x ", source.cols, ", right is 1 to ", kMost,
                             " rows and columns"));
  }
}

void tidy(const MatrixSource& source, CsrRows& rows) {
  const bool once = sort_rows(rows);
  kernels::CsrFault fault{};
  if (kernels::find_fault(rows, fault)) {
    const std::string place = text("row ", fault.row, ", column ", fault.column, " (from 0)");
    switch (fault.kind) {
      case kernels::CsrFault::Kind::kNotFinite:
        refuse(source.name, place + ": the value is not finite");
      case kernels::CsrFault::Kind::kDuplicate:
        refuse(source.name, place + " stands there twice, right is each place once");
      case kernels::CsrFault::Kind::kColumnRange:
        refuse(source.name, text(place, ": the matrix has only ", source.cols, " columns"));
      default:
        refuse(source.name, text("row ", fault.row, " (from 0): its pointers descend"));
    }
  }
  expects(once, "rows without a fault have each column once");
  leave_out_zeros(rows);
}

std::vector<float> read_vector(const MatrixSource& source, Range range) {
  expects(source.vector, "a vector is read");
  std::vector<float> values(static_cast<std::size_t>(range.size()));
  if (!source.by_rows()) {
    std::vector<Entry> entries;
    const auto stream = source.entries(0, 1);
    while (stream->read(entries)) {
    }
    for (const Entry& entry : entries) {
      if (entry.row >= range.begin && entry.row < range.end) {
        values[static_cast<std::size_t>(entry.row - range.begin)] = entry.value;
      }
    }
    return values;
  }
  const CsrRows rows = source.read_rows(range);
  for (std::size_t r = 0; r < values.size(); ++r) {
    if (rows.pointers[r + 1] > rows.pointers[r]) {
      values[r] = rows.value(rows.pointers[r]);
    }
  }
  return values;
}

}  // namespace espalier::io
