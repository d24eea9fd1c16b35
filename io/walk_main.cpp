// espalier-walk FILE: prints what is in an HDF5 file as JSON on one line. It is a process of its
// own, with limits, because HDF5 may crash or hang on a damaged file; read_catalog starts it.
#include <sys/resource.h>
#include <unistd.h>

#include <exception>
#include <iostream>
#include <new>

#include "framework/error.hpp"
#include "io/catalog.hpp"

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kShadowMemory = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kShadowMemory = true;
#else
constexpr bool kShadowMemory = false;
#endif
#else
constexpr bool kShadowMemory = false;
#endif

constexpr rlim_t kMemoryBytes = rlim_t{2} << 30U;
constexpr rlim_t kCpuSeconds = 120;
constexpr unsigned kWallSeconds = 140;

void limit(int resource, rlim_t most) {
  rlimit current{};
  getrlimit(static_cast<__rlimit_resource>(resource), &current);
  if (current.rlim_max == RLIM_INFINITY || current.rlim_max > most) {
    current.rlim_max = most;
  }
  current.rlim_cur = current.rlim_max;
  setrlimit(static_cast<__rlimit_resource>(resource), &current);
}

void set_limits() {
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, kCpuSeconds);
  if (!kShadowMemory) {  // sanitizers reserve terabytes of addresses
    limit(RLIMIT_AS, kMemoryBytes);
  }
  alarm(kWallSeconds);
}

int fail(espalier::ExitStatus status, const std::string& message) {
  std::cout << message << '\n';
  return static_cast<int>(status);
}

}  // namespace

int main(int argc, char** argv) {
  using espalier::ExitStatus;
  if (argc != 2) {
    return fail(ExitStatus::kUsage, "usage: espalier-walk FILE");
  }
  set_limits();
  const std::string file = argv[1];
  try {
    // What libraries may have printed before is told from the catalog by the line feed.
    std::cout << '\n' << espalier::io::walk_file(file) << std::flush;
    return std::cout ? 0 : static_cast<int>(ExitStatus::kIoFailed);
  } catch (const espalier::Error& error) {
    return fail(error.status(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(ExitStatus::kBadData,
                file + ": damaged: walking its structure takes more than 2 GiB of memory");
  } catch (const std::exception& error) {
    return fail(ExitStatus::kOurBug, file + ": " + error.what());
  }
}
