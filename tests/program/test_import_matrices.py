#!/usr/bin/env python3
# timeout: 600
"""import --from npy, npz, mtx: what NumPy and SciPy write becomes layers and batches, the same bytes
at 1 and 3 ranks; what is damaged or lies is refused."""
import io
import json
import os
import struct
import zipfile

import h5py
import numpy
import scipy.io
import scipy.sparse

from matrices import dense, described, features
from support import ProgramTest, content, main, write_lines

RANKS = (1, 3)


def npy_bytes(array):
    out = io.BytesIO()
    numpy.save(out, array)
    return out.getvalue()


def write_bytes(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


class RandomTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.random = numpy.random.default_rng(5)

    def array(self, rows, cols, density=0.4, type="f4"):
        array = self.random.normal(size=(rows, cols)) * 8
        array[self.random.random((rows, cols)) >= density] = 0
        self.assertGreater(numpy.count_nonzero(array), 0)
        return array.astype(type)


class MatricesTest(RandomTest):
    def imported(self, *options):
        """(array, descriptor, attributes, bias) of every layer."""
        for ranks in RANKS:
            self.espalier("import", *options, "-o", f"n{ranks}.h5", "--force", ranks=ranks)
            self.assertEqual(content(f"n{ranks}.h5"), content("n1.h5"), (ranks, options))
        self.espalier("verify", "n1.h5")
        layers = []
        with h5py.File("n1.h5", "r") as file:
            for name in sorted(file["layers"]):
                layer = file[f"layers/{name}"]
                bias = layer["bias/values"][:] if "bias" in layer else None
                layers.append((dense(layer["weight"]), described(layer["weight"]),
                               dict(layer.attrs), bias))
        return layers

    def test_every_type_of_element_and_order(self):
        for type in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "|i1", "|u1", "<i2", ">i2", "<i4",
                     ">u4", "<i8", ">u8", "|b1"):
            array = numpy.abs(self.array(13, 29)).astype(type)
            for order in self.one_of("C", "F"):
                numpy.save("w.npy", numpy.asarray(array, order=order))
                (found, info, attributes, bias), = self.imported("--from", "npy", "--model", "w.npy")
                numpy.testing.assert_array_equal(found, array.astype("f4"), (type, order))
                self.assertEqual((info["format"], attributes["name"], bias), ("DMAT", "w", None))

    def test_files_in_order_with_biases(self):
        first, second = self.array(20, 31), self.array(7, 20)
        bias = self.random.normal(size=7).astype("f4")
        numpy.save("b.npy", first)
        numpy.save("a.npy", second)
        numpy.save("c.npy", bias)
        layers = self.imported("--from", "npy", "--model", "b.npy", "a.npy", "c.npy",
                               "--activation", "relu", "--last-activation", "softmax")
        numpy.testing.assert_array_equal(layers[0][0], first)
        numpy.testing.assert_array_equal(layers[1][0], second)
        numpy.testing.assert_array_equal(layers[1][3], bias)
        self.assertEqual([layer[2]["activation"] for layer in layers], ["relu", "softmax"])
        turned = [numpy.ascontiguousarray(first.T), numpy.asfortranarray(second.T)]
        for save in (numpy.savez, numpy.savez_compressed):
            save("net.npz", one=turned[0], two=turned[1], two_bias=bias, other=turned[0])
            again = self.imported("--from", "npz", "--model", "net.npz", "--transpose",
                                  "--exclude", "^other$", "--activation", "relu")
            for layer, right, name in zip(again, (first, second), ("one", "two")):
                numpy.testing.assert_array_equal(layer[0], right)
                self.assertEqual((layer[1]["format"], layer[2]["name"]), ("DMAT", name))
            numpy.testing.assert_array_equal(again[1][3], bias)

    def test_sparse_archives(self):
        for shape in ((24, 36), (1, 6), (36, 2)):
            array = self.array(*shape)
            array[0, 0] = 3
            forms = [scipy.sparse.csr_matrix(array), scipy.sparse.csc_matrix(array),
                     scipy.sparse.coo_matrix(array[:, ::-1])]
            if shape == (24, 36):
                forms.append(scipy.sparse.bsr_matrix(array, blocksize=(4, 3)))
            unsorted = scipy.sparse.csr_matrix(array)
            for row in range(shape[0]):
                piece = slice(unsorted.indptr[row], unsorted.indptr[row + 1])
                unsorted.indices[piece] = unsorted.indices[piece][::-1].copy()
                unsorted.data[piece] = unsorted.data[piece][::-1].copy()
            forms.append(unsorted)
            for form in forms:
                for packed in self.one_of(True, False):
                    scipy.sparse.save_npz("m.npz", form, compressed=packed)
                    (found, info, _, _), = self.imported("--from", "npz", "--model", "m.npz")
                    numpy.testing.assert_array_equal(found, form.toarray(), form.format)
                    self.assertEqual(info["format"], "CSR")
                    self.assertEqual(info["number_of_stored_values"], numpy.count_nonzero(array))

    def test_matrix_market(self):
        array = self.array(17, 17)
        whole = (array / 4).astype("i4")
        symmetric = numpy.tril(array) + numpy.tril(array, -1).T
        skew = numpy.tril(array, -1) - numpy.tril(array, -1).T
        for given, format in ((array, "CSR"), (whole, "CSR"), (symmetric, "CSR"), (skew, "CSR")):
            scipy.io.mmwrite("m.mtx", scipy.sparse.coo_matrix(given))
            (found, info, _, _), = self.imported("--from", "mtx", "--model", "m.mtx")
            numpy.testing.assert_allclose(found, given, rtol=1e-6)
            self.assertEqual(info["format"], format)
            scipy.io.mmwrite("d.mtx", given)
            (found, info, _, _), = self.imported("--from", "mtx", "--model", "d.mtx")
            numpy.testing.assert_allclose(found, given, rtol=1e-6)
            self.assertEqual(info["format"], "DMAT")
        scipy.io.mmwrite("p.mtx", scipy.sparse.coo_matrix(array), field="pattern")
        (found, info, _, _), = self.imported("--from", "mtx", "--model", "p.mtx")
        numpy.testing.assert_array_equal(found, array != 0)
        self.assertEqual(info["data_types"]["values"], "iso[float32]")

    def test_spellings_of_matrix_market(self):
        write_lines("g.mtx", ["%%MatrixMarket matrix coordinate real general",
                              "%%GraphBLAS type float", "% a comment", "", "3 4 3", "1 1 .0625",
                              "  3\t4  +1e-3 ", "2 3 -5"])
        (found, _, _, _), = self.imported("--from", "mtx", "--model", "g.mtx")
        right = numpy.zeros((3, 4), "f4")
        right[0, 0], right[2, 3], right[1, 2] = 0.0625, 1e-3, -5
        numpy.testing.assert_array_equal(found, right)
        write_lines("s.smtx", ["3, 5, 4", "0 2 2 4", "1 4 0 3 "])
        (found, info, _, _), = self.imported("--from", "mtx", "--model", "s.smtx", "--layout",
                                             "triplets")
        right = numpy.zeros((3, 5), "f4")
        right[[0, 0, 2, 2], [1, 4, 0, 3]] = 1
        numpy.testing.assert_array_equal(found, right)
        self.assertEqual(info["format"], "COO")

    def test_binsparse_by_others(self):
        weight, bias, last = self.array(6, 9), numpy.arange(6, dtype="f8"), self.array(3, 6)
        csr, coo = scipy.sparse.csr_matrix(weight), scipy.sparse.coo_matrix(last)

        def add(group, format, shape, values, wrapped, **arrays):
            info = {"version": "0.1", "format": format, "shape": shape,
                    "number_of_stored_values": values.size,
                    "data_types": {"values": str(values.dtype)}}
            group.attrs["binsparse"] = json.dumps({"binsparse": info} if wrapped else info)
            group["values"] = values
            for name, array in arrays.items():
                group[name] = array
        with h5py.File("b.h5", "w") as file:
            add(file.create_group("net/1"), "CSR", [6, 9], csr.data.astype(">f8"), True,
                indices_1=csr.indices.astype("i8"), pointers_to_1=csr.indptr.astype("u4"))
            add(file.create_group("net/2"), "DVEC", [6], bias, False)
            add(file.create_group("net/3"), "COOR", [3, 6], coo.data, False,
                indices_0=coo.row, indices_1=coo.col)
            add(file.create_group("x"), "DMAT", [6, 9], weight.ravel(), True)
        layers = self.imported("--from", "binsparse", "--model", "b.h5:/net")
        numpy.testing.assert_array_equal(layers[0][0], weight)
        numpy.testing.assert_array_equal(layers[0][3], bias)
        numpy.testing.assert_array_equal(layers[1][0], last)
        self.assertEqual([layer[2]["name"] for layer in layers], ["net/1", "net/3"])
        self.espalier("import", "--from", "binsparse", "--features", "b.h5:/x", "-o", "x.h5",
                      ranks=3)
        numpy.testing.assert_array_equal(features("x.h5"), weight)
        self.refused("import", "--from", "binsparse", "--model", "b.h5:/nothing", "-o", "out.h5",
                     status=65, words=["b.h5", "/nothing"], output="out.h5")

    def test_features(self):
        array = self.array(40, 12)
        images = self.random.integers(0, 256, (40, 3, 4), dtype="u1")
        labels = numpy.arange(40)
        numpy.save("x.npy", images)
        numpy.save("y.npy", labels.astype(">i2"))
        scipy.sparse.save_npz("x.npz", scipy.sparse.csc_matrix(array))
        scipy.io.mmwrite("x.mtx", scipy.sparse.coo_matrix(array), precision=9)
        for from_, right, format in (("npy", images.reshape(40, 12), "DMAT"), ("npz", array, "CSR"),
                                     ("mtx", array, "CSR")):
            for ranks in RANKS:
                self.espalier("import", "--from", from_, "--features", f"x.{from_}", "--labels",
                              "y.npy", "-o", f"b{ranks}.h5", "--force", ranks=ranks)
            self.assertEqual(content("b1.h5"), content("b3.h5"))
            numpy.testing.assert_array_equal(features("b1.h5"), right)
            with h5py.File("b1.h5", "r") as file:
                numpy.testing.assert_array_equal(file["labels"][:], labels)
                self.assertEqual(described(file["features"])["format"], format)

    def test_imported_layers_compute(self):
        weights = [self.array(9, 12), self.array(4, 9)]
        x = self.array(15, 12)
        for k, weight in enumerate(weights):
            scipy.sparse.save_npz(f"w{k}.npz", scipy.sparse.csc_matrix(weight))
        numpy.save("x.npy", x)
        self.espalier("import", "--from", "npz", "--model", "w0.npz", "w1.npz", "--activation",
                      "relu", "-o", "net.h5")
        self.espalier("import", "--from", "npy", "--features", "x.npy", "-o", "x.h5")
        self.espalier("infer", "net.h5", "x.h5", "--output", "full", "-o", "r.h5")
        self.espalier("export", "r.h5", "--to", "npy", "--what", "output", "-o", "r.npy")
        right = x.astype("f8")
        for weight in weights:
            right = numpy.maximum(right @ weight.astype("f8").T, 0)
        numpy.testing.assert_allclose(numpy.load("r.npy"), right, rtol=1e-5, atol=1e-4)


class HostileMatricesTest(RandomTest):
    def refuses(self, from_, path, *words):
        self.refused("import", "--from", from_, "--model", path, "-o", "out.h5", status=65,
                     words=[path, *words], output="out.h5")

    def test_arrays(self):
        good = npy_bytes(numpy.ones((4, 5), "f4"))
        huge = good.replace(b"(4, 5)", b"(4, 9223372036854775807)")
        cases = {
            "short.npy": (good[:-1], "79"),
            "long.npy": (good + b"\0", "81"),
            "cut.npy": (good[:40], "header"),
            "empty.npy": (b"", "NUMPY"),
            "version.npy": (good[:6] + b"\x09" + good[7:], "version"),
            "order.npy": (good.replace(b"False", b"Maybe"), "False"),
            "negative.npy": (good.replace(b"(4, 5)", b"(-4, 5)"), "length"),
            "twice.npy": (good.replace(b"'shape'", b"'descr'"), "descr"),
            "complex.npy": (npy_bytes(numpy.ones((2, 2), "c8")), "<c8"),
            "records.npy": (npy_bytes(numpy.ones(3, [("a", "f4")])), "records"),
            "objects.npy": (npy_bytes(numpy.array([[1, None]], object)), "|O"),
            "many.npy": (npy_bytes(numpy.ones((2, 2, 2), "f4")), "3 dimensions"),
            "none.npy": (npy_bytes(numpy.ones((0, 2), "f4")), "0 x 2"),
            "nan.npy": (npy_bytes(numpy.array([[1, 2], [3, numpy.nan]], "f4")), "row 1, column 1"),
            "large.npy": (npy_bytes(numpy.array([[1, 1e300]])), "1e+300"),
        }
        for path, (data, *words) in cases.items():
            self.refuses("npy", write_bytes(path, data), *words)
        self.refuses("npy", write_bytes("huge.npy", huge), "9223372036854775807")

    def test_archives(self):
        numpy.savez("a.npz", w=numpy.ones((4, 5), "f4"))
        good = content("a.npz")
        for cut in (10, len(good) // 2, len(good) - 1):
            self.refuses("npz", write_bytes(f"cut{cut}.npz", good[:cut]), "zip")
        numpy.savez_compressed("z.npz", w=self.array(50, 50, 1))
        flipped = bytearray(content("z.npz"))
        flipped[2000] ^= 16
        self.refuses("npz", write_bytes("flipped.npz", flipped), "w", "damaged")
        # Headers that claim more than deflate can make, and more than anybody packs.
        for size, claim, word in ((1 << 12, 0xfffffff0, "at most 1032"),
                                  (3 << 19, 0x50000000, "bomb")):
            with zipfile.ZipFile("claim.npz", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("w.npy", self.random.bytes(size))
            data = bytearray(content("claim.npz"))
            struct.pack_into("<I", data, 22, claim)
            struct.pack_into("<I", data, data.rindex(b"PK\1\2") + 24, claim)
            self.refuses("npz", write_bytes("claim.npz", data), word)
        with zipfile.ZipFile("text.npz", "w") as archive:
            archive.writestr("readme.txt", "hello")
        self.refuses("npz", "text.npz", "readme.txt")

    def test_sparse_archives_that_lie(self):
        good = scipy.sparse.csr_matrix(numpy.eye(6, 8, dtype="f4"))
        scipy.sparse.save_npz("good.npz", good)
        parts = dict(numpy.load("good.npz"))
        changes = {
            "column.npz": ("indices", numpy.array([0, 1, 2, 3, 4, 8], "i4"), "right is 0 to 7"),
            "minus.npz": ("indices", numpy.array([0, 1, -2, 3, 4, 5], "i4"), "-2"),
            "down.npz": ("indptr", numpy.array([0, 1, 2, 1, 4, 5, 6], "i4"), "ascend"),
            "beyond.npz": ("indptr", numpy.array([0, 1, 2, 3, 4, 5, 2**62], "i8"), "ascend"),
            "start.npz": ("indptr", numpy.array([1, 1, 2, 3, 4, 5, 6], "i4"), "ascend"),
            "rows.npz": ("shape", numpy.array([5, 8]), "indptr"),
            "large.npz": ("shape", numpy.array([2**62, 8]), "4611686018427387904"),
            "three.npz": ("shape", numpy.array([6, 8, 1]), "shape"),
            "data.npz": ("data", numpy.ones(5, "f4"), "indices"),
            "nan.npz": ("data", numpy.array([1, 1, numpy.inf, 1, 1, 1], "f4"), "row 2, column 2"),
            "word.npz": ("format", numpy.array(b"dia"), "dia"),
        }
        for path, (key, value, word) in changes.items():
            numpy.savez(path, **{**parts, key: value})
            self.refuses("npz", path, word)
        numpy.savez("twice.npz", **{**parts, "indices": numpy.array([0, 0, 2, 3, 4, 5], "i4"),
                                    "indptr": numpy.array([0, 2, 2, 3, 4, 5, 6], "i4")})
        self.refuses("npz", "twice.npz", "row 0, column 0", "twice")
        coo = dict(format=numpy.array(b"coo"), shape=numpy.array([3, 3]), data=numpy.ones(2, "f4"),
                   row=numpy.array([1, 1]), col=numpy.array([2, 2]))
        numpy.savez("pairs.npz", **coo)
        self.refuses("npz", "pairs.npz", "row 1, column 2", "twice")
        numpy.savez("outside.npz", **{**coo, "col": numpy.array([2, 3])})
        self.refuses("npz", "outside.npz", "entry 1", "column 3")

    def test_texts(self):
        banner = "%%MatrixMarket matrix coordinate real general"
        cases = {
            "banner.mtx": (["%%MatrixMarket tensor coordinate real general", "1 1 1"], "line 1"),
            "complex.mtx": ([banner.replace("real", "complex"), "1 1 1", "1 1 1 1"], "complex"),
            "sizes.mtx": ([banner, "3 3"], "line 2", "rows, columns"),
            "missing.mtx": ([banner, "% only comments"], "ends before"),
            "word.mtx": ([banner, "3 3 2", "1 1 1", "2 two 1"], "line 4", "2 two 1"),
            "row.mtx": ([banner, "3 3 2", "1 1 1", "4 1 1"], "line 4", "row 1..3"),
            "zero.mtx": ([banner, "3 3 1", "0 1 1"], "line 3"),
            "nan.mtx": ([banner, "3 3 1", "1 1 nan"], "line 3", "finite"),
            "overflow.mtx": ([banner, "3 3 1", "1 1 1e99"], "line 3"),
            "fields.mtx": ([banner, "3 3 1", "1 1 1 1"], "line 3"),
            "fewer.mtx": ([banner, "3 3 2", "1 1 0.500000"], "2 entries", "found 1"),
            "more.mtx": ([banner, "3 3 1", "1 1 1", "2 2 2"], "1 entries", "found 2"),
            "many.mtx": ([banner, "3 3 9223372036854775807", "1 1 1"], "9223372036854775807"),
            "huge.mtx": ([banner, "3 3 9223372036854775808", "1 1 1"], "line 2"),
            "wide.mtx": ([banner, "3 99999999999 1", "1 1 1"], "99999999999"),
            "twice.mtx": ([banner, "3 3 2", "2 3 1", "2 3 4"], "row 1, column 2", "twice"),
            "skew.mtx": (["%%MatrixMarket matrix array real skew-symmetric", "3 3", "1", "2", "3", "4"],
                         "line 6"),
            "array.mtx": (["%%MatrixMarket matrix array real general", "2 2", "1", "2", "3", "4",
                           "5"], "line 7"),
            "oblong.mtx": ([banner.replace("general", "symmetric"), "2 3 1", "1 1 1"], "square"),
            "few.smtx": (["2, 2, 2", "0 1 2", "1"], "column"),
            "pointers.smtx": (["2, 2, 2", "0 2 1", "0 1"], "pointer"),
            "columns.smtx": (["2, 2, 2", "0 1 2", "0 2"], "2, but there are 2"),
            "promise.smtx": (["2, 2, 4000000000", "0 1 2", "0 1"], "4000000000"),
        }
        for path, (lines, *words) in cases.items():
            self.refuses("mtx", write_lines(path, lines), *words)

    def test_what_does_not_fit_together(self):
        numpy.save("a.npy", numpy.ones((4, 5), "f4"))
        numpy.save("b.npy", numpy.ones((5, 4), "f4"))
        numpy.save("v.npy", numpy.ones(3, "f4"))
        self.refused("import", "--from", "npy", "--model", "a.npy", "a.npy", "-o", "out.h5",
                     status=65, words=["a.npy", "4 x 5", "--transpose"], output="out.h5")
        self.refused("import", "--from", "npy", "--model", "a.npy", "v.npy", "-o", "out.h5",
                     status=65, words=["v.npy", "bias"], output="out.h5")
        self.refused("import", "--from", "npy", "--model", "missing.npy", "-o", "out.h5",
                     status=66, words=["missing.npy"])
        self.refused("import", "--from", "npy", "--model", "a.npy", "--include", "(", "-o",
                     "out.h5", status=64, words=["--include"])
        self.refused("import", "--from", "npy", "--model", "a.npy", "--include", "x", "-o",
                     "out.h5", status=65, words=["no matrix"])
        os.mkdir("folder")
        self.refused("import", "--from", "npz", "--model", "folder", "-o", "out.h5", status=66,
                     words=["folder"])


if __name__ == "__main__":
    main()
