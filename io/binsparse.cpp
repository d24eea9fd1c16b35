#include "io/binsparse.hpp"

#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "framework/error.hpp"
#include "io/input_file.hpp"
#include "io/json_text.hpp"

namespace espalier::io {
namespace {

using nlohmann::json;

// Indices of columns are 32-bit in memory.
constexpr std::int64_t kMaxSide = std::int64_t{1} << 32;
constexpr const char* kBinsparse = "binsparse";
constexpr const char* kEspalier = "espalier";

// Deflate cannot shrink by more than about 1:1032, so larger claims cannot be true.
constexpr std::int64_t kMaxInflation = 1100;

// A format without its axes in order, which may be said aloud.
json without_transpose(json format) {
  if (format.is_object() && format.contains("custom") && format["custom"].is_object() &&
      format["custom"].value("transpose", json()) == json({0, 1, 2, 3})) {
    format["custom"].erase("transpose");
  }
  return format;
}

// Reads one group's descriptor; every complaint names file and group.
class Parser {
 public:
  Parser(const Catalog& catalog, const std::string& group) : catalog_(catalog), group_(group) {}

  MatrixInfo parse() {
    const json root = read_attribute();
    own_ = root.contains("espalier") ? root.at("espalier") : json::object();
    require(own_.is_object(), "the own key espalier of its descriptor holds no JSON object");
    descriptor_ = root.contains("binsparse") ? root.at("binsparse")
                  : own_.contains("form")    ? own_
                                             : root;
    require(descriptor_.is_object(), "the attribute binsparse holds no JSON object");
    check_keys();
    MatrixInfo matrix;
    matrix.group = group_;
    matrix.format = parse_format();
    parse_shape(matrix);
    matrix.stored = number("number_of_stored_values");
    matrix.iso = matrix.format != MatrixFormat::kList && values_type().starts_with("iso[");
    check_counts(matrix);
    check_datasets(matrix);
    parse_value_type(matrix);
    return matrix;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void complain(const Parts&... parts) const {
    throw Error(ExitStatus::kBadData, text(catalog_.file, ": ", group_, ": ", parts...));
  }

  template <typename... Parts>
  void require(bool condition, const Parts&... parts) const {
    if (!condition) {
      complain(parts...);
    }
  }

  json read_attribute() const {
    require(catalog_.has_group(group_),
            catalog_.find_dataset(group_) != nullptr
                ? "is a dataset, a group with the attribute binsparse would be right"
                : "there is no such group");
    const json* attribute = catalog_.find_attribute(group_, kBinsparse);
    const bool own = attribute == nullptr && catalog_.find_attribute(group_, kEspalier) != nullptr;
    attribute = own ? catalog_.find_attribute(group_, kEspalier) : attribute;
    require(attribute != nullptr && attribute->is_string(),
            "is no binsparse matrix: it has no text attribute binsparse");
    const auto& spelled = attribute->get_ref<const std::string&>();
    json root = parse_json(spelled);
    require(root.is_object(), "the attribute ", own ? kEspalier : kBinsparse,
            " is no JSON object: ", in_quotes(spelled));
    return own ? json{{"espalier", std::move(root)}} : root;
  }

  // Keys that change the meaning of the numbers, and that we do not serve.
  void check_keys() const {
    if (const auto version = descriptor_.find("version"); version != descriptor_.end()) {
      require(version->is_string() && version->get<std::string>().starts_with("0."),
              "binsparse version ", version->dump(), " is not known, 0.1 would be right");
    }
    if (const auto structure = descriptor_.find("structure"); structure != descriptor_.end()) {
      require(structure->is_null() || *structure == "general", "structure ", structure->dump(),
              " is not supported, store the general matrix");
    }
    if (const auto fill = descriptor_.find("fill"); fill != descriptor_.end()) {
      require(fill->is_null() || *fill == false,
              "has a fill value; what is not stored must be zero");
    }
  }

  MatrixFormat parse_format() const {
    if (const auto form = own_.find("form"); form != own_.end()) {
      require(*form == "list" || *form == "map", "its own form ", form->dump(),
              " is not known; known are list, map");
      return *form == "list" ? MatrixFormat::kList : MatrixFormat::kMap;
    }
    const auto format = descriptor_.find("format");
    // Tensors and filters have the same levels; only a tensor has a shape of its own beside them.
    if (format != descriptor_.end() && without_transpose(*format) == blocks_format()) {
      return own_.contains("shape") ? MatrixFormat::kTensor : MatrixFormat::kFilters;
    }
    require(format != descriptor_.end() && format->is_string(),
            "the descriptor has no text key format, nor that of filters");
    const auto& spelled = format->get_ref<const std::string&>();
    constexpr std::array<std::pair<std::string_view, MatrixFormat>, 8> kKnown = {{
        {"CSR", MatrixFormat::kCsr},
        {"CSC", MatrixFormat::kCsc},
        {"COO", MatrixFormat::kCoo},
        {"COOR", MatrixFormat::kCoo},
        {"CVEC", MatrixFormat::kVector},
        {"DMAT", MatrixFormat::kDmat},
        {"DMATR", MatrixFormat::kDmat},
        {"DVEC", MatrixFormat::kDvec},
    }};
    for (const auto& [name, value] : kKnown) {
      if (spelled == name) {
        return value;
      }
    }
    complain("format ", in_quotes(spelled),
             " is not supported; CSR, CSC, COO, CVEC, DMAT, DVEC or that of blocks would be right");
  }

  std::int64_t checked(const json& value, std::string_view key) const {
    require(value.is_number_integer(), "key ", key, " is ", value.dump().substr(0, 40),
            ", a whole number would be right");
    const bool fits = value.is_number_unsigned()
                          ? value.get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max()
                          : value.get<std::int64_t>() >= 0;
    require(fits, "key ", key, " is ", value.dump(), ", a number from 0 to ",
            std::numeric_limits<std::int64_t>::max(), " would be right");
    return value.get<std::int64_t>();
  }

  std::int64_t number(const std::string& key) const {
    const auto found = descriptor_.find(key);
    require(found != descriptor_.end(), "the descriptor has no key ", key);
    return checked(*found, key);
  }

  // The numbers of a list in the descriptor, or in the own keys beside it.
  std::vector<std::int64_t> numbers(const json& holder, const std::string& key,
                                    std::size_t count) const {
    const auto found = holder.find(key);
    require(found != holder.end() && found->is_array() && found->size() == count,
            &holder == &own_ ? "espalier's own key " : "the descriptor's ", key, " is no list of ",
            count, " numbers");
    std::vector<std::int64_t> list;
    for (const json& value : *found) {
      list.push_back(checked(value, key));
    }
    return list;
  }

  void parse_shape(MatrixInfo& matrix) const {
    switch (matrix.format) {
      case MatrixFormat::kTensor:
        parse_blocks(matrix);
        break;
      case MatrixFormat::kFilters:
        parse_filters(matrix);
        break;
      case MatrixFormat::kMap:
      case MatrixFormat::kVector:
        parse_linear(matrix);
        break;
      case MatrixFormat::kDvec:
        matrix.rows = numbers(descriptor_, "shape", 1)[0];
        break;
      default: {
        const auto shape = numbers(descriptor_, "shape", 2);
        matrix.rows = shape[0];
        matrix.cols = shape[1];
      }
    }
    require(matrix.rows < std::numeric_limits<std::int64_t>::max(), "has ", matrix.rows, " rows");
    require(matrix.cols <= kMaxSide, "is ", matrix.cols, " wide, at most ", kMaxSide,
            " columns are supported");
  }

  void parse_filters(MatrixInfo& matrix) const {
    const auto shape = numbers(descriptor_, "shape", 4);
    matrix.rows = shape[0];
    matrix.cols = shape[1];
    matrix.filter_height = shape[2];
    matrix.filter_width = shape[3];
    for (const std::int64_t side : {matrix.filter_height, matrix.filter_width}) {
      require(side > 0 && side <= kMaxSide, "its filters are ", matrix.filter_height, " x ",
              matrix.filter_width);
      require(matrix.cols <= kMaxSide / side, "has more than ", kMaxSide, " columns");
      matrix.cols *= side;
    }
  }

  void parse_blocks(MatrixInfo& matrix) const {
    const auto shape = numbers(descriptor_, "shape", 4);
    matrix.block_rows = shape[2];
    matrix.block_cols = shape[3];
    require(shape[2] > 0 && shape[3] > 0 && shape[2] <= kMostBlockValues / shape[3],
            "has blocks of ", shape[2], " x ", shape[3], "; 1 to ", kMostBlockValues,
            " values a block would be right");
    const auto most = std::numeric_limits<std::int64_t>::max();
    require(shape[0] <= most / shape[2] && shape[1] <= most / shape[3], "has a shape of ",
            json(shape).dump(), ", more than 63 bits hold");
    const auto own = own_shape();
    require(own[0] <= shape[0] * shape[2] && own[0] > (shape[0] - 1) * shape[2] &&
                own[1] <= shape[1] * shape[3] && own[1] > (shape[1] - 1) * shape[3],
            "its own shape ", json(own).dump(), " does not fit blocks of shape ",
            json(shape).dump());
    matrix.rows = own[0];
    matrix.cols = own[1];
  }

  // The matrix's shape in an own key, beside that of what is stored.
  std::vector<std::int64_t> own_shape() const {
    require(own_.contains("shape"),
            "does not say the shape of the matrix; the own key espalier with shape would be right");
    return numbers(own_, "shape", 2);
  }

  void parse_linear(MatrixInfo& matrix) const {
    const auto own = own_shape();
    matrix.rows = own[0];
    matrix.cols = own[1];
    std::int64_t cells = 0;
    require(!__builtin_mul_overflow(matrix.rows, matrix.cols, &cells), "is ", matrix.rows, " x ",
            matrix.cols, ", which has more linear indices than 63 bits hold");
    if (matrix.format == MatrixFormat::kVector) {
      const auto shape = numbers(descriptor_, "shape", 1);
      require(shape[0] == cells, "is a vector of ", shape[0], " for a matrix of ", matrix.rows,
              " x ", matrix.cols);
      return;
    }
    const auto bits = own_.find("bucket_bits");
    require(bits != own_.end() && (*bits == 8 || *bits == 16 || *bits == 32),
            "its own key bucket_bits is not 8, 16 or 32");
    require(cells > 0, "is a map of ", matrix.rows, " x ", matrix.cols);
    matrix.bucket_bits = bits->get<int>();
    const auto shape = numbers(descriptor_, "shape", 2);
    require(shape[0] == matrix.buckets() && shape[1] == std::int64_t{1} << matrix.bucket_bits,
            "has buckets of shape ", json(shape).dump(), ", [", matrix.buckets(), ",",
            std::int64_t{1} << matrix.bucket_bits, "] would be right");
  }

  // What the bits of values stand for; the catalog has marked the dataset already.
  void parse_value_type(MatrixInfo& matrix) const {
    const auto named = own_.find("value_type");
    if (matrix.format == MatrixFormat::kList) {
      require(named == own_.end(), "is a list with a value_type, but holds float32");
      return;
    }
    const ElementType type = catalog_.dataset(group_ + "/values").type;
    require(named == own_.end() || type.is_half(), "its value_type is ",
            named == own_.end() ? "" : named->dump().substr(0, 40), " and dataset values of type ",
            to_string(type), "; float16 or bfloat16 as uint16 would be right");
    matrix.value_type = kept_type(type);
  }

  std::string values_type() const {
    const auto types = descriptor_.find("data_types");
    if (types == descriptor_.end() || !types->is_object()) {
      complain("the descriptor has no object data_types");
    }
    const auto values = types->find("values");
    require(values != types->end() && values->is_string(),
            "the descriptor's data_types name no type of values");
    auto spelled = values->get<std::string>();
    require(!spelled.starts_with("complex"), "values are ", spelled, ", real numbers are needed");
    return spelled;
  }

  void check_counts(const MatrixInfo& matrix) const {
    const bool dense = matrix.format == MatrixFormat::kDmat;
    const bool filters = matrix.format == MatrixFormat::kFilters;
    require((!matrix.stores_zeros() && !filters) || !matrix.iso, "is a ", to_string(matrix.format),
            " of one value for all; such a matrix is not supported");
    require(!filters || matrix.stored % matrix.values_per_index() == 0, "has ", matrix.stored,
            " stored values, no multiple of ", matrix.values_per_index(), " a filter");
    // The size of these is not bound to the size of the file.
    const bool bound = !matrix.iso && (matrix.format == MatrixFormat::kCsr || dense ||
                                       matrix.format == MatrixFormat::kList ||
                                       matrix.format == MatrixFormat::kDvec);
    require(bound || matrix.rows <= kMaxSide, "has ", matrix.rows, " rows, at most ", kMaxSide,
            " are supported");
    if (matrix.format == MatrixFormat::kTensor) {
      check_block_count(matrix);
      return;
    }
    // More than rows x cols values cannot be, said without the product that could overflow.
    const bool within =
        matrix.stored == 0 || (matrix.cols > 0 && (matrix.stored - 1) / matrix.cols < matrix.rows);
    require(within, "has ", matrix.stored, " stored values, more than ", matrix.rows, " x ",
            matrix.cols, " positions");
    if (dense || matrix.format == MatrixFormat::kDvec) {
      const bool all =
          matrix.rows == 0 || matrix.cols == 0
              ? matrix.stored == 0
              : matrix.stored % matrix.cols == 0 && matrix.stored / matrix.cols == matrix.rows;
      require(all, "has ", matrix.stored, " stored values, but a ", to_string(matrix.format),
              " of ", matrix.rows, " x ", matrix.cols, " stores all");
    }
  }

  void check_block_count(const MatrixInfo& matrix) const {
    const std::int64_t each = matrix.block_values();
    require(matrix.rows > 0 && matrix.cols > 0 && matrix.stored % each == 0, "has ", matrix.stored,
            " stored values in blocks of ", each);
    const std::int64_t blocks = matrix.stored / each;
    require(blocks == 0 || (blocks - 1) / matrix.cols_of_blocks() < matrix.rows_of_blocks(), "has ",
            blocks, " blocks, more than ", matrix.rows_of_blocks(), " x ", matrix.cols_of_blocks());
  }

  void check_datasets(const MatrixInfo& matrix) const {
    const std::int64_t stored = matrix.stored;
    switch (matrix.format) {
      case MatrixFormat::kCsr:
      case MatrixFormat::kCsc:
      case MatrixFormat::kMap:
        check_dataset("pointers_to_1",
                      1 + (matrix.format == MatrixFormat::kCsr   ? matrix.rows
                           : matrix.format == MatrixFormat::kCsc ? matrix.cols
                                                                 : matrix.buckets()),
                      false);
        check_dataset("indices_1", stored, false);
        break;
      case MatrixFormat::kCoo:
      case MatrixFormat::kTensor:
      case MatrixFormat::kFilters:
        check_dataset("indices_0", stored / matrix.values_per_index(), false);
        check_dataset("indices_1", stored / matrix.values_per_index(), false);
        break;
      case MatrixFormat::kVector:
        check_dataset("indices_0", stored, false);
        break;
      case MatrixFormat::kList:
        check_dataset("pointers", matrix.rows + 1, false);
        check_pairs(stored);
        return;
      case MatrixFormat::kDmat:
      case MatrixFormat::kDvec:
        break;
    }
    check_values(matrix);
  }

  void check_pairs(std::int64_t length) const {
    const Dataset& dataset = catalog_.dataset(group_ + "/pairs");
    require(dataset.type == kPairType && dataset.shape == std::vector{length},
            "dataset pairs is of type ", to_string(dataset.type), " and shape ",
            json(dataset.shape).dump(), "; ", to_string(kPairType), " of shape [", length,
            "] would be right");
    check_size(dataset);
  }

  void check_size(const Dataset& dataset) const {
    const std::string name = dataset.path.substr(dataset.path.rfind('/') + 1);
    require(dataset.bytes() / kMaxInflation <= catalog_.file_bytes, "dataset ", name, " claims ",
            dataset.bytes(), " bytes in a file of ", catalog_.file_bytes);
  }

  // Lengths are compared here, so whatever is allocated later has the size of what is stored.
  const Dataset& number_dataset(const std::string& name, bool floats) const {
    const Dataset& dataset = catalog_.dataset(group_ + "/" + name);
    const ElementClass kind = dataset.type.kind;
    const bool good = kind == ElementClass::kUnsigned || kind == ElementClass::kSigned ||
                      (floats && kind == ElementClass::kFloat);
    require(good, "dataset ", name, " is of type ", to_string(dataset.type), ", ",
            floats ? "numbers" : "whole numbers", " would be right");
    check_size(dataset);
    return dataset;
  }

  void check_dataset(const std::string& name, std::int64_t length, bool floats) const {
    const Dataset& dataset = number_dataset(name, floats);
    require(dataset.shape.size() == 1 && dataset.count() == length, "dataset ", name, " has shape ",
            json(dataset.shape).dump(), ", [", length, "] would be right");
  }

  void check_values(const MatrixInfo& matrix) const {
    if (matrix.iso && matrix.stored == 0) {
      const Dataset& dataset = number_dataset("values", true);
      require(dataset.shape.size() == 1 && dataset.count() <= 1, "dataset values has shape ",
              json(dataset.shape).dump(), ", [1] or [0] would be right");
    } else if (matrix.format == MatrixFormat::kDmat) {
      const Dataset& dataset = number_dataset("values", true);
      const bool table = dataset.shape == std::vector{matrix.rows, matrix.cols};
      require(table || dataset.shape == std::vector{matrix.stored}, "dataset values has shape ",
              json(dataset.shape).dump(), ", [", matrix.rows, ",", matrix.cols, "] or [",
              matrix.stored, "] would be right");
    } else {
      check_dataset("values", matrix.iso ? 1 : matrix.stored, true);
    }
  }

  const Catalog& catalog_;
  const std::string& group_;
  json descriptor_;
  json own_;  // espalier's own keys beside it
};

}  // namespace

MatrixInfo parse_matrix(const Catalog& catalog, const std::string& group) {
  return Parser(catalog, group).parse();
}

}  // namespace espalier::io
