#include "io/safetensors.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "framework/error.hpp"

namespace espalier::io {
namespace {

using nlohmann::json;

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMostBytes = std::numeric_limits<std::int64_t>::max();

struct Dtype {
  std::string_view name;
  int bits;
};
constexpr std::array kDtypes = {
    Dtype{"BOOL", 8}, Dtype{"U8", 8},      Dtype{"I8", 8},      Dtype{"F8_E5M2", 8},
    Dtype{"F64", 64}, Dtype{"F8_E4M3", 8}, Dtype{"F8_E8M0", 8}, Dtype{"I16", 16},
    Dtype{"U16", 16}, Dtype{"F16", 16},    Dtype{"BF16", 16},   Dtype{"I32", 32},
    Dtype{"U32", 32}, Dtype{"F32", 32},    Dtype{"I64", 64},    Dtype{"U64", 64},
    Dtype{"C64", 64}, Dtype{"F6_E2M3", 6}, Dtype{"F6_E3M2", 6}, Dtype{"F4", 4}};

template <typename... Parts>
[[noreturn]] void complain(const std::string& file, const Parts&... parts) {
  throw Error(ExitStatus::kBadData, text(file, ": ", parts...));
}

// Takes the events of a parser, so that nothing is kept that has no place in a header; strings,
// numbers and nesting are held to where they may stand.
class HeaderParser {
 public:
  HeaderParser(const std::string& file, TensorHeader& header) : file_(file), header_(header) {}

  bool null() { unexpected("null"); }
  bool boolean(bool) { unexpected("a truth value"); }
  bool number_integer(json::number_integer_t) { unexpected("a negative number"); }
  bool number_float(json::number_float_t, const std::string& spelled) {
    unexpected("the number " + io::in_quotes(spelled));
  }
  bool binary(json::binary_t&) { unexpected("binary data"); }

  bool number_unsigned(json::number_unsigned_t number) {
    if (place_ != Place::kShape && place_ != Place::kOffsets) {
      unexpected("a number");
    }
    if (number > static_cast<std::uint64_t>(kMostBytes)) {
      fault("has ", number, " in its ", key_, ", at most ", kMostBytes, " would be right");
    }
    numbers_.push_back(static_cast<std::int64_t>(number));
    return true;
  }

  bool string(std::string& value) {
    if (place_ == Place::kMetadata) {
      if (!header_.metadata.emplace(key_, value).second) {
        complain(file_, "its __metadata__ has the key ", io::in_quotes(key_), " twice");
      }
    } else if (place_ == Place::kTensor && key_ == "dtype") {
      tensor_.dtype = std::move(value);
    } else {
      unexpected("the text " + io::in_quotes(value));
    }
    return true;
  }

  bool start_object(std::size_t) {
    if (place_ == Place::kStart) {
      place_ = Place::kRoot;
    } else if (place_ == Place::kRoot) {
      const bool metadata = key_ == "__metadata__";
      place_ = metadata ? Place::kMetadata : Place::kTensor;
      tensor_ = {};
      tensor_.name = key_;
      keys_.clear();
      if (!names_.insert(key_).second) {
        complain(file_, "there are two tensors ", io::in_quotes(key_), "; names occur once");
      }
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(std::string& name) {
    key_ = name;
    if (place_ == Place::kTensor) {
      if (name != "dtype" && name != "shape" && name != "data_offsets") {
        fault("has a key ", io::in_quotes(name), "; right are dtype, shape, data_offsets");
      }
      if (!keys_.insert(name).second) {
        fault("has the key ", name, " twice");
      }
    }
    return true;
  }

  bool end_object() {
    if (place_ == Place::kTensor) {
      for (const char* name : {"dtype", "shape", "data_offsets"}) {
        if (!keys_.contains(name)) {
          fault("has no ", name);
        }
      }
      header_.tensors.push_back(std::move(tensor_));
    }
    place_ = place_ == Place::kRoot ? Place::kStart : Place::kRoot;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ != Place::kTensor || key_ == "dtype") {
      unexpected("a list");
    }
    place_ = key_ == "shape" ? Place::kShape : Place::kOffsets;
    numbers_.clear();
    return true;
  }

  bool end_array() {
    if (place_ == Place::kShape) {
      tensor_.shape = numbers_;
    } else {
      if (numbers_.size() != 2 || numbers_[0] > numbers_[1]) {
        fault("has data_offsets ", json(numbers_).dump().substr(0, 60),
              "; right are its first byte and the one beyond its last");
      }
      tensor_.offset = numbers_[0];
      tensor_.bytes = numbers_[1] - numbers_[0];
    }
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception&) {
    complain(file_, "its header is no JSON from byte ", std::min(position, header_.text.size()),
             " of ", header_.text.size(), " on");
  }

 private:
  enum class Place { kStart, kRoot, kTensor, kMetadata, kShape, kOffsets };

  template <typename... Parts>
  [[noreturn]] void fault(const Parts&... parts) const {
    complain(file_, "tensor ", io::in_quotes(tensor_.name, kShownName), " ", parts...);
  }
  [[noreturn]] void unexpected(const std::string& what) const {
    const std::string where =
        place_ == Place::kStart ? "instead of an object of tensors"
        : place_ == Place::kRoot
            ? "as the tensor " + io::in_quotes(key_)
            : "as " + io::in_quotes(key_) + " of " + io::in_quotes(tensor_.name, kShownName);
    complain(file_, "its header holds ", what, " ", where,
             "; right is {\"NAME\": {\"dtype\": …, \"shape\": […], \"data_offsets\": […]}}");
  }

  static constexpr std::size_t kShownName = 100;

  const std::string& file_;
  TensorHeader& header_;
  Place place_ = Place::kStart;
  std::string key_;
  Tensor tensor_;
  std::set<std::string> names_, keys_;
  std::vector<std::int64_t> numbers_;
};

// "[2,3] of F32": for messages.
std::string shown(const Tensor& tensor) {
  return text(json(tensor.shape).dump().substr(0, 80), " of ", io::in_quotes(tensor.dtype));
}

// The elements of a shape, or nothing if they are too many to be true.
bool multiply(const std::vector<std::int64_t>& shape, std::int64_t& count) {
  count = 1;
  const bool empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
  for (const std::int64_t length : shape) {
    if (empty) {
      count = 0;
    } else if (__builtin_mul_overflow(count, length, &count)) {
      return false;
    }
  }
  return true;
}

void check_size(const std::string& file, const Tensor& tensor) {
  const int bits = bits_of_dtype(tensor.dtype);
  std::int64_t count = 0;
  std::int64_t all_bits = 0;
  const bool fits =
      multiply(tensor.shape, count) && !__builtin_mul_overflow(count, bits, &all_bits);
  if (bits == 0 ? !fits : !fits || all_bits % 8 != 0 || all_bits / 8 != tensor.bytes) {
    complain(file, "tensor ", io::in_quotes(tensor.name), " is ", shown(tensor),
             ", but its data have ", tensor.bytes, " bytes",
             fits ? text("; ", all_bits / 8, " would be right") : std::string());
  }
}

// Data follow one another from the first byte to the last.
void check_data(const std::string& file, const std::vector<Tensor>& tensors,
                std::int64_t data_bytes) {
  std::int64_t end = 0;
  for (const Tensor& tensor : tensors) {
    if (tensor.bytes > data_bytes || tensor.offset > data_bytes - tensor.bytes) {
      complain(file, "tensor ", io::in_quotes(tensor.name), " has the bytes ", tensor.offset,
               " to ", tensor.offset + tensor.bytes, ", but the file has ", data_bytes,
               " bytes of data: it is truncated or its header wrong");
    }
    if (tensor.offset != end) {
      complain(file, "tensor ", io::in_quotes(tensor.name), " begins at byte ", tensor.offset,
               tensor.offset > end ? ", leaving a hole: " : ", inside the one before: ", end,
               " would be right");
    }
    end += tensor.bytes;
  }
  if (end != data_bytes) {
    complain(file, "has ", data_bytes - end, " bytes behind its last tensor, which ends at byte ",
             end, " of the data");
  }
}

}  // namespace

std::int64_t Tensor::count() const noexcept {
  std::int64_t product = 1;
  multiply(shape, product);
  return product;
}

std::int64_t TensorHeader::data_bytes() const noexcept {
  return tensors.empty() ? 0 : tensors.back().offset + tensors.back().bytes;
}

const Tensor* TensorHeader::find(std::string_view name) const noexcept {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const Tensor& tensor) { return tensor.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

int bits_of_dtype(std::string_view dtype) noexcept {
  const auto* found = std::find_if(kDtypes.begin(), kDtypes.end(),
                                   [&](const Dtype& known) { return known.name == dtype; });
  return found == kDtypes.end() ? 0 : found->bits;
}

TensorHeader parse_tensor_header(const std::string& file, std::string spelled,
                                 std::int64_t data_bytes) {
  TensorHeader header;
  header.text = std::move(spelled);
  if (!header.text.starts_with('{')) {
    complain(file, "its header begins with ", io::in_quotes(header.text, 8),
             ", \"{\" would be right");
  }
  HeaderParser parser(file, header);
  json::sax_parse(header.text, &parser);
  for (const Tensor& tensor : header.tensors) {
    check_size(file, tensor);
  }
  // An empty tensor stands before the one that begins where it does.
  std::sort(header.tensors.begin(), header.tensors.end(), [](const Tensor& a, const Tensor& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  });
  check_data(file, header.tensors, data_bytes);
  return header;
}

TensorHeader read_tensor_header(const InputFile& file) {
  std::array<std::byte, kLengthBytes> stored{};
  if (file.size() < kLengthBytes) {
    complain(file.path(), "has ", file.size(),
             " bytes; a safetensors file begins with 8 bytes for the length of its header");
  }
  file.read(0, stored);
  std::uint64_t length = 0;
  for (std::size_t i = stored.size(); i-- > 0;) {
    length = length << 8U | std::to_integer<std::uint64_t>(stored[i]);
  }
  if (length > static_cast<std::uint64_t>(kMostHeaderBytes)) {
    complain(file.path(), "is no safetensors file: its header would have ", length,
             " bytes, at most ", kMostHeaderBytes, " would be right");
  }
  const auto bytes = static_cast<std::int64_t>(length);
  if (bytes > file.size() - kLengthBytes) {
    complain(file.path(), "is truncated: its header has ", bytes, " bytes, but only ",
             file.size() - kLengthBytes, " follow its length");
  }
  std::string spelled(static_cast<std::size_t>(bytes), '\0');
  file.read(kLengthBytes, std::as_writable_bytes(std::span(spelled)));
  return parse_tensor_header(file.path(), std::move(spelled), file.size() - kLengthBytes - bytes);
}

TensorHeader make_tensor_header(std::vector<Tensor> tensors,
                                std::map<std::string, std::string> metadata) {
  TensorHeader header;
  header.tensors = std::move(tensors);
  header.metadata = std::move(metadata);
  std::string& out = header.text;
  out = "{";
  if (!header.metadata.empty()) {
    out += "\"__metadata__\":" + json(header.metadata).dump();
  }
  std::int64_t offset = 0;
  for (Tensor& tensor : header.tensors) {
    const int bits = bits_of_dtype(tensor.dtype);
    expects(bits > 0 && bits % 8 == 0, "a tensor of whole bytes is written");
    tensor.offset = offset;
    tensor.bytes = tensor.count() * (bits / 8);
    offset += tensor.bytes;
    out += text(out.size() > 1 ? "," : "", json(tensor.name).dump(), ":",
                json{{"dtype", tensor.dtype},
                     {"shape", tensor.shape},
                     {"data_offsets", {tensor.offset, offset}}}
                    .dump());
  }
  out += "}";
  out.resize((out.size() + 7) / 8 * 8, ' ');
  return header;
}

std::string spell_tensor_header(const TensorHeader& header) {
  std::string out;
  for (unsigned shift = 0; shift < 64; shift += 8) {
    out += static_cast<char>(static_cast<std::uint64_t>(header.text.size()) >> shift & 0xFFU);
  }
  return out + header.text;
}

}  // namespace espalier::io
