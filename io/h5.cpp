#include "io/h5.hpp"

#include <algorithm>
#include <cstddef>

namespace espalier::io {
namespace {

// Walking upward starts at the call where the trouble began; the first description is the reason.
herr_t take_first(unsigned /*depth*/, const H5E_error2_t* entry, void* result) {
  auto& reason = *static_cast<std::string*>(result);
  if (reason.empty() && entry->desc != nullptr) {
    reason = entry->desc;
    std::replace(reason.begin(), reason.end(), '\n', ' ');
  }
  return 0;
}

hid_t integer_type(ElementType type) {
  const bool is_signed = type.kind == ElementClass::kSigned;
  switch (type.bytes) {
    case 1:
      return is_signed ? H5T_STD_I8LE : H5T_STD_U8LE;
    case 2:
      return is_signed ? H5T_STD_I16LE : H5T_STD_U16LE;
    case 4:
      return is_signed ? H5T_STD_I32LE : H5T_STD_U32LE;
    case 8:
      return is_signed ? H5T_STD_I64LE : H5T_STD_U64LE;
    default:
      return H5I_INVALID_HID;
  }
}

// IndexedWeight.
hid_t pair_type() {
  const hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(IndexedWeight));
  const bool sound =
      H5Tinsert(type, "index", offsetof(IndexedWeight, index), H5T_STD_U32LE) >= 0 &&
      H5Tinsert(type, "weight", offsetof(IndexedWeight, weight), H5T_IEEE_F32LE) >= 0;
  expects(sound, "HDF5 makes a compound of an index and a weight");
  return type;
}

hid_t number_type(ElementType type) {
  if (type.kind == ElementClass::kFloat) {
    return type.bytes == 4 ? H5T_IEEE_F32LE : type.bytes == 8 ? H5T_IEEE_F64LE : H5I_INVALID_HID;
  }
  return integer_type(type);
}

}  // namespace

void H5Handle::reset() noexcept {
  if (id_ >= 0) {
    H5Idec_ref(id_);
    id_ = H5I_INVALID_HID;
  }
}

void start_hdf5() {
  static const bool started = [] {
    const bool done = H5open() >= 0 && H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
    expects(done, "the HDF5 library starts");
    return true;
  }();
  static_cast<void>(started);
}

std::string h5_reason() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &reason);
  return reason.empty() ? "the HDF5 library gives no reason" : reason;
}

H5Handle own_h5(hid_t id, ExitStatus status, std::string_view what, std::string_view file) {
  if (id < 0) {
    throw Error(status, text(what, " ", file, ": ", h5_reason()));
  }
  return H5Handle(id);
}

void check_h5(herr_t code, ExitStatus status, std::string_view what, std::string_view file) {
  if (code < 0) {
    throw Error(status, text(what, " ", file, ": ", h5_reason()));
  }
}

H5Handle h5_type(ElementType type) {
  start_hdf5();
  if (type == kPairType) {
    return H5Handle(pair_type());
  }
  H5Handle copy(H5Tcopy(type.kind == ElementClass::kText ? H5T_C_S1 : number_type(type)));
  bool sound = static_cast<bool>(copy);
  if (sound && type.kind == ElementClass::kText) {
    sound = type.bytes > 0 && H5Tset_size(copy.get(), static_cast<std::size_t>(type.bytes)) >= 0 &&
            H5Tset_strpad(copy.get(), H5T_STR_NULLPAD) >= 0;
  } else if (sound && !type.native_order) {
    sound = H5Tset_order(copy.get(), H5T_ORDER_BE) >= 0;
  }
  expects(sound, "an array that espalier stores has a type of integers, floats or fixed text");
  return copy;
}

}  // namespace espalier::io
