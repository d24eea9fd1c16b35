// Bytes that lie in a file, or are unpacked from an archive, read where one asks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "framework/shard.hpp"
#include "io/input_file.hpp"

namespace espalier::io {

// All members are local; one thread at a time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::int64_t size() const = 0;
  // Bytes [position, position + out.size()).
  //   throws   Error: kIoFailed if reading fails, kBadData if they are not there or damaged
  virtual void read(std::int64_t position, std::span<std::byte> out) const = 0;
  // Whether going back means to start again from the first byte.
  virtual bool forward_only() const { return false; }
};

// A range of an ordinary file.
class FileBytes : public ByteSource {
 public:
  //   throws   Error(kBadData) if the range is not within the file
  FileBytes(std::shared_ptr<const InputFile> file, Range range);
  std::int64_t size() const override { return range_.size(); }
  void read(std::int64_t position, std::span<std::byte> out) const override;

 private:
  std::shared_ptr<const InputFile> file_;
  Range range_;
};

}  // namespace espalier::io
