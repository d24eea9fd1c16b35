#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <span>
#include <stdexcept>
#include <utility>

#include "io/catalog.hpp"
#include "io/h5_describe.hpp"
#include "io/h5_read.hpp"

namespace espalier::io {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxObjects = 4'000'000;
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxPathBytes = 16384;

// HDF5 calls back from C: nothing may be thrown through it.
template <typename Work>
herr_t without_throwing(Work&& work) noexcept {
  try {
    work();
    return 0;
  } catch (...) {
    return -1;
  }
}

struct Link {
  std::string name;
  bool hard;
};

herr_t take_link(hid_t /*group*/, const char* name, const H5L_info_t* info, void* links) {
  return without_throwing([&] {
    if (info->type == H5L_TYPE_HARD || info->type == H5L_TYPE_SOFT) {
      static_cast<std::vector<Link>*>(links)->push_back({name, info->type == H5L_TYPE_HARD});
    }
  });
}

herr_t take_name(hid_t /*object*/, const char* name, const H5A_info_t* /*info*/, void* names) {
  return without_throwing(
      [&] { static_cast<std::vector<std::string>*>(names)->emplace_back(name); });
}

class Walker {
 public:
  explicit Walker(const std::string& file) : file_(file), opened_(open_h5_to_read(file)) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) {
      throw Error(ExitStatus::kIoFailed, text("asking for the size of ", file));
    }
    bytes_ = status.st_size;
  }

  std::string walk() {
    const H5Handle root = hold(H5Gopen2(opened_.get(), "/", H5P_DEFAULT), "/");
    visit_group(root.get(), "/");
    return json{{"file_bytes", bytes_},
                {"objects", std::move(objects_)},
                {"datasets", std::move(datasets_)}}
        .dump(-1, ' ', false, json::error_handler_t::replace);
  }

 private:
  H5Handle hold(hid_t id, const std::string& path) const {
    if (id < 0) {
      damaged(file_, path, h5_reason());
    }
    return H5Handle(id);
  }

  void check(herr_t code, const std::string& path) const {
    if (code < 0) {
      damaged(file_, path, h5_reason());
    }
  }

  template <typename Work>
  auto guarded(const std::string& where, Work&& work) const {
    try {
      return work();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      damaged(file_, where, error.what());
    }
  }

  // Everything below `group`. A group that holds itself, however deep, is entered once only.
  void visit_group(hid_t group, const std::string& path) {
    add_object(group, path);
    H5O_info_t info;
    check(H5Oget_info2(group, &info, H5O_INFO_BASIC), path);
    if (std::find(entered_.begin(), entered_.end(), info.addr) != entered_.end()) {
      return;
    }
    if (entered_.size() >= kMaxDepth) {
      damaged(file_, path, text("groups are nested more than ", kMaxDepth, " deep"));
    }
    entered_.push_back(info.addr);
    std::vector<Link> links;
    hsize_t position = 0;
    check(H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, &position, take_link, &links), path);
    for (const Link& link : links) {
      visit_link(group, link, path == "/" ? path + link.name : path + "/" + link.name);
    }
    entered_.pop_back();
  }

  void visit_link(hid_t group, const Link& link, const std::string& path) {
    if (path.size() > kMaxPathBytes) {
      damaged(file_, path.substr(0, 80) + "...", "its path is longer than any that is read");
    }
    H5Handle object(H5Oopen(group, link.name.c_str(), H5P_DEFAULT));
    if (!object && !link.hard) {
      return;  // leads nowhere, in a circle, or out of the file
    }
    if (!object) {
      damaged(file_, path, h5_reason());
    }
    switch (H5Iget_type(object.get())) {
      case H5I_GROUP:
        visit_group(object.get(), path);
        break;
      case H5I_DATASET:
        visit_dataset(object.get(), path);
        break;
      default:
        break;  // a named type is not data
    }
  }

  void add_object(hid_t object, const std::string& path) {
    if (++count_ > kMaxObjects) {
      throw Error(ExitStatus::kBadData,
                  text(file_, ": has more than ", kMaxObjects, " groups and datasets"));
    }
    std::vector<std::string> names;
    check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, take_name, &names), path);
    json attributes = json::object();
    for (const std::string& name : names) {
      const std::string where = path + ", attribute " + name;
      const H5Handle attribute = hold(H5Aopen(object, name.c_str(), H5P_DEFAULT), where);
      attributes[name] = guarded(where, [&] { return read_attribute(attribute.get()); });
    }
    objects_[path] = std::move(attributes);
  }

  void visit_dataset(hid_t dataset, const std::string& path) {
    add_object(dataset, path);
    const haddr_t offset = H5Dget_offset(dataset);
    // Only plain contiguous data inside the file have an offset; for them the costly list is
    // spared.
    const bool filtered = offset == HADDR_UNDEF && visit_creation_list(dataset, path);
    const H5Handle type = hold(H5Dget_type(dataset), path);
    const H5Handle space = hold(H5Dget_space(dataset), path);
    const auto element = guarded(path, [&] { return describe_type(type.get()); });
    const auto shape = guarded(path, [&] { return describe_shape(space.get()); });
    const std::int64_t bytes = total_bytes(element, shape, path);
    json& found = datasets_[path];
    found = {{"kind", static_cast<int>(element.kind)},
             {"bytes", element.bytes},
             {"native", element.native_order ? 1 : 0},
             {"shape", shape},
             {"filtered", filtered ? 1 : 0}};
    if (offset != HADDR_UNDEF) {
      check_place(offset, bytes, path);
      found["offset"] = offset;
    }
  }

  // Refuses data outside the file before HDF5 could look for them, walks the index of chunks, and
  // returns whether there are filters.
  bool visit_creation_list(hid_t dataset, const std::string& path) const {
    const H5Handle list = hold(H5Dget_create_plist(dataset), path);
    refuse_outside_data(list.get(), path);
    if (H5Pget_layout(list.get()) == H5D_CHUNKED) {
      H5Dget_storage_size(dataset);
    }
    const int filters = H5Pget_nfilters(list.get());
    check(filters, path);
    return filters > 0;
  }

  void refuse_outside_data(hid_t list, const std::string& path) const {
    const int pieces = H5Pget_external_count(list);
    check(pieces, path);
    std::array<char, 256> name{};
    if (pieces > 0) {
      check(H5Pget_external(list, 0, name.size() - 1, name.data(), nullptr, nullptr), path);
      refuse_outside_file(path, name.data());
    }
    if (H5Pget_layout(list) != H5D_VIRTUAL) {
      return;
    }
    std::size_t sources = 0;
    check(H5Pget_virtual_count(list, &sources), path);
    for (std::size_t source = 0; source < sources; ++source) {
      const ssize_t length = H5Pget_virtual_filename(list, source, name.data(), name.size());
      check(length < 0 ? -1 : 0, path);
      if (std::string_view(name.data()) != ".") {
        refuse_outside_file(path, name.data());
      }
    }
  }

  [[noreturn]] void refuse_outside_file(const std::string& path, const std::string& name) const {
    throw Error(ExitStatus::kBadData,
                text(file_, ": ", path, " keeps its data in the external file ", name,
                     "; only data inside the file are read"));
  }

  std::int64_t total_bytes(ElementType element, std::span<const std::int64_t> shape,
                           const std::string& path) const {
    std::int64_t product = std::max(1, element.bytes);
    bool empty = false;
    for (const std::int64_t extent : shape) {
      empty = empty || extent == 0;
      if (extent != 0 && __builtin_mul_overflow(product, extent, &product)) {
        damaged(file_, path, text("its shape ", json(shape).dump(), " has too many elements"));
      }
    }
    return empty ? 0 : product;
  }

  void check_place(haddr_t offset, std::int64_t bytes, const std::string& path) const {
    const auto file_bytes = static_cast<haddr_t>(bytes_);
    if (offset > file_bytes || static_cast<haddr_t>(bytes) > file_bytes - offset) {
      damaged(file_, path,
              text("its ", bytes, " bytes from byte ", offset, " on lie beyond the file's end at ",
                   bytes_));
    }
  }

  const std::string& file_;
  H5Handle opened_;
  std::int64_t bytes_ = 0;
  std::int64_t count_ = 0;
  std::vector<haddr_t> entered_;  // the addresses of the groups from the root to here
  json objects_ = json::object();
  json datasets_ = json::object();
};

}  // namespace

std::string walk_file(const std::string& file) { return Walker(file).walk(); }

}  // namespace espalier::io
