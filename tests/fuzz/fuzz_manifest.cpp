// The manifest of finished units, with its checksum put right, so that what lies behind it is met.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "framework/error.hpp"
#include "io/checksum.hpp"
#include "io/unit_manifest.hpp"

using namespace espalier;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  const std::string line(input.substr(0, input.find('\n')));
  char crc[16];
  std::snprintf(crc, sizeof crc, "%08x\n", io::crc32(std::as_bytes(std::span(line))));
  for (const std::string& spelled : {std::string(input), line + "\n" + crc}) {
    try {
      const io::UnitManifest manifest = io::parse_manifest(spelled);
      const io::Provenance provenance = {
          "result", "infer", {{"full", false}, {"top_k", 3}}, {"a", "b"}};
      io::difference_of_jobs(manifest.job, io::describe_job(provenance));
      // What is accepted is spelled and read alike.
      const io::UnitManifest again = io::parse_manifest(io::spell_manifest(manifest));
      expects(again.entries.size() == manifest.entries.size() && again.cut == manifest.cut &&
                  again.runs == manifest.runs && again.items == manifest.items,
              "a manifest survives");
    } catch (const Error&) {
    }
  }
  return 0;
}
