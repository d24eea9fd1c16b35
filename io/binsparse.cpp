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
// Deflate cannot shrink by more than about 1:1032, so larger claims cannot be true.
constexpr std::int64_t kMaxInflation = 1100;

// Filters as triplets: (output channel, input channel, filter), a sparse level over a dense one.
const json& filters_format() {
  static const json format = json::parse(R"({"custom": {"level":
      {"level_desc": "sparse", "rank": 2, "level":
      {"level_desc": "dense", "rank": 2, "level": {"level_desc": "element"}}}}})");
  return format;
}

// The same with its axes in order said aloud.
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
    descriptor_ = root.contains("binsparse") ? root.at("binsparse") : root;
    require(descriptor_.is_object(), "the attribute binsparse holds no JSON object");
    check_keys();
    MatrixInfo matrix;
    matrix.group = group_;
    matrix.format = parse_format();
    parse_shape(matrix);
    matrix.stored = number("number_of_stored_values");
    matrix.iso = values_type().starts_with("iso[");
    check_counts(matrix);
    check_datasets(matrix);
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
    const json* attribute = catalog_.find_attribute(group_, "binsparse");
    require(attribute != nullptr && attribute->is_string(),
            "is no binsparse matrix: it has no text attribute binsparse");
    const auto& spelled = attribute->get_ref<const std::string&>();
    json root = parse_json(spelled);
    require(root.is_object(), "the attribute binsparse is no JSON object: ", quoted(spelled));
    return root;
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
    const auto format = descriptor_.find("format");
    if (format != descriptor_.end() && without_transpose(*format) == filters_format()) {
      return MatrixFormat::kFilters;
    }
    require(format != descriptor_.end() && format->is_string(),
            "the descriptor has no text key format, nor that of filters");
    const auto& spelled = format->get_ref<const std::string&>();
    constexpr std::array<std::pair<std::string_view, MatrixFormat>, 6> kKnown = {{
        {"CSR", MatrixFormat::kCsr},
        {"COO", MatrixFormat::kCoo},
        {"COOR", MatrixFormat::kCoo},
        {"DMAT", MatrixFormat::kDmat},
        {"DMATR", MatrixFormat::kDmat},
        {"DVEC", MatrixFormat::kDvec},
    }};
    for (const auto& [name, value] : kKnown) {
      if (spelled == name) {
        return value;
      }
    }
    complain("format ", quoted(spelled),
             " is not supported, CSR, COO, DMAT or DVEC would be right");
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

  void parse_shape(MatrixInfo& matrix) const {
    const bool filters = matrix.format == MatrixFormat::kFilters;
    const std::size_t rank = matrix.format == MatrixFormat::kDvec ? 1 : filters ? 4 : 2;
    const auto shape = descriptor_.find("shape");
    require(shape != descriptor_.end() && shape->is_array() && shape->size() == rank,
            "the descriptor's shape is no list of ", rank, " numbers");
    matrix.rows = checked(shape->at(0), "shape");
    matrix.cols = rank >= 2 ? checked(shape->at(1), "shape") : 1;
    if (filters) {
      matrix.filter_height = checked(shape->at(2), "shape");
      matrix.filter_width = checked(shape->at(3), "shape");
      for (const std::int64_t side : {matrix.filter_height, matrix.filter_width}) {
        require(side > 0 && side <= kMaxSide, "its filters are ", matrix.filter_height, " x ",
                matrix.filter_width);
        require(matrix.cols <= kMaxSide / side, "has more than ", kMaxSide, " columns");
        matrix.cols *= side;
      }
    }
    require(matrix.rows < std::numeric_limits<std::int64_t>::max(), "has ", matrix.rows, " rows");
    require(matrix.cols <= kMaxSide, "is ", matrix.cols, " wide, at most ", kMaxSide,
            " columns are supported");
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
    require((!dense && !filters) || !matrix.iso, "is a ", to_string(matrix.format),
            " of one value for all; such a matrix is not supported");
    require(matrix.stored % matrix.values_per_index() == 0, "has ", matrix.stored,
            " stored values, no multiple of ", matrix.values_per_index(), " a filter");
    // The size of these is not bound to the size of the file.
    const bool triplets = matrix.format == MatrixFormat::kCoo || filters;
    require((!triplets && !matrix.iso) || matrix.rows <= kMaxSide, "has ", matrix.rows,
            " rows, at most ", kMaxSide, " are supported");
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

  void check_datasets(const MatrixInfo& matrix) const {
    const bool csr = matrix.format == MatrixFormat::kCsr;
    if (csr) {
      check_dataset("pointers_to_1", matrix.rows + 1, false);
    }
    const bool triplets =
        matrix.format == MatrixFormat::kCoo || matrix.format == MatrixFormat::kFilters;
    const std::int64_t indices = matrix.stored / matrix.values_per_index();
    if (triplets) {
      check_dataset("indices_0", indices, false);
    }
    if (csr || triplets) {
      check_dataset("indices_1", indices, false);
    }
    check_values(matrix);
  }

  // Lengths are compared here, so whatever is allocated later has the size of what is stored.
  const Dataset& number_dataset(const std::string& name, bool floats) const {
    const Dataset& dataset = catalog_.dataset(group_ + "/" + name);
    const ElementClass kind = dataset.type.kind;
    const bool good = kind == ElementClass::kUnsigned || kind == ElementClass::kSigned ||
                      (floats && kind == ElementClass::kFloat);
    require(good, "dataset ", name, " is of type ", to_string(dataset.type), ", ",
            floats ? "numbers" : "whole numbers", " would be right");
    require(dataset.bytes() / kMaxInflation <= catalog_.file_bytes, "dataset ", name, " claims ",
            dataset.bytes(), " bytes in a file of ", catalog_.file_bytes);
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
};

}  // namespace

std::string to_string(MatrixFormat format) {
  switch (format) {
    case MatrixFormat::kCsr:
      return "CSR";
    case MatrixFormat::kCoo:
      return "COO";
    case MatrixFormat::kDmat:
      return "DMAT";
    case MatrixFormat::kFilters:
      return "filters";
    case MatrixFormat::kDvec:
      break;
  }
  return "DVEC";
}

std::string make_descriptor(const MatrixInfo& matrix,
                            const std::map<std::string, ElementType>& data_types) {
  json types = json::object();
  for (const auto& [name, type] : data_types) {
    const std::string spelled = to_string(type);
    types[name] = matrix.iso && name == "values" ? "iso[" + spelled + "]" : spelled;
  }
  json shape = {matrix.rows};
  json format = to_string(matrix.format);
  if (matrix.format == MatrixFormat::kFilters) {
    format = filters_format();
    shape = {matrix.rows, matrix.cols / matrix.values_per_index(), matrix.filter_height,
             matrix.filter_width};
  } else if (matrix.format != MatrixFormat::kDvec) {
    shape.push_back(matrix.cols);
  }
  return json{{"binsparse",
               {{"version", "0.1"},
                {"format", format},
                {"shape", shape},
                {"number_of_stored_values", matrix.stored},
                {"data_types", types}}}}
      .dump();
}

MatrixInfo parse_matrix(const Catalog& catalog, const std::string& group) {
  return Parser(catalog, group).parse();
}

}  // namespace espalier::io
