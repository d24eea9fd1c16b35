#include "io/zip.hpp"

#include <zip.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kMostInflation = 1032;  // of deflate, by its definition
constexpr std::int64_t kLargeBytes = INT64_C(1) << 30;
constexpr std::int64_t kUsualInflation = 100;
constexpr std::size_t kMostMembers = 1 << 20;

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw Error(ExitStatus::kBadData, path + ": " + what);
}

std::string in_archive(const std::string& path, const std::string& member) {
  return text(path, ": ", in_quotes(member, 80));
}

void check_member(const std::string& path, const zip_stat_t& info, const std::string& name) {
  constexpr zip_uint64_t kNeeded =
      ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  constexpr auto kLargest = static_cast<zip_uint64_t>(std::numeric_limits<std::int64_t>::max());
  const std::string where = in_archive(path, name);
  if ((info.valid & kNeeded) != kNeeded || info.size > kLargest || info.comp_size > kLargest) {
    refuse(where, "its size is not told, or cannot be");
  }
  if (info.encryption_method != ZIP_EM_NONE) {
    refuse(where, "is encrypted");
  }
  if (info.comp_method != ZIP_CM_STORE && info.comp_method != ZIP_CM_DEFLATE) {
    refuse(where,
           text("is packed by method ", info.comp_method, ", right is stored (0) or deflated (8)"));
  }
  const auto size = static_cast<std::int64_t>(info.size);
  const auto packed = static_cast<std::int64_t>(info.comp_size);
  const std::string claim = text("says that its ", packed, " bytes unpack to ", size);
  if (info.comp_method == ZIP_CM_STORE && size != packed) {
    refuse(where, claim + ", but it is stored unpacked");
  }
  if (size / kMostInflation > packed) {
    refuse(where, text(claim, ", but deflate makes at most ", kMostInflation, " of one"));
  }
  if (size > kLargeBytes && size / kUsualInflation > packed) {
    refuse(where, text(claim, ", more than ", kUsualInflation,
                       " of one: an archive like a bomb; unpack it first if it is sound"));
  }
}

}  // namespace

struct ZipArchive::Handle {
  zip_t* zip = nullptr;
  ~Handle() {
    if (zip != nullptr) {
      zip_discard(zip);
    }
  }
};

namespace {

// A member, stored or deflated. What was read last is kept, so that small steps back are free.
class MemberBytes : public ByteSource {
 public:
  MemberBytes(std::shared_ptr<void> owner, zip_t* zip, zip_uint64_t index, std::string name,
              const zip_stat_t& info)
      : owner_(std::move(owner)),
        zip_(zip),
        index_(index),
        name_(std::move(name)),
        size_(static_cast<std::int64_t>(info.size)),
        stored_(info.comp_method == ZIP_CM_STORE) {}
  ~MemberBytes() override { close(); }
  MemberBytes(const MemberBytes&) = delete;
  MemberBytes& operator=(const MemberBytes&) = delete;

  std::int64_t size() const override { return size_; }
  bool forward_only() const override { return !stored_; }

  void read(std::int64_t position, std::span<std::byte> out) const override {
    if (position < 0 || position > size_ || std::ssize(out) > size_ - position) {
      refuse(name_, text(out.size(), " bytes at ", position, " are needed, but it has ", size_));
    }
    while (!out.empty()) {
      if (position < begin_) {
        restart(position);
      }
      while (position >= end_) {
        fill(position);
      }
      const auto count = std::min(out.size(), static_cast<std::size_t>(end_ - position));
      std::copy_n(buffer_.begin() + (position - begin_), count, out.begin());
      position += static_cast<std::int64_t>(count);
      out = out.subspan(count);
    }
  }

 private:
  static constexpr std::int64_t kChunk = 1 << 18, kKept = 1 << 12;

  void close() const {
    if (file_ != nullptr) {
      zip_fclose(file_);
      file_ = nullptr;
    }
  }

  void restart(std::int64_t position) const {
    begin_ = end_ = 0;
    if (stored_ && file_ != nullptr && zip_fseek(file_, position, SEEK_SET) == 0) {
      begin_ = end_ = position;
      return;
    }
    close();
  }

  void fill(std::int64_t position) const {
    if (file_ == nullptr) {
      file_ = zip_fopen_index(zip_, index_, 0);
      begin_ = end_ = 0;
      if (file_ == nullptr) {
        refuse(name_, text("cannot be unpacked: ", zip_strerror(zip_)));
      }
    }
    if (stored_ && position - end_ > kChunk && zip_fseek(file_, position, SEEK_SET) == 0) {
      begin_ = end_ = position;
    }
    const std::int64_t kept = std::min(end_ - begin_, kKept);
    buffer_.resize(static_cast<std::size_t>(kKept + kChunk));
    std::memmove(buffer_.data(), buffer_.data() + (end_ - begin_ - kept),
                 static_cast<std::size_t>(kept));
    begin_ = end_ - kept;
    const zip_int64_t got = zip_fread(file_, buffer_.data() + kept,
                                      static_cast<zip_uint64_t>(std::min(kChunk, size_ - end_)));
    if (got <= 0) {
      const std::string why = got < 0 ? text(": ", zip_file_strerror(file_)) : "";
      refuse(name_, text("is damaged: unpacking ends after ", end_, " of ", size_, " bytes", why));
    }
    end_ += got;
    if (end_ == size_ && !stored_) {
      check_end();
    }
  }

  // One more read meets the end of the packed bytes, and the CRC is compared.
  void check_end() const {
    std::byte beyond{};
    const zip_int64_t got = zip_fread(file_, &beyond, 1);
    if (got != 0) {
      refuse(name_, got > 0 ? text("unpacks to more than the ", size_, " bytes it says")
                            : text("is damaged: ", zip_file_strerror(file_)));
    }
  }

  std::shared_ptr<void> owner_;
  zip_t* zip_;
  zip_uint64_t index_;
  std::string name_;
  std::int64_t size_;
  bool stored_;
  mutable zip_file_t* file_ = nullptr;
  // Bytes [begin_, end_) of the member; the file stands at end_.
  mutable std::vector<std::byte> buffer_;
  mutable std::int64_t begin_ = 0, end_ = 0;
};

}  // namespace

ZipArchive::ZipArchive(const std::string& path) : path_(path), handle_(std::make_shared<Handle>()) {
  const InputFile file(path);  // says what is wrong with the path
  int code = 0;
  handle_->zip = zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code);
  if (handle_->zip == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string why = zip_error_strerror(&error);
    zip_error_fini(&error);
    refuse(path, text("is no whole zip archive: ", why));
  }
  const zip_int64_t entries = zip_get_num_entries(handle_->zip, 0);
  if (entries < 0 || static_cast<std::size_t>(entries) > kMostMembers) {
    refuse(path, text("has ", entries, " members, right is at most ", kMostMembers));
  }
  std::set<std::string> names;
  std::int64_t packed = 0;
  for (zip_uint64_t index = 0; index < static_cast<zip_uint64_t>(entries); ++index) {
    zip_stat_t info;
    if (zip_stat_index(handle_->zip, index, 0, &info) != 0 || (info.valid & ZIP_STAT_NAME) == 0) {
      refuse(path, text("member ", index, " cannot be read: ", zip_strerror(handle_->zip)));
    }
    const std::string name = info.name;
    check_member(path, info, name);
    if (!names.insert(name).second) {
      refuse(path, text("has two members of the name ", in_quotes(name, 80)));
    }
    packed += static_cast<std::int64_t>(info.comp_size);
    if (packed > file.size()) {
      refuse(path, "its members overlap: together they are larger than the file");
    }
    members_.push_back({name, static_cast<std::int64_t>(info.size)});
  }
}

bool ZipArchive::has(const std::string& name) const {
  return std::any_of(members_.begin(), members_.end(),
                     [&](const Member& member) { return member.name == name; });
}

std::shared_ptr<const ByteSource> ZipArchive::open(const std::string& name) const {
  const zip_int64_t index = zip_name_locate(handle_->zip, name.c_str(), 0);
  zip_stat_t info;
  if (index < 0 || zip_stat_index(handle_->zip, static_cast<zip_uint64_t>(index), 0, &info) != 0) {
    refuse(path_, text("has no member ", in_quotes(name, 80)));
  }
  return std::make_shared<MemberBytes>(handle_, handle_->zip, static_cast<zip_uint64_t>(index),
                                       in_archive(path_, name), info);
}

}  // namespace espalier::io
