#include "io/scipy_npz.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "framework/error.hpp"
#include "io/npy.hpp"

namespace espalier::io {
namespace {

using kernels::CsrRows;

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  throw Error(ExitStatus::kBadData, name + ": " + what);
}

StoredArray open_array(const ZipArchive& archive, const std::string& key) {
  return parse_npy(archive.open(key + ".npy"), text(archive.path(), ": ", key));
}

// Checks kind and dimensions of one of the arrays.
StoredArray whole_numbers(const ZipArchive& archive, const std::string& key) {
  StoredArray array = open_array(archive, key);
  if (!is_whole(array.type) || array.shape.size() != 1) {
    refuse(array.name, text("holds ", to_string(array.type), " in ", array.shape.size(),
                            " dimensions, right is one of whole numbers"));
  }
  return array;
}

void need_length(const StoredArray& array, std::int64_t length, const std::string& why) {
  if (array.shape[0] != length) {
    refuse(array.name, text("has ", array.shape[0], " elements, right is ", length, why));
  }
}

// The word in `format`: one element of fixed-length text, as bytes or as UCS-4.
std::string read_format(const ZipArchive& archive) {
  constexpr std::int64_t kLongest = 64;
  const StoredArray array = open_array(archive, "format");
  if (array.type.kind != ElementClass::kText || array.count() != 1 || array.type.bytes > kLongest) {
    refuse(array.name, text("holds ", to_string(array.type), ", right is one short word"));
  }
  std::string bytes(static_cast<std::size_t>(array.type.bytes), '\0');
  array.bytes->read(array.offset, std::as_writable_bytes(std::span(bytes)));
  std::erase(bytes, '\0');
  return bytes;
}

void read_shape(const ZipArchive& archive, MatrixSource& source) {
  const StoredArray array = whole_numbers(archive, "shape");
  need_length(array, 2, ": rows and columns");
  std::array<std::int64_t, 2> shape{};
  array.read(0, std::span<std::int64_t>(shape));
  source.name = archive.path();
  source.rows = shape[0];
  source.cols = shape[1];
  check_shape(source);
}

// What csr, csc and bsr share: lines (rows, or columns) of blocks, which are single values but for
// bsr.
class Compressed {
 public:
  Compressed(const ZipArchive& archive, std::int64_t lines, std::int64_t across)
      : data_(open_array(archive, "data")),
        indices_(whole_numbers(archive, "indices")),
        pointers_(whole_numbers(archive, "indptr")),
        lines_(lines),
        across_(across) {
    if (!is_number(data_.type) || data_.column_major || data_.shape.empty()) {
      refuse(data_.name,
             text("holds ", to_string(data_.type), " in ", data_.shape.size(), " dimensions",
                  data_.column_major ? " in Fortran order" : "", ", right are numbers in C order"));
    }
    need_length(pointers_, lines + 1, ": one more than there are lines of the matrix");
    need_length(indices_, data_.shape.at(0), ", as many as data has");
  }

  std::int64_t blocks() const { return indices_.shape[0]; }

  // Where the blocks of lines [range) begin, and where the last ends.
  std::vector<std::int64_t> read_pointers(Range range) const {
    std::vector<std::int64_t> pointers(static_cast<std::size_t>(range.size()) + 1);
    pointers_.read(range.begin, std::span(pointers));
    for (std::size_t k = 0; k < pointers.size(); ++k) {
      const std::int64_t line = range.begin + static_cast<std::int64_t>(k);
      const std::int64_t least = line == 0 ? 0 : k == 0 ? 0 : pointers[k - 1];
      const std::int64_t most = line == 0 ? 0 : blocks();
      if (pointers[k] < least || pointers[k] > most ||
          (line == lines_ && pointers[k] != blocks())) {
        refuse(pointers_.name, text("element ", line, " is ", pointers[k],
                                    ": pointers ascend from 0 to the ", blocks(), " of indices"));
      }
    }
    return pointers;
  }

  // Indices across the lines.
  std::vector<std::uint32_t> read_indices(std::int64_t first, std::int64_t count) const {
    std::vector<std::uint32_t> indices(static_cast<std::size_t>(count));
    indices_.read(first, std::span(indices));
    for (std::size_t k = 0; k < indices.size(); ++k) {
      if (indices[k] >= across_) {
        refuse(indices_.name, text("element ", first + static_cast<std::int64_t>(k), " is ",
                                   indices[k], ", right is 0 to ", across_ - 1));
      }
    }
    return indices;
  }

  std::vector<float> read_values(std::int64_t first, std::int64_t count,
                                 std::int64_t block = 1) const {
    std::vector<float> values(static_cast<std::size_t>(count * block));
    data_.read(first * block, std::span(values));
    return values;
  }

  const StoredArray& data() const { return data_; }

 private:
  StoredArray data_, indices_, pointers_;
  std::int64_t lines_, across_;
};

void need_vector(const StoredArray& data) {
  if (data.shape.size() != 1) {
    refuse(data.name, text("has ", data.shape.size(), " dimensions, right is 1"));
  }
}

class CsrSource : public MatrixSource {
 public:
  explicit CsrSource(const ZipArchive& archive) {
    read_shape(archive, *this);
    arrays_ = std::make_unique<Compressed>(archive, rows, cols);
    need_vector(arrays_->data());
    stored = arrays_->blocks();
    type = arrays_->data().type;
  }
  CsrRows read_rows(Range range) const override {
    CsrRows out;
    out.first_row = range.begin;
    out.cols = cols;
    out.pointers = arrays_->read_pointers(range);
    const std::int64_t first = out.pointers.front();
    for (std::int64_t& pointer : out.pointers) {
      pointer -= first;
    }
    out.indices = arrays_->read_indices(first, out.nnz());
    out.values = arrays_->read_values(first, out.nnz());
    tidy(*this, out);
    return out;
  }

 private:
  std::unique_ptr<Compressed> arrays_;
};

class BsrSource : public MatrixSource {
 public:
  explicit BsrSource(const ZipArchive& archive) {
    read_shape(archive, *this);
    const StoredArray data = open_array(archive, "data");
    if (data.shape.size() != 3 || data.shape[1] < 1 || data.shape[2] < 1 ||
        rows % data.shape[1] != 0 || cols % data.shape[2] != 0) {
      refuse(data.name, text("is no array of blocks that tile ", rows, " x ", cols));
    }
    height_ = data.shape[1];
    width_ = data.shape[2];
    arrays_ = std::make_unique<Compressed>(archive, rows / height_, cols / width_);
    stored = arrays_->blocks() * height_ * width_;
    type = data.type;
  }
  CsrRows read_rows(Range range) const override {
    CsrRows out;
    out.first_row = range.begin;
    out.cols = cols;
    for (std::int64_t row = range.begin; row < range.end;) {
      const std::int64_t line = row / height_;
      const std::int64_t end = std::min(range.end, (line + 1) * height_);
      append_line(line, {row, end}, out);
      row = end;
    }
    tidy(*this, out);
    return out;
  }

 private:
  // Rows of one line of blocks.
  void append_line(std::int64_t line, Range of, CsrRows& out) const {
    const auto pointers = arrays_->read_pointers({line, line + 1});
    const std::int64_t count = pointers[1] - pointers[0];
    const auto indices = arrays_->read_indices(pointers[0], count);
    const auto values = arrays_->read_values(pointers[0], count, height_ * width_);
    for (std::int64_t row = of.begin; row < of.end; ++row) {
      for (std::size_t block = 0; block < indices.size(); ++block) {
        const std::size_t from =
            (block * static_cast<std::size_t>(height_) + static_cast<std::size_t>(row % height_)) *
            static_cast<std::size_t>(width_);
        for (std::int64_t c = 0; c < width_; ++c) {
          out.indices.push_back(static_cast<std::uint32_t>(indices[block] * width_ + c));
          out.values.push_back(values[from + static_cast<std::size_t>(c)]);
        }
      }
      out.pointers.push_back(std::ssize(out.indices));
    }
  }

  std::unique_ptr<Compressed> arrays_;
  std::int64_t height_ = 1, width_ = 1;
};

void check_finite(const std::string& name, const Entry& entry) {
  if (!std::isfinite(entry.value)) {
    refuse(name,
           text("row ", entry.row, ", column ", entry.col, " (from 0): the value is not finite"));
  }
}

class CscSource : public MatrixSource {
 public:
  explicit CscSource(const ZipArchive& archive) {
    read_shape(archive, *this);
    arrays_ = std::make_unique<Compressed>(archive, cols, rows);
    need_vector(arrays_->data());
    stored = arrays_->blocks();
    type = arrays_->data().type;
  }
  bool by_rows() const override { return false; }
  std::unique_ptr<EntryStream> entries(int part, int parts) const override {
    return std::make_unique<Columns>(*this, split_evenly(cols, parts, part));
  }

 private:
  class Columns : public EntryStream {
   public:
    Columns(const CscSource& source, Range columns) : source_(source), columns_(columns) {}
    bool read(std::vector<Entry>& out) override {
      while (at_ == end_) {
        if (columns_.empty()) {
          return false;
        }
        const auto pointers = source_.arrays_->read_pointers({columns_.begin, columns_.begin + 1});
        column_ = columns_.begin++;
        at_ = pointers[0];
        end_ = pointers[1];
      }
      const std::int64_t count = std::min<std::int64_t>(end_ - at_, kAtATime);
      const auto rows = source_.arrays_->read_indices(at_, count);
      const auto values = source_.arrays_->read_values(at_, count);
      for (std::size_t k = 0; k < rows.size(); ++k) {
        out.push_back({rows[k], static_cast<std::uint32_t>(column_), values[k]});
        check_finite(source_.name, out.back());
      }
      at_ += count;
      passed_ += count;
      return true;
    }
    std::int64_t passed() const override { return passed_; }

   private:
    const CscSource& source_;
    Range columns_;
    std::int64_t column_ = 0, at_ = 0, end_ = 0, passed_ = 0;
  };

  std::unique_ptr<Compressed> arrays_;
};

class CooSource : public MatrixSource {
 public:
  explicit CooSource(const ZipArchive& archive)
      : data_(open_array(archive, "data")),
        row_(whole_numbers(archive, "row")),
        col_(whole_numbers(archive, "col")) {
    read_shape(archive, *this);
    if (!is_number(data_.type)) {
      refuse(data_.name, text("holds ", to_string(data_.type), ", right are numbers"));
    }
    need_vector(data_);
    need_length(row_, data_.shape[0], ", as many as data has");
    need_length(col_, data_.shape[0], ", as many as data has");
    stored = data_.shape[0];
    type = data_.type;
  }
  bool by_rows() const override { return false; }
  std::unique_ptr<EntryStream> entries(int part, int parts) const override {
    return std::make_unique<Triplets>(*this, split_evenly(stored, parts, part));
  }

 private:
  class Triplets : public EntryStream {
   public:
    Triplets(const CooSource& source, Range range) : source_(source), range_(range) {}
    bool read(std::vector<Entry>& out) override {
      const std::int64_t count = std::min<std::int64_t>(range_.size(), kAtATime);
      const auto length = static_cast<std::size_t>(count);
      std::vector<std::uint32_t> rows(length), cols(length);
      std::vector<float> values(length);
      source_.row_.read(range_.begin, std::span(rows));
      source_.col_.read(range_.begin, std::span(cols));
      source_.data_.read(range_.begin, std::span(values));
      for (std::size_t k = 0; k < length; ++k) {
        if (rows[k] >= source_.rows || cols[k] >= source_.cols) {
          refuse(source_.name,
                 text("entry ", range_.begin + static_cast<std::int64_t>(k), " is row ", rows[k],
                      ", column ", cols[k], ", outside ", source_.rows, " x ", source_.cols));
        }
        out.push_back({rows[k], cols[k], values[k]});
        check_finite(source_.name, out.back());
      }
      range_.begin += count;
      passed_ += count;
      return count > 0;
    }
    std::int64_t passed() const override { return passed_; }

   private:
    const CooSource& source_;
    Range range_;
    std::int64_t passed_ = 0;
  };

  StoredArray data_, row_, col_;
};

}  // namespace

bool is_scipy_npz(const ZipArchive& archive) {
  return archive.has("format.npy") && archive.has("shape.npy") && archive.has("data.npy");
}

std::unique_ptr<MatrixSource> open_scipy_npz(const ZipArchive& archive) {
  const std::string format = read_format(archive);
  if (format == "csr") {
    return std::make_unique<CsrSource>(archive);
  }
  if (format == "csc") {
    return std::make_unique<CscSource>(archive);
  }
  if (format == "coo") {
    return std::make_unique<CooSource>(archive);
  }
  if (format == "bsr") {
    return std::make_unique<BsrSource>(archive);
  }
  refuse(archive.path(), text("is a sparse matrix of format ", in_quotes(format),
                              ", right is csr, csc, coo or bsr"));
}

}  // namespace espalier::io
