#include "io/model.hpp"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/json_text.hpp"

namespace espalier::io {
namespace {

constexpr std::string_view kSuffix = ".safetensors";
constexpr std::string_view kIndexSuffix = ".safetensors.index.json";

template <typename... Parts>
[[noreturn]] void complain(const std::string& file, const Parts&... parts) {
  throw Error(ExitStatus::kBadData, text(file, ": ", parts...));
}

bool is_folder(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// Names of the plain files in a folder, ascending.
std::vector<std::string> list_folder(const std::string& folder) {
  DIR* opened = ::opendir(folder.c_str());
  if (opened == nullptr) {
    throw_errno(errno, "cannot open", folder, ExitStatus::kNoInput);
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(opened)) {
    struct stat status {};
    const std::string path = folder + "/" + entry->d_name;
    if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode)) {
      names.emplace_back(entry->d_name);
    }
  }
  ::closedir(opened);
  std::sort(names.begin(), names.end());
  return names;
}

std::string read_small_file(const std::string& path) {
  const InputFile file(path);
  if (file.size() > kMostHeaderBytes) {
    complain(path, "has ", file.size(), " bytes, at most ", kMostHeaderBytes, " would be right");
  }
  std::string content(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(content)));
  return content;
}

// What rank 0 finds: all of it text, so that it can be sent.
struct Found {
  std::vector<std::string> names, headers;  // of the files with tensors
  std::vector<std::int64_t> data_bytes;
  std::vector<std::string> side_files;
  std::string index, index_name;  // empty if there is none
};

// Tensor name -> file name.
std::map<std::string, std::string> parse_index(const std::string& file,
                                               const std::string& spelled) {
  const nlohmann::json root = parse_json(spelled);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    complain(file, "is no index: right is a JSON object with an object weight_map");
  }
  if (const auto key = repeated_key(spelled)) {
    complain(file, "has the key ", io::in_quotes(*key), " twice; keys occur once");
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, value] : root["weight_map"].items()) {
    const std::string to = value.is_string() ? value.get<std::string>() : std::string();
    if (!to.ends_with(kSuffix) || to.find('/') != std::string::npos) {
      complain(file, "weight_map: tensor ", io::in_quotes(name), " is in ",
               value.is_string() ? io::in_quotes(to) : value.dump(),
               "; right is the name of a .safetensors file in the same folder");
    }
    files.emplace(name, to);
  }
  return files;
}

Found find_in_folder(const std::string& folder) {
  Found found;
  found.side_files = list_folder(folder);
  const auto take = [&](auto&& which) {
    std::vector<std::string> taken;
    std::copy_if(found.side_files.begin(), found.side_files.end(), std::back_inserter(taken),
                 which);
    return taken;
  };
  const auto indices = take([](const auto& name) { return name.ends_with(kIndexSuffix); });
  if (indices.size() > 1) {
    complain(folder, "holds ", indices.size(), " indices, ", io::in_quotes(indices[0]), " and ",
             io::in_quotes(indices[1]), "; one would be right");
  }
  if (!indices.empty()) {
    found.index_name = indices[0];
    found.index = read_small_file(folder + "/" + indices[0]);
    std::set<std::string> named;
    for (const auto& [tensor, file] : parse_index(folder + "/" + indices[0], found.index)) {
      named.insert(file);
    }
    found.names.assign(named.begin(), named.end());
  } else {
    found.names = take([](const auto& name) { return name.ends_with(kSuffix); });
    if (found.names.size() > 1) {
      complain(folder, "holds ", found.names.size(),
               " .safetensors files but no model.safetensors.index.json that says which belong "
               "together");
    }
  }
  if (found.names.empty() && !indices.empty()) {
    complain(folder + "/" + indices[0],
             "its weight_map is empty; right is one that tells for each "
             "tensor which .safetensors file it is in");
  }
  if (found.names.empty()) {
    complain(folder, "is no model: there is no .safetensors file in it");
  }
  // Others with tensors in them would be the same model once more, not pruned.
  std::erase_if(found.side_files, [](const auto& name) { return name.ends_with(kSuffix); });
  return found;
}

std::string join(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) {
    all += line + '\0';
  }
  return all;
}

std::vector<std::string> split(const std::string& all) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = all.find('\0', at);
    lines.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

void broadcast(const Comm& comm, Found& found) {
  found.names = split(comm.broadcast_string(join(found.names), 0));
  found.side_files = split(comm.broadcast_string(join(found.side_files), 0));
  found.index_name = comm.broadcast_string(found.index_name, 0);
  found.index = comm.broadcast_string(found.index, 0);
  found.headers.resize(found.names.size());
  found.data_bytes.resize(found.names.size());
  for (std::string& header : found.headers) {
    header = comm.broadcast_string(header, 0);
  }
  comm.broadcast(std::as_writable_bytes(std::span(found.data_bytes)), 0);
}

// Each tensor once, and where the index says.
void check_names(const Model& model, const Found& found) {
  std::map<std::string, std::string> where;
  for (const ModelFile& file : model.files) {
    for (const Tensor& tensor : file.header.tensors) {
      const auto [at, is_new] = where.emplace(tensor.name, file.name);
      if (!is_new) {
        complain(file.path, "tensor ", io::in_quotes(tensor.name), " is also in ", at->second,
                 "; each stands in one file");
      }
    }
  }
  if (found.index_name.empty()) {
    return;
  }
  const std::string index = model.path + "/" + found.index_name;
  const auto named = parse_index(index, found.index);
  for (const auto& [tensor, file] : named) {
    const auto at = where.find(tensor);
    if (at == where.end() || at->second != file) {
      complain(index, "tensor ", io::in_quotes(tensor), " should be in ", file,
               at == where.end() ? ", but is in no file" : ", but is in " + at->second);
    }
  }
  if (named.size() != where.size()) {
    const auto stranger = std::find_if(where.begin(), where.end(), [&](const auto& entry) {
      return !named.contains(entry.first);
    });
    complain(index, "does not name tensor ", io::in_quotes(stranger->first), " of ",
             stranger->second);
  }
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::vector<std::string> Model::paths() const {
  std::vector<std::string> all;
  for (const ModelFile& file : files) {
    all.push_back(file.path);
  }
  for (const std::string& name : side_files) {
    all.push_back(path + "/" + name);
  }
  return all;
}

bool looks_like_model(const std::string& place) {
  return place.ends_with(kSuffix) || is_folder(place);
}

Model read_model(const Comm& comm, const std::vector<std::string>& places) {
  expects(!places.empty(), "a model has a place");
  Model model;
  model.place = places[0];
  Found found;
  std::int64_t folder = 0;
  on_root(comm, "looking for a model", [&] {
    folder = places.size() == 1 && is_folder(places[0]) ? 1 : 0;
    if (folder != 0) {
      found = find_in_folder(places[0]);
    } else {
      found.names = places;
      std::sort(found.names.begin(), found.names.end());
    }
    for (const std::string& name : found.names) {
      const InputFile file(folder != 0 ? places[0] + "/" + name : name);
      TensorHeader header = read_tensor_header(file);
      found.data_bytes.push_back(header.data_bytes());
      found.headers.push_back(std::move(header.text));
    }
  });
  broadcast(comm, found);
  model.folder = comm.max(folder) != 0;
  model.path = model.folder ? places[0] : std::string();
  model.side_files = found.side_files;
  locally(comm, "reading headers", [&] {
    for (std::size_t f = 0; f < found.names.size(); ++f) {
      ModelFile file;
      file.path = model.folder ? model.path + "/" + found.names[f] : found.names[f];
      file.name = name_of(file.path);
      file.header =
          parse_tensor_header(file.path, std::move(found.headers[f]), found.data_bytes[f]);
      model.files.push_back(std::move(file));
    }
    check_names(model, found);
  });
  return model;
}

}  // namespace espalier::io
