#include "io/smtx.hpp"

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "framework/error.hpp"
#include "io/input_file.hpp"

namespace espalier::io {
namespace {

constexpr std::int64_t kMostDigits = 18;

// Whole numbers of one line, from a position on.
class Numbers {
 public:
  Numbers(const InputFile& file, std::int64_t position)
      : file_(file), position_(position), buffer_(1 << 16) {}

  // The next number of the line; -1 at its end.
  std::int64_t next(const char* what) {
    int c = peek();
    while (c == ' ' || c == '\t' || c == '\r' || c == ',') {
      c = step();
    }
    if (c == '\n' || c < 0) {
      return -1;
    }
    std::int64_t value = 0;
    int digits = 0;
    for (; c >= '0' && c <= '9'; c = step(), ++digits) {
      if (digits == kMostDigits) {
        refuse(what, "a number of more than 18 digits");
      }
      value = value * 10 + (c - '0');
    }
    if (digits == 0) {
      refuse(what, text("a byte of code ", c));
    }
    return value;
  }
  // Goes to the beginning of the next line.
  void end_line() {
    int c = peek();
    while (c >= 0 && c != '\n') {
      c = step();
    }
    step();
  }
  std::int64_t position() const { return position_ + static_cast<std::int64_t>(at_); }

  [[noreturn]] void refuse(const std::string& what, const std::string& found) const {
    throw Error(ExitStatus::kBadData, text(file_.path(), ": byte ", position(), ": found ", found,
                                           " in place of ", what));
  }

 private:
  int peek() {
    if (at_ == filled_) {
      position_ += static_cast<std::int64_t>(filled_);
      at_ = 0;
      filled_ = static_cast<std::size_t>(
          std::clamp<std::int64_t>(file_.size() - position_, 0, std::ssize(buffer_)));
      file_.read(position_, std::as_writable_bytes(std::span(buffer_).first(filled_)));
    }
    return at_ == filled_ ? -1 : static_cast<unsigned char>(buffer_[at_]);
  }
  int step() {
    if (peek() >= 0) {
      ++at_;
    }
    return peek();
  }

  const InputFile& file_;
  std::int64_t position_;  // of buffer_[0]
  std::vector<char> buffer_;
  std::size_t at_ = 0, filled_ = 0;
};

class SmtxSource : public MatrixSource {
 public:
  explicit SmtxSource(const std::string& path) : file_(path) {
    name = path;
    Numbers numbers(file_, 0);
    rows = numbers.next("the number of rows");
    cols = numbers.next("the number of columns");
    stored = numbers.next("the number of entries");
    if (rows < 0 || cols < 0 || stored < 0 || numbers.next("the end of the line") >= 0) {
      numbers.refuse("the first line", "something else than rows, columns, entries");
    }
    numbers.end_line();
    pointers_ = numbers.position();
    check_shape(*this);
    if (rows + stored > file_.size()) {
      throw Error(ExitStatus::kBadData, text(name, ": promises ", rows, " rows and ", stored,
                                             " entries, but has only ", file_.size(), " bytes"));
    }
  }
  bool by_rows() const override { return false; }
  std::unique_ptr<EntryStream> entries(int part, int) const override {
    return std::make_unique<Stream>(*this, part == 0);
  }

 private:
  class Stream : public EntryStream {
   public:
    Stream(const SmtxSource& source, bool reads)
        : source_(source),
          pointers_(source.file_, source.pointers_),
          columns_(source.file_, source.pointers_),
          done_(!reads) {
      if (reads) {
        columns_.end_line();
        if (pointers_.next("a pointer") != 0) {
          pointers_.refuse("the first pointer", "another number than 0");
        }
      }
    }
    bool read(std::vector<Entry>& out) override {
      for (std::size_t count = 0; !done_ && count < kAtATime; ++count) {
        while (passed_ == end_ && row_ < source_.rows) {
          const std::int64_t end = pointers_.next("a pointer");
          if (end < end_ || end > source_.stored) {
            pointers_.refuse("a pointer",
                             end < 0 ? "the end of the line"
                                     : text(end, ", which descends or is above ", source_.stored));
          }
          end_ = end;
          ++row_;
        }
        if (passed_ == end_) {
          finish();
          return count > 0;
        }
        const std::int64_t col = columns_.next("a column");
        if (col < 0 || col >= source_.cols) {
          columns_.refuse("a column", col < 0 ? "the end of the line"
                                              : text(col, ", but there are ", source_.cols));
        }
        out.push_back({static_cast<std::uint32_t>(row_ - 1), static_cast<std::uint32_t>(col), 1});
        ++passed_;
      }
      return !done_;
    }
    std::int64_t passed() const override { return passed_; }

   private:
    void finish() {
      done_ = true;
      if (pointers_.next("the end of the line") >= 0 || columns_.next("the end of the line") >= 0) {
        columns_.refuse("the end of the pointers and columns", "more of them");
      }
    }
    const SmtxSource& source_;
    Numbers pointers_, columns_;
    std::int64_t row_ = 0, end_ = 0, passed_ = 0;
    bool done_;
  };

  InputFile file_;
  std::int64_t pointers_ = 0;  // where their line begins
};

}  // namespace

bool is_smtx(const std::string& path) {
  const InputFile file(path);
  std::byte first{};
  if (file.size() > 0) {
    file.read(0, std::span(&first, 1));
  }
  return first != std::byte{'%'} && path.ends_with(".smtx");
}

std::unique_ptr<MatrixSource> open_smtx(const std::string& path) {
  return std::make_unique<SmtxSource>(path);
}

}  // namespace espalier::io
