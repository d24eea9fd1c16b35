// Where the lanes that stay come from when eight lanes are moved together.
#pragma once

#include <cstdint>

namespace espalier::kernels {

// of[bits]: the lanes whose bit is set, ascending; the rest do not matter.
struct KeptFirst {
  std::uint8_t of[256][8];
};

constexpr KeptFirst list_kept_first() {
  KeptFirst table{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    unsigned to = 0;
    for (std::uint8_t lane = 0; lane < 8; ++lane) {
      if ((bits >> lane & 1U) != 0) table.of[bits][to++] = lane;
    }
  }
  return table;
}

inline constexpr KeptFirst kKeptFirst = list_kept_first();

}  // namespace espalier::kernels
