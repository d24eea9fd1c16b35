// espalier verify: is a file whole and sound.
#include <algorithm>
#include <cmath>
#include <utility>

#include "framework/agree.hpp"
#include "framework/log.hpp"
#include "io/batch_file.hpp"
#include "io/checksum.hpp"
#include "io/network_file.hpp"
#include "io/result_file.hpp"
#include "jobs/describe.hpp"
#include "jobs/job.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

// Rows are read in pieces of about this many stored values, or samples.
constexpr std::int64_t kPiece = std::int64_t{1} << 22;

// Reads all of `mine` in pieces; the readers refuse whatever is out of range or order.
// `before(r)` is the number of stored values in rows < r.
template <typename Before, typename Read>
void read_in_pieces(Range mine, Before&& before, Read&& read) {
  for (std::int64_t begin = mine.begin; begin < mine.end;) {
    const std::int64_t limit = before(begin) + kPiece;
    std::int64_t end = mine.end;
    if (before(end) > limit) {
      std::int64_t fits = begin + 1;
      while (end - fits > 1) {
        const std::int64_t middle = fits + (end - fits) / 2;
        (before(middle) > limit ? end : fits) = middle;
      }
      end = fits;
    }
    read(Range{begin, end});
    begin = end;
  }
}

template <typename Read>
void read_in_pieces(Range mine, Read&& read) {
  for (std::int64_t begin = mine.begin; begin < mine.end; begin += kPiece) {
    read(Range{begin, std::min(mine.end, begin + kPiece)});
  }
}

Range own_part(const Comm& world, std::int64_t count) {
  return split_evenly(count, world.ranks(), world.rank());
}

// This rank's share of a layer's weights; of CSC by columns, so that all of it is read once.
//   returns  memory that the next layer may use
kernels::CsrRows verify_weights(const io::NetworkReader& reader, std::int64_t layer, Range mine,
                                kernels::CsrRows reuse) {
  const io::MatrixInfo& weight = reader.network().layers[static_cast<std::size_t>(layer)].weight;
  const bool columns = weight.format == io::MatrixFormat::kCsc;
  read_in_pieces(
      mine,
      [&](std::int64_t line) {
        return columns ? io::nnz_before_column(reader.data(), weight, line)
                       : reader.nnz_before(layer, line);
      },
      [&](Range piece) {
        reuse = columns ? io::read_columns(reader.data(), weight, piece, std::move(reuse))
                        : reader.read_rows(layer, piece, std::move(reuse));
      });
  return reuse;
}

std::string verify_network(const Context& context, const io::Catalog& catalog) {
  const Comm& world = context.world;
  const auto reader =
      locally(world, text("verifying ", catalog.file), [&] { return io::NetworkReader(catalog); });
  const io::Network& network = reader.network();
  const auto layers = static_cast<std::int64_t>(network.layers.size());
  Progress progress("verifying", layers, "layers");
  kernels::CsrRows rows_read;  // memory that all pieces share
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const io::MatrixInfo& weight = network.layers[static_cast<std::size_t>(layer)].weight;
    const bool columns = weight.format == io::MatrixFormat::kCsc;
    locally(world, text("verifying layer ", layer), [&] {
      rows_read =
          verify_weights(reader, layer, own_part(world, columns ? weight.cols : weight.rows),
                         std::move(rows_read));
      read_in_pieces(own_part(world, weight.rows),
                     [&](Range piece) { reader.read_bias(layer, piece); });
    });
    progress.done(layer + 1);
  }
  locally(world, "verifying the scaling of features", [&] {
    const io::FeatureScaling& scaling = network.scaling;
    const std::pair<const char*, bool> all[] = {{"input_scale", scaling.input_scale},
                                                {"input_shift", scaling.input_shift},
                                                {"output_scale", scaling.output_scale},
                                                {"output_shift", scaling.output_shift}};
    for (const auto& [name, present] : all) {
      if (present) {
        reader.read_scaling(name);
      }
    }
  });
  context.report.add_bytes_read(reader.data().bytes_read());
  return text(grouped(layers), layers == 1 ? " layer, " : " layers, ", grouped(network.nnz()),
              " weights");
}

std::string verify_batch(const Context& context, const io::Catalog& catalog) {
  const Comm& world = context.world;
  return locally(world, text("verifying ", catalog.file), [&] {
    const io::BatchReader reader(catalog);
    const io::Batch& batch = reader.batch();
    const Range mine = own_part(world, batch.samples());
    read_in_pieces(
        mine, [&](std::int64_t row) { return io::nnz_before(reader.data(), batch.features, row); },
        [&](Range piece) { reader.read_samples(piece); });
    read_in_pieces(mine, [&](Range piece) {
      if (batch.labels) {
        reader.read_labels(piece);
      }
      if (batch.sample_id) {
        reader.read_sample_ids(piece);
      }
    });
    context.report.add_bytes_read(reader.data().bytes_read());
    return text(grouped(batch.samples()), " samples of ", grouped(batch.features.cols),
                " features, ", grouped(batch.features.stored), " values");
  });
}

// The samples of `piece` that the file says are alive, which its categories must list exactly.
std::vector<std::uint8_t> check_alive(const io::DataFile& data, Range piece) {
  const io::Catalog& catalog = data.catalog();
  const io::Dataset& categories = catalog.dataset("/categories");
  std::vector<std::int64_t> alive(static_cast<std::size_t>(piece.size()));
  data.read(catalog.dataset("/alive"), piece.begin, alive);
  const std::int64_t first = data.lower_bound(categories, piece.begin);
  const std::int64_t last = data.lower_bound(categories, piece.end);
  std::vector<std::int64_t> listed(
      static_cast<std::size_t>(std::max<std::int64_t>(0, last - first)));
  data.read(categories, first, listed);
  auto next = listed.begin();
  for (std::int64_t sample = piece.begin; sample < piece.end; ++sample) {
    const std::int64_t says = alive[static_cast<std::size_t>(sample - piece.begin)];
    const bool in_list = next != listed.end() && *next == sample;
    next += in_list ? 1 : 0;
    if (says != (in_list ? 1 : 0)) {
      throw Error(ExitStatus::kBadData,
                  text(catalog.file, ": /alive of sample ", sample, " is ", says,
                       " but the sample is ", in_list ? "" : "not ", "in /categories"));
    }
  }
  if (next != listed.end()) {
    throw Error(ExitStatus::kBadData, text(catalog.file, ": /categories does not ascend at sample ",
                                           *next, ", position ", first + (next - listed.begin())));
  }
  return {alive.begin(), alive.end()};
}

void check_top(const io::DataFile& data, const io::Result& result, Range piece) {
  const io::Catalog& catalog = data.catalog();
  const auto k = static_cast<std::size_t>(result.top_k);
  std::vector<std::int64_t> index(static_cast<std::size_t>(piece.size()) * k);
  std::vector<float> value(index.size());
  data.read(catalog.dataset("/top_index"), piece.begin * result.top_k, index);
  data.read(catalog.dataset("/top_value"), piece.begin * result.top_k, value);
  const std::int64_t outputs =
      result.output ? result.output->cols : std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = 0; i < index.size(); ++i) {
    const bool later = i % k != 0;
    const bool in_range = index[i] >= 0 && index[i] < outputs && std::isfinite(value[i]);
    const bool in_order =
        !later || value[i - 1] > value[i] || (value[i - 1] == value[i] && index[i - 1] < index[i]);
    if (!in_range || !in_order) {
      throw Error(ExitStatus::kBadData,
                  text(catalog.file, ": sample ", piece.begin + static_cast<std::int64_t>(i / k),
                       ": place ", i % k, " of /top_index is output ", index[i], " with value ",
                       value[i], in_range ? ", which is out of order" : ", which is out of range"));
    }
  }
}

// An output row holds a non-zero value exactly if its sample is alive.
void check_outputs(const kernels::CsrRows& rows, const std::vector<std::uint8_t>& alive,
                   const io::Catalog& catalog) {
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    bool nonzero = false;
    for (auto k = rows.pointers[static_cast<std::size_t>(row)];
         k < rows.pointers[static_cast<std::size_t>(row) + 1]; ++k) {
      nonzero = nonzero || rows.value(k) != 0;
    }
    if (nonzero != (alive[static_cast<std::size_t>(row)] != 0)) {
      throw Error(ExitStatus::kBadData,
                  text(catalog.file, ": sample ", rows.first_row + row, " has ",
                       nonzero ? "" : "no ", "non-zero /output, which /alive denies"));
    }
  }
}

// Returns how many categories are listed for this rank's samples.
std::int64_t verify_samples(const io::DataFile& data, const io::Result& result, Range mine) {
  const auto stored_before = [&](std::int64_t row) {
    const std::int64_t stored = result.output ? io::nnz_before(data, *result.output, row) : 0;
    return stored + row * (1 + result.top_k);
  };
  std::int64_t listed = 0;
  read_in_pieces(mine, stored_before, [&](Range piece) {
    const auto alive = check_alive(data, piece);
    listed += std::count(alive.begin(), alive.end(), 1);
    if (result.top_k > 0) {
      check_top(data, result, piece);
    }
    if (result.output) {
      check_outputs(io::read_rows(data, *result.output, piece), alive, data.catalog());
    }
  });
  return listed;
}

std::string verify_result(const Context& context, const io::Catalog& catalog) {
  const Comm& world = context.world;
  const io::Result result =
      locally(world, text("verifying ", catalog.file), [&] { return io::parse_result(catalog); });
  const std::int64_t listed = world.sum(locally(world, text("verifying ", catalog.file), [&] {
    const io::DataFile data(catalog);
    const std::int64_t mine = verify_samples(data, result, own_part(world, result.samples));
    context.report.add_bytes_read(data.bytes_read());
    return mine;
  }));
  if (listed != result.categories) {
    throw SharedError(ExitStatus::kBadData,
                      text(catalog.file, ": /categories has ", result.categories,
                           " entries but only ", listed, " of them name a sample, in order"));
  }
  return text(grouped(result.samples), " samples, ", grouped(result.categories), " categories");
}

// Compares all blocks with their checksums, if the file has any.
bool verify_blocks(const Context& context, const io::Catalog& catalog) {
  if (!io::verify_checksums(context.world, catalog)) {
    return false;
  }
  std::int64_t bytes = 0;
  for (const auto& [path, dataset] : catalog.datasets) {
    bytes += dataset.bytes();
  }
  context.report.add_bytes_read(own_part(context.world, bytes).size());
  return true;
}

ExitStatus verify(Context& context) {
  const std::string file = context.options.text("file");
  const PhaseTimer timer(context.times, Phase::kRead);
  const io::Catalog catalog = io::read_catalog(context.world, file);
  const FileKind kind =
      locally(context.world, text("verifying ", file), [&] { return kind_of(catalog); });
  // Checksums first: a flipped byte is then named by its block, not by the nonsense it makes.
  const bool checked = verify_blocks(context, catalog);
  const std::string found = kind == FileKind::kNetwork ? verify_network(context, catalog)
                            : kind == FileKind::kBatch ? verify_batch(context, catalog)
                                                       : verify_result(context, catalog);
  const std::string blocks =
      checked ? text(grouped(io::ChecksumLayout(catalog).blocks()), " blocks checked")
              : std::string("no checksums to check");
  context.print(text(file, ": sound: ", to_string(kind), ", ", found, ", ", blocks, "\n"));
  return ExitStatus::kDone;
}

}  // namespace

Job verify_job() {
  namespace po = boost::program_options;
  Job job;
  job.name = "verify";
  job.summary = "check structure, ranges, order and checksums of a file";
  job.usage = "verify FILE";
  job.examples = {"espalier verify net.h5", "mpirun -n 4 espalier verify net.h5"};
  job.positional = {"file"};
  job.options.add_options()("file", po::value<std::string>()->required(),
                            "network, batch or result");
  job.run = verify;
  return job;
}

}  // namespace espalier::jobs
