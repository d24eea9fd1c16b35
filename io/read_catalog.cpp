#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/catalog.hpp"
#include "io/input_file.hpp"
#include "io/walker.hpp"

namespace espalier::io {
namespace {

constexpr double kWalkSeconds = 150;

// Formats that people may hand over by mistake, by their first bytes.
struct Signature {
  std::string_view bytes, name;
};
constexpr std::array<Signature, 8> kForeign = {{
    {"\x89HDF", "one with a damaged signature (as by a transfer in text mode)"},
    {"\x1f\x8b", "gzip data, unpack it first"},
    {"PK\x03\x04", "a zip archive (or .npz)"},
    {"\x93NUMPY", "a NumPy array"},
    {"CDF", "a NetCDF-3 file, nccopy -k nc4 makes one that can be read"},
    {"%%MatrixMarket", "a Matrix Market file"},
    {std::string_view("\0\0\x08", 3), "an IDX file"},
    {"\x7f"
     "ELF",
     "a program"},
}};

std::string looks_like(std::string_view head) {
  if (head.empty()) {
    return "an empty file";
  }
  for (const Signature& known : kForeign) {
    if (head.starts_with(known.bytes)) {
      return std::string(known.name);
    }
  }
  const bool printable = std::all_of(head.begin(), head.end(), [](unsigned char c) {
    return std::isprint(c) != 0 || std::isspace(c) != 0;
  });
  return text(printable ? "text, starting with " : "a file that starts with ", in_quotes(head, 16));
}

// HDF5 looks for its signature at byte 0, 512, 1024, 2048, ...
bool has_signature(const InputFile& file) {
  constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  std::array<std::byte, kSignature.size()> found{};
  for (std::int64_t at = 0; at <= file.size() - std::ssize(found); at = at == 0 ? 512 : 2 * at) {
    file.read(at, found);
    if (std::memcmp(found.data(), kSignature.data(), found.size()) == 0) {
      return true;
    }
  }
  return false;
}

// What can be said without HDF5.
void check_first(const std::string& path) {
  const InputFile file(path);
  if (!has_signature(file)) {
    std::string head(static_cast<std::size_t>(std::min<std::int64_t>(file.size(), 64)), '\0');
    file.read(0, std::as_writable_bytes(std::span(head)));
    throw Error(ExitStatus::kBadData, text(path, ": not an HDF5 file: it is ", looks_like(head),
                                           "; networks, batches and results are HDF5 files"));
  }
}

}  // namespace

Catalog read_catalog(const Comm& comm, const std::string& file) {
  std::string found;
  on_root(comm, "looking at an HDF5 file", [&] {
    check_first(file);
    found = run_walker(find_walker(), file, kWalkSeconds);
  });
  found = comm.broadcast_string(found, 0);
  return locally(comm, "reading the catalog of a file", [&] { return parse_catalog(file, found); });
}

}  // namespace espalier::io
