// espalier merge: the results of an inference that ran in parts, as one.
#include <algorithm>
#include <memory>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "framework/provenance.hpp"
#include "io/file_kind.hpp"
#include "io/matrix_rows.hpp"
#include "io/result_file.hpp"
#include "jobs/cluster_jobs.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

struct Part {
  io::Catalog catalog;
  io::Result result;
  nlohmann::json origin;  // what it says of itself, without what differs between parts
  Range samples;          // of the batch

  const std::string& file() const noexcept { return catalog.file; }
};

Part look_at(const io::Catalog& catalog) {
  Part part{catalog, io::parse_result(catalog), io::origin_of(catalog), {}};
  if (!part.result.part) {
    throw Error(ExitStatus::kBadData, text(catalog.file,
                                           " is no part of a result: it holds all samples of its "
                                           "batch; parts come from infer --part I/N"));
  }
  part.samples = part.result.part->samples;
  part.origin["options"].erase("part");
  part.origin.erase("job_digest");
  return part;
}

Error differs(const Part& part, const Part& first, const std::string& what) {
  return {ExitStatus::kBadData,
          text(part.file(), " does not belong to ", first.file(), ": ", what)};
}

void check_belongs(const Part& part, const Part& first) {
  const std::pair<const char*, const char*> keys[] = {
      {"inputs", "it comes from another network or batch"},
      {"options", "it was made with other options"},
      {"version", "it was made by another version of espalier"}};
  for (const auto& [key, words] : keys) {
    const auto mine = part.origin.value(key, nlohmann::json());
    const auto its = first.origin.value(key, nlohmann::json());
    if (mine != its) {
      const bool told = std::string_view(key) != "inputs";
      throw differs(part, first,
                    told ? text(words, " (", mine.dump(), ", not ", its.dump(), ")") : words);
    }
  }
  const auto width = [](const io::Result& one) { return one.output ? one.output->cols : 0; };
  const bool same_shape =
      part.origin == first.origin && part.result.part->of == first.result.part->of &&
      part.result.top_k == first.result.top_k && width(part.result) == width(first.result) &&
      part.result.output.has_value() == first.result.output.has_value() &&
      part.result.sample_id == first.result.sample_id;
  if (!same_shape) {
    throw differs(part, first, "it holds other things of each sample, or of another batch");
  }
}

// The samples that lie between parts, or in two of them.
void check_whole(const std::vector<Part>& parts) {
  std::int64_t next = 0;
  const Part* before = nullptr;
  const auto missing = [&](std::int64_t end) {
    return Error(ExitStatus::kBadData,
                 text("samples ", next + 1, " to ", end, " (counted from 1) of ",
                      parts.front().result.part->of, " are in no part",
                      before != nullptr ? text("; the part before them is ", before->file()) : ""));
  };
  for (const Part& part : parts) {
    if (part.samples.begin > next) {
      throw missing(part.samples.begin);
    }
    if (part.samples.begin < next) {
      throw Error(ExitStatus::kBadData,
                  text(before->file(), " and ", part.file(), " both hold samples from ",
                       part.samples.begin + 1, " (counted from 1) on"));
    }
    next = part.samples.end;
    before = &part;
  }
  if (next < parts.front().result.part->of) {
    throw missing(parts.front().result.part->of);
  }
}

io::Provenance provenance_of(const Part& part) {
  const auto says = [&](const char* key) { return part.origin.value(key, nlohmann::json()); };
  if (says("version") != version() || says("job") != "infer") {
    throw Error(ExitStatus::kBadData,
                text(part.file(), " was made by ", says("job").dump(), " of espalier ",
                     says("version").dump(), ", this is ", version(),
                     ": merge with the version that made the parts"));
  }
  io::Provenance provenance;
  provenance.kind = "result";
  provenance.job = "infer";
  provenance.options = part.origin["options"];
  for (const nlohmann::json& input : says("inputs")) {
    provenance.inputs.push_back(input.is_string() ? input.get<std::string>() : input.dump());
  }
  return provenance;
}

struct Whole {
  std::vector<Part> parts;  // by samples
  io::Result result;
  io::Provenance provenance;
};

Whole put_together(const std::vector<io::Catalog>& catalogs) {
  Whole whole;
  for (const io::Catalog& catalog : catalogs) {
    whole.parts.push_back(look_at(catalog));
    check_belongs(whole.parts.back(), whole.parts.front());
  }
  // An empty part stands before the one that begins where it does.
  std::sort(whole.parts.begin(), whole.parts.end(), [](const Part& a, const Part& b) {
    return std::pair(a.samples.begin, a.samples.end) < std::pair(b.samples.begin, b.samples.end);
  });
  check_whole(whole.parts);
  const Part& first = whole.parts.front();
  whole.provenance = provenance_of(first);
  whole.result = first.result;
  whole.result.part.reset();
  whole.result.samples = first.result.part->of;
  whole.result.categories = 0;
  std::int64_t stored = 0;
  for (const Part& part : whole.parts) {
    whole.result.categories += part.result.categories;
    stored += part.result.output ? part.result.output->stored : 0;
  }
  if (whole.result.output) {
    whole.result.output = io::MatrixInfo{
        "/output", io::MatrixFormat::kCsr, whole.result.samples, first.result.output->cols, stored,
        false};
  }
  return whole;
}

// This rank's samples, piece by piece, each from one part.
class Source {
 public:
  // `whole` is borrowed.
  Source(const Whole& whole, Range mine) : whole_(whole) {
    constexpr std::int64_t kEntries = std::int64_t{1} << 22;
    const std::int64_t width = whole.result.output ? whole.result.output->cols : 0;
    const std::int64_t most =
        std::max<std::int64_t>(1, kEntries / (1 + 2 * whole.result.top_k + width));
    for (std::size_t id = 0; id < whole.parts.size(); ++id) {
      const Range samples = whole.parts[id].samples;
      const std::int64_t end = std::min(samples.end, mine.end);
      for (std::int64_t at = std::max(samples.begin, mine.begin); at < end; at += most) {
        pieces_.push_back({id, {at, std::min(at + most, end)}});
      }
    }
  }

  std::int64_t pieces() const noexcept { return std::ssize(pieces_); }
  Range samples(std::int64_t piece) const { return at(piece).samples; }

  std::vector<std::uint8_t> read_alive(std::int64_t piece) {
    std::vector<std::int64_t> alive(static_cast<std::size_t>(samples(piece).size()));
    data(piece).read(dataset(piece, "/alive"), local(piece).begin, alive);
    for (const std::int64_t one : alive) {
      if (one != 0 && one != 1) {
        throw Error(ExitStatus::kBadData,
                    text(part(piece).file(), ": /alive has a ", one, "; 0 or 1 would be right"));
      }
    }
    return {alive.begin(), alive.end()};
  }

  void read_top(std::int64_t piece, std::vector<std::int64_t>& index, std::vector<float>& value) {
    const std::int64_t top_k = whole_.result.top_k;
    index.resize(static_cast<std::size_t>(samples(piece).size() * top_k));
    value.resize(index.size());
    data(piece).read(dataset(piece, "/top_index"), local(piece).begin * top_k, index);
    data(piece).read(dataset(piece, "/top_value"), local(piece).begin * top_k, value);
  }

  std::vector<std::byte> read_ids(std::int64_t piece) {
    const io::Dataset& ids = dataset(piece, "/sample_id");
    std::vector<std::byte> bytes(static_cast<std::size_t>(samples(piece).size() * ids.type.bytes));
    data(piece).read_raw(ids, local(piece).begin, bytes);
    return bytes;
  }

  // Rows counted in the whole, and how many values are stored before them.
  std::pair<kernels::CsrRows, std::int64_t> read_output(std::int64_t piece) {
    std::int64_t before = 0;
    for (std::size_t id = 0; id < at(piece).part; ++id) {
      before += whole_.parts[id].result.output->stored;
    }
    const io::MatrixInfo& output = *part(piece).result.output;
    before += io::nnz_before(data(piece), output, local(piece).begin);
    auto rows = io::read_rows(data(piece), output, local(piece));
    rows.first_row = samples(piece).begin;
    return {std::move(rows), before};
  }

  std::int64_t bytes_read() const { return bytes_read_ + (data_ ? data_->bytes_read() : 0); }

 private:
  struct Piece {
    std::size_t part;
    Range samples;  // of the batch
  };
  const Piece& at(std::int64_t piece) const { return pieces_.at(static_cast<std::size_t>(piece)); }
  const Part& part(std::int64_t piece) const { return whole_.parts[at(piece).part]; }
  Range local(std::int64_t piece) const {
    const std::int64_t first = part(piece).samples.begin;
    return {samples(piece).begin - first, samples(piece).end - first};
  }
  const io::Dataset& dataset(std::int64_t piece, const std::string& path) const {
    return part(piece).catalog.dataset(path);
  }
  // One file is open at a time: there may be more parts than a process may open files.
  const io::DataFile& data(std::int64_t piece) {
    if (!data_ || open_ != at(piece).part) {
      bytes_read_ = bytes_read();
      data_.reset();
      data_ = std::make_unique<io::DataFile>(part(piece).catalog);
      open_ = at(piece).part;
    }
    return *data_;
  }

  const Whole& whole_;
  std::vector<Piece> pieces_;
  std::unique_ptr<io::DataFile> data_;
  std::size_t open_ = 0;
  std::int64_t bytes_read_ = 0;
};

// One byte a sample of `mine`.
//   where    collective over `world`
//   throws   SharedError(kBadData) if parts list other categories than they say are alive
std::vector<std::uint8_t> read_alive(const Comm& world, const Whole& whole, Source& source) {
  auto alive = locally(world, "reading the parts", [&] {
    std::vector<std::uint8_t> all;
    for (std::int64_t piece = 0; piece < source.pieces(); ++piece) {
      const auto some = source.read_alive(piece);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  });
  const std::int64_t count = world.sum(std::count(alive.begin(), alive.end(), std::uint8_t{1}));
  if (count != whole.result.categories) {
    throw SharedError(ExitStatus::kBadData,
                      text("the parts list ", whole.result.categories, " categories but say of ",
                           count, " samples that they are alive; espalier verify tells which"));
  }
  return alive;
}

// Every rank writes in as many rounds as the one with most pieces.
//   where    collective over `world`
void write_pieces(const Comm& world, const io::Result& result, Source& source,
                  io::ResultWriter& writer) {
  const std::int64_t rounds = world.max(source.pieces());
  Progress progress("merging", rounds, "pieces");
  for (std::int64_t piece = 0; piece < rounds; ++piece) {
    const bool mine = piece < source.pieces();
    std::vector<std::int64_t> index;
    std::vector<float> value;
    std::vector<std::byte> ids;
    std::pair<kernels::CsrRows, std::int64_t> output;
    locally(world, "reading the parts", [&] {
      if (mine && result.top_k > 0) {
        source.read_top(piece, index, value);
      }
      if (mine && result.sample_id) {
        ids = source.read_ids(piece);
      }
      if (mine && result.output) {
        output = source.read_output(piece);
      }
    });
    const std::int64_t first = mine ? source.samples(piece).begin : 0;
    if (result.top_k > 0) {
      writer.write_top(first, index, value);
    }
    if (result.sample_id) {
      writer.write_sample_ids(first, ids);
    }
    if (result.output) {
      writer.write_output(output.first, output.second);
    }
    progress.done(piece + 1);
  }
}

ExitStatus merge(Context& context) {
  const Comm& world = context.world;
  const std::string target = context.options.text("out");
  std::vector<io::Catalog> catalogs;
  for (const std::string& file : context.options.texts("parts")) {
    catalogs.push_back(io::read_catalog(world, file));
  }
  const Whole whole =
      locally(world, "looking at the parts", [&] { return put_together(catalogs); });
  const std::string digest = io::job_digest(whole.provenance);
  context.report.set("job_digest", digest);
  context.report.set("samples", whole.result.samples);
  if (io::check_output(world, target, digest, context.output_options()) ==
      io::OutputState::kAlreadyDone) {
    log_info(text(target, " is already done by the same job; nothing to do"));
    return ExitStatus::kDone;
  }
  const std::string words =
      text(grouped(std::ssize(whole.parts)), " parts, ", grouped(whole.result.samples),
           " samples, ", grouped(whole.result.categories), " categories");
  if (context.options.flag("dry-run")) {
    log_info(text("would write ", target, ": ", words));
    return ExitStatus::kDone;
  }
  const Range mine = split_evenly(whole.result.samples, world.ranks(), world.rank());
  Source source(whole, mine);
  const auto alive = read_alive(world, whole, source);
  const PhaseTimer timer(context.times, Phase::kWrite);
  io::ResultWriter writer(world, target, whole.result, whole.provenance, context.output_options());
  writer.write_alive(mine.begin, alive);
  write_pieces(world, whole.result, source, writer);
  writer.finish();
  context.report.add_bytes_read(source.bytes_read());
  context.report.add_bytes_written(writer.bytes_written());
  log_info(text("wrote ", target, ": ", words));
  return ExitStatus::kDone;
}

}  // namespace

Job merge_job() {
  namespace po = boost::program_options;
  po::options_description options("merge");
  // clang-format off
  options.add_options()
      ("parts", po::value<std::vector<std::string>>()->required()->multitoken(),
       "results of all parts, in any order")
      ("out,o", po::value<std::string>()->value_name("RESULT")->required(), "result file to write");
  // clang-format on
  return {"merge",
          "join the results of infer --part",
          "merge PART... -o RESULT",
          {"espalier merge result.h5.?of4 -o result.h5",
           "mpirun -n 4 espalier merge parts/*.h5 -o result.h5"},
          {"parts"},
          options,
          merge};
}

}  // namespace espalier::jobs
