#include "framework/error.hpp"

#include <cerrno>
#include <system_error>

namespace espalier {
namespace {

// "framework/comm.cpp": the folder and the file say enough, and the build machine's paths do not
// belong into messages.
std::string_view short_file_name(std::string_view path) {
  const auto last = path.rfind('/');
  if (last == std::string_view::npos || last == 0) {
    return path;
  }
  const auto before = path.rfind('/', last - 1);
  return before == std::string_view::npos ? path : path.substr(before + 1);
}

ExitStatus status_of_errno(int error_number, ExitStatus otherwise) {
  switch (error_number) {
    case ENOENT:
      return ExitStatus::kNoInput;
    case EACCES:
    case EPERM:
    case EROFS:
      return ExitStatus::kNoPermission;
    case ENOSPC:
    case EDQUOT:
    case EIO:
      return ExitStatus::kIoFailed;
    default:
      return otherwise;
  }
}

}  // namespace

void expects(bool condition, std::string_view what, std::source_location where) {
  if (!condition) {
    throw BugError(
        text(short_file_name(where.file_name()), ":", where.line(), ": violated: ", what));
  }
}

void throw_errno(int error_number, std::string_view what, std::string_view path,
                 ExitStatus otherwise) {
  throw Error(status_of_errno(error_number, otherwise),
              text(what, " ", path, ": ", std::generic_category().message(error_number)));
}

}  // namespace espalier
