#!/usr/bin/env python3
"""import --from hdf5: arrays as people's own programs write them, read where they lie."""
# timeout: 300
import os

import h5py
import numpy
import scipy.sparse

from matrices import dataset, described, features
from support import ProgramTest, content, main

RANKS = (1, 3)
SAMPLES = 31


class Hdf5Test(ProgramTest):
    def setUp(self):
        super().setUp()
        self.random = numpy.random.default_rng(9)
        self.values = self.random.normal(size=(SAMPLES, 12)).astype(numpy.float32)
        self.values[self.values < 0] = 0
        self.values[3] = 0

    def write(self, path="data.h5", **arrays):
        with h5py.File(path, "a") as file:
            for name, array in arrays.items():
                file[name] = array
        return path

    def imported(self, *options, numbers_of_ranks=RANKS):
        """The features, the same bytes at all numbers of ranks."""
        for ranks in numbers_of_ranks:
            self.espalier("import", "--from", "hdf5", *options, "-o", f"b{ranks}.h5", "--force",
                          ranks=ranks)
            self.assertEqual(content(f"b{ranks}.h5"), content("b1.h5"), ranks)
        return features("b1.h5")

    def refused(self, *options, status=65, words=()):
        for ranks in self.one_of(1, 3):
            line = self.espalier("import", "--from", "hdf5", *options, "-o", "no.h5", ranks=ranks,
                                 status=status).complaint()
            for word in words:
                self.assertIn(word, line)
            self.assertFalse(os.path.exists("no.h5"))


class DenseTest(Hdf5Test):
    def check(self, expected=None, **more):
        expected = self.values if expected is None else expected
        numpy.testing.assert_array_equal(self.imported("--features", "data.h5:/x", **more),
                                         expected)
        with h5py.File("b1.h5", "r") as file:
            self.assertEqual(described(file["features"])["format"], "DMAT")

    def test_contiguous(self):
        self.write(x=self.values)
        self.check()

    def test_chunked_and_compressed(self):
        with h5py.File("data.h5", "w") as file:
            file.create_dataset("x", data=self.values, chunks=(5, 7), compression="gzip",
                                shuffle=True, fletcher32=True)
        self.check()
        self.espalier("verify", "b1.h5", ranks=2)

    def test_other_number_types(self):
        for kind in (">f8", ">f4", "<f8", ">i2", "i1", "<u4", ">u8", "<i8"):
            with self.subTest(kind):
                array = (self.values * 50).astype(kind)
                with h5py.File("data.h5", "w") as file:
                    file["x"] = array
                self.check(array.astype(numpy.float32), numbers_of_ranks=(1,))

    def test_bytes_stay_bytes(self):
        array = self.random.integers(0, 256, (SAMPLES, 5), numpy.uint8)
        self.write(x=array)
        self.check(array)
        self.assertEqual(features("b1.h5").dtype, numpy.uint8)

    def test_further_dimensions_are_flattened(self):
        array = self.random.normal(size=(SAMPLES, 3, 4, 2)).astype(numpy.float32)
        self.write(x=array)
        self.check(array.reshape(SAMPLES, 24))

    def test_one_feature(self):
        self.write(x=self.values[:, 0])
        self.check(self.values[:, :1])

    def test_no_samples(self):
        self.write(x=self.values[:0])
        self.check(self.values[:0])

    def test_netcdf4(self):
        with h5py.File("data.h5", "w") as file:
            group = file.create_group("train")
            group["x"] = self.values
            group["sample"] = numpy.arange(SAMPLES)
            group["sample"].make_scale("sample")
            group["x"].dims[0].attach_scale(group["sample"])
            group["x"].dims[0].label = "sample"
        numpy.testing.assert_array_equal(
            self.imported("--features", "data.h5:/train/x", "--ids", "data.h5:/train/sample"),
            self.values)

    def test_values_that_are_no_numbers(self):
        array = self.values.copy()
        array[7, 2] = numpy.nan
        self.write(x=array)
        self.refused("--features", "data.h5:/x", words=["data.h5", "/x", "sample 7", "feature 2"])

    def test_values_beyond_float32(self):
        array = self.values.astype(numpy.float64)
        array[7, 2] = 1e300
        self.write(x=array)
        self.refused("--features", "data.h5:/x", words=["data.h5", "/x"])

    def test_wrong_kinds(self):
        self.write(x=self.values, number=3.0, word=numpy.array([b"a"] * SAMPLES))
        self.refused("--features", "data.h5:/number", words=["/number"])
        self.refused("--features", "data.h5:/word", words=["/word", "numbers"])
        self.refused("--features", "data.h5:/nothing", words=["/nothing", "/x"])
        self.refused("--features", "data.h5:/", words=["data", "indptr"])

    def test_a_sample_that_does_not_fit(self):
        with h5py.File("data.h5", "w") as file:
            file.create_dataset("x", (3, 10 ** 9), "f4", chunks=(1, 10 ** 6))
        self.refused("--features", "data.h5:/x", "--memory-per-rank", "64MiB", status=69,
                     words=["data.h5", "/x", "1000000000"])

    def test_usage(self):
        self.write(x=self.values)
        self.refused("--features", "data.h5", status=64, words=["data.h5", "FILE:/path"])
        self.refused("--features", "data.h5:/x", "--features-cols", 11, status=64,
                     words=["11", "12"])
        self.refused("--features", "data.h5:/x", "--images", "i", status=64, words=["--images"])
        self.refused("--features", "absent.h5:/x", status=66, words=["absent.h5"])
        with open("text.h5", "w", encoding="ascii") as file:
            file.write("no hdf5\n" * 100)
        self.refused("--features", "text.h5:/x", words=["text.h5"])

    def test_again_and_changed(self):
        self.write(x=self.values, y=self.values)
        command = ["import", "--from", "hdf5", "-o", "b.h5", "--features"]
        self.espalier(*command, "data.h5:/x")
        before = os.stat("b.h5")
        for ranks in (1, 3):
            self.assertIn("already", self.espalier(*command, "data.h5:/x", ranks=ranks).err)
        self.assertEqual(os.stat("b.h5").st_mtime_ns, before.st_mtime_ns)
        self.espalier(*command, "data.h5:/y", status=73)
        with h5py.File("data.h5", "a") as file:
            file["x"][0, 0] = 77
        self.espalier(*command, "data.h5:/x", status=73)
        self.espalier(*command, "data.h5:/x", "--force")
        self.assertEqual(features("b.h5")[0, 0], 77)


class SparseTest(Hdf5Test):
    def setUp(self):
        super().setUp()
        self.matrix = scipy.sparse.csr_matrix(self.values)

    def write_csr(self, matrix, **attributes):
        with h5py.File("data.h5", "w") as file:
            group = file.create_group("x")
            group["data"] = matrix.data
            group["indices"] = matrix.indices
            group["indptr"] = matrix.indptr
            group.attrs.update(attributes)

    def check(self, *options):
        numpy.testing.assert_array_equal(self.imported("--features", "data.h5:/x", *options),
                                         self.values)
        with h5py.File("b1.h5", "r") as file:
            self.assertEqual(described(file["features"])["format"], "CSR")

    def test_shapes(self):
        self.write_csr(self.matrix, shape=self.matrix.shape)
        self.check()
        self.write_csr(self.matrix, **{"encoding-type": "csr_matrix", "encoding-version": "0.1.0",
                                       "shape": numpy.array(self.matrix.shape)})
        self.check()
        self.write_csr(self.matrix, h5sparse_format=b"csr", h5sparse_shape=self.matrix.shape)
        self.check()
        self.write_csr(self.matrix)
        self.check("--features-cols", 12)
        self.refused("--features", "data.h5:/x", status=64, words=["/x", "--features-cols"])

    def test_unsorted_columns_and_stored_zeros(self):
        matrix = self.matrix.copy()
        for row in range(SAMPLES):
            part = slice(matrix.indptr[row], matrix.indptr[row + 1])
            matrix.indices[part] = matrix.indices[part][::-1].copy()
            matrix.data[part] = matrix.data[part][::-1].copy()
        matrix.data[5] = 0
        row = numpy.searchsorted(matrix.indptr, 5, side="right") - 1
        self.values[row, matrix.indices[5]] = 0
        self.write_csr(matrix, shape=matrix.shape)
        self.check()

    def test_equal_values_are_kept_once(self):
        self.values[self.values != 0] = 2.5
        self.write_csr(scipy.sparse.csr_matrix(self.values), shape=self.values.shape)
        self.check()
        self.assertEqual(len(dataset("b1.h5", "features/values")), 1)

    def test_our_own_batches(self):
        self.write_csr(self.matrix, shape=self.matrix.shape)
        self.espalier("import", "--from", "hdf5", "--features", "data.h5:/x", "-o", "ours.h5")
        numpy.testing.assert_array_equal(self.imported("--features", "ours.h5:/features"),
                                         self.values)

    def test_damage(self):
        good = self.matrix

        def damaged(words, **parts):
            matrix = good.copy()
            for name, (place, value) in parts.items():
                getattr(matrix, name)[place] = value
            self.write_csr(matrix, shape=good.shape)
            self.refused("--features", "data.h5:/x", words=["data.h5", "/x", *words])

        damaged(["out of range", "0..11"], indices=(3, 12))
        damaged([], indices=(3, -1))
        damaged(["twice"], indices=(1, good.indices[0]))
        damaged(["indptr"], indptr=(5, 10 ** 6))
        damaged(["indptr"], indptr=(0, 1))
        damaged(["indptr"], indptr=(-1, len(good.data) - 1))
        damaged(["not finite"], data=(4, numpy.inf))
        self.write_csr(good, shape=(SAMPLES + 1, 12))
        self.refused("--features", "data.h5:/x", words=["/x", str(SAMPLES), str(SAMPLES + 1)])
        self.write_csr(good, shape=good.shape, **{"encoding-type": "csc_matrix"})
        self.refused("--features", "data.h5:/x", words=["CSC", "CSR"])


class LabelsAndIdsTest(Hdf5Test):
    def setUp(self):
        super().setUp()
        self.write(x=self.values)

    def test_labels(self):
        labels = self.random.integers(-5, 100, SAMPLES)
        for name, array in (("a", labels.astype(">i2")), ("b", labels.reshape(SAMPLES, 1)),
                            ("c", (labels + 5).astype(numpy.uint64))):
            with h5py.File("labels.h5", "a") as file:
                file[name] = array
            self.imported("--features", "data.h5:/x", "--labels", f"labels.h5:/{name}")
            numpy.testing.assert_array_equal(dataset("b1.h5", "labels"), array.ravel())

    def test_whole_number_ids(self):
        ids = self.random.integers(-10 ** 12, 10 ** 12, SAMPLES)
        self.write(ids=ids.astype(">i8"))
        self.imported("--features", "data.h5:/x", "--ids", "data.h5:/ids")
        numpy.testing.assert_array_equal(dataset("b1.h5", "sample_id"), ids)

    def test_text_ids(self):
        names = [f"sample-{'x' * (k % 7)}-{k}" for k in range(SAMPLES)]
        names[5] = ""
        names[6] = "größer"
        with h5py.File("data.h5", "a") as file:
            del file["x"]
            file.create_dataset("x", data=self.values, chunks=(4, 12), compression="gzip")
            file.create_dataset("variable", data=names, dtype=h5py.string_dtype())
            file.create_dataset("chunked", data=names, dtype=h5py.string_dtype(), chunks=(4,),
                                compression="gzip")
            file["fixed"] = numpy.array([name.encode() for name in names])
        for name in ("variable", "chunked", "fixed"):
            with self.subTest(name):
                self.imported("--features", "data.h5:/x", "--ids", f"data.h5:/{name}")
                kept = dataset("b1.h5", "sample_id")
                self.assertEqual([id.decode() for id in kept], names)

    def test_ids_reach_the_result(self):
        names = [f"image-{k:03}" for k in range(SAMPLES)]
        with h5py.File("data.h5", "a") as file:
            file.create_dataset("name", data=names, dtype=h5py.string_dtype())
        self.imported("--features", "data.h5:/x", "--ids", "data.h5:/name")
        self.espalier("generate", "random", "--layers", "12,7", "--density", 0.5, "-o", "net.h5")
        self.espalier("infer", "net.h5", "b1.h5", "-o", "r.h5", ranks=3)
        self.assertEqual([id.decode() for id in dataset("r.h5", "sample_id")], names)

    def test_lengths_that_do_not_match(self):
        self.write(short=numpy.arange(SAMPLES - 2), names=numpy.array([b"a"] * (SAMPLES + 1)))
        self.refused("--features", "data.h5:/x", "--labels", "data.h5:/short",
                     words=["/short", str(SAMPLES), str(SAMPLES - 2)])
        self.refused("--features", "data.h5:/x", "--ids", "data.h5:/names",
                     words=["/names", str(SAMPLES), str(SAMPLES + 1)])

    def test_wrong_kinds(self):
        self.write(floats=numpy.zeros(SAMPLES), huge=numpy.full(SAMPLES, 2 ** 64 - 1, numpy.uint64))
        for option in ("--labels", "--ids"):
            self.refused("--features", "data.h5:/x", option, "data.h5:/floats",
                         words=["/floats", "whole number"])
            self.refused("--features", "data.h5:/x", option, "data.h5:/huge", words=["/huge"])
            self.refused("--features", "data.h5:/x", option, "data.h5:/absent", words=["/absent"])
            self.refused("--features", "data.h5:/x", option, "absent.h5:/y", status=66,
                         words=["absent.h5"])


if __name__ == "__main__":
    main()
