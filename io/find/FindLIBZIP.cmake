# Finds libzip and makes the target LIBZIP::LIBZIP. Its own package file asks for programs that
# Debian has in other packages.
find_path(LIBZIP_INCLUDE_DIR NAMES zip.h)
find_library(LIBZIP_LIBRARY NAMES zip)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LIBZIP REQUIRED_VARS LIBZIP_LIBRARY LIBZIP_INCLUDE_DIR)
if(LIBZIP_FOUND AND NOT TARGET LIBZIP::LIBZIP)
  add_library(LIBZIP::LIBZIP UNKNOWN IMPORTED)
  set_target_properties(LIBZIP::LIBZIP PROPERTIES
    IMPORTED_LOCATION "${LIBZIP_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${LIBZIP_INCLUDE_DIR}")
endif()
mark_as_advanced(LIBZIP_INCLUDE_DIR LIBZIP_LIBRARY)
