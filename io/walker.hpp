// Runs espalier-walk; for read_catalog only.
#pragma once

#include <string>

namespace espalier::io {

// Where espalier-walk is: beside the running program, in ../libexec/espalier, or where it was
// installed.
//   throws   Error(kSystem) naming the places if it is in none of them
std::string find_walker();

// Runs `program FILE` without the variables that tie a process to an MPI job, and returns what it
// prints after its last line feed. After `seconds` it is killed.
//   throws   Error: what the program said of the file and its status; kBadData if it crashed or
//            took too long; kSystem if it cannot be run
std::string run_walker(const std::string& program, const std::string& file, double seconds);

}  // namespace espalier::io
