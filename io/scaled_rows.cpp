#include "io/scaled_rows.hpp"

#include <cmath>
#include <utility>

#include "framework/error.hpp"
#include "io/tidy_rows.hpp"

namespace espalier::io {
namespace {

class ScaledSource : public MatrixSource {
 public:
  ScaledSource(std::unique_ptr<MatrixSource> source, std::vector<double> factors)
      : source_(std::move(source)), factors_(std::move(factors)) {
    name = source_->name;
    label = source_->label;
    rows = source_->rows;
    cols = source_->cols;
    stored = source_->stored;
    dense = source_->dense;  // products are float32, whatever is stored
  }
  bool by_rows() const override { return source_->by_rows(); }
  kernels::CsrRows read_rows(Range range) const override {
    kernels::CsrRows out = source_->read_rows(range);
    for (std::int64_t row = 0; row < out.rows(); ++row) {
      const auto r = static_cast<std::size_t>(row);
      for (std::int64_t k = out.pointers[r]; k < out.pointers[r + 1]; ++k) {
        float& value = out.values[static_cast<std::size_t>(k)];
        value = scaled(value, range.begin + row);
      }
    }
    leave_out_zeros(out);
    return out;
  }
  std::unique_ptr<EntryStream> entries(int part, int parts) const override {
    return std::make_unique<Stream>(*this, source_->entries(part, parts));
  }

 private:
  class Stream : public EntryStream {
   public:
    Stream(const ScaledSource& scaled, std::unique_ptr<EntryStream> stream)
        : scaled_(scaled), stream_(std::move(stream)) {}
    bool read(std::vector<Entry>& out) override {
      const std::size_t before = out.size();
      const bool more = stream_->read(out);
      for (std::size_t k = before; k < out.size(); ++k) {
        out[k].value = scaled_.scaled(out[k].value, out[k].row);
      }
      return more;
    }
    std::int64_t passed() const override { return stream_->passed(); }

   private:
    const ScaledSource& scaled_;
    std::unique_ptr<EntryStream> stream_;
  };

  float scaled(float value, std::int64_t row) const {
    const auto product =
        static_cast<float>(static_cast<double>(value) * factors_[static_cast<std::size_t>(row)]);
    if (!std::isfinite(product)) {
      throw Error(ExitStatus::kBadData,
                  text(name, ": row ", row, " (from 0): a weight is not ",
                       "finite after its factor ", factors_[static_cast<std::size_t>(row)]));
    }
    return product;
  }

  std::unique_ptr<MatrixSource> source_;
  std::vector<double> factors_;
};

}  // namespace

std::unique_ptr<MatrixSource> scaled_rows(std::unique_ptr<MatrixSource> source,
                                          std::vector<double> factors) {
  expects(std::ssize(factors) == source->rows, "there is a factor for every row");
  return std::make_unique<ScaledSource>(std::move(source), std::move(factors));
}

}  // namespace espalier::io
