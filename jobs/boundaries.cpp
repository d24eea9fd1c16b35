#include "jobs/boundaries.hpp"

#include <algorithm>

#include "framework/error.hpp"

namespace espalier::jobs {
namespace {

std::size_t to_size(std::int64_t count) { return static_cast<std::size_t>(count); }

// By source: the last layer that reads it, -1 if none does. Source -1 stands first.
std::vector<std::int64_t> last_readers(const io::Network& network) {
  std::vector<std::int64_t> last(network.layers.size() + 1, -1);
  for (std::size_t id = 0; id < network.layers.size(); ++id) {
    for (const std::int64_t source : network.layers[id].inputs) {
      if (source >= static_cast<std::int64_t>(id)) {
        throw Error(ExitStatus::kBadData,
                    text("layer ", id, " ('", network.layers[id].name, "') reads layer ", source,
                         ", itself or a later one: recurrent connections are not run"));
      }
      last[to_size(source + 1)] = static_cast<std::int64_t>(id);
    }
  }
  return last;
}

}  // namespace

std::vector<Boundary> plan_boundaries(const io::Network& network) {
  const std::vector<std::int64_t> last = last_readers(network);
  const auto layers = std::ssize(network.layers);
  std::vector<Boundary> all;
  // Before the first layer there is the network's input.
  Boundary before{{{io::kNetworkInput, network.inputs(), 0, -1}}, network.inputs()};
  for (std::int64_t id = 0; id < layers; ++id) {
    std::vector<std::int64_t> sources = {id};
    if (id + 1 < layers) {
      sources = network.layers[to_size(id + 1)].inputs;
      for (std::int64_t source = io::kNetworkInput; source <= id; ++source) {
        const bool later = last[to_size(source + 1)] > id + 1;
        if (later && std::find(sources.begin(), sources.end(), source) == sources.end()) {
          sources.push_back(source);
        }
      }
    }
    Boundary behind;
    for (const std::int64_t source : sources) {
      Segment segment{source, 0, behind.width, -1};
      if (source == id) {
        segment.width = network.layers[to_size(id)].outputs();
      } else {
        const auto carried =
            std::find_if(before.segments.begin(), before.segments.end(),
                         [&](const Segment& there) { return there.source == source; });
        expects(carried != before.segments.end(), "what a later layer reads is carried to it");
        segment.width = carried->width;
        segment.from = carried->first;
      }
      behind.width += segment.width;
      behind.segments.push_back(segment);
    }
    all.push_back(behind);
    before = std::move(behind);
  }
  return all;
}

}  // namespace espalier::jobs
