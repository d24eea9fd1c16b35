// Checksums of stored data and digests of files and jobs (source: io/FORMAT.md, "Checksums").
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/comm.hpp"
#include "io/catalog.hpp"

namespace espalier::io {

// A dataset's bytes (row-major, as stored, before any filter) are cut into blocks of this size;
// each block has its CRC-32 (the zlib one). Blocks do not depend on who wrote which part.
inline constexpr std::int64_t kBlockBytes = 65536;
// The table: a 1-D uint32 dataset, one CRC a block.
inline constexpr const char* kChecksumPath = "/espalier/checksums";
// The attribute of "/" that holds content_digest.
inline constexpr const char* kDigestAttribute = "digest";

// CRC-32 of zlib: crc32(0, bytes); `start` continues a running value.
std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t start = 0);
// The CRC of A followed by B from their own CRCs.
std::uint32_t combine_crc32(std::uint32_t a, std::uint32_t b, std::int64_t b_bytes);

std::int64_t block_count(std::int64_t bytes);

// Where each dataset's blocks stand in the one table of a file: datasets in ascending path order,
// the table itself left out.
class ChecksumLayout {
 public:
  explicit ChecksumLayout(const Catalog& catalog);
  // Index of the dataset's first block; throws BugError if the path is unknown.
  std::int64_t first_block(const std::string& path) const;
  std::int64_t blocks() const noexcept { return blocks_; }

 private:
  std::map<std::string, std::int64_t> first_;
  std::int64_t blocks_ = 0;
};

// SHA-256 as 64 hexadecimal digits.
std::string sha256(std::string_view bytes);

// SHA-256 over the catalog's canonical text and, after it, the table as little-endian uint32. It is
// equal for files of equal content, compressed or not: where and how data lies does not enter.
// The text has one line for each object but the table itself, paths ascending by byte: compact JSON
//     {"attributes":{…},"path":"/layers/000000/bias/values","shape":[4096],"type":"float32"}
// with keys ascending, the root's `digest` left out of its attributes, `shape` and `type` only for
// datasets, characters beyond ASCII as they are, and a line feed at the end.
std::string content_digest(const Catalog& catalog, std::span<const std::uint32_t> table);

// SHA-256 over the sizes and CRCs of whole files, in the given order, whatever their format (one
// line "<bytes> <CRC>" a file, both decimal).
//   where    collective over `comm`: ranks read byte ranges
//   throws   SharedError if a file cannot be read
//   cost     reads every byte once
std::string digest_files(const Comm& comm, const std::vector<std::string>& files);

// The digest that stands for one input file: the stored one if espalier wrote the file, otherwise
// digest_files of it.
//   where    collective over `comm`
std::string input_digest(const Comm& comm, const Catalog& catalog);

}  // namespace espalier::io
