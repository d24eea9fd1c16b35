#include "jobs/early_result.hpp"

#include <filesystem>
#include <utility>

#include "framework/agree.hpp"
#include "framework/error.hpp"
#include "io/part_file.hpp"

namespace espalier::jobs {

EarlyResult::EarlyResult(Plan plan) : plan_(std::move(plan)) {
  expects(plan_.result.output &&
              plan_.result.output->stored == plan_.result.output->rows * plan_.result.output->cols,
          "a result that is written early stores all outputs");
}

void EarlyResult::add(const Comm& world, OutcomePiece& piece) {
  if (given_up_) {
    return;
  }
  const std::int64_t outputs = plan_.result.output->cols;
  const bool zeros = piece.nonzero < piece.samples.size() * outputs || outputs == 0;
  given_up_ = world.max(std::int64_t{zeros}) != 0;
  try {
    if (!given_up_) {
      open(world);
      write(piece);
    }
  } catch (const SharedError& error) {
    if (error.status() == ExitStatus::kOurBug) {
      throw;
    }
    given_up_ = true;
  }
  if (given_up_) {
    writer_.reset();
  }
}

// With room to spare for what may have to be saved meanwhile.
void EarlyResult::open(const Comm& world) {
  if (writer_) {
    return;
  }
  on_root(world, "looking for room for a result", [&] {
    constexpr auto kBytes = static_cast<std::int64_t>(2 * sizeof(float) + sizeof(std::uint32_t));
    const auto free = std::filesystem::space(io::folder_of(plan_.path)).available;
    if (free / kBytes < static_cast<std::uint64_t>(plan_.result.output->stored)) {
      throw Error(ExitStatus::kIoFailed, text("little room for ", plan_.path));
    }
  });
  writer_ = std::make_unique<io::ResultWriter>(world, plan_.path, plan_.result, plan_.provenance,
                                               plan_.options);
}

void EarlyResult::write(OutcomePiece& piece) {
  const std::int64_t samples = piece.samples.size(), outputs = plan_.result.output->cols;
  if (plan_.result.top_k > 0) {
    writer_->write_top(piece.samples.begin, piece.top_index, piece.top_value);
  }
  rows_.first_row = piece.samples.begin;
  rows_.cols = outputs;
  if (rows_.rows() != samples) {
    rows_.pointers.assign(1, 0);
    rows_.indices.clear();
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      for (std::int64_t output = 0; output < outputs; ++output) {
        rows_.indices.push_back(static_cast<std::uint32_t>(output));
      }
      rows_.pointers.push_back(std::ssize(rows_.indices));
    }
  }
  std::swap(rows_.values, piece.values);
  writer_->write_output(rows_, piece.samples.begin * outputs);
  std::swap(rows_.values, piece.values);
}

}  // namespace espalier::jobs
