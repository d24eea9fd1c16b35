// What export does with a network.
#pragma once

#include "io/catalog.hpp"
#include "jobs/job.hpp"

namespace espalier::jobs {

// Writes a network's layers as npy, npz, mtx or graphchallenge, one a file, or all as onnx.
//   where    collective
//   throws   SharedError
ExitStatus export_network(Context& context, const io::Catalog& catalog);

}  // namespace espalier::jobs
