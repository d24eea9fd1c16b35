#include "io/part_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {
namespace {

constexpr int kTries = 10;

[[noreturn]] void cannot_create(const std::string& path, const std::string& why) {
  throw Error(ExitStatus::kCannotCreate, text("cannot create ", path, ": ", why));
}

[[noreturn]] void no_space(const std::string& name, std::int64_t bytes) {
  struct statvfs disk {};
  const bool known = ::statvfs(folder_of(name).c_str(), &disk) == 0;
  throw Error(
      ExitStatus::kIoFailed,
      text("no space for ", name, ": it needs ", bytes, " bytes, ",
           known ? text(static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize, " are free")
                 : std::string("the file system refuses them")));
}

void sync_descriptor(int descriptor, const std::string& name) {
  // EINVAL: some file systems cannot sync a folder.
  if (::fsync(descriptor) != 0 && errno != EINVAL) {
    throw_errno(errno, "syncing", name, ExitStatus::kIoFailed);
  }
}

void sync_existing(const std::string& name, int flags) {
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (descriptor < 0) {
    throw_errno(errno, "opening", name, ExitStatus::kIoFailed);
  }
  try {
    sync_descriptor(descriptor, name);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

}  // namespace

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

void check_place(const std::string& path, bool force) {
  struct stat status {};
  const std::string folder = folder_of(path);
  if (path.empty() || path.ends_with('/')) {
    cannot_create(path, "the name of a file is expected, not of a folder");
  }
  const bool found = ::stat(folder.c_str(), &status) == 0;
  if ((!found && errno == ENOENT) || (found && !S_ISDIR(status.st_mode))) {
    cannot_create(path, text("there is no folder ", folder));
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    throw_errno(errno, text("cannot create ", path, ": no access to the folder"), folder,
                ExitStatus::kCannotCreate);
  }
  if (::stat(path.c_str(), &status) != 0) {
    return;
  }
  if (!S_ISREG(status.st_mode)) {
    cannot_create(path, S_ISDIR(status.st_mode) ? "it is a folder" : "it is no regular file");
  }
  if (!force) {
    cannot_create(path, "the file exists; --force replaces it");
  }
}

PartFile::PartFile(const std::string& path, bool force, bool resume)
    : path_(path), name_(path + ".part"), force_(force), kept_(resume) {
  check_place(path_, force_);
  for (int tries = 0; tries < kTries; ++tries) {
    if (lock()) {
      return;
    }
  }
  cannot_create(path_, text(name_, " keeps being replaced by another run"));
}

// False if the file was renamed or removed by its owner between opening and locking it.
bool PartFile::lock() {
  const int opened = ::open(name_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (opened < 0) {
    throw_errno(errno, "cannot create", name_, ExitStatus::kCannotCreate);
  }
  // HDF5 readers take shared locks, so that is what is kept; the exclusive one before it shows that
  // nobody holds any. Of two runs that get this far at once, at least one fails here. File systems
  // without locks leave it to the user not to start one job twice.
  const auto is_taken = [&](int kind) {
    return ::flock(opened, kind | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  };
  if (is_taken(LOCK_EX) || is_taken(LOCK_SH)) {
    ::close(opened);
    cannot_create(path_, text("another run is writing ", name_));
  }
  struct stat mine {
  }, named{};
  const bool same = ::fstat(opened, &mine) == 0 && ::stat(name_.c_str(), &named) == 0 &&
                    mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
  if (!same || !S_ISREG(mine.st_mode) || (!kept_ && ::ftruncate(opened, 0) != 0)) {
    ::close(opened);
    if (same) {
      cannot_create(path_, text(name_, " is in the way"));
    }
    return false;
  }
  descriptor_ = opened;
  return true;
}

PartFile::~PartFile() {
  if (descriptor_ >= 0 && kept_) {
    ::close(descriptor_);
  } else if (descriptor_ >= 0) {
    // Emptied as well, because HDF5 may hold it open until the end: where the disk was full, it
    // could not write what it insists on writing then.
    static_cast<void>(::ftruncate(descriptor_, 0) == 0);
    ::unlink(name_.c_str());
    ::close(descriptor_);
  }
}

std::int64_t PartFile::size_bytes() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) {
    throw_errno(errno, "asking for the size of", name_, ExitStatus::kIoFailed);
  }
  return status.st_size;
}

void PartFile::check_free(std::int64_t bytes) const {
  struct statvfs disk {};
  if (::statvfs(folder_of(name_).c_str(), &disk) == 0 &&
      static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize <
          static_cast<std::uint64_t>(bytes)) {
    no_space(name_, bytes);
  }
}

void PartFile::reserve(std::int64_t bytes) {
  int code = 0;
  do {
    code = bytes > 0 ? ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, bytes) : 0;
  } while (code != 0 && errno == EINTR);
  if (code == 0) {
    return;
  }
  switch (errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      no_space(name_, bytes);
    case EIO:
      throw_errno(errno, "reserving space for", name_, ExitStatus::kIoFailed);
    default:
      // A file system that cannot set room aside: what is free now has to do.
      check_free(bytes);
  }
}

void PartFile::commit() {
  // Gives back what was reserved beyond the end.
  if (::ftruncate(descriptor_, size_bytes()) != 0) {
    throw_errno(errno, "trimming", name_, ExitStatus::kIoFailed);
  }
  sync_descriptor(descriptor_, name_);
  if (!force_ && ::access(path_.c_str(), F_OK) == 0) {
    cannot_create(path_, "the file has appeared meanwhile; --force replaces it");
  }
  if (::rename(name_.c_str(), path_.c_str()) != 0) {
    throw_errno(errno, text("renaming ", name_, " to"), path_, ExitStatus::kIoFailed);
  }
  ::close(std::exchange(descriptor_, -1));
  sync_existing(folder_of(path_), O_DIRECTORY);
}

void sync_file(const std::string& file) { sync_existing(file, 0); }

}  // namespace espalier::io
