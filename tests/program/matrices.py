"""Reads and writes the matrices of espalier's files with h5py and NumPy alone."""
import json
import struct

import h5py
import numpy


def described(group):
    return json.loads(group.attrs["binsparse"])["binsparse"]


def values_of(group):
    """The stored values; bits of half types as what they stand for, in float32."""
    values = group["values"][:]
    own = json.loads(group.attrs["binsparse"]).get("espalier", {})
    if "value_type" not in own:
        return values
    assert values.dtype == numpy.uint16
    return {"float16": lambda: values.view("f2").astype("f4"),
            "bfloat16": lambda: (values.astype("u4") << 16).view("f4")}[own["value_type"]]()


def dense(group):
    """A binsparse CSR, COO or DMAT group as a dense array of the type of its values."""
    info = described(group)
    rows, cols = info["shape"]
    values = values_of(group)
    if info["format"] == "DMAT":
        return values.reshape(rows, cols)
    if info["data_types"]["values"].startswith("iso"):
        values = numpy.full(info["number_of_stored_values"], values[0])
    columns = group["indices_1"][:].astype("i8")
    if info["format"] == "COO":
        row_of = group["indices_0"][:].astype("i8")
    else:
        row_of = numpy.repeat(numpy.arange(rows), numpy.diff(group["pointers_to_1"][:].astype("i8")))
    assert len(values) == len(columns) == len(row_of) == info["number_of_stored_values"]
    assert numpy.all(values != 0), "explicit zeros"
    matrix = numpy.zeros((rows, cols), values.dtype)
    matrix[row_of, columns] = values
    return matrix


def features(path):
    with h5py.File(path, "r") as file:
        return dense(file["features"])


def dataset(path, name):
    with h5py.File(path, "r") as file:
        return file[name][...]


def write_idx(path, array):
    """`array` of uint8 as an IDX file."""
    with open(path, "wb") as file:
        file.write(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape))
        file.write(array.astype(numpy.uint8).tobytes())
    return path
