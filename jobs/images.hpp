// Preparing images: resizing, threshold, transposition.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace espalier::jobs {

// Resizes 8-bit grey images of one size with a Lanczos-3 filter, horizontal then vertical, each
// pass rounded to 8 bits as common imaging libraries do; where it shrinks, the filter is widened.
class LanczosResizer {
 public:
  LanczosResizer(int height, int width, int new_height, int new_width);  // all >= 1
  //   shapes   image (height x width), result (new_height x new_width), row-major
  //   where    local, thread-safe
  std::vector<std::uint8_t> resize(std::span<const std::uint8_t> image) const;

 private:
  // The weights of the source pixels from `first` on that make up one target pixel; sum 1.
  struct Taps {
    int first = 0;
    std::vector<double> weights;
  };
  // One pass over all lines of an image, along or across the rows.
  struct Pass {
    int lines, line_stride, step;         // of the source: how far to the next line, the next pixel
    int target_line_stride, target_step;  // of the target
  };
  static std::vector<Taps> line_taps(int length, int new_length);
  static void resize_lines(std::span<const std::uint8_t> source, std::span<std::uint8_t> target,
                           const std::vector<Taps>& taps, const Pass& pass);

  int height_, width_, new_height_, new_width_;
  std::vector<Taps> across_, down_;
};

// The same for a single image.
std::vector<std::uint8_t> resize_lanczos(std::span<const std::uint8_t> image, int height, int width,
                                         int new_height, int new_width);

// What becomes of an image before it is a row of features.
struct ImageRules {
  int height = 0, width = 0;  // of the images as they come
  int resize = 0;             // both sides afterwards; 0: leave as it is
  int threshold = -1;         // 1 where a pixel is above, else 0; -1: keep the bytes
  bool transpose = false;     // feature = column * height + row instead of row * width + column

  int out_height() const noexcept { return resize > 0 ? resize : height; }
  int out_width() const noexcept { return resize > 0 ? resize : width; }
};

// The features of one image: resized, then compared with the threshold, then transposed.
class ImagePreparer {
 public:
  explicit ImagePreparer(const ImageRules& rules);
  //   shapes   image (height x width), result (out_height x out_width) or its transpose
  //   where    local, thread-safe
  std::vector<std::uint8_t> prepare(std::span<const std::uint8_t> image) const;

 private:
  ImageRules rules_;
  LanczosResizer resizer_;
};

}  // namespace espalier::jobs
