#include "jobs/model_copy.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "framework/agree.hpp"
#include "framework/parallel.hpp"
#include "io/checksum.hpp"

namespace espalier::jobs {
namespace {

using Bytes = std::vector<std::byte>;

// What is copied as it is goes in parts of this size.
constexpr std::int64_t kCopyBytes = INT64_C(4) << 20;

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

void ModelDigest::note(std::size_t file, std::int64_t position, std::int64_t bytes,
                       std::uint32_t crc) {
  if (!parts_.empty() && parts_.back().file == static_cast<std::int64_t>(file) &&
      parts_.back().position + parts_.back().bytes == position) {
    Part& last = parts_.back();
    last.crc = io::combine_crc32(static_cast<std::uint32_t>(last.crc), crc, bytes);
    last.bytes += bytes;
  } else if (bytes > 0) {
    parts_.push_back({static_cast<std::int64_t>(file), position, bytes, crc});
  }
}

std::string ModelDigest::digest(const Comm& comm) const {
  std::vector<Part> parts;
  for (const auto& bytes : comm.gather_all_bytes(std::as_bytes(std::span(parts_)))) {
    const std::size_t before = parts.size();
    parts.resize(before + bytes.size() / sizeof(Part));
    if (!bytes.empty()) {
      std::memcpy(parts.data() + before, bytes.data(), bytes.size());
    }
  }
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return std::tie(a.file, a.position) < std::tie(b.file, b.position);
  });
  std::string canonical;
  on_root(comm, "digesting the model", [&] {
    auto part = parts.begin();
    for (std::size_t f = 0; f < model_.files.size(); ++f) {
      const io::ModelFile& file = model_.files[f];
      const std::string header = io::spell_tensor_header(file.header);
      std::uint32_t crc = io::crc32(std::as_bytes(std::span(header)));
      std::int64_t end = std::ssize(header);
      for (; part != parts.end() && part->file == static_cast<std::int64_t>(f); ++part) {
        expects(part->position == end, "each byte of a model is noted once");
        crc = io::combine_crc32(crc, static_cast<std::uint32_t>(part->crc), part->bytes);
        end += part->bytes;
      }
      expects(end == file.bytes(), "every byte of a model is noted");
      canonical += text(end, " ", crc, "\n");
    }
    for (const std::string& name : model_.side_files) {
      const io::InputFile side(model_.path + "/" + name);
      std::vector<std::byte> buffer(std::size_t{1} << 20);
      std::uint32_t crc = 0;
      for (std::int64_t at = 0; at < side.size(); at += std::ssize(buffer)) {
        const auto read =
            std::span(buffer).first(to_size(std::min(std::ssize(buffer), side.size() - at)));
        side.read(at, read);
        crc = io::crc32(read, crc);
      }
      canonical += text(side.size(), " ", crc, "\n");
    }
  });
  return io::sha256(comm.broadcast_string(canonical, 0));
}

std::string ModelDigest::digest_headers(const io::Model& model) {
  std::string canonical;
  for (const io::ModelFile& file : model.files) {
    const std::string header = io::spell_tensor_header(file.header);
    canonical += text(file.bytes(), " ", io::crc32(std::as_bytes(std::span(header))), "\n");
  }
  for (const std::string& name : model.side_files) {
    canonical += text(io::InputFile(model.path + "/" + name).size(), "\n");
  }
  return io::sha256(canonical);
}

ModelStretch stretch_of(const io::Model& model, io::TensorPlace place) {
  const std::int64_t begin = model.position(place);
  return {place.file, begin, begin + model.tensor(place).bytes};
}

ModelStretch stretch_of(const io::ModelReader& reader, std::int64_t layer, Range rows) {
  const io::TensorPlace place = reader.place(layer);
  const std::int64_t row_bytes =
      reader.network().layers[to_size(layer)].weight.cols * io::bytes_of(reader.type(layer));
  const std::int64_t begin = reader.model().position(place);
  return {place.file, begin + rows.begin * row_bytes, begin + rows.end * row_bytes};
}

void check_same_rows(const io::ModelReader& reader, std::int64_t layer, Range rows,
                     std::uint32_t before, std::uint32_t now) {
  if (before != now) {
    throw Error(
        ExitStatus::kBadData,
        text(reader.model().files[reader.place(layer).file].path, ": ",
             reader.network().layers[to_size(layer)].name, " has changed in rows ", rows.begin,
             " to ", rows.end - 1, " since its weights were counted; --no-resume starts afresh"));
  }
}

io::PlannedModel plan_model(const io::Model& model) {
  io::PlannedModel planned;
  for (const io::ModelFile& file : model.files) {
    planned.names.push_back(file.name);
    planned.headers.push_back(file.header);
  }
  planned.side_folder = model.path;
  planned.side_files = model.side_files;
  return planned;
}

std::vector<ModelStretch> rest_of_layers(const io::ModelReader& reader) {
  std::vector<ModelStretch> layers;
  for (std::int64_t layer = 0; layer < std::ssize(reader.network().layers); ++layer) {
    layers.push_back(stretch_of(reader.model(), reader.place(layer)));
  }
  return rest_of(reader.model(), layers);
}

std::vector<ModelStretch> rest_of(const io::Model& model,
                                  const std::vector<ModelStretch>& replaced) {
  std::vector<ModelStretch> parts;
  for (std::size_t f = 0; f < model.files.size(); ++f) {
    std::int64_t begin = model.files[f].header.data_start();
    const auto add_until = [&](std::int64_t end) {
      for (; begin < end; begin += kCopyBytes) {
        parts.push_back({f, begin, std::min(begin + kCopyBytes, end)});
      }
    };
    for (const ModelStretch& stretch : replaced) {
      if (stretch.file == f) {
        add_until(stretch.begin);
        begin = stretch.end;
      }
    }
    add_until(model.files[f].bytes());
  }
  return parts;
}

std::uint32_t copy_part(const io::ModelReader& reader, const ModelStretch& part,
                        io::ModelOutput& output, Bytes& buffer) {
  buffer.resize(to_size(part.end - part.begin));
  reader.read_bytes(part.file, part.begin, buffer);
  output.write(part.file, part.begin, buffer);
  return io::crc32(buffer);
}

void copy_parts(Context& context, const io::ModelReader& reader,
                const std::vector<ModelStretch>& parts, io::ModelOutput& output,
                const std::function<void()>& check) {
  const Comm& world = context.world;
  locally(world, "copying what is not pruned", [&] {
    const PhaseTimer timer(context.times, Phase::kWrite);
    const std::int64_t mine =
        (std::ssize(parts) + world.ranks() - 1 - world.rank()) / world.ranks();
    std::vector<Bytes> buffers(to_size(threads()));
    parallel_for(mine, [&](std::int64_t i, int thread) {
      check();
      copy_part(reader, parts[to_size(world.rank() + i * world.ranks())], output,
                buffers[to_size(thread)]);
    });
  });
}

// The least magnitude that would be rounded to infinity.
constexpr float kBeyondHalf = 65520;

Bytes spread_rows(io::WeightType type, const kernels::CsrRows& rows,
                  std::span<const std::byte> before) {
  const std::int64_t width = io::bytes_of(type);
  Bytes stored(to_size(rows.rows() * rows.cols * width));
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t k = rows.pointers[to_size(row)]; k < rows.pointers[to_size(row) + 1]; ++k) {
      const std::size_t at = to_size((row * rows.cols + rows.indices[to_size(k)]) * width);
      const auto to = std::span(stored).subspan(at, to_size(width));
      const float weight = rows.value(k);
      if (type == io::WeightType::kF16 && std::abs(weight) >= kBeyondHalf) {
        throw Error(ExitStatus::kBadData,
                    text("a weight is ", weight, " in row ", rows.first_row + row, ", column ",
                         rows.indices[to_size(k)], ", which float16 does not hold"));
      }
      float was = 0;
      if (!before.empty()) {
        io::to_floats(type, before.subspan(at, to_size(width)), std::span(&was, 1));
      }
      if (was == weight) {
        std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(at), width, to.begin());
      } else {
        io::from_floats(type, std::span(&weight, 1), to);
      }
    }
  }
  return stored;
}

}  // namespace espalier::jobs
