#include "io/block_sums.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/checksum.hpp"

namespace espalier::io {

BlockSums::BlockSums(std::vector<SummedDataset> datasets, std::int64_t blocks)
    : datasets_(std::move(datasets)),
      pieces_(datasets_.size()),
      table_(static_cast<std::size_t>(blocks), 0) {}

bool BlockSums::is_whole(const Piece& piece) const {
  const std::int64_t end = piece.offset + piece.bytes;
  return piece.offset % kBlockBytes == 0 &&
         (end % kBlockBytes == 0 ||
          end == datasets_[static_cast<std::size_t>(piece.dataset)].bytes);
}

std::uint32_t& BlockSums::crc_of_block(const Piece& piece) {
  const SummedDataset& dataset = datasets_[static_cast<std::size_t>(piece.dataset)];
  return table_.at(static_cast<std::size_t>(dataset.first_block + piece.offset / kBlockBytes));
}

void BlockSums::add(std::int64_t dataset, std::int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto left_of_block = static_cast<std::size_t>(kBlockBytes - offset % kBlockBytes);
    const auto part = bytes.first(std::min(left_of_block, bytes.size()));
    append({dataset, offset, std::ssize(part), crc32(part)});
    offset += std::ssize(part);
    bytes = bytes.subspan(part.size());
  }
}

// `piece` lies within one block.
void BlockSums::append(Piece piece) {
  auto& list = pieces_[static_cast<std::size_t>(piece.dataset)];
  const auto follows_last = [&] {
    return !list.empty() && list.back().offset + list.back().bytes == piece.offset;
  };
  if (follows_last() && piece.offset % kBlockBytes != 0) {
    const Piece& last = list.back();
    piece = {piece.dataset, last.offset, last.bytes + piece.bytes,
             combine_crc32(narrow<std::uint32_t>(last.crc), narrow<std::uint32_t>(piece.crc),
                           piece.bytes)};
    list.pop_back();
  }
  if (is_whole(piece)) {
    crc_of_block(piece) = narrow<std::uint32_t>(piece.crc);
    if (follows_last() && is_whole(list.back())) {
      list.back().bytes += piece.bytes;
      return;
    }
  }
  list.push_back(piece);
}

// Every dataset has one rank that combines its pieces.
std::vector<BlockSums::Piece> BlockSums::exchange_pieces(const Comm& comm) const {
  std::vector<std::vector<std::byte>> to_rank(static_cast<std::size_t>(comm.ranks()));
  for (std::size_t dataset = 0; dataset < pieces_.size(); ++dataset) {
    const auto bytes = std::as_bytes(std::span(pieces_[dataset]));
    auto& message = to_rank[dataset % to_rank.size()];
    message.insert(message.end(), bytes.begin(), bytes.end());
  }
  std::vector<Piece> pieces;
  for (const auto& message : comm.exchange_all(to_rank)) {
    const std::size_t before = pieces.size();
    pieces.resize(before + message.size() / sizeof(Piece));
    if (!message.empty()) {
      std::memcpy(pieces.data() + before, message.data(), message.size());
    }
  }
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return std::tie(a.dataset, a.offset) < std::tie(b.dataset, b.offset);
  });
  return pieces;
}

void BlockSums::combine(std::int64_t dataset, std::span<const Piece> pieces) {
  const SummedDataset& summed = datasets_[static_cast<std::size_t>(dataset)];
  std::int64_t end = 0;
  for (const Piece& piece : pieces) {
    expects(piece.offset >= end,
            text(summed.path, ": no byte is written twice, but byte ", piece.offset, " is"));
    expects(piece.offset == end, text(summed.path, ": every byte is written, but bytes ", end,
                                      " to ", piece.offset - 1, " are not"));
    end += piece.bytes;
    if (!is_whole(piece)) {
      std::uint32_t& crc = crc_of_block(piece);
      crc = combine_crc32(crc, narrow<std::uint32_t>(piece.crc), piece.bytes);
    }
  }
  expects(end == summed.bytes, text(summed.path, ": every byte is written, but bytes ", end, " to ",
                                    summed.bytes - 1, " are not"));
}

std::vector<std::uint32_t> BlockSums::exchange_table(const Comm& comm) {
  const std::vector<Piece> pieces = exchange_pieces(comm);
  locally(comm, "completing checksums", [&] {
    auto at = pieces.begin();
    for (std::int64_t dataset = comm.rank(); dataset < std::ssize(datasets_);
         dataset += comm.ranks()) {
      const auto end = std::find_if(at, pieces.end(),
                                    [&](const Piece& piece) { return piece.dataset != dataset; });
      combine(dataset, {at, end});
      at = end;
    }
  });
  // Every block is known to one rank only; the others hold 0.
  const auto bytes = std::as_writable_bytes(std::span(table_));
  comm.bit_or({reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size()});
  return std::move(table_);
}

}  // namespace espalier::io
