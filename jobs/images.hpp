// Preparing images: resizing, threshold, transposition.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace espalier::jobs {

// Resizes one 8-bit grey image with a Lanczos-3 filter, horizontal then vertical, each pass
// rounded to 8 bits as common imaging libraries do.
std::vector<std::uint8_t> resize_lanczos(std::span<const std::uint8_t> image, int height, int width,
                                         int new_height, int new_width);

}  // namespace espalier::jobs
