#include "io/binsparse_source.hpp"

#include <cmath>
#include <utility>

#include "framework/error.hpp"
#include "io/binsparse.hpp"
#include "io/data_file.hpp"
#include "io/matrix_rows.hpp"
#include "io/tidy_rows.hpp"

namespace espalier::io {
namespace {

class BinsparseSource : public MatrixSource {
 public:
  BinsparseSource(std::shared_ptr<const DataFile> file, MatrixInfo info)
      : file_(std::move(file)), info_(std::move(info)) {
    name = file_->catalog().file + ":" + info_.group;
    label = info_.group.substr(info_.group.find_first_not_of('/') == std::string::npos ? 0 : 1);
    rows = info_.rows;
    cols = info_.cols;
    stored = info_.stored;
    type = info_.value_type;
    vector = info_.format == MatrixFormat::kDvec;
    dense = vector || info_.format == MatrixFormat::kDmat;
    check_shape(*this);
  }

  kernels::CsrRows read_rows(Range range) const override {
    kernels::CsrRows out = vector ? read_elements(range) : io::read_rows(*file_, info_, range);
    if (out.iso) {
      const float value = out.nnz() > 0 ? out.values.at(0) : 0;
      out.values.assign(out.indices.size(), value);
      out.iso = false;
    }
    out.first_row = range.begin;
    out.cols = cols;
    tidy(*this, out);
    return out;
  }

 private:
  kernels::CsrRows read_elements(Range range) const {
    const Dataset& values = file_->catalog().dataset(info_.group + "/values");
    const auto count = static_cast<std::size_t>(range.size());
    kernels::CsrRows out;
    out.first_row = range.begin;
    out.cols = cols;
    out.values.resize(count);
    if (info_.iso && count > 0) {
      file_->read(values, 0, std::span(out.values).first(1));
      out.values.assign(count, out.values[0]);
    } else {
      file_->read(values, range.begin, std::span(out.values));
    }
    out.indices.assign(count, 0);
    for (std::size_t k = 1; k <= count; ++k) {
      out.pointers.push_back(static_cast<std::int64_t>(k));
    }
    return out;
  }

  std::shared_ptr<const DataFile> file_;
  MatrixInfo info_;
};

}  // namespace

MatrixSources open_binsparse(const Catalog& catalog, const std::string& below) {
  const auto file = std::make_shared<const DataFile>(catalog);
  const std::string within = below.ends_with('/') ? below : below + "/";
  MatrixSources sources;
  for (const auto& [path, attributes] : catalog.objects) {
    const bool wanted = path == below || path.starts_with(within);
    if (wanted && catalog.has_group(path) && attributes.contains("binsparse")) {
      sources.push_back(std::make_unique<BinsparseSource>(file, parse_matrix(catalog, path)));
    }
  }
  if (sources.empty()) {
    throw Error(ExitStatus::kBadData,
                text(catalog.file, ": ", below,
                     " is no binsparse matrix and has none below it: right are groups with the "
                     "attribute binsparse"));
  }
  return sources;
}

}  // namespace espalier::io
