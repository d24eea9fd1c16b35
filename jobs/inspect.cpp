// espalier inspect: what is in a file.
#include "framework/agree.hpp"
#include "jobs/describe.hpp"
#include "jobs/job.hpp"

namespace espalier::jobs {
namespace {

ExitStatus inspect(Context& context) {
  const std::string file = context.options.text("file");
  const io::Catalog catalog = [&] {
    const PhaseTimer timer(context.times, Phase::kRead);
    return io::read_catalog(context.world, file);
  }();
  const std::string lines = locally(context.world, text("inspecting ", file), [&] {
    const auto description = describe_file(catalog);
    using Json = nlohmann::ordered_json;
    return context.options.flag("json")
               ? description.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"
               : description_table(description, context.options.flag("verbose"));
  });
  context.print(lines);
  return ExitStatus::kDone;
}

}  // namespace

Job inspect_job() {
  namespace po = boost::program_options;
  Job job;
  job.name = "inspect";
  job.summary = "show what is in a network, batch or result file";
  job.usage = "inspect FILE [--json]";
  job.examples = {"espalier inspect net.h5", "espalier inspect net.h5 --verbose",
                  "espalier inspect result.h5 --json"};
  job.positional = {"file"};
  // clang-format off
  job.options.add_options()
      ("file", po::value<std::string>()->required(), "network, batch or result")
      ("json", po::bool_switch(), "print everything as JSON");
  // clang-format on
  job.run = inspect;
  return job;
}

}  // namespace espalier::jobs
