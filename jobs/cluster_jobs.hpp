// The jobs around an inference on a cluster, each in its own file (jobs/job.hpp has the others).
#pragma once

#include "jobs/job.hpp"

namespace espalier::jobs {

Job merge_job();      // joins the results of infer --part
Job plan_job();       // grid, memory, messages and time, before there are ranks
Job preflight_job();  // tries an allocation, and advises
Job report_job();     // a page with pictures from run reports

}  // namespace espalier::jobs
