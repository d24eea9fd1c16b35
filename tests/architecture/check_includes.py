#!/usr/bin/env python3
"""Reads every #include of the rooms and says which ones break the rooms' one-way order.

    kernels <- io <- jobs        framework <- io <- jobs        tests include anything

usage: check_includes.py ROOT        exit 0: the order holds; 1: it does not, one line per include
"""
import re
import sys
from pathlib import Path

STANDARD = set("""
algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono
cinttypes climits clocale cmath codecvt compare complex concepts condition_variable coroutine
csetjmp csignal cstdarg cstddef cstdint cstdio cstdlib cstring ctime cuchar cwchar cwctype deque
exception execution filesystem format forward_list fstream functional future initializer_list
iomanip ios iosfwd iostream istream iterator latch limits list locale map memory memory_resource
mutex new numbers numeric optional ostream queue random ranges ratio regex scoped_allocator
semaphore set shared_mutex source_location span sstream stack stdexcept stop_token streambuf
string string_view strstream syncstream system_error thread tuple type_traits typeindex typeinfo
unordered_map unordered_set utility valarray variant vector version cxxabi.h
""".split())
POSIX = (r"(arpa|linux|net|netinet|sys)/.+\.h|(dirent|dlfcn|errno|execinfo|fcntl|fnmatch|glob|grp|"
         r"inttypes|libgen|limits|netdb|poll|pthread|pwd|regex|sched|signal|spawn|stdint|stdio|"
         r"stdlib|string|strings|termios|time|unistd|utime)\.h")
HIGHWAY = r"hwy/.+"
INTRINSICS = r"(cpuid|immintrin|x86intrin|arm_neon|arm_sve)\.h"
MPI = r"mpi\.h"
OPENMP = r"omp\.h"
HDF5 = r"(hdf5|hdf5_hl|H5\w+)\.h"
FORMATS = (r"nlohmann/.+|isa-l\.h|isa-l/.+|igzip_lib\.h|crc(64)?\.h|zlib\.h|zip\.h|openssl/.+|"
           r"onnx/.+|google/protobuf/.+")
JSON = r"nlohmann/.+"
OPTIONS = r"boost/program_options(/.+|\.hpp)"

# For each room: the rooms it may include (itself among them), and what from outside besides std.
ROOMS = {
    "kernels": (["kernels"], [HIGHWAY, INTRINSICS]),
    "framework": (["framework"], [MPI, OPENMP, POSIX]),
    "io": (["io", "framework", "kernels"], [HDF5, FORMATS, MPI, POSIX]),
    "jobs": (["jobs", "io", "framework", "kernels"], [OPTIONS, JSON, MPI, POSIX]),
}

SOURCES = {".cpp", ".hpp", ".h", ".cc", ".hh", ".inc"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def objection(root, room, path, quoted):
    """Why `path` must not be included from `room`, or None."""
    rooms, outside = ROOMS[room]
    first = path.split("/")[0]
    if first == "tests":
        return "nothing includes tests"
    if first in ROOMS:
        if first not in rooms:
            return f"{room} does not know {first}"
        if not (root / path).is_file():
            return "no such file"
        return None
    if path in STANDARD or any(re.fullmatch(known, path) for known in outside):
        return None
    if quoted and not re.fullmatch(HIGHWAY, path):
        return f'write it from the root, as in "{room}/{path}"'
    return f"not on the list of what {room} may use"


def broken_includes(root):
    """Every include that breaks the order, as (file, line number, included path, reason)."""
    found = []
    for room in ROOMS:
        for file in sorted((root / room).rglob("*")):
            if file.suffix not in SOURCES:
                continue
            text = COMMENT.sub(lambda match: "\n" * match.group().count("\n"),
                               file.read_text(encoding="utf-8"))
            for match in INCLUDE.finditer(text):
                path = match.group(1) or match.group(2)
                reason = objection(root, room, path, match.group(1) is not None)
                if reason:
                    line = text.count("\n", 0, match.start()) + 1
                    found.append((file.relative_to(root), line, path, reason))
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = Path(sys.argv[1])
    missing = [room for room in ROOMS if not (root / room).is_dir()]
    if missing:
        sys.exit(f"{root} has no {', '.join(missing)}")
    found = broken_includes(root)
    for file, line, path, reason in found:
        print(f"{file}:{line}: includes {path}: {reason}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
