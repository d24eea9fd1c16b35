// A matrix in another format, read piece by piece: what every import of weights and features makes
// of its files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "framework/shard.hpp"
#include "io/stored_array.hpp"
#include "kernels/layout.hpp"

namespace espalier::io {

struct Entry {
  std::uint32_t row, col;
  float value;
};

// Some of a matrix's entries, in the order in which a file has them. Local.
class EntryStream {
 public:
  static constexpr std::size_t kAtATime = 1 << 16;
  virtual ~EntryStream() = default;
  // Appends about kAtATime entries; false if there are none left. Zeros may be among them.
  //   throws   Error(kBadData) naming the place: an index out of range, a value not finite
  virtual bool read(std::vector<Entry>& out) = 0;
  // Entries as the file counts them that have been read: a mirrored one counts once.
  virtual std::int64_t passed() const = 0;
};

// All members are local; ranks read independently.
class MatrixSource {
 public:
  virtual ~MatrixSource() = default;

  std::string name;   // for messages: "weights.npz: layer1"
  std::string label;  // what the layer may be called
  std::int64_t rows = 0, cols = 0;
  std::int64_t stored = 0;      // entries, as the file says; zeros may be among them
  bool dense = false;           // all of them, zeros too
  bool vector = false;          // one-dimensional: rows x 1
  ElementType type = kFloat32;  // of the stored values

  // Whether read_rows() may be used; if not, entries() is the way.
  virtual bool by_rows() const { return true; }
  // Rows without zeros, columns ascending. Ascending calls are cheap in any format.
  //   throws   Error(kBadData) naming the place: an index out of range or twice in a row, a value
  //            that is not finite
  virtual kernels::CsrRows read_rows(Range range) const;
  // Part `part` of `parts` of the entries, in any order.
  virtual std::unique_ptr<EntryStream> entries(int part, int parts) const;
};

using MatrixSources = std::vector<std::unique_ptr<MatrixSource>>;

// A dense array of one or two dimensions as a matrix; further dimensions are refused unless
// `flatten`: then all but the first become columns.
//   throws   Error(kBadData) also if the elements are no numbers, or there are none
std::unique_ptr<MatrixSource> dense_source(StoredArray array, const std::string& label,
                                           bool flatten);

// Rows as columns.
//   cost     dense: strided reads; others: their entries are sorted again
std::unique_ptr<MatrixSource> transposed(std::unique_ptr<MatrixSource> source);

// Checks that rows and cols are in 1..2^32-1.
//   throws   Error(kBadData)
void check_shape(const MatrixSource& source);

// Sorts, checks and drops zeros of rows as they were read.
//   throws   Error(kBadData) naming row and column
void tidy(const MatrixSource& source, kernels::CsrRows& rows);

// The values of a vector; one that has no rows in order is read as a whole for that.
std::vector<float> read_vector(const MatrixSource& source, Range range);

}  // namespace espalier::io
