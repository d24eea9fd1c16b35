// The work of espalier prune.
#pragma once

#include "jobs/job.hpp"

namespace espalier::jobs {

//   where    collective
//   throws   SharedError
ExitStatus run_prune(Context& context);

}  // namespace espalier::jobs
