// Independent reads of stored arrays by one rank.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "framework/shard.hpp"
#include "io/catalog.hpp"

namespace espalier::io {

// An open file described by a catalog (borrowed: must outlive this). Contiguous data is read by
// pread where it lies; anything else through HDF5. If the file has espalier's checksum table, every
// block that is touched is verified; partial blocks are read whole for that.
// All members are local; a rank may read while others do not. One thread at a time.
//   throws   Error: kIoFailed if reading fails, kBadData naming file, dataset and block if a
//            checksum differs, a value does not fit the type asked for, or the range is outside
class DataFile {
 public:
  explicit DataFile(const Catalog& catalog);
  ~DataFile();
  DataFile(DataFile&&) noexcept;
  DataFile& operator=(DataFile&&) noexcept;

  // The same file for one more thread; such readers share the checksum table and what bytes_read()
  // counts. Only for datasets that have an offset: HDF5, which reads the others, has no threads.
  //   where    local, not inside a parallel_for
  //   throws   as reading does
  DataFile for_thread() const;

  const Catalog& catalog() const noexcept;
  bool has_checksums() const noexcept;

  // Elements [first, first + out.size()) in row-major order, converted. Integers convert to any
  // integer type that holds them, numbers to float (float64 is rounded; a finite value that
  // overflows is refused).
  void read(const Dataset& dataset, std::int64_t first, std::span<std::int64_t> out) const;
  void read(const Dataset& dataset, std::int64_t first, std::span<std::uint32_t> out) const;
  void read(const Dataset& dataset, std::int64_t first, std::span<float> out) const;
  void read(const Dataset& dataset, std::int64_t first, std::span<double> out) const;
  void read(const Dataset& dataset, std::int64_t first, std::span<IndexedWeight> out) const;
  // The stored bytes as they are; out.size() is a multiple of the element's size.
  void read_raw(const Dataset& dataset, std::int64_t first, std::span<std::byte> out) const;

  // First position in [0, count] of an ascending integer dataset whose element is >= value.
  //   cost     O(log count) small reads, not verified against checksums
  std::int64_t lower_bound(const Dataset& dataset, std::int64_t value) const;
  // The same among the positions of `within`, which ascend there.
  std::int64_t lower_bound(const Dataset& dataset, std::int64_t value, Range within) const;
  // One integer, or the index of a pair, not verified against checksums: for searching.
  std::int64_t peek(const Dataset& dataset, std::int64_t position) const;
  // One number, or the weight of a pair, as float32; not verified either.
  float peek_value(const Dataset& dataset, std::int64_t position) const;

  std::int64_t bytes_read() const noexcept;

 private:
  struct Shared;
  struct State;
  explicit DataFile(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

// Reads every block of every dataset and compares it with the table, and the table and structure
// with the stored digest.
//   where    collective over `comm`: blocks are dealt evenly
//   throws   SharedError(kBadData) naming the first damaged dataset and block
//   returns  false if the file has no checksums (not written by espalier)
bool verify_checksums(const Comm& comm, const Catalog& catalog);

}  // namespace espalier::io
