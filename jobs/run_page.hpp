// A page with pictures, made from run reports: pure text, no files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace espalier::jobs {

// A run report and what to call it.
struct NamedRun {
  std::string name;
  nlohmann::json report;  // an object; whatever a key's value is, it breaks nothing
};

// A whole HTML page that needs nothing beside it: a table of the runs, where their time went, the
// speed over the number of ranks if it varies, the layers of each run.
//   where    pure
std::string run_page(const std::vector<NamedRun>& runs);

// Speed over ranks as an SVG picture. Runs of infer --part are a line of their own: with parts that
// grow with the ranks it shows how weak scaling holds.
//   where    pure
//   returns  "" if less than two rank counts have a speed
std::string scaling_picture(const std::vector<NamedRun>& runs);

}  // namespace espalier::jobs
