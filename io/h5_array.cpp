#include "io/h5_array.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "io/h5_describe.hpp"
#include "io/h5_read.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kKeptOpen = 4;
constexpr std::size_t kChunkCacheBytes = std::size_t{16} << 20;
constexpr std::size_t kChunkCacheSlots = 1009;

}  // namespace

Box first_box(std::span<const std::int64_t> shape, std::int64_t first, std::int64_t end) {
  const std::size_t rank = shape.size();
  Box box{std::vector<std::uint64_t>(rank), std::vector<std::uint64_t>(rank, 1)};
  std::vector<std::int64_t> step(rank, 1);  // elements from one index to the next
  for (std::size_t d = rank; d-- > 1;) {
    step[d - 1] = step[d] * shape[d];
  }
  for (std::size_t d = 0; d < rank; ++d) {
    box.start[d] = static_cast<std::uint64_t>(first / step[d] % shape[d]);
  }
  // The outermost dimension along which a whole step begins here and fits.
  std::size_t along = 0;
  while (first % step[along] != 0 || end - first < step[along]) {
    ++along;
  }
  const auto here = static_cast<std::int64_t>(box.start[along]);
  box.count[along] =
      static_cast<std::uint64_t>(std::min((end - first) / step[along], shape[along] - here));
  for (std::size_t d = along + 1; d < rank; ++d) {
    box.count[d] = static_cast<std::uint64_t>(shape[d]);
  }
  return box;
}

void H5ArrayReader::complain(const std::string& path) const {
  const std::string reason = h5_reason();
  // This is how HDF5's plain driver says that the system could not read.
  const bool io = reason.find("file read failed") != std::string::npos;
  throw Error(io ? ExitStatus::kIoFailed : ExitStatus::kBadData,
              text(file_, ": ", path, io ? ": cannot be read: " : ": damaged: ", reason));
}

const H5ArrayReader::Opened& H5ArrayReader::open(const Dataset& dataset) {
  const auto found = std::find_if(recent_.begin(), recent_.end(), [&](const Opened& opened) {
    return opened.path == dataset.path;
  });
  if (found != recent_.end()) {
    std::rotate(recent_.begin(), found, found + 1);
    return recent_.front();
  }
  if (!opened_) {
    opened_ = open_h5_to_read(file_);
  }
  const auto access = own_h5(H5Pcreate(H5P_DATASET_ACCESS), ExitStatus::kOurBug, "reading", file_);
  check_h5(H5Pset_chunk_cache(access.get(), kChunkCacheSlots, kChunkCacheBytes, 1),
           ExitStatus::kOurBug, "reading", file_);
  Opened opened;
  opened.path = dataset.path;
  opened.dataset = H5Handle(H5Dopen2(opened_.get(), dataset.path.c_str(), access.get()));
  opened.type = H5Handle(opened.dataset ? H5Dget_type(opened.dataset.get()) : H5I_INVALID_HID);
  opened.space = H5Handle(opened.dataset ? H5Dget_space(opened.dataset.get()) : H5I_INVALID_HID);
  if (!opened.type || !opened.space) {
    complain(dataset.path);
  }
  ElementType stored = dataset.type;
  stored.half = HalfFloat::kNone;
  if (describe_type(opened.type.get()) != stored ||
      describe_shape(opened.space.get()) != dataset.shape) {
    throw Error(ExitStatus::kBadData,
                text(file_, ": ", dataset.path, " has changed while the file was in use"));
  }
  recent_.insert(recent_.begin(), std::move(opened));
  recent_.resize(std::min(recent_.size(), kKeptOpen));
  return recent_.front();
}

void H5ArrayReader::read(const Dataset& dataset, std::int64_t first, std::span<std::byte> out) {
  start_hdf5();
  const auto element = static_cast<std::size_t>(dataset.type.bytes);
  expects(out.size() % element == 0, "whole elements are read");
  const std::int64_t end = first + static_cast<std::int64_t>(out.size() / element);
  const Opened& opened = open(dataset);
  while (first < end) {
    std::size_t length = 1;
    if (!dataset.shape.empty()) {
      const Box box = first_box(dataset.shape, first, end);
      const std::vector<hsize_t> start(box.start.begin(), box.start.end());
      const std::vector<hsize_t> count(box.count.begin(), box.count.end());
      if (H5Sselect_hyperslab(opened.space.get(), H5S_SELECT_SET, start.data(), nullptr,
                              count.data(), nullptr) < 0) {
        complain(dataset.path);
      }
      length = std::accumulate(count.begin(), count.end(), std::size_t{1}, std::multiplies<>());
    }
    const hsize_t in_memory = length;
    const H5Handle memory(H5Screate_simple(1, &in_memory, nullptr));
    // The type in memory is the stored one: nothing is converted here.
    if (!memory || H5Dread(opened.dataset.get(), opened.type.get(), memory.get(),
                           opened.space.get(), H5P_DEFAULT, out.data()) < 0) {
      complain(dataset.path);
    }
    out = out.subspan(length * element);
    first += static_cast<std::int64_t>(length);
  }
}

}  // namespace espalier::io
