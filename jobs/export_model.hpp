// export NET --to safetensors: a network in the form of a model.
#pragma once

#include "framework/error.hpp"
#include "jobs/job.hpp"

namespace espalier::jobs {

// export NET --to safetensors, a whole job on the options of export_job().
//   where    collective
//   throws   SharedError
ExitStatus export_model(Context& context);

}  // namespace espalier::jobs
