#include "io/staged_file.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "framework/provenance.hpp"
#include "io/block_sums.hpp"
#include "io/catalog.hpp"
#include "io/checksum.hpp"
#include "io/data_file.hpp"
#include "io/h5.hpp"
#include "io/output_file.hpp"
#include "io/part_file.hpp"
#include "io/skeleton.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kDigestLetters = 64;

nlohmann::json result_relevant(const Provenance& provenance) {
  return {{"inputs", provenance.inputs},
          {"job", provenance.job},
          {"options", provenance.options},
          {"version", version()}};
}

std::string to_text(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string describe_origin(const Provenance& provenance) {
  nlohmann::json origin = result_relevant(provenance);
  origin["kind"] = provenance.kind;
  origin["format"] = kFormat;
  origin["job_digest"] = job_digest(provenance);
  return to_text(origin);
}

// Chunks grow no larger than their data, but leave gaps where they are rewritten.
std::int64_t room_for_chunks(const Skeleton& skeleton) {
  constexpr std::int64_t kIndexBytes = std::int64_t{1} << 20;
  return skeleton.data_bytes() + skeleton.data_bytes() / 8 + kIndexBytes;
}

// Rows of a dataset; a row is one element of a 1-D one.
struct Slab {
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::int64_t row_bytes = 1;
};

// What one collective write of one rank needs.
struct Selection {
  H5Handle in_file, in_memory, transfer, type;
};

}  // namespace

std::string job_digest(const Provenance& provenance) {
  return sha256(to_text(result_relevant(provenance)));
}

struct StagedFile::State {
  State(const Comm& comm_of_all, std::string path_of_file, OutputOptions given)
      : comm(&comm_of_all), path(std::move(path_of_file)), options(given) {}

  const Comm* comm;
  std::string path;
  OutputOptions options;
  Skeleton skeleton;
  std::vector<std::string> handles;  // paths of the datasets, by handle
  std::optional<PartFile> part;      // on rank 0
  // Where data lie that are not compressed, by handle, and the way to them: HDF5 has no part in
  // writing these.
  std::vector<std::int64_t> positions;
  std::optional<OutputFile> plain;
  // Of a compressed output. Not an owning handle: closing is collective, so it must not happen
  // while unwinding. HDF5 closes what is left open in MPI_Finalize, where all ranks are together
  // again.
  hid_t file = H5I_INVALID_HID;
  std::optional<BlockSums> sums;
  std::vector<std::int64_t> numbers;  // of the datasets within the sums, by handle
  std::int64_t bytes_written = 0;

  std::string part_name() const { return path + ".part"; }
  const Dataset& dataset(int handle) const {
    return skeleton.catalog().dataset(handles.at(static_cast<std::size_t>(handle)));
  }

  bool is_open() const { return plain || file >= 0; }
  void plan_sums();
  void build();
  void open();
  Slab check_slab(int handle, std::int64_t first, std::span<const std::byte> bytes) const;
  Selection select(const H5Handle& target, const Dataset& dataset, const Slab& slab) const;
  void write_rows(const Dataset& dataset, const Slab& slab, const std::byte* bytes) const;
  void close();
  void write_table(std::span<const std::uint32_t> table) const;
  void check_written() const;
};

void StagedFile::State::plan_sums() {
  const Catalog& catalog = skeleton.catalog();
  const ChecksumLayout layout(catalog);
  std::vector<SummedDataset> summed;
  numbers.assign(handles.size(), 0);
  for (const auto& [name, dataset] : catalog.datasets) {
    if (name != kChecksumPath) {
      const auto handle = std::find(handles.begin(), handles.end(), name) - handles.begin();
      numbers.at(static_cast<std::size_t>(handle)) = std::ssize(summed);
      summed.push_back({name, dataset.bytes(), layout.first_block(name)});
    }
  }
  sums.emplace(std::move(summed), layout.blocks());
}

void StagedFile::State::build() {
  std::int64_t bytes = 0;
  positions.assign(handles.size(), 0);
  on_root(*comm, "creating the output", [&] {
    part.emplace(path, options.force);
    // A full disk must not be met by HDF5: after a failed write it may crash or hang at its end.
    part->reserve(skeleton.file_bytes());
    const auto found = skeleton.build(part->name(), options.compress);
    for (std::size_t handle = 0; !options.compress && handle < handles.size(); ++handle) {
      const auto position = found.find(handles[handle]);
      expects(position != found.end() || dataset(static_cast<int>(handle)).count() == 0,
              text(handles[handle], " has a place in the file"));
      positions[handle] = position == found.end() ? 0 : position->second;
    }
    bytes = part->size_bytes();
    part->reserve(options.compress ? bytes + room_for_chunks(skeleton) : bytes);
  });
  comm->broadcast(std::as_writable_bytes(std::span(&bytes, 1)), 0);
  comm->broadcast(std::as_writable_bytes(std::span(positions)), 0);
  // A folder that is not the same one everywhere is found here: an open that succeeds on some ranks
  // only could never be closed.
  locally(*comm, "looking for the output", [&] {
    struct stat seen {};
    if (::stat(part_name().c_str(), &seen) != 0 || seen.st_size != bytes) {
      throw Error(
          ExitStatus::kCannotCreate,
          text("cannot create ", path, ": rank ", comm->rank(), " does not see the ", part_name(),
               " that rank 0 has made; outputs need a folder that all nodes share"));
    }
  });
}

void StagedFile::State::open() {
  if (!options.compress) {
    locally(*comm, "opening the output", [&] { plain.emplace(part_name()); });
    return;
  }
  const H5Handle access = locally(*comm, "opening the output", [&] {
    H5Handle properties =
        own_h5(H5Pcreate(H5P_FILE_ACCESS), ExitStatus::kIoFailed, "opening", part_name());
    check_h5(H5Pset_fapl_mpio(properties.get(), comm->raw(), MPI_INFO_NULL), ExitStatus::kIoFailed,
             "opening", part_name());
    check_h5(H5Pset_libver_bounds(properties.get(), H5F_LIBVER_V18, H5F_LIBVER_V18),
             ExitStatus::kIoFailed, "opening", part_name());
    return properties;
  });
  file = H5Fopen(part_name().c_str(), H5F_ACC_RDWR, access.get());
  std::optional<Failure> failure;
  if (file < 0) {
    failure = {ExitStatus::kIoFailed, text("opening ", part_name(), ": ", h5_reason())};
  }
  const std::int64_t opened = comm->sum(file < 0 ? 0 : 1);
  if (opened > 0 && opened < comm->ranks()) {
    // Those who have it could not close it without the others: nothing but an abort ends this.
    throw Error(ExitStatus::kIoFailed,
                text("only ", opened, " of ", comm->ranks(), " ranks could open ", part_name()));
  }
  agree(*comm, "opening the output", failure);
}

Slab StagedFile::State::check_slab(int handle, std::int64_t first,
                                   std::span<const std::byte> bytes) const {
  expects(is_open(), "data are written between create and finish");
  const Dataset& target = dataset(handle);
  if (bytes.empty()) {
    return {};
  }
  const std::int64_t row_elements = target.shape.size() == 2 ? target.shape[1] : std::int64_t{1};
  Slab slab;
  slab.row_bytes = row_elements * target.type.bytes;
  expects(
      slab.row_bytes > 0 && std::ssize(bytes) % slab.row_bytes == 0 && first % row_elements == 0,
      text(target.path, ": whole rows are written"));
  slab.first_row = first / row_elements;
  slab.rows = std::ssize(bytes) / slab.row_bytes;
  expects(first >= 0 && slab.rows <= target.shape[0] - slab.first_row,
          text(target.path, ": rows within its shape are written"));
  return slab;
}

// One round of collective writing; every rank calls, those without rows too.
void StagedFile::State::write_rows(const Dataset& dataset, const Slab& slab,
                                   const std::byte* bytes) const {
  // Opening may allocate chunks, which all ranks do together.
  const H5Handle target(H5Dopen2(file, dataset.path.c_str(), H5P_DEFAULT));
  const Selection selection =
      locally(*comm, "selecting rows", [&] { return select(target, dataset, slab); });
  const std::byte nothing{};
  const herr_t code = H5Dwrite(target.get(), selection.type.get(), selection.in_memory.get(),
                               selection.in_file.get(), selection.transfer.get(),
                               slab.rows == 0 ? &nothing : bytes);
  std::optional<Failure> failure;
  if (code < 0) {
    failure = {ExitStatus::kIoFailed,
               text("writing ", dataset.path, " to ", part_name(), ": ", h5_reason())};
  }
  agree(*comm, "writing an array", failure);
}

Selection StagedFile::State::select(const H5Handle& target, const Dataset& dataset,
                                    const Slab& slab) const {
  const auto own = [&](hid_t id) {
    return own_h5(id, ExitStatus::kIoFailed, "writing", part_name());
  };
  const auto check = [&](herr_t code) {
    check_h5(code, ExitStatus::kIoFailed, "writing", part_name());
  };
  check(target ? 0 : -1);
  Selection selection{
      own(H5Dget_space(target.get())), {}, own(H5Pcreate(H5P_DATASET_XFER)), h5_type(dataset.type)};
  std::vector<hsize_t> start(dataset.shape.size(), 0);
  std::vector<hsize_t> count(dataset.shape.begin(), dataset.shape.end());
  start[0] = static_cast<hsize_t>(slab.first_row);
  count[0] = static_cast<hsize_t>(slab.rows);
  selection.in_memory =
      own(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr));
  if (slab.rows == 0) {
    check(H5Sselect_none(selection.in_file.get()));
    check(H5Sselect_none(selection.in_memory.get()));
  } else {
    check(H5Sselect_hyperslab(selection.in_file.get(), H5S_SELECT_SET, start.data(), nullptr,
                              count.data(), nullptr));
  }
  check(H5Pset_dxpl_mpio(selection.transfer.get(), H5FD_MPIO_COLLECTIVE));
  return selection;
}

void StagedFile::State::close() {
  if (plain) {
    locally(*comm, "syncing the output", [&] { plain->sync(); });
    plain.reset();
    return;
  }
  std::optional<Failure> failure;
  if (H5Fclose(std::exchange(file, H5I_INVALID_HID)) < 0) {
    failure = {ExitStatus::kIoFailed, text("closing ", part_name(), ": ", h5_reason())};
  }
  agree(*comm, "closing the output", failure);
}

// Serial: the places have their final size, so only their content changes.
void StagedFile::State::write_table(std::span<const std::uint32_t> table) const {
  SerialFile opened = SerialFile::open(part_name());
  if (!table.empty()) {
    const H5Handle target = opened.own(H5Dopen2(opened.get(), kChecksumPath, H5P_DEFAULT));
    opened.check(
        H5Dwrite(target.get(), H5T_STD_U32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, table.data()));
  }
  const std::string digest = content_digest(skeleton.catalog(), table);
  {
    const H5Handle attribute =
        opened.own(H5Aopen_by_name(opened.get(), "/", kDigestAttribute, H5P_DEFAULT, H5P_DEFAULT));
    const H5Handle type = opened.own(H5Aget_type(attribute.get()));
    expects(H5Tget_size(type.get()) == digest.size(), "the digest fits its place");
    opened.check(H5Awrite(attribute.get(), type.get(), digest.data()));
  }
  opened.close();
}

// The close of a file is not trusted: what counts is what can be read back.
void StagedFile::State::check_written() const {
  try {
    const Catalog written = read_catalog(*comm, part_name());
    const bool verified = verify_checksums(*comm, written);
    locally(*comm, "checking the output",
            [&] { expects(verified, "an output carries checksums"); });
  } catch (const SharedError& error) {
    throw SharedError(ExitStatus::kIoFailed,
                      text("what was written to ", path, " does not read back: ", error.what()),
                      comm->rank(), comm->ranks());
  }
}

StagedFile::StagedFile(const Comm& comm, std::string path, Provenance provenance,
                       OutputOptions options)
    : state_(std::make_unique<State>(comm, std::move(path), options)) {
  state_->skeleton.add_group("/");
  state_->skeleton.add_attribute("/", "espalier", describe_origin(provenance));
  state_->skeleton.add_attribute("/", kDigestAttribute, std::string(kDigestLetters, '0'));
}

StagedFile::~StagedFile() = default;

const Comm& StagedFile::comm() const noexcept { return *state_->comm; }

void StagedFile::add_group(const std::string& path) { state_->skeleton.add_group(path); }

void StagedFile::add_attribute(const std::string& object, const std::string& name,
                               const nlohmann::json& value) {
  state_->skeleton.add_attribute(object, name, value);
}

int StagedFile::add_dataset(const std::string& path, ElementType type,
                            std::vector<std::int64_t> shape) {
  state_->skeleton.add_dataset(path, type, std::move(shape));
  state_->handles.push_back(path);
  return narrow<int>(state_->handles.size() - 1);
}

void StagedFile::create() {
  State& state = *state_;
  locally(*state.comm, "planning the output", [&] {
    expects(!state.part && !state.sums, "an output is created once");
    const std::int64_t blocks = ChecksumLayout(state.skeleton.catalog()).blocks();
    state.skeleton.add_dataset(kChecksumPath, kUint32, {blocks});
  });
  same_everywhere(*state.comm, "the structure of the output",
                  content_digest(state.skeleton.catalog(), {}));
  state.build();
  locally(*state.comm, "planning checksums", [&] { state.plan_sums(); });
  state.open();
}

void StagedFile::write(int dataset, std::int64_t first, std::span<const std::byte> bytes) {
  State& state = *state_;
  const Slab whole = locally(*state.comm, "writing an array", [&] {
    const Slab slab = state.check_slab(dataset, first, bytes);
    state.sums->add(state.numbers[static_cast<std::size_t>(dataset)],
                    first * state.dataset(dataset).type.bytes, bytes);
    if (state.plain) {
      state.plain->write(
          state.positions[static_cast<std::size_t>(dataset)] + slab.first_row * slab.row_bytes,
          bytes);
    }
    return slab;
  });
  state.bytes_written += std::ssize(bytes);
  const Dataset& target = state.dataset(dataset);
  if (state.plain || target.count() == 0) {
    return;
  }
  const std::int64_t round_rows =
      std::max<std::int64_t>(1, state.options.round_bytes / whole.row_bytes);
  // Whether one round does is known without asking the others if all of it fits.
  const std::int64_t rounds = target.bytes() <= state.options.round_bytes
                                  ? 1
                                  : state.comm->max((whole.rows + round_rows - 1) / round_rows);
  for (std::int64_t round = 0; round < rounds; ++round) {
    const std::int64_t done = std::min(round * round_rows, whole.rows);
    const Slab slab{whole.first_row + done, std::min(round_rows, whole.rows - done),
                    whole.row_bytes};
    state.write_rows(target, slab, bytes.data() + done * whole.row_bytes);
  }
}

void StagedFile::finish() {
  State& state = *state_;
  locally(*state.comm, "finishing the output",
          [&] { expects(state.is_open(), "an output is created before it is finished"); });
  const std::vector<std::uint32_t> table = state.sums->exchange_table(*state.comm);
  state.close();
  on_root(*state.comm, "completing the output", [&] { state.write_table(table); });
  locally(*state.comm, "syncing the output", [&] { sync_file(state.part_name()); });
  state.check_written();
  on_root(*state.comm, "putting the output in place", [&] { state.part->commit(); });
}

std::int64_t StagedFile::bytes_written() const noexcept { return state_->bytes_written; }

}  // namespace espalier::io
