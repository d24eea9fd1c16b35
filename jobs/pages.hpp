// Pages made from the jobs' own option tables, so that they cannot drift from the program.
#pragma once

#include <string>
#include <vector>

#include "jobs/job.hpp"

namespace espalier::jobs {

// `espalier --manual`: a man page in roff.
std::string manual_page(const std::vector<Job>& jobs);

// `espalier --completion`: bash's completion of jobs and options; files complete as ever.
std::string bash_completion(const std::vector<Job>& jobs);

// Jobs that are scripts in cluster/, with what they do; they print their own --help.
std::vector<std::pair<std::string, std::string>> script_jobs();

}  // namespace espalier::jobs
