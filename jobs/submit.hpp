// `espalier submit`: a script of its own, because a login node need not be able to start MPI.
#pragma once

namespace espalier::jobs {

// Whether the command line asks for it.
bool asks_to_submit(int argc, char** argv);

// Becomes cluster/submit.sh, found beside the program or in libexec, with what follows `submit`.
//   returns  the exit status if that is not possible, having said why
int submit(char** argv);

}  // namespace espalier::jobs
