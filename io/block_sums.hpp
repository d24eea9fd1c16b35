// Who has written which bytes, and the checksum table that follows from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "framework/comm.hpp"

namespace espalier::io {

// A dataset as the checksum table sees it.
struct SummedDataset {
  std::string path;
  std::int64_t bytes = 0;
  std::int64_t first_block = 0;  // in the table
};

// Collects what this rank writes, in memory of the size of the table. Neighbouring pieces are
// joined at once, so that many small writes cost no more than one large one.
class BlockSums {
 public:
  BlockSums(std::vector<SummedDataset> datasets, std::int64_t blocks);

  // This rank has bytes [offset, offset + bytes.size()) of dataset number `dataset`.
  //   where    local
  //   cost     one pass over the bytes
  void add(std::int64_t dataset, std::int64_t offset, std::span<const std::byte> bytes);

  // The CRC of every block of every dataset, combined from all ranks' pieces.
  //   where    collective over `comm`, once
  //   throws   SharedError(kOurBug) if a byte of a dataset was written never or twice
  //   cost     pieces go to one rank a dataset; one reduction of the table
  std::vector<std::uint32_t> exchange_table(const Comm& comm);

 private:
  // Bytes written in a row: whole blocks, whose CRCs stand in the table, or a part of one block.
  struct Piece {
    std::int64_t dataset;
    std::int64_t offset;
    std::int64_t bytes;
    std::int64_t crc;  // of a part
  };
  bool is_whole(const Piece& piece) const;
  std::uint32_t& crc_of_block(const Piece& piece);
  void append(Piece piece);
  std::vector<Piece> exchange_pieces(const Comm& comm) const;
  void combine(std::int64_t dataset, std::span<const Piece> pieces);

  std::vector<SummedDataset> datasets_;
  std::vector<std::vector<Piece>> pieces_;  // by dataset
  std::vector<std::uint32_t> table_;
};

}  // namespace espalier::io
