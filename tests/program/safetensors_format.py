"""safetensors, written from the format's definition: 8 bytes little-endian for the length of a JSON
header, the header, the data; offsets count from the data's start, without holes or overlaps."""
import json
import struct

import numpy

BITS = {"BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32,
        "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64}


def to_bf16(values):
    """float32 to the bits of bfloat16, to nearest, ties to even."""
    bits = numpy.asarray(values, "f4").view("u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("u2")


def from_bf16(bits):
    return (numpy.asarray(bits, "u2").astype("u4") << 16).view("f4")


class Tensor:
    """A tensor as it is stored."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), bytes(data)

    @classmethod
    def of(cls, dtype, values):
        values = numpy.asarray(values)
        stored = {"BF16": to_bf16, "F16": lambda v: v.astype("f2"), "F32": lambda v: v.astype("f4"),
                  "F64": lambda v: v.astype("f8"), "I64": lambda v: v.astype("i8"),
                  "U8": lambda v: v.astype("u1")}[dtype](values)
        return cls(dtype, values.shape, stored.tobytes())

    def words(self):
        """The stored elements."""
        kind = {"BF16": "u2", "F16": "f2", "F32": "f4", "F64": "f8", "I64": "i8", "U8": "u1"}
        return numpy.frombuffer(self.data, kind[self.dtype]).reshape(self.shape)

    def values(self):
        """The elements as float64, exactly."""
        words = self.words()
        return (from_bf16(words) if self.dtype == "BF16" else words).astype("f8")


def spell(header, data):
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def write(path, tensors, metadata=None, padding=0):
    """tensors: {name: Tensor}, whose data are written in this order."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                        "data_offsets": [len(data), len(data) + len(tensor.data)]}
        data += tensor.data
    with open(path, "wb") as file:
        file.write(spell(json.dumps(header).encode() + b" " * padding, data))


def refuse_duplicates(pairs):
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a key occurs twice: {names}"
    return dict(pairs)


def read(path):
    """{name: Tensor} and the metadata; an AssertionError if the file is not as it should be."""
    with open(path, "rb") as file:
        whole = file.read()
    length = struct.unpack("<Q", whole[:8])[0]
    assert length <= 100_000_000 and 8 + length <= len(whole), length
    assert whole[8:9] == b"{"
    header = json.loads(whole[8:8 + length].decode("utf-8"), object_pairs_hook=refuse_duplicates)
    data = whole[8 + length:]
    metadata = header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        assert set(entry) == {"dtype", "shape", "data_offsets"}, entry
        begin, stop = entry["data_offsets"]
        assert begin == end and stop <= len(data), (name, entry, end)
        count = 1
        for side in entry["shape"]:
            count *= side
        assert stop - begin == count * BITS[entry["dtype"]] // 8, (name, entry)
        tensors[name] = Tensor(entry["dtype"], entry["shape"], data[begin:stop])
        end = stop
    assert end == len(data), (end, len(data))
    return tensors, metadata
