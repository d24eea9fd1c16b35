#include "jobs/run_page.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <sstream>

#include "framework/error.hpp"
#include "framework/timer.hpp"
#include "jobs/spelling.hpp"

namespace espalier::jobs {
namespace {

using nlohmann::json;

constexpr const char* kColours[] = {"#4477aa", "#ee6677", "#228833",
                                    "#ccbb44", "#66ccee", "#aa3377"};

const json& at(const json& object, const char* key) {
  static const json kNothing;
  return object.is_object() && object.contains(key) ? object[key] : kNothing;
}

double number(const json& object, const char* key) {
  const json& value = at(object, key);
  const double found = value.is_number() ? value.get<double>() : 0;
  return std::isfinite(found) && found > 0 ? found : 0;
}

// Text for HTML and SVG, whatever is in it.
std::string escaped(const std::string& plain) {
  std::string out;
  for (const char letter : plain) {
    switch (letter) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += letter;
    }
  }
  return out;
}

std::string word(const json& object, const char* key) {
  const json& value = at(object, key);
  if (value.is_null()) {
    return "";
  }
  return escaped(value.is_string() ? value.get<std::string>()
                                   : value.dump(-1, ' ', false, json::error_handler_t::replace));
}

double speed(const json& report) { return number(report, "edges_per_second"); }

// Seconds of the run: its own figure, or what its phases took.
double phase_seconds(const json& report, std::string_view phase) {
  return number(at(at(report, "phases"), std::string(phase).c_str()), "seconds_mean");
}

std::string svg_begin(double width, double height) {
  return text("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"", height,
              "\" viewBox=\"0 0 ", width, " ", height,
              "\" font-family=\"sans-serif\" font-size=\"12\">\n");
}

std::string svg_text(double x, double y, const std::string& words, const char* anchor = "start") {
  return text("<text x=\"", x, "\" y=\"", y, "\" text-anchor=\"", anchor, "\">", words,
              "</text>\n");
}

std::string svg_bar(double x, double y, double width, double height, const char* colour,
                    const std::string& title) {
  return text("<rect x=\"", x, "\" y=\"", y, "\" width=\"", width, "\" height=\"", height,
              "\" fill=\"", colour, "\"><title>", title, "</title></rect>\n");
}

// One horizontal bar a run, of the seconds its ranks spent in each phase on average.
std::string phase_picture(const std::vector<NamedRun>& runs) {
  constexpr double kLeft = 180, kLength = 520, kRow = 24;
  double longest = 0;
  for (const NamedRun& run : runs) {
    double all = 0;
    for (const std::string_view phase : kPhaseNames) {
      all += phase_seconds(run.report, phase);
    }
    longest = std::max(longest, all);
  }
  if (longest == 0) {
    return "";
  }
  std::string svg = svg_begin(kLeft + kLength + 100, kRow * static_cast<double>(runs.size() + 2));
  double y = kRow;
  for (const NamedRun& run : runs) {
    svg += svg_text(kLeft - 8, y + 14, escaped(run.name), "end");
    double x = kLeft, all = 0;
    for (std::size_t phase = 0; phase < kPhaseNames.size(); ++phase) {
      const double seconds = phase_seconds(run.report, kPhaseNames[phase]);
      const double width = seconds / longest * kLength;
      svg += svg_bar(x, y, width, kRow - 6, kColours[phase],
                     text(kPhaseNames[phase], " ", rounded(seconds), " s"));
      x += width;
      all += seconds;
    }
    svg += svg_text(x + 6, y + 14, rounded(all) + " s");
    y += kRow;
  }
  double x = kLeft;
  for (std::size_t phase = 0; phase < kPhaseNames.size(); ++phase, x += 90) {
    svg += svg_bar(x, 4, 12, 12, kColours[phase], "");
    svg += svg_text(x + 16, 14, std::string(kPhaseNames[phase]));
  }
  return svg + "</svg>\n";
}

// A column a layer: `key` of each, from 0 to the largest.
std::string layer_picture(const json& report, const char* key, const char* unit) {
  constexpr double kLeft = 60, kLength = 640, kHeight = 140;
  const json& layers = at(report, "layers");
  double largest = 0;
  for (const json& layer : layers) {
    largest = std::max(largest, number(layer, key));
  }
  if (!layers.is_array() || largest == 0) {
    return "";
  }
  std::string svg = svg_begin(kLeft + kLength + 20, kHeight + 40);
  svg += svg_text(kLeft - 6, 16, text(rounded(largest), unit), "end");
  svg += svg_text(kLeft - 6, kHeight + 10, "0", "end");
  const double step = kLength / static_cast<double>(layers.size());
  double x = kLeft;
  for (const json& layer : layers) {
    const double height = number(layer, key) / largest * kHeight;
    svg += svg_bar(x, 10 + kHeight - height, std::max(step * 0.9, 0.5), height, kColours[0],
                   text(word(layer, "name"), ": ", rounded(number(layer, key)), unit));
    x += step;
  }
  svg += svg_text(kLeft, kHeight + 30, text(layers.size(), " layers, first to last"));
  return svg + "</svg>\n";
}

// The fastest run of each rank count.
using Line = std::map<double, double>;

Line fastest(const std::vector<NamedRun>& runs, bool parts) {
  Line line;
  for (const NamedRun& run : runs) {
    const bool is_part = !at(at(run.report, "config"), "part").is_null();
    const double ranks = number(run.report, "ranks");
    if (is_part == parts && ranks > 0 && speed(run.report) > 0) {
      line[ranks] = std::max(line[ranks], speed(run.report));
    }
  }
  return line;
}

// Both axes are logarithmic.
class Axes {
 public:
  explicit Axes(const std::vector<Line>& lines) {
    for (const Line& line : lines) {
      for (const auto& [ranks, value] : line) {
        x_ = {std::min(x_[0], ranks), std::max(x_[1], ranks)};
        y_ = {std::min(y_[0], value), std::max(y_[1], value)};
      }
    }
    y_[1] = std::max(y_[1], y_[0] * x_[1] / x_[0]);
  }
  double x(double ranks) const { return 80 + 500 * share(x_, ranks); }
  double y(double value) const { return 330 - 300 * share(y_, value); }

 private:
  static double share(const std::array<double, 2>& ends, double value) {
    return ends[1] > ends[0] ? std::log(value / ends[0]) / std::log(ends[1] / ends[0]) : 0;
  }
  std::array<double, 2> x_ = {1e300, 0}, y_ = {1e300, 0};
};

std::string draw_line(const Axes& axes, const Line& line, const char* colour, const char* more) {
  std::string points;
  for (const auto& [ranks, value] : line) {
    points += text(axes.x(ranks), ",", axes.y(value), " ");
  }
  return text("<polyline fill=\"none\" stroke=\"", colour, "\" stroke-width=\"2\" ", more,
              " points=\"", points, "\"/>\n");
}

std::string draw_points(const Axes& axes, const Line& line, const char* colour) {
  std::string svg;
  for (const auto& [ranks, value] : line) {
    svg += text("<circle cx=\"", axes.x(ranks), "\" cy=\"", axes.y(value), "\" r=\"4\" fill=\"",
                colour, "\"><title>", ranks, " ranks: ", rounded(value / 1e9),
                " G edges/s</title></circle>\n");
    svg += svg_text(axes.x(ranks), axes.y(value) - 10, rounded(value / 1e9), "middle");
    svg += svg_text(axes.x(ranks), 350, text(ranks), "middle");
  }
  return svg;
}

void add_row(std::string& page, const char* cell, const std::vector<std::string>& words) {
  page += "<tr>";
  for (const std::string& one : words) {
    page += text("<", cell, ">", one, "</", cell, ">");
  }
  page += "</tr>\n";
}

std::string table_of(const std::vector<NamedRun>& runs) {
  std::string page = "<table>\n";
  add_row(page, "th",
          {"run", "job", "outcome", "ranks", "threads", "grid", "seconds", "G edges/s",
           "peak memory of a rank", "restarts", "started"});
  for (const auto& [name, report] : runs) {
    const double rate = speed(report), seconds = number(report, "seconds");
    const auto bytes =
        static_cast<std::int64_t>(std::min(number(report, "peak_rss_bytes_max"), 9e18));
    add_row(page, "td",
            {escaped(name), word(report, "job"), word(report, "outcome"), word(report, "ranks"),
             word(report, "threads"), word(report, "grid"), seconds > 0 ? rounded(seconds) : "",
             rate > 0 ? rounded(rate / 1e9) : "", spelled_bytes(bytes), word(report, "restarts"),
             word(report, "started")});
  }
  return page + "</table>\n";
}

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>espalier runs</title>
<style>
body { font-family: sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse } th, td { padding: 0.2em 0.8em; text-align: left; border-bottom: 1px solid #ccc }
svg { display: block; margin: 0.5em 0 1.5em }
</style></head><body>
<h1>espalier runs</h1>
)";

}  // namespace

std::string scaling_picture(const std::vector<NamedRun>& runs) {
  const std::vector<Line> lines = {fastest(runs, false), fastest(runs, true)};
  if (std::max(lines[0].size(), lines[1].size()) < 2) {
    return "";
  }
  const Axes axes(lines);
  const char* const names[] = {"all samples", "samples grow with ranks (--part)"};
  std::string svg = svg_begin(620, 400);
  svg += svg_text(80, 18, "G edges/s (nominal) over ranks, both logarithmic");
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].empty()) {
      continue;
    }
    const auto& [ranks, value] = *lines[i].begin();
    const double most = lines[i].rbegin()->first;
    svg += draw_line(axes, {{ranks, value}, {most, value * most / ranks}}, "#bbb",
                     "stroke-dasharray=\"4 4\"");
    svg += draw_line(axes, lines[i], kColours[i], "") + draw_points(axes, lines[i], kColours[i]);
    const double y = 370 + 18 * static_cast<double>(i);
    svg += svg_bar(80, y - 10, 12, 12, kColours[i], "") + svg_text(98, y, names[i]);
  }
  return svg + svg_text(380, 370, "dashed: as fast as the ranks are many") + "</svg>\n";
}

std::string run_page(const std::vector<NamedRun>& runs) {
  std::string page = kHead + table_of(runs);
  const auto section = [&](const std::string& title, const std::string& picture) {
    if (!picture.empty()) {
      page += text("<h2>", title, "</h2>\n", picture);
    }
  };
  section("Speed over ranks", scaling_picture(runs));
  section("Where the time went (seconds, mean of the ranks)", phase_picture(runs));
  for (const NamedRun& run : runs) {
    section(text("Seconds by layer: ", escaped(run.name)),
            layer_picture(run.report, "seconds", " s"));
    section(text("Sparsity by layer: ", escaped(run.name)),
            layer_picture(run.report, "sparsity", ""));
  }
  return page + "</body></html>\n";
}

}  // namespace espalier::jobs
