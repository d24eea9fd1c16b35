#include <algorithm>
#include <vector>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/shard.hpp"
#include "io/checksum.hpp"
#include "io/data_file.hpp"

namespace espalier::io {
namespace {

[[noreturn]] void complain(const Catalog& catalog, const std::string& what) {
  throw Error(ExitStatus::kBadData, text(catalog.file, ": damaged: ", what));
}

void check_digest(const Catalog& catalog, const DataFile& data) {
  const nlohmann::json* stored = catalog.find_attribute("/", kDigestAttribute);
  if (stored == nullptr || !stored->is_string()) {
    complain(catalog, "it has checksums but no attribute digest");
  }
  const Dataset& dataset = catalog.dataset(kChecksumPath);
  if (dataset.type != kUint32 || dataset.count() != ChecksumLayout(catalog).blocks()) {
    complain(catalog, text("its table of checksums has ", dataset.count(), " elements of type ",
                           to_string(dataset.type), ", ", ChecksumLayout(catalog).blocks(),
                           " of uint32 would be right"));
  }
  std::vector<std::uint32_t> table(static_cast<std::size_t>(dataset.count()));
  data.read(dataset, 0, std::span(table));
  const std::string found = content_digest(catalog, table);
  if (found != stored->get_ref<const std::string&>()) {
    complain(catalog, text("its structure, attributes or checksums have changed: their digest is ",
                           found, ", ", stored->get_ref<const std::string&>(), " was written"));
  }
}

// Reads, and so verifies, this rank's share of all bytes; a block belongs to whom its first byte
// belongs.
void read_share(const Comm& comm, const Catalog& catalog, const DataFile& data) {
  std::int64_t total = 0;
  for (const auto& [path, dataset] : catalog.datasets) {
    total += dataset.bytes();
  }
  const Range mine = split_evenly(total, comm.ranks(), comm.rank());
  std::vector<std::byte> buffer;
  std::int64_t before = 0;
  for (const auto& [path, dataset] : catalog.datasets) {
    const std::int64_t bytes = dataset.bytes();
    const auto first_block_from = [&](std::int64_t at) {
      return block_count(std::clamp<std::int64_t>(at - before, 0, bytes));
    };
    const std::int64_t begin = first_block_from(mine.begin) * kBlockBytes;
    const std::int64_t end = std::min(bytes, first_block_from(mine.end) * kBlockBytes);
    before += bytes;
    if (path == kChecksumPath || begin >= end) {
      continue;
    }
    // Elements may straddle blocks: whole elements, and with them whole blocks, are read.
    const std::int64_t element = dataset.type.bytes;
    const std::int64_t last = (end + element - 1) / element;
    const std::int64_t step = std::max<std::int64_t>(1, (std::int64_t{4} << 20) / element);
    for (std::int64_t at = begin / element; at < last; at += step) {
      buffer.resize(static_cast<std::size_t>(std::min(step, last - at) * element));
      data.read_raw(dataset, at, buffer);
    }
  }
}

}  // namespace

bool verify_checksums(const Comm& comm, const Catalog& catalog) {
  if (catalog.find_dataset(kChecksumPath) == nullptr) {
    if (catalog.find_attribute("/", kDigestAttribute) != nullptr) {
      throw SharedError(ExitStatus::kBadData,
                        text(catalog.file, ": damaged: it has a digest but no checksums"));
    }
    return false;
  }
  locally(comm, "verifying checksums", [&] {
    const DataFile data(catalog);
    check_digest(catalog, data);
    read_share(comm, catalog, data);
  });
  return true;
}

}  // namespace espalier::io
