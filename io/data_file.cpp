#include "io/data_file.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <iomanip>
#include <limits>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>

#include "framework/error.hpp"
#include "io/checksum.hpp"
#include "io/convert_elements.hpp"
#include "io/h5_array.hpp"
#include "io/input_file.hpp"

namespace espalier::io {
namespace {

// Whole blocks; small enough that the bytes are still in the cache for the checksum.
constexpr std::int64_t kPieceBytes = 4 * kBlockBytes;
// What is fetched ahead of a reader: the two or three datasets of a matrix are read in turns, which
// the system does not take for reading in order.
constexpr std::int64_t kAheadBytes = std::int64_t{8} << 20;

template <typename Number>
constexpr ElementType kLike = std::is_same_v<Number, std::int64_t>    ? kInt64
                              : std::is_same_v<Number, std::uint32_t> ? kUint32
                              : std::is_same_v<Number, float>         ? kFloat32
                                                                      : kFloat64;

}  // namespace

struct DataFile::Shared {
  std::optional<ChecksumLayout> layout;  // with the table: read when it is first needed
  std::vector<std::uint32_t> table;
  std::atomic<std::int64_t> bytes_read = 0;
};

struct DataFile::State {
  State(const Catalog& described, std::shared_ptr<Shared> with)
      : catalog(described), file(described.file), arrays(described.file), shared(std::move(with)) {
    if (file.size() != catalog.file_bytes) {
      throw Error(ExitStatus::kBadData, text(catalog.file, ": had ", catalog.file_bytes,
                                             " bytes when it was opened and has ", file.size(),
                                             " now: it has been changed meanwhile"));
    }
  }

  template <typename... Parts>
  [[noreturn]] void complain(const Dataset& dataset, const Parts&... parts) const {
    throw Error(ExitStatus::kBadData, text(catalog.file, ": ", dataset.path, parts...));
  }

  // Elements [first, first + count) must be there and of a type that is read.
  void check_range(const Dataset& dataset, std::int64_t first, std::size_t count) const {
    if (dataset.type.kind == ElementClass::kOther || dataset.type.bytes <= 0) {
      complain(dataset, ": its elements are neither numbers nor fixed-length text");
    }
    const std::int64_t there = dataset.count();
    if (first < 0 || first > there || count > static_cast<std::uint64_t>(there - first)) {
      complain(dataset, ": has ", there, " elements, but ", count, " from element ", first,
               " on are wanted");
    }
  }

  // Keeps the bytes after a long read coming while it is worked on.
  void fetch_ahead(const Dataset& dataset, std::int64_t end, std::int64_t length) {
    if (length < kBlockBytes) {
      return;
    }
    std::int64_t& asked = asked_to[*dataset.offset];
    const std::int64_t from = asked >= end && asked <= end + kAheadBytes ? asked : end;
    asked = std::min(end + kAheadBytes, dataset.bytes());
    file.will_read(*dataset.offset + from, asked - from);
  }

  // Stored bytes from `begin` on, not verified.
  void fetch(const Dataset& dataset, std::int64_t begin, std::span<std::byte> out) {
    if (out.empty()) {
      return;
    }
    shared->bytes_read += std::ssize(out);
    if (dataset.offset) {
      fetch_ahead(dataset, begin + std::ssize(out), std::ssize(out));
      file.read(*dataset.offset + begin, out);
      return;
    }
    const std::int64_t element = dataset.type.bytes;
    const std::int64_t first = begin / element;
    const std::int64_t end = (begin + std::ssize(out) + element - 1) / element;
    if (begin % element == 0 && std::ssize(out) % element == 0) {
      arrays.read(dataset, first, out);
      return;
    }
    std::vector<std::byte> whole(static_cast<std::size_t>((end - first) * element));
    arrays.read(dataset, first, whole);
    std::memcpy(out.data(), whole.data() + (begin - first * element), out.size());
  }

  void load_table() {
    if (shared->layout) {
      return;
    }
    const Dataset& stored = catalog.dataset(kChecksumPath);
    ChecksumLayout wanted(catalog);
    if (stored.type != kUint32 || stored.shape != std::vector{wanted.blocks()}) {
      complain(stored, ": is ", to_string(stored.type), " and has ", stored.count(),
               " elements; the file's data needs ", wanted.blocks(), " checksums of type uint32");
    }
    shared->table.resize(static_cast<std::size_t>(wanted.blocks()));
    fetch(stored, 0, std::as_writable_bytes(std::span(shared->table)));
    shared->layout = std::move(wanted);
  }

  void check_block(const Dataset& dataset, std::int64_t block, std::span<const std::byte> bytes) {
    const std::uint32_t wanted =
        shared->table[static_cast<std::size_t>(shared->layout->first_block(dataset.path) + block)];
    const std::uint32_t found = crc32(bytes);
    if (found != wanted) {
      complain(dataset, ": damaged: bytes ", block * kBlockBytes, " to ",
               block * kBlockBytes + std::ssize(bytes) - 1, " (block ", block, ") have checksum ",
               std::hex, std::setfill('0'), std::setw(8), found, ", ", std::setw(8), wanted,
               " was written");
    }
  }

  // A block of which only a part is wanted; the latest one is kept for the next part.
  std::span<const std::byte> edge_block(const Dataset& dataset, std::int64_t block) {
    const std::int64_t number = shared->layout->first_block(dataset.path) + block;
    if (number != edge_number) {
      edge_number = -1;
      const std::int64_t begin = block * kBlockBytes;
      edge.resize(static_cast<std::size_t>(std::min(kBlockBytes, dataset.bytes() - begin)));
      fetch(dataset, begin, edge);
      check_block(dataset, block, edge);
      edge_number = number;
    }
    return edge;
  }

  // Whole blocks that follow each other, checked while they are in the cache.
  void read_blocks(const Dataset& dataset, std::int64_t begin, std::span<std::byte> out) {
    fetch(dataset, begin, out);
    for (std::int64_t block = begin / kBlockBytes; !out.empty(); ++block) {
      const auto bytes = out.first(std::min(out.size(), static_cast<std::size_t>(kBlockBytes)));
      check_block(dataset, block, bytes);
      out = out.subspan(bytes.size());
    }
  }

  bool has_checksums() const { return catalog.find_dataset(kChecksumPath) != nullptr; }

  // Stored bytes from `begin` on, verified if the file has checksums.
  void read_bytes(const Dataset& dataset, std::int64_t begin, std::span<std::byte> out) {
    if (!has_checksums() || dataset.path == kChecksumPath) {
      fetch(dataset, begin, out);
      return;
    }
    load_table();
    const std::int64_t bytes = dataset.bytes();
    while (!out.empty()) {
      const std::int64_t end = begin + std::ssize(out);
      const std::int64_t block = begin / kBlockBytes;
      const std::int64_t in_block = begin % kBlockBytes;
      // What whole blocks begin here: the last one of a dataset may be short.
      const std::int64_t whole = end == bytes ? end : end - end % kBlockBytes;
      std::int64_t done = 0;
      if (in_block == 0 && whole > begin) {
        done = std::min(kPieceBytes, whole - begin);
        read_blocks(dataset, begin, out.first(static_cast<std::size_t>(done)));
      } else {
        const auto part = edge_block(dataset, block).subspan(static_cast<std::size_t>(in_block));
        done = std::min(std::ssize(part), std::ssize(out));
        std::memcpy(out.data(), part.data(), static_cast<std::size_t>(done));
      }
      begin += done;
      out = out.subspan(static_cast<std::size_t>(done));
    }
  }

  template <typename Number>
  void read(const Dataset& dataset, std::int64_t first, std::span<Number> out) {
    check_range(dataset, first, out.size());
    if (!is_convertible_to<Number>(dataset.type)) {
      complain(dataset, ": is of type ", to_string(dataset.type), ", ",
               std::is_integral_v<Number> ? "whole numbers" : "numbers", " would be right");
    }
    const std::int64_t element = dataset.type.bytes;
    if (dataset.type == kLike<Number>) {
      read_bytes(dataset, first * element, std::as_writable_bytes(out));
      return;
    }
    piece.resize(static_cast<std::size_t>(kPieceBytes));
    while (!out.empty()) {
      // Up to the next border of pieces, so that each block is read once.
      const std::int64_t begin = first * element;
      const std::int64_t room = (kPieceBytes - begin % kPieceBytes) / element;
      const auto part = out.first(static_cast<std::size_t>(std::min(room, std::ssize(out))));
      const auto stored = std::span(piece).first(part.size() * static_cast<std::size_t>(element));
      read_bytes(dataset, begin, stored);
      convert(dataset, first, stored, part);
      first += std::ssize(part);
      out = out.subspan(part.size());
    }
  }

  template <typename Number>
  void convert(const Dataset& dataset, std::int64_t first, std::span<std::byte> stored,
               std::span<Number> out) const {
    const std::size_t fitting = convert_elements(dataset.type, stored, out);
    if (fitting < out.size()) {
      const auto element = static_cast<std::size_t>(dataset.type.bytes);
      complain(dataset, "[", first + static_cast<std::int64_t>(fitting), "] is ",
               spell_element(dataset.type, stored.subspan(fitting * element)),
               ", which does not fit ", to_string(kLike<Number>), " (",
               +std::numeric_limits<Number>::lowest(), " to ", +std::numeric_limits<Number>::max(),
               ")");
    }
  }

  void read(const Dataset& dataset, std::int64_t first, std::span<IndexedWeight> out) {
    check_range(dataset, first, out.size());
    if (dataset.type != kPairType) {
      complain(dataset, ": is of type ", to_string(dataset.type), ", ", to_string(kPairType),
               " would be right");
    }
    read_bytes(dataset, first * dataset.type.bytes, std::as_writable_bytes(out));
  }

  IndexedWeight peek_pair(const Dataset& dataset, std::int64_t position) {
    check_range(dataset, position, 1);
    IndexedWeight pair{};
    fetch(dataset, position * dataset.type.bytes, std::as_writable_bytes(std::span(&pair, 1)));
    return pair;
  }

  template <typename Number>
  Number peek(const Dataset& dataset, std::int64_t position) {
    check_range(dataset, position, 1);
    if (!is_convertible_to<Number>(dataset.type)) {
      complain(dataset, ": is of type ", to_string(dataset.type), ", ",
               std::is_integral_v<Number> ? "whole numbers" : "numbers", " would be right");
    }
    alignas(8) std::array<std::byte, 8> stored{};
    const auto bytes = std::span(stored).first(static_cast<std::size_t>(dataset.type.bytes));
    fetch(dataset, position * dataset.type.bytes, bytes);
    Number value = 0;
    convert(dataset, position, bytes, std::span(&value, 1));
    return value;
  }

  const Catalog& catalog;
  InputFile file;
  H5ArrayReader arrays;
  std::shared_ptr<Shared> shared;
  std::vector<std::byte> edge, piece;
  std::int64_t edge_number = -1;                  // in the table
  std::map<std::int64_t, std::int64_t> asked_to;  // by offset of the dataset: fetched ahead to here
};

DataFile::DataFile(const Catalog& catalog)
    : DataFile(std::make_unique<State>(catalog, std::make_shared<Shared>())) {}
DataFile::DataFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
DataFile::~DataFile() = default;
DataFile::DataFile(DataFile&&) noexcept = default;
DataFile& DataFile::operator=(DataFile&&) noexcept = default;

DataFile DataFile::for_thread() const {
  if (state_->has_checksums()) {
    state_->load_table();
  }
  return DataFile(std::make_unique<State>(state_->catalog, state_->shared));
}

const Catalog& DataFile::catalog() const noexcept { return state_->catalog; }

bool DataFile::has_checksums() const noexcept { return state_->has_checksums(); }

void DataFile::read(const Dataset& dataset, std::int64_t first, std::span<std::int64_t> out) const {
  state_->read(dataset, first, out);
}

void DataFile::read(const Dataset& dataset, std::int64_t first,
                    std::span<std::uint32_t> out) const {
  state_->read(dataset, first, out);
}

void DataFile::read(const Dataset& dataset, std::int64_t first, std::span<float> out) const {
  state_->read(dataset, first, out);
}

void DataFile::read(const Dataset& dataset, std::int64_t first, std::span<double> out) const {
  state_->read(dataset, first, out);
}

void DataFile::read(const Dataset& dataset, std::int64_t first,
                    std::span<IndexedWeight> out) const {
  state_->read(dataset, first, out);
}

void DataFile::read_raw(const Dataset& dataset, std::int64_t first,
                        std::span<std::byte> out) const {
  const auto element = static_cast<std::size_t>(std::max(1, dataset.type.bytes));
  expects(out.size() % element == 0, "whole elements are read");
  state_->check_range(dataset, first, out.size() / element);
  state_->read_bytes(dataset, first * dataset.type.bytes, out);
}

std::int64_t DataFile::lower_bound(const Dataset& dataset, std::int64_t value) const {
  return lower_bound(dataset, value, {0, dataset.count()});
}

std::int64_t DataFile::lower_bound(const Dataset& dataset, std::int64_t value, Range within) const {
  while (within.begin < within.end) {
    const std::int64_t middle = within.begin + within.size() / 2;
    if (peek(dataset, middle) < value) {
      within.begin = middle + 1;
    } else {
      within.end = middle;
    }
  }
  return within.begin;
}

std::int64_t DataFile::peek(const Dataset& dataset, std::int64_t position) const {
  return dataset.type == kPairType ? state_->peek_pair(dataset, position).index
                                   : state_->peek<std::int64_t>(dataset, position);
}

float DataFile::peek_value(const Dataset& dataset, std::int64_t position) const {
  return dataset.type == kPairType ? state_->peek_pair(dataset, position).weight
                                   : state_->peek<float>(dataset, position);
}

std::int64_t DataFile::bytes_read() const noexcept { return state_->shared->bytes_read; }

}  // namespace espalier::io
