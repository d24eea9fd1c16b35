#include "io/checksum.hpp"

#include <isa-l.h>
#include <openssl/evp.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/shard.hpp"
#include "io/input_file.hpp"

namespace espalier::io {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tables are stored as they lie in memory");

// One line of the canonical text.
std::string canonical_line(const Catalog& catalog, const std::string& path,
                           const Attributes& attributes) {
  nlohmann::json line = {{"path", path}, {"attributes", nlohmann::json::object()}};
  for (const auto& [name, value] : attributes) {
    if (path != "/" || name != kDigestAttribute) {
      line["attributes"][name] = value;
    }
  }
  if (const Dataset* dataset = catalog.find_dataset(path)) {
    line["type"] = to_string(dataset->type);
    line["shape"] = dataset->shape;
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::uint32_t crc_of_range(const std::string& path, Range range) {
  const InputFile file(path);
  std::vector<std::byte> buffer(1 << 20);
  std::uint32_t crc = 0;
  for (std::int64_t at = range.begin; at < range.end;) {
    const auto length = std::min(std::ssize(buffer), range.end - at);
    const auto piece = std::span(buffer).first(static_cast<std::size_t>(length));
    file.read(at, piece);
    crc = crc32(piece, crc);
    at += length;
  }
  return crc;
}

}  // namespace

std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t start) {
  return crc32_gzip_refl(start, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

std::uint32_t combine_crc32(std::uint32_t a, std::uint32_t b, std::int64_t b_bytes) {
  expects(b_bytes >= 0, "a length is not negative");
  return static_cast<std::uint32_t>(::crc32_combine(a, b, b_bytes));
}

std::int64_t block_count(std::int64_t bytes) {
  expects(bytes >= 0, "a length is not negative");
  return bytes / kBlockBytes + (bytes % kBlockBytes != 0 ? 1 : 0);
}

ChecksumLayout::ChecksumLayout(const Catalog& catalog) {
  for (const auto& [path, dataset] : catalog.datasets) {
    if (path != kChecksumPath) {
      first_.emplace(path, blocks_);
      blocks_ += block_count(dataset.bytes());
    }
  }
}

std::int64_t ChecksumLayout::first_block(const std::string& path) const {
  const auto found = first_.find(path);
  expects(found != first_.end(), "a dataset with checksums is in the catalog");
  return found->second;
}

std::string sha256(std::string_view bytes) {
  std::array<unsigned char, 32> digest{};
  unsigned int length = 0;
  const int done =
      EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr);
  expects(done == 1 && length == digest.size(), "OpenSSL computes a SHA-256");
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string spelled;
  for (const unsigned char byte : digest) {
    spelled += kDigits[byte >> 4U];
    spelled += kDigits[byte & 15U];
  }
  return spelled;
}

std::string content_digest(const Catalog& catalog, std::span<const std::uint32_t> table) {
  std::string canonical;
  for (const auto& [path, attributes] : catalog.objects) {
    if (path != kChecksumPath) {
      canonical += canonical_line(catalog, path, attributes);
    }
  }
  const std::size_t text_bytes = canonical.size();
  canonical.resize(text_bytes + table.size_bytes());
  if (!table.empty()) {
    std::memcpy(canonical.data() + text_bytes, table.data(), table.size_bytes());
  }
  return sha256(canonical);
}

std::string digest_files(const Comm& comm, const std::vector<std::string>& files) {
  std::vector<std::int64_t> sizes(files.size());
  on_root(comm, "asking for file sizes", [&] {
    std::transform(files.begin(), files.end(), sizes.begin(),
                   [](const std::string& file) { return InputFile(file).size(); });
  });
  comm.broadcast(std::as_writable_bytes(std::span(sizes)), 0);

  const auto own = locally(comm, "reading files for their digest", [&] {
    std::vector<std::uint32_t> crcs;
    for (std::size_t f = 0; f < files.size(); ++f) {
      crcs.push_back(crc_of_range(files[f], split_evenly(sizes[f], comm.ranks(), comm.rank())));
    }
    return crcs;
  });
  const auto parts = comm.gather_all_bytes(std::as_bytes(std::span(own)));

  std::string canonical;
  for (std::size_t f = 0; f < files.size(); ++f) {
    std::uint32_t crc = 0;
    for (int rank = 0; rank < comm.ranks(); ++rank) {
      std::uint32_t part = 0;
      std::memcpy(&part, parts[static_cast<std::size_t>(rank)].data() + f * sizeof part,
                  sizeof part);
      crc = combine_crc32(crc, part, split_evenly(sizes[f], comm.ranks(), rank).size());
    }
    canonical += text(sizes[f], " ", crc, "\n");
  }
  return sha256(canonical);
}

std::string input_digest(const Comm& comm, const Catalog& catalog) {
  const nlohmann::json* stored = catalog.find_attribute("/", kDigestAttribute);
  if (catalog.find_dataset(kChecksumPath) != nullptr && stored != nullptr && stored->is_string()) {
    return stored->get<std::string>();
  }
  return digest_files(comm, {catalog.file});
}

}  // namespace espalier::io
