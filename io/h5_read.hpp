// Opening foreign HDF5 files, for the files of this room only.
#pragma once

#include <string>

#include "io/h5.hpp"

namespace espalier::io {

// Opens `file` for reading by this process alone, without locking it. From then on HDF5 follows no
// external link any more, whatever names one.
//   where    local
//   throws   Error(kBadData): "FILE: truncated: …" or "FILE: damaged: <HDF5's reason>"
H5Handle open_h5_to_read(const std::string& file);

}  // namespace espalier::io
