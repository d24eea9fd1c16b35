#include "io/h5_read.hpp"

#include <cstdio>

namespace espalier::io {
namespace {

// A soft link or a virtual dataset may lead through an external link to a file nobody has walked;
// without its class HDF5 cannot follow any.
void forbid_external_links() {
  static const bool forbidden = [] {
    expects(H5Lunregister(H5L_TYPE_EXTERNAL) >= 0, "HDF5 forgets how to follow external links");
    return true;
  }();
  static_cast<void>(forbidden);
}

[[noreturn]] void refuse(const std::string& file) {
  const std::string reason = h5_reason();
  unsigned long long found = 0, base = 0, written = 0;
  if (std::sscanf(reason.c_str(),
                  "truncated file: eof = %llu, sblock->base_addr = %llu, stored_eof = %llu", &found,
                  &base, &written) == 3) {
    throw Error(ExitStatus::kBadData,
                text(file, ": truncated: it has ", found, " of ", base + written, " bytes"));
  }
  throw Error(ExitStatus::kBadData, text(file, ": damaged: ", reason));
}

}  // namespace

H5Handle open_h5_to_read(const std::string& file) {
  start_hdf5();
  forbid_external_links();
  const auto access = own_h5(H5Pcreate(H5P_FILE_ACCESS), ExitStatus::kOurBug, "opening", file);
  check_h5(H5Pset_fapl_sec2(access.get()), ExitStatus::kOurBug, "opening", file);
  // Many cluster file systems offer no locks, and nobody changes a finished file.
  check_h5(H5Pset_file_locking(access.get(), false, true), ExitStatus::kOurBug, "opening", file);
  H5Handle opened(H5Fopen(file.c_str(), H5F_ACC_RDONLY, access.get()));
  if (!opened) {
    refuse(file);
  }
  return opened;
}

}  // namespace espalier::io
