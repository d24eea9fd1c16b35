// Uses the installed library: who owns which rows, and one header of io to see that it compiles.
#include <cstdint>
#include <iostream>

#include "framework/provenance.hpp"
#include "framework/shard.hpp"
#include "io/network_file.hpp"

int main() {
  constexpr int kRanks = 3;
  constexpr std::int64_t kRows = 10;
  std::cout << "espalier " << espalier::version() << " deals " << kRows << " rows to " << kRanks
            << " ranks:";
  for (int rank = 0; rank < kRanks; ++rank) {
    std::cout << ' ' << espalier::split_evenly(kRows, kRanks, rank).size();
  }
  std::cout << '\n';
}
