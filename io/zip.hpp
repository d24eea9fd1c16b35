// Zip archives of arrays: read through libzip, written uncompressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/byte_source.hpp"
#include "io/file_writer.hpp"

namespace espalier::io {

// An archive and its members, stored or deflated. Local.
class ZipArchive {
 public:
  struct Member {
    std::string name;
    std::int64_t bytes = 0;  // unpacked
  };

  //   throws   Error: kNoInput, kNoPermission; kBadData if it is no whole zip archive, a member is
  //            encrypted, repeated, of a method we do not have, or claims to unpack to more than it
  //            can: deflate makes at most 1032 bytes of one, and we take no GiB that is less than a
  //            hundredth of that in the file
  explicit ZipArchive(const std::string& path);

  const std::string& path() const noexcept { return path_; }
  const std::vector<Member>& members() const noexcept { return members_; }
  bool has(const std::string& name) const;
  // A member's bytes, which outlive the archive. Deflated ones are read forward; their CRC is
  // checked when the last byte has been read in one go.
  //   throws   Error(kBadData) if there is none of that name
  std::shared_ptr<const ByteSource> open(const std::string& name) const;

 private:
  struct Handle;
  std::string path_;
  std::shared_ptr<Handle> handle_;
  std::vector<Member> members_;
};

// Appends uncompressed members to `file` (borrowed), which holds nothing else; zip64 where sizes
// need it. The same members make the same bytes. Local.
//   throws   Error(kIoFailed)
class ZipWriter {
 public:
  explicit ZipWriter(FileWriter& file) : file_(file) {}
  // Begins a member of exactly `bytes`, which append() then brings.
  void begin(const std::string& name, std::int64_t bytes);
  void append(std::span<const std::byte> bytes);
  // Writes the directory.
  void finish();

 private:
  struct Written {
    std::string name;
    std::int64_t offset, bytes;
    std::uint32_t crc;
  };
  void end_member();

  FileWriter& file_;
  std::vector<Written> written_;
  std::int64_t missing_ = 0;  // bytes of the member at hand
};

}  // namespace espalier::io
