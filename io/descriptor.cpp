// The writing half of binsparse.hpp.
#include "framework/error.hpp"
#include "io/binsparse.hpp"

namespace espalier::io {

using nlohmann::json;

json blocks_format() {
  const json dense = {{"level_desc", "dense"}, {"rank", 2}, {"level", {{"level_desc", "element"}}}};
  return {{"custom", {{"level", {{"level_desc", "sparse"}, {"rank", 2}, {"level", dense}}}}}};
}

std::string to_string(MatrixFormat format) {
  switch (format) {
    case MatrixFormat::kCsr:
      return "CSR";
    case MatrixFormat::kCsc:
      return "CSC";
    case MatrixFormat::kCoo:
      return "COO";
    case MatrixFormat::kTensor:
      return "tensor";
    case MatrixFormat::kMap:
      return "map";
    case MatrixFormat::kList:
      return "list";
    case MatrixFormat::kVector:
      return "CVEC";
    case MatrixFormat::kDmat:
      return "DMAT";
    case MatrixFormat::kFilters:
      return "filters";
    case MatrixFormat::kDvec:
      break;
  }
  return "DVEC";
}

int plan_bucket_bits(const MatrixInfo& map) {
  int best = 0;
  double least = 0;
  for (const int bits : {8, 16, 32}) {
    MatrixInfo cut = map;
    cut.bucket_bits = bits;
    const double bytes = static_cast<double>(cut.buckets()) * narrowest_unsigned(map.stored).bytes +
                         static_cast<double>(map.stored) * bits / 8;
    if (best == 0 || bytes < least) {
      best = bits;
      least = bytes;
    }
  }
  return best;
}

std::string descriptor_name(MatrixFormat format) {
  return format == MatrixFormat::kList ? "espalier" : "binsparse";
}

std::string make_descriptor(const MatrixInfo& matrix,
                            const std::map<std::string, ElementType>& data_types) {
  const json own_shape = {matrix.rows, matrix.cols};
  if (matrix.format == MatrixFormat::kList) {
    return json{{"form", "list"}, {"number_of_stored_values", matrix.stored}, {"shape", own_shape}}
        .dump();
  }
  json types = json::object();
  for (const auto& [name, type] : data_types) {
    const std::string spelled = to_string(type);
    types[name] = matrix.iso && name == "values" ? "iso[" + spelled + "]" : spelled;
  }
  json inner = {{"version", "0.1"},
                {"format", to_string(matrix.format)},
                {"shape", own_shape},
                {"number_of_stored_values", matrix.stored},
                {"data_types", types}};
  json own;
  switch (matrix.format) {
    case MatrixFormat::kTensor:
      inner["format"] = blocks_format();
      inner["shape"] = {matrix.rows_of_blocks(), matrix.cols_of_blocks(), matrix.block_rows,
                        matrix.block_cols};
      own = {{"shape", own_shape}};
      break;
    case MatrixFormat::kFilters:
      inner["format"] = blocks_format();
      inner["shape"] = {matrix.rows, matrix.cols / matrix.values_per_index(), matrix.filter_height,
                        matrix.filter_width};
      break;
    case MatrixFormat::kMap:
      // To others it is the linear index cut into the rows of a CSR matrix.
      inner["format"] = "CSR";
      inner["shape"] = {matrix.buckets(), std::int64_t{1} << matrix.bucket_bits};
      own = {{"form", "map"}, {"bucket_bits", matrix.bucket_bits}, {"shape", own_shape}};
      break;
    case MatrixFormat::kVector:
      inner["shape"] = {matrix.rows * matrix.cols};
      own = {{"shape", own_shape}};
      break;
    case MatrixFormat::kDvec:
      inner["shape"] = {matrix.rows};
      break;
    default:
      break;
  }
  if (const auto values = data_types.find("values");
      values != data_types.end() && values->second.is_half()) {
    own["value_type"] = value_name(values->second);
  }
  json root = {{"binsparse", inner}};
  if (!own.is_null()) {
    root["espalier"] = own;
  }
  return root.dump();
}

}  // namespace espalier::io
