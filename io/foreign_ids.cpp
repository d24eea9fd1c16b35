// Sample ids of people's own HDF5 files.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/foreign_hdf5.hpp"
#include "io/h5.hpp"
#include "io/h5_read.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kLongestText = 4096;      // bytes of one id
constexpr std::int64_t kTextsAtATime = 1 << 16;  // strings read in one go

}  // namespace

// A dataset of variable-length strings, which lie outside of the dataset and have no catalog type.
class ForeignIds::VariableText {
 public:
  VariableText(const std::string& file, const std::string& path) : file_name_(file), path_(path) {
    file_ = open_h5_to_read(file);
    dataset_ = own_h5(H5Dopen2(file_.get(), path.c_str(), H5P_DEFAULT), ExitStatus::kBadData,
                      "opening " + path + " of", file);
    type_ = own_h5(H5Dget_type(dataset_.get()), ExitStatus::kBadData, "reading the type of " + path,
                   file);
    if (H5Tget_class(type_.get()) != H5T_STRING || H5Tis_variable_str(type_.get()) <= 0) {
      throw Error(
          ExitStatus::kBadData,
          text(file, ": ", path,
               ": has elements of an unknown kind, right for ids are whole numbers or text"));
    }
  }

  // Calls take(k, string) for each k in [0, ids.size()).
  template <typename Take>
  void for_each(Range ids, Take take) const {
    for (std::int64_t begin = ids.begin; begin < ids.end; begin += kTextsAtATime) {
      const std::int64_t end = std::min(begin + kTextsAtATime, ids.end);
      std::vector<char*> strings(static_cast<std::size_t>(end - begin), nullptr);
      const H5Handle place = select({begin, end});
      const auto count = static_cast<hsize_t>(strings.size());
      const H5Handle memory = own_h5(H5Screate_simple(1, &count, nullptr), ExitStatus::kSystem,
                                     "describing memory for", file_name_);
      const herr_t code = H5Dread(dataset_.get(), type_.get(), memory.get(), place.get(),
                                  H5P_DEFAULT, strings.data());
      check_h5(code, ExitStatus::kBadData, "reading " + path_ + " of", file_name_);
      for (std::size_t k = 0; k < strings.size(); ++k) {
        take(begin - ids.begin + static_cast<std::int64_t>(k),
             strings[k] == nullptr ? std::string_view() : std::string_view(strings[k]));
      }
      H5Dvlen_reclaim(type_.get(), memory.get(), H5P_DEFAULT, strings.data());
    }
  }

  std::int64_t longest(Range ids) const {
    std::int64_t most = 0;
    for_each(ids, [&](std::int64_t k, std::string_view id) {
      const auto length = static_cast<std::int64_t>(id.size());
      if (length > kLongestText) {
        throw Error(ExitStatus::kBadData,
                    text(file_name_, ": ", path_, ": id ", ids.begin + k, " (from 0) has ", length,
                         " bytes, at most ", kLongestText, " are right"));
      }
      most = std::max(most, length);
    });
    return most;
  }

 private:
  H5Handle select(Range ids) const {
    H5Handle space = own_h5(H5Dget_space(dataset_.get()), ExitStatus::kBadData,
                            "reading the shape of " + path_ + " in", file_name_);
    const auto first = static_cast<hsize_t>(ids.begin);
    const auto count = static_cast<hsize_t>(ids.size());
    check_h5(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &first, nullptr, &count, nullptr),
             ExitStatus::kBadData, "selecting in " + path_ + " of", file_name_);
    return space;
  }

  std::string file_name_, path_;
  H5Handle file_, dataset_, type_;
};

ForeignIds::ForeignIds(const Comm& comm, const DataFile& data, const std::string& path,
                       std::int64_t samples)
    : data_(&data), dataset_(nullptr) {
  const Catalog& catalog = data.catalog();
  std::int64_t longest = locally(comm, "reading sample ids", [&]() -> std::int64_t {
    dataset_ = &catalog.dataset(path);
    if (dataset_->shape.size() != 1 || dataset_->count() != samples) {
      throw Error(ExitStatus::kBadData,
                  text(catalog.file, ": ", path, ": has ", dataset_->count(), " ids in ",
                       dataset_->shape.size(), " dimensions, right is one for each of the ",
                       samples, " samples"));
    }
    switch (dataset_->type.kind) {
      case ElementClass::kUnsigned:
      case ElementClass::kSigned:
        type_ = kInt64;
        return 0;
      case ElementClass::kText:
        type_ = dataset_->type;
        return 0;
      case ElementClass::kFloat:
        throw Error(ExitStatus::kBadData,
                    text(catalog.file, ": ", path, ": holds ", to_string(dataset_->type),
                         ", right for ids are whole numbers or text"));
      case ElementClass::kPair:
      case ElementClass::kOther:
        break;
    }
    text_ = std::make_unique<VariableText>(catalog.file, path);
    return text_->longest(split_evenly(samples, comm.ranks(), comm.rank()));
  });
  longest = comm.max(longest);
  if (text_ != nullptr) {
    type_ = {ElementClass::kText, static_cast<int>(std::max<std::int64_t>(longest, 1))};
  }
}

ForeignIds::~ForeignIds() = default;
ForeignIds::ForeignIds(ForeignIds&&) noexcept = default;
ForeignIds& ForeignIds::operator=(ForeignIds&&) noexcept = default;

std::vector<std::byte> ForeignIds::read(Range samples) const {
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::max<std::int64_t>(samples.size(), 0)) *
                               static_cast<std::size_t>(type_.bytes));
  if (bytes.empty()) {
    return bytes;
  }
  if (text_ != nullptr) {
    const auto width = static_cast<std::size_t>(type_.bytes);
    text_->for_each(samples, [&](std::int64_t k, std::string_view id) {
      expects(id.size() <= width, "the longest id is known");
      std::memcpy(bytes.data() + static_cast<std::size_t>(k) * width, id.data(), id.size());
    });
  } else if (type_.kind == ElementClass::kText) {
    data_->read_raw(*dataset_, samples.begin, bytes);
  } else {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(samples.size()));
    data_->read(*dataset_, samples.begin, ids);
    std::memcpy(bytes.data(), ids.data(), bytes.size());
  }
  return bytes;
}

}  // namespace espalier::io
