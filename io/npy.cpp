#include "io/npy.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "framework/error.hpp"
#include "io/input_file.hpp"

namespace espalier::io {
namespace {

constexpr int kMostCharacters = 1 << 20;          // of an element that is text
constexpr std::int64_t kLongestHeader = 1 << 16;  // bytes; ours and NumPy's have 64 or 128

// "<f4", "|u1", "|S12": byte order, kind, bytes.
std::string dtype(ElementType type) {
  char kind = 'u';
  switch (type.kind) {
    case ElementClass::kUnsigned:
      kind = 'u';
      break;
    case ElementClass::kSigned:
      kind = 'i';
      break;
    case ElementClass::kFloat:
      kind = 'f';
      break;
    case ElementClass::kText:
      kind = 'S';
      break;
    case ElementClass::kPair:
    case ElementClass::kOther:
      expects(false, "an element type NumPy knows");
  }
  const bool no_order = type.bytes == 1 || type.kind == ElementClass::kText;
  const char order = no_order ? '|' : (type.native_order ? '<' : '>');
  return text(order, kind, type.bytes);
}

// A Python literal as NumPy writes it in front of an array: a dictionary of text, truth values and
// a tuple of whole numbers.
class Literal {
 public:
  Literal(std::string_view spelled, const std::string& name) : rest_(spelled), name_(name) {}

  [[noreturn]] void refuse(const std::string& expected) const {
    throw Error(ExitStatus::kBadData, text(name_, ": found ", in_quotes(rest_),
                                           " in the header of the array, right is ", expected));
  }
  bool take(std::string_view word) {
    skip_blanks();
    if (!rest_.starts_with(word)) {
      return false;
    }
    rest_.remove_prefix(word.size());
    return true;
  }
  void need(std::string_view word) {
    if (!take(word)) {
      refuse(text("'", word, "'"));
    }
  }
  std::string read_text() {
    skip_blanks();
    const char quote = rest_.empty() ? '\0' : rest_.front();
    const std::size_t end =
        quote == '\'' || quote == '"' ? rest_.find(quote, 1) : std::string_view::npos;
    if (end == std::string_view::npos) {
      refuse("a word in quotes (records and Python objects are not numbers)");
    }
    const std::string word(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return word;
  }
  bool read_truth() {
    if (take("True")) {
      return true;
    }
    need("False");
    return false;
  }
  std::vector<std::int64_t> read_tuple() {
    std::vector<std::int64_t> lengths;
    need("(");
    while (!take(")")) {
      skip_blanks();
      std::int64_t length = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), length);
      if (error != std::errc() || length < 0 || lengths.size() == kMostDimensions) {
        refuse("a length of the array, 0 or more, below 2^63, and at most 32 of them");
      }
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      take("L");  // Python 2
      lengths.push_back(length);
      if (!take(",")) {
        need(")");
        break;
      }
    }
    return lengths;
  }
  bool at_end() {
    skip_blanks();
    return rest_.empty();
  }

 private:
  static constexpr std::size_t kMostDimensions = 32;
  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) {
      rest_.remove_prefix(1);
    }
  }
  std::string_view rest_;
  const std::string& name_;
};

ElementType parse_dtype(const std::string& spelled, const std::string& name) {
  const auto refuse = [&] {
    throw Error(ExitStatus::kBadData, text(name, ": its elements are ", in_quotes(spelled),
                                           ", right are numbers such as <f2, <f4, <f8, |u1, <i8"));
  };
  int bytes = 0;
  if (spelled.size() < 3) {
    refuse();
  }
  const char order = spelled[0];
  const auto [end, error] =
      std::from_chars(spelled.data() + 2, spelled.data() + spelled.size(), bytes);
  if (error != std::errc() || end != spelled.data() + spelled.size() ||
      std::string_view("<>|=").find(order) == std::string_view::npos) {
    refuse();
  }
  ElementType type;
  type.bytes = bytes;
  type.native_order = order != '>';
  const bool power = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
  switch (spelled[1]) {
    case 'b':
      type.kind = ElementClass::kUnsigned;
      break;
    case 'u':
      type.kind = ElementClass::kUnsigned;
      break;
    case 'i':
      type.kind = ElementClass::kSigned;
      break;
    case 'f':
      type.kind = ElementClass::kFloat;
      break;
    case 'S':
      type.kind = ElementClass::kText;
      break;
    case 'U':  // four bytes a character
      type.kind = ElementClass::kText;
      type.bytes = bytes > kMostCharacters ? 0 : bytes * 4;
      break;
    default:
      refuse();
  }
  const bool is_text = type.kind == ElementClass::kText;
  const bool fits =
      is_text ? bytes >= 1 && bytes <= kMostCharacters
              : power && !(spelled[1] == 'f' && bytes == 1) && !(spelled[1] == 'b' && bytes != 1);
  if (!fits) {
    refuse();
  }
  return type;
}

void parse_header(std::string_view header, StoredArray& array) {
  Literal literal(header, array.name);
  bool descr = false, order = false, shape = false;
  literal.need("{");
  while (!literal.take("}")) {
    const std::string key = literal.read_text();
    literal.need(":");
    bool& seen = key == "descr" ? descr : key == "fortran_order" ? order : shape;
    if (seen || (key != "descr" && key != "fortran_order" && key != "shape")) {
      literal.refuse(
          text("descr, fortran_order and shape, each once, instead of ", in_quotes(key)));
    }
    seen = true;
    if (key == "descr") {
      array.type = parse_dtype(literal.read_text(), array.name);
    } else if (key == "fortran_order") {
      array.column_major = literal.read_truth();
    } else {
      array.shape = literal.read_tuple();
    }
    if (!literal.take(",")) {
      literal.need("}");
      break;
    }
  }
  if (!descr || !order || !shape || !literal.at_end()) {
    literal.refuse("a dictionary of descr, fortran_order and shape, and nothing behind it");
  }
}

}  // namespace

std::string npy_header(ElementType type, const std::vector<std::int64_t>& shape) {
  std::string tuple = "(";
  for (const std::int64_t length : shape) {
    tuple += text(length, ", ");
  }
  if (shape.size() > 1) {
    tuple.resize(tuple.size() - 2);
  } else if (shape.size() == 1) {
    tuple.pop_back();  // "(3,)": a tuple of one needs its comma
  }
  std::string header =
      text("{'descr': '", dtype(type), "', 'fortran_order': False, 'shape': ", tuple, "), }");
  constexpr std::size_t kAlign = 64, kPrefix = 10;
  header.resize((kPrefix + header.size() + 1 + kAlign - 1) / kAlign * kAlign - kPrefix - 1, ' ');
  header += '\n';
  expects(header.size() < 65536, "the header fits version 1.0");
  std::string prefix = "\x93NUMPY";
  prefix += '\x01';
  prefix += '\0';
  prefix += static_cast<char>(header.size() & 0xffU);
  prefix += static_cast<char>(header.size() >> 8U);
  return prefix + header;
}

StoredArray parse_npy(std::shared_ptr<const ByteSource> bytes, const std::string& name) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  StoredArray array;
  array.name = name;
  std::array<unsigned char, 12> start{};
  const auto there = static_cast<std::size_t>(std::min<std::int64_t>(bytes->size(), 12));
  bytes->read(0, std::as_writable_bytes(std::span(start)).first(there));
  const bool magic = there > 10 && std::equal(kMagic.begin(), kMagic.end(), start.begin(),
                                              [](char a, unsigned char b) {
                                                return static_cast<unsigned char>(a) == b;
                                              });
  if (!magic || start[6] < 1 || start[6] > 3) {
    throw Error(ExitStatus::kBadData,
                text(name,
                     " is no NumPy array: it does not begin with \\x93NUMPY and a version "
                     "from 1 to 3"));
  }
  const bool wide = start[6] > 1;
  const std::int64_t prefix = wide ? 12 : 10;
  const std::int64_t length = wide ? std::int64_t{start[8]} + start[9] * 256 + start[10] * 65536 +
                                         std::int64_t{start[11]} * 16777216
                                   : std::int64_t{start[8]} + start[9] * 256;
  if (length > kLongestHeader || length > bytes->size() - prefix) {
    throw Error(ExitStatus::kBadData,
                text(name, ": its header is said to have ", length, " bytes, right is at most ",
                     kLongestHeader, " and no more than the array has"));
  }
  std::string header(static_cast<std::size_t>(length), '\0');
  bytes->read(prefix, std::as_writable_bytes(std::span(header)));
  parse_header(header, array);
  array.offset = prefix + length;
  array.bytes = std::move(bytes);
  check_extent(array, true);
  return array;
}

StoredArray open_npy(const std::string& path) {
  auto file = std::make_shared<const InputFile>(path);
  const std::int64_t size = file->size();
  return parse_npy(std::make_shared<FileBytes>(std::move(file), Range{0, size}), path);
}

MatrixSources open_npz(const ZipArchive& archive, bool flatten) {
  constexpr std::string_view kEnd = ".npy";
  MatrixSources sources;
  for (const ZipArchive::Member& member : archive.members()) {
    if (!member.name.ends_with(kEnd)) {
      throw Error(ExitStatus::kBadData,
                  text(archive.path(), ": its member ", in_quotes(member.name, 80),
                       " is no .npy, which is all that an .npz holds"));
    }
    const std::string key = member.name.substr(0, member.name.size() - kEnd.size());
    sources.push_back(dense_source(
        parse_npy(archive.open(member.name), text(archive.path(), ": ", in_quotes(key, 80))), key,
        flatten));
  }
  return sources;
}

}  // namespace espalier::io
