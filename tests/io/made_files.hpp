// HDF5 files made for tests through the plain library, by one process: not by the code under test.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "framework/error.hpp"

namespace espalier::tests {

// Fails loudly: a test that could not make its file has tested nothing.
inline hid_t good(hid_t id) {
  if (id < 0) {
    throw std::runtime_error("HDF5 could not make a file for a test");
  }
  return id;
}

template <typename T>
hid_t memory_type() {
  if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
  } else if constexpr (std::is_signed_v<T>) {
    return sizeof(T) == 1   ? H5T_NATIVE_INT8
           : sizeof(T) == 2 ? H5T_NATIVE_INT16
           : sizeof(T) == 4 ? H5T_NATIVE_INT32
                            : H5T_NATIVE_INT64;
  } else {
    return sizeof(T) == 1   ? H5T_NATIVE_UINT8
           : sizeof(T) == 2 ? H5T_NATIVE_UINT16
           : sizeof(T) == 4 ? H5T_NATIVE_UINT32
                            : H5T_NATIVE_UINT64;
  }
}

struct Storage {
  std::vector<hsize_t> chunk = {};  // empty: contiguous
  int deflate = 0;
  bool compact = false;
  hid_t type = H5I_INVALID_HID;  // as in memory if not given
};

// A file under construction; complete when this goes out of scope.
class MadeFile {
 public:
  // `access` is closed here; not given, the library's defaults hold.
  explicit MadeFile(const std::string& path, hid_t creation = H5P_DEFAULT,
                    hid_t access = H5I_INVALID_HID) {
    const hid_t list = access >= 0 ? access : good(H5Pcreate(H5P_FILE_ACCESS));
    good(H5Pset_fclose_degree(list, H5F_CLOSE_STRONG));  // whatever a test left open
    id_ = good(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, list));
    H5Pclose(list);
  }
  ~MadeFile() { H5Fclose(id_); }
  MadeFile(const MadeFile&) = delete;
  MadeFile& operator=(const MadeFile&) = delete;
  hid_t id() const { return id_; }

  // Groups above are made as needed, here and below.
  void group(const std::string& path) {
    const hid_t links = parents();
    H5Gclose(good(H5Gcreate2(id_, path.c_str(), links, H5P_DEFAULT, H5P_DEFAULT)));
    H5Pclose(links);
  }

  // `shape` defaults to the vector's length; std::vector<hsize_t>{} makes a scalar.
  template <typename T>
  void dataset(const std::string& path, const std::vector<T>& values,
               const std::optional<std::vector<hsize_t>>& shape = {}, const Storage& storage = {}) {
    const std::vector<hsize_t> extent = shape.value_or(std::vector<hsize_t>{values.size()});
    const hid_t space = good(
        extent.empty() ? H5Screate(H5S_SCALAR)
                       : H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr));
    const hid_t list = good(H5Pcreate(H5P_DATASET_CREATE));
    if (!storage.chunk.empty()) {
      good(H5Pset_chunk(list, static_cast<int>(storage.chunk.size()), storage.chunk.data()));
    }
    if (storage.deflate > 0) {
      good(H5Pset_shuffle(list));
      good(H5Pset_deflate(list, static_cast<unsigned>(storage.deflate)));
    }
    if (storage.compact) {
      good(H5Pset_layout(list, H5D_COMPACT));
    } else {
      good(H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY));
    }
    const hid_t type = storage.type >= 0 ? storage.type : memory_type<T>();
    const hid_t links = parents();
    const hid_t made = good(H5Dcreate2(id_, path.c_str(), type, space, links, list, H5P_DEFAULT));
    if (!values.empty()) {
      good(H5Dwrite(made, memory_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()));
    }
    H5Dclose(made);
    H5Pclose(links);
    H5Pclose(list);
    H5Sclose(space);
  }

  // A variable-length UTF-8 text, or with `fixed` one of that length.
  void text(const std::string& object, const std::string& name, const std::string& value,
            std::size_t fixed = H5T_VARIABLE) {
    const hid_t type = good(H5Tcopy(H5T_C_S1));
    good(H5Tset_size(type, fixed));
    good(H5Tset_cset(type, H5T_CSET_UTF8));
    const hid_t space = good(H5Screate(H5S_SCALAR));
    std::string padded = value;
    padded.resize(std::max(value.size(), fixed == H5T_VARIABLE ? 0 : fixed));
    const char* pointer = padded.c_str();
    const void* data = pointer;
    attribute(object, name, type, space, fixed == H5T_VARIABLE ? &pointer : data);
    H5Sclose(space);
    H5Tclose(type);
  }

  template <typename T>
  void number(const std::string& object, const std::string& name, T value) {
    const hid_t space = good(H5Screate(H5S_SCALAR));
    attribute(object, name, memory_type<T>(), space, &value);
    H5Sclose(space);
  }

  template <typename T>
  void numbers(const std::string& object, const std::string& name, const std::vector<T>& values) {
    const hsize_t count = values.size();
    const hid_t space = good(H5Screate_simple(1, &count, nullptr));
    const T nothing{};
    attribute(object, name, memory_type<T>(), space, values.empty() ? &nothing : values.data());
    H5Sclose(space);
  }

  void attribute(const std::string& object, const std::string& name, hid_t type, hid_t space,
                 const void* data) {
    const hid_t made = good(H5Acreate_by_name(id_, object.c_str(), name.c_str(), type, space,
                                              H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    good(H5Awrite(made, type, data));
    H5Aclose(made);
  }

 private:
  static hid_t parents() {
    const hid_t links = good(H5Pcreate(H5P_LINK_CREATE));
    good(H5Pset_create_intermediate_group(links, 1));
    return links;
  }

  hid_t id_;
};

inline std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline void flip_byte(const std::string& path, std::int64_t at) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(at);
  const int old = file.get();
  file.seekp(at);
  file.put(static_cast<char>(old ^ 0x40));
}

// What `work` throws: "65 <message>", or "no error".
template <typename Work>
std::string error_of(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    return text(static_cast<int>(error.status()), " ", error.what());
  }
  return "no error";
}

}  // namespace espalier::tests
