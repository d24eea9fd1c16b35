#include "io/skeleton.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "framework/error.hpp"
#include "io/checksum.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kChunkBytes = std::int64_t{1} << 20;
constexpr unsigned kDeflateLevel = 4;

// Room for an object's header, attributes and link, so that those of all objects lie together in
// front of the data: whoever walks a large file then reads one place instead of thousands.
constexpr std::int64_t kMetadataBytesAnObject = 512;
constexpr std::int64_t kMetadataBytesMost = std::int64_t{8} << 20;

H5Handle serial_access() {
  start_hdf5();
  H5Handle access(H5Pcreate(H5P_FILE_ACCESS));
  // Without a sieve buffer a write that fails does so at once, not unnoticed at the close.
  bool sound = access && H5Pset_fapl_sec2(access.get()) >= 0 &&
               H5Pset_sieve_buf_size(access.get(), 0) >= 0 &&
               H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0;
#if H5_VERSION_GE(1, 10, 7)
  // The lock on PATH.part is ours, by another descriptor of this process.
  sound = sound && H5Pset_file_locking(access.get(), false, true) >= 0;
#endif
  expects(sound, "HDF5 takes the properties of a serial file");
  return access;
}

class Builder {
 public:
  Builder(const Catalog& plan, const std::string& file, bool compress)
      : plan_(plan),
        compress_(compress),
        file_(SerialFile::create(
            file, std::min(std::ssize(plan.objects) * kMetadataBytesAnObject, kMetadataBytesMost))),
        group_creation_(file_.own(H5Pcreate(H5P_GROUP_CREATE))) {
    file_.check(H5Pset_obj_track_times(group_creation_.get(), false));
  }

  // Ascending paths: parents come first, and the bytes do not depend on the order of add_….
  std::map<std::string, std::int64_t> build() {
    for (const auto& [path, attributes] : plan_.objects) {
      const H5Handle object = create(path);
      for (const auto& [name, value] : attributes) {
        create_attribute(object, name, value, path == "/" && name == kDigestAttribute);
      }
    }
    file_.close();
    return std::move(positions_);
  }

 private:
  H5Handle own(hid_t id) const { return file_.own(id); }
  void check(herr_t code) const { file_.check(code); }

  H5Handle create(const std::string& path) {
    if (const Dataset* dataset = plan_.find_dataset(path)) {
      return create_dataset(*dataset);
    }
    if (path == "/") {
      return own(H5Gopen2(file_.get(), "/", H5P_DEFAULT));
    }
    return own(
        H5Gcreate2(file_.get(), path.c_str(), H5P_DEFAULT, group_creation_.get(), H5P_DEFAULT));
  }

  H5Handle create_dataset(const Dataset& dataset) {
    const std::vector<hsize_t> shape(dataset.shape.begin(), dataset.shape.end());
    const H5Handle space =
        own(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr));
    const H5Handle creation = own(H5Pcreate(H5P_DATASET_CREATE));
    check(H5Pset_obj_track_times(creation.get(), false));
    check(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER));
    // The table and empty arrays are not worth chunks.
    if (compress_ && dataset.count() > 0 && dataset.path != kChecksumPath) {
      const std::vector<hsize_t> chunk = chunk_of(dataset);
      check(H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data()));
      check(H5Pset_shuffle(creation.get()));
      check(H5Pset_deflate(creation.get(), kDeflateLevel));
    } else {
      check(H5Pset_layout(creation.get(), H5D_CONTIGUOUS));
      check(H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY));
    }
    const H5Handle type = h5_type(dataset.type);
    H5Handle created = own(H5Dcreate2(file_.get(), dataset.path.c_str(), type.get(), space.get(),
                                      H5P_DEFAULT, creation.get(), H5P_DEFAULT));
    if (const haddr_t position = H5Dget_offset(created.get()); position != HADDR_UNDEF) {
      positions_[dataset.path] = narrow<std::int64_t>(position);
    }
    return created;
  }

  static std::vector<hsize_t> chunk_of(const Dataset& dataset) {
    std::vector<hsize_t> chunk(dataset.shape.begin(), dataset.shape.end());
    const std::int64_t row_bytes = dataset.bytes() / dataset.shape.front();
    chunk.front() = static_cast<hsize_t>(
        std::clamp<std::int64_t>(kChunkBytes / row_bytes, 1, dataset.shape.front()));
    return chunk;
  }

  void create_attribute(const H5Handle& object, const std::string& name,
                        const nlohmann::json& value, bool fixed) const {
    if (value.is_string()) {
      create_text(object, name, value.get_ref<const std::string&>(), fixed);
      return;
    }
    const bool list = value.is_array();
    const auto numbers = list ? value : nlohmann::json::array({value});
    const bool integers = std::all_of(numbers.begin(), numbers.end(), [](const auto& number) {
      return number.is_number_integer();
    });
    const hsize_t count = numbers.size();
    const H5Handle space = own(list ? H5Screate_simple(1, &count, nullptr) : H5Screate(H5S_SCALAR));
    if (integers) {
      const auto values = numbers.get<std::vector<std::int64_t>>();
      create_numbers(object, name, space, {h5_type(kInt64), values.data()});
    } else {
      const auto values = numbers.get<std::vector<double>>();
      create_numbers(object, name, space, {h5_type(kFloat64), values.data()});
    }
  }

  struct Numbers {
    H5Handle type;
    const void* values;
  };
  void create_numbers(const H5Handle& object, const std::string& name, const H5Handle& space,
                      const Numbers& numbers) const {
    const H5Handle attribute = own(H5Acreate2(object.get(), name.c_str(), numbers.type.get(),
                                              space.get(), H5P_DEFAULT, H5P_DEFAULT));
    check(H5Awrite(attribute.get(), numbers.type.get(), numbers.values));
  }

  void create_text(const H5Handle& object, const std::string& name, const std::string& value,
                   bool fixed) const {
    const H5Handle type = own(H5Tcopy(H5T_C_S1));
    check(H5Tset_size(type.get(), fixed ? value.size() : H5T_VARIABLE));
    check(H5Tset_cset(type.get(), H5T_CSET_UTF8));
    if (fixed) {
      check(H5Tset_strpad(type.get(), H5T_STR_NULLPAD));
    }
    const H5Handle space = own(H5Screate(H5S_SCALAR));
    const H5Handle attribute = own(
        H5Acreate2(object.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
    const char* start = value.c_str();
    const void* source = fixed ? static_cast<const void*>(start) : static_cast<const void*>(&start);
    check(H5Awrite(attribute.get(), type.get(), source));
  }

  const Catalog& plan_;
  bool compress_;
  SerialFile file_;
  H5Handle group_creation_;
  std::map<std::string, std::int64_t> positions_;
};

}  // namespace

SerialFile SerialFile::create(const std::string& name, std::int64_t metadata_bytes) {
  const H5Handle access = serial_access();
  const H5Handle creation(H5Pcreate(H5P_FILE_CREATE));
  expects(H5Pset_meta_block_size(access.get(), static_cast<hsize_t>(metadata_bytes)) >= 0 &&
              H5Pset_obj_track_times(creation.get(), false) >= 0,
          "HDF5 takes the properties of a new file");
  return {name, own_h5(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()),
                       ExitStatus::kIoFailed, "creating", name)};
}

SerialFile SerialFile::open(const std::string& name) {
  const H5Handle access = serial_access();
  return {name, own_h5(H5Fopen(name.c_str(), H5F_ACC_RDWR, access.get()), ExitStatus::kIoFailed,
                       "completing", name)};
}

H5Handle SerialFile::own(hid_t id) const {
  return own_h5(id, ExitStatus::kIoFailed, "writing", name_);
}

void SerialFile::check(herr_t code) const {
  check_h5(code, ExitStatus::kIoFailed, "writing", name_);
}

void SerialFile::close() { check(H5Fclose(file_.release())); }

void Skeleton::add_group(const std::string& path) {
  expects(path.starts_with('/'), "a path in a file starts at its root");
  catalog_.objects.try_emplace("/");
  for (std::size_t slash = path.find('/', 1); path != "/"; slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    expects(catalog_.find_dataset(parent) == nullptr, "nothing lies below a dataset");
    catalog_.objects.try_emplace(parent);
    if (slash == std::string::npos) {
      break;
    }
  }
}

void Skeleton::add_attribute(const std::string& object, const std::string& name,
                             const nlohmann::json& value) {
  const auto is_number = [](const nlohmann::json& element) { return element.is_number(); };
  expects(value.is_string() || is_number(value) ||
              (value.is_array() && !value.empty() &&
               std::all_of(value.begin(), value.end(), is_number)),
          "an attribute is text, a number or a list of numbers");
  const auto found = catalog_.objects.find(object);
  expects(found != catalog_.objects.end(), "an attribute belongs to a planned object");
  expects(found->second.emplace(name, value).second, "an attribute is planned once");
}

void Skeleton::add_dataset(const std::string& path, ElementType type,
                           std::vector<std::int64_t> shape) {
  expects(!shape.empty() && shape.size() <= 2 &&
              std::all_of(shape.begin(), shape.end(), [](std::int64_t n) { return n >= 0; }),
          "a dataset has one or two extents, none negative");
  expects(!catalog_.objects.contains(path), "a path is planned once");
  add_group(path);
  catalog_.datasets[path] = Dataset{path, type, std::move(shape), std::nullopt, false};
}

std::int64_t Skeleton::data_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& [path, dataset] : catalog_.datasets) {
    bytes += dataset.bytes();
  }
  return bytes;
}

std::int64_t Skeleton::file_bytes() const {
  return data_bytes() + std::ssize(catalog_.objects) * kMetadataBytesAnObject;
}

std::map<std::string, std::int64_t> Skeleton::build(const std::string& file, bool compress) const {
  return Builder(catalog_, file, compress).build();
}

}  // namespace espalier::io
