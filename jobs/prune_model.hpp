// prune MODEL --to safetensors: a whole model in, a whole model out.
#pragma once

#include "jobs/job.hpp"

namespace espalier::jobs {

// A whole job on the options of prune_job().
//   where    collective
//   throws   SharedError
ExitStatus prune_model(Context& context);

}  // namespace espalier::jobs
