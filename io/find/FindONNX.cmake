# Finds the message classes of ONNX and makes the target ONNX::Proto.
find_package(Protobuf QUIET)
find_path(ONNX_INCLUDE_DIR NAMES onnx/onnx-ml.pb.h)
find_library(ONNX_PROTO_LIBRARY NAMES onnx_proto)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ONNX REQUIRED_VARS ONNX_PROTO_LIBRARY ONNX_INCLUDE_DIR
                                  Protobuf_LIBRARIES)
if(ONNX_FOUND AND NOT TARGET ONNX::Proto)
  add_library(ONNX::Proto UNKNOWN IMPORTED)
  set_target_properties(ONNX::Proto PROPERTIES
    IMPORTED_LOCATION "${ONNX_PROTO_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${ONNX_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES protobuf::libprotobuf)
endif()
mark_as_advanced(ONNX_INCLUDE_DIR ONNX_PROTO_LIBRARY)
