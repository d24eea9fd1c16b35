// The ways in: one function for each kind of import.
#pragma once

#include "framework/error.hpp"
#include "jobs/job.hpp"

namespace espalier::jobs {

// Each is a whole job on the options of import_job().
//   where    collective
//   throws   SharedError
ExitStatus import_challenge_network(Context& context);
ExitStatus import_challenge_features(Context& context);
ExitStatus import_idx(Context& context);
ExitStatus import_hdf5(Context& context);
ExitStatus import_model(Context& context);
ExitStatus import_onnx(Context& context);
ExitStatus import_matrix_layers(Context& context);    // npy, npz, mtx, binsparse
ExitStatus import_matrix_features(Context& context);  // the same

}  // namespace espalier::jobs
