// The writing half of zip.hpp (source: PKWARE's APPNOTE, 4.3 and 4.5.3).
#include <limits>

#include "framework/error.hpp"
#include "io/checksum.hpp"
#include "io/zip.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kLargestShort = std::numeric_limits<std::uint32_t>::max() - 1;
constexpr std::uint32_t kInZip64 = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint16_t kZip64Version = 45, kPlainVersion = 20, kZip64Extra = 1;
constexpr std::uint16_t kFirstDay = 0x0021;  // 1 January 1980: files bear no times
constexpr std::int64_t kCrcOffset = 14;      // in a local header

// Little-endian fields.
class Fields {
 public:
  template <typename T>
  Fields& add(T value) {
    for (std::size_t k = 0; k < sizeof(T); ++k) {
      bytes_ += static_cast<char>((value >> (8 * k)) & 0xffU);
    }
    return *this;
  }
  Fields& add_text(const std::string& text) {
    bytes_ += text;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

std::uint32_t low(std::int64_t value) {
  return value > kLargestShort ? kInZip64 : static_cast<std::uint32_t>(value);
}

// What local and central headers share, from the version on.
void add_common(Fields& fields, bool zip64, std::uint32_t crc, std::int64_t bytes,
                std::size_t name) {
  fields.add<std::uint16_t>(zip64 ? kZip64Version : kPlainVersion)
      .add<std::uint16_t>(0)  // flags
      .add<std::uint16_t>(0)  // stored
      .add<std::uint16_t>(0)
      .add<std::uint16_t>(kFirstDay)
      .add<std::uint32_t>(crc)
      .add<std::uint32_t>(low(bytes))
      .add<std::uint32_t>(low(bytes))
      .add<std::uint16_t>(static_cast<std::uint16_t>(name));
}

}  // namespace

void ZipWriter::begin(const std::string& name, std::int64_t bytes) {
  end_member();
  written_.push_back({name, file_.size(), bytes, 0});
  missing_ = bytes;
  const bool zip64 = bytes > kLargestShort;
  Fields fields;
  fields.add<std::uint32_t>(0x04034b50);
  add_common(fields, zip64, 0, bytes, name.size());
  fields.add<std::uint16_t>(zip64 ? 20 : 0).add_text(name);
  if (zip64) {
    fields.add<std::uint16_t>(kZip64Extra).add<std::uint16_t>(16);
    fields.add(static_cast<std::uint64_t>(bytes)).add(static_cast<std::uint64_t>(bytes));
  }
  file_.append(fields.bytes());
}

void ZipWriter::append(std::span<const std::byte> bytes) {
  expects(!written_.empty() && std::ssize(bytes) <= missing_, "a member has the bytes it said");
  written_.back().crc = crc32(bytes, written_.back().crc);
  missing_ -= std::ssize(bytes);
  file_.append(bytes);
}

void ZipWriter::end_member() {
  expects(missing_ == 0, "a member is whole before the next");
  if (!written_.empty()) {
    Fields crc;
    crc.add(written_.back().crc);
    file_.overwrite(written_.back().offset + kCrcOffset, std::as_bytes(std::span(crc.bytes())));
  }
}

void ZipWriter::finish() {
  end_member();
  const std::int64_t begin = file_.size();
  for (const Written& member : written_) {
    const bool zip64 = member.bytes > kLargestShort || member.offset > kLargestShort;
    Fields extra;
    if (member.bytes > kLargestShort) {
      extra.add(static_cast<std::uint64_t>(member.bytes))
          .add(static_cast<std::uint64_t>(member.bytes));
    }
    if (member.offset > kLargestShort) {
      extra.add(static_cast<std::uint64_t>(member.offset));
    }
    Fields fields;
    fields.add<std::uint32_t>(0x02014b50).add<std::uint16_t>(kZip64Version);
    add_common(fields, zip64, member.crc, member.bytes, member.name.size());
    const std::size_t extra_bytes = extra.bytes().empty() ? 0 : extra.bytes().size() + 4;
    fields.add(static_cast<std::uint16_t>(extra_bytes))
        .add<std::uint16_t>(0)  // comment
        .add<std::uint16_t>(0)  // disk
        .add<std::uint16_t>(0)  // attributes
        .add<std::uint32_t>(0)
        .add<std::uint32_t>(low(member.offset))
        .add_text(member.name);
    if (extra_bytes > 0) {
      fields.add<std::uint16_t>(kZip64Extra)
          .add(static_cast<std::uint16_t>(extra.bytes().size()))
          .add_text(extra.bytes());
    }
    file_.append(fields.bytes());
  }
  const std::int64_t end = file_.size();
  const auto count = static_cast<std::uint64_t>(written_.size());
  Fields tail;
  if (begin > kLargestShort) {
    tail.add<std::uint32_t>(0x06064b50).add<std::uint64_t>(44);
    tail.add(kZip64Version).add(kZip64Version).add<std::uint32_t>(0).add<std::uint32_t>(0);
    tail.add(count).add(count);
    tail.add(static_cast<std::uint64_t>(end - begin)).add(static_cast<std::uint64_t>(begin));
    tail.add<std::uint32_t>(0x07064b50).add<std::uint32_t>(0);
    tail.add(static_cast<std::uint64_t>(end)).add<std::uint32_t>(1);
  }
  tail.add<std::uint32_t>(0x06054b50).add<std::uint16_t>(0).add<std::uint16_t>(0);
  tail.add(static_cast<std::uint16_t>(count)).add(static_cast<std::uint16_t>(count));
  tail.add(static_cast<std::uint32_t>(end - begin)).add(low(begin)).add<std::uint16_t>(0);
  file_.append(tail.bytes());
}

}  // namespace espalier::io
