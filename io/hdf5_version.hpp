// Which HDF5 library is at work.
#pragma once

#include <string>

namespace espalier::io {

std::string hdf5_version();  // "1.10.8"

}  // namespace espalier::io
