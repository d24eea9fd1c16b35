// Adds espalier's checksums to a file made for a test, block by block with zlib as io/FORMAT.md
// says.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <string>
#include <vector>

#include "io/catalog.hpp"
#include "io/checksum.hpp"
#include "tests/io/made_files.hpp"

namespace espalier::tests {

// A dataset's bytes as stored.
inline std::string stored_bytes(hid_t file, const io::Dataset& dataset) {
  std::string bytes(static_cast<std::size_t>(dataset.bytes()), '\0');
  const hid_t opened = good(H5Dopen2(file, dataset.path.c_str(), H5P_DEFAULT));
  const hid_t type = H5Dget_type(opened);
  good(H5Dread(opened, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()));
  H5Tclose(type);
  H5Dclose(opened);
  return bytes;
}

inline io::Catalog walked(const std::string& path) {
  const std::string spelled = io::walk_file(path);
  return io::parse_catalog(path, spelled);
}

inline void add_checksums(const std::string& path) {
  const io::Catalog before = walked(path);
  hid_t file = good(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
  std::vector<std::uint32_t> table;
  for (const auto& [name, dataset] : before.datasets) {
    const std::string bytes = stored_bytes(file, dataset);
    for (std::size_t at = 0; at < bytes.size(); at += 65536) {
      const auto length = static_cast<uInt>(std::min<std::size_t>(65536, bytes.size() - at));
      table.push_back(static_cast<std::uint32_t>(
          ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data() + at), length)));
    }
  }
  const hid_t group = good(H5Gcreate2(file, "espalier", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  const hsize_t count = table.size();
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  const hid_t made = good(
      H5Dcreate2(group, "checksums", H5T_STD_U32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  good(H5Dwrite(made, H5T_STD_U32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                table.empty() ? &count : static_cast<const void*>(table.data())));
  H5Dclose(made);
  H5Gclose(group);
  H5Fclose(file);

  const std::string digest = io::content_digest(walked(path), table);
  file = good(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, digest.size());
  const hid_t scalar = H5Screate(H5S_SCALAR);
  const hid_t attribute = good(H5Acreate2(file, "digest", type, scalar, H5P_DEFAULT, H5P_DEFAULT));
  good(H5Awrite(attribute, type, digest.data()));
  H5Aclose(attribute);
  H5Sclose(scalar);
  H5Tclose(type);
  H5Sclose(space);
  H5Fclose(file);
}

}  // namespace espalier::tests
