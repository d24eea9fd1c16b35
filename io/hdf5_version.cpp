#include "io/hdf5_version.hpp"

#include <hdf5.h>

#include "framework/error.hpp"

namespace espalier::io {

std::string hdf5_version() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  return H5get_libversion(&major, &minor, &release) < 0 ? std::string("unknown")
                                                        : text(major, ".", minor, ".", release);
}

}  // namespace espalier::io
