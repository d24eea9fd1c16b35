// HDF5's handles and error texts, for the files of this room only.
#pragma once

#include <hdf5.h>

#include <string>
#include <string_view>
#include <utility>

#include "framework/error.hpp"
#include "io/element_type.hpp"

namespace espalier::io {

// Any HDF5 identifier, released with the object; movable, not copyable. Not for a file that was
// opened by several ranks: closing that one is collective.
class H5Handle {
 public:
  H5Handle() = default;
  explicit H5Handle(hid_t id) noexcept : id_(id) {}
  ~H5Handle() { reset(); }
  H5Handle(H5Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  H5Handle& operator=(H5Handle&& other) noexcept {
    if (this != &other) {
      reset();
      id_ = std::exchange(other.id_, H5I_INVALID_HID);
    }
    return *this;
  }
  H5Handle(const H5Handle&) = delete;
  H5Handle& operator=(const H5Handle&) = delete;

  hid_t get() const noexcept { return id_; }
  explicit operator bool() const noexcept { return id_ >= 0; }
  void reset() noexcept;
  hid_t release() noexcept { return std::exchange(id_, H5I_INVALID_HID); }

 private:
  hid_t id_ = H5I_INVALID_HID;
};

// Starts the library and keeps it from printing its error stacks; done once, cheap afterwards.
void start_hdf5();

// The innermost description on HDF5's error stack of the call that has just failed.
std::string h5_reason();

// Takes the identifier that an HDF5 call returned.
//   throws   Error(status) "<what> <file>: <HDF5's reason>" if the call failed
H5Handle own_h5(hid_t id, ExitStatus status, std::string_view what, std::string_view file);

// The same for calls that return a status.
void check_h5(herr_t code, ExitStatus status, std::string_view what, std::string_view file);

// The stored type, which is also the type in memory: bytes are never converted.
//   throws   BugError for kOther
H5Handle h5_type(ElementType type);

}  // namespace espalier::io
