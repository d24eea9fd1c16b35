#!/usr/bin/env python3
"""export: what is in a result, as text that counts from 1 and as NumPy arrays that count from 0."""
import os

import h5py
import numpy

from matrices import dataset, dense
from support import ProgramTest, content, main, small_batch, small_network, write_lines


class ExportTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.network, self.batch = small_network(self, bias=0.25), small_batch(self)
        self.espalier("infer", self.network, self.batch, "-o", "r.h5", "--output", "full",
                      "--top-k", 3)
        with h5py.File("r.h5", "r") as file:
            self.output = dense(file["output"])
        self.assertTrue(self.output.any())

    def exported(self, target, form, what="categories"):
        """The name of the file, the same bytes at 1 and 3 ranks."""
        for name, ranks in ((target, 1), ("again." + form, 3)):
            self.espalier("export", "r.h5", "--to", form, "--what", what, "-o", name, "--force",
                          ranks=ranks)
        self.assertEqual(content("again." + form), content(target))
        return target

    def test_categories_as_text(self):
        name = self.exported("categories.tsv", "tsv")
        self.espalier("export", "r.h5", "--to", "tsv", "-o", "default.tsv")
        self.assertEqual(content("default.tsv"), content(name))
        with open(name, encoding="ascii") as file:
            ids = [int(line) for line in file.read().splitlines()]
        self.assertEqual(ids, [s + 1 for s in numpy.flatnonzero(self.output.any(axis=1))])
        # A result's own categories are a truth it agrees with.
        self.espalier("infer", self.network, self.batch, "-o", "again.h5", "--truth", name)

    def test_triples_as_text(self):
        triples = numpy.loadtxt(self.exported("output.tsv", "tsv", "output"), ndmin=2)
        found = numpy.zeros_like(self.output)
        found[triples[:, 0].astype(int) - 1, triples[:, 1].astype(int) - 1] = triples[:, 2]
        numpy.testing.assert_array_equal(found, self.output)

    def test_largest_as_text(self):
        lines = numpy.loadtxt(self.exported("top.tsv", "tsv", "top"), ndmin=2)
        self.assertEqual(lines.shape, (3 * len(self.output), 3))
        numpy.testing.assert_array_equal(lines[:, 0], numpy.repeat(numpy.arange(25) + 1, 3))
        numpy.testing.assert_array_equal(lines[:, 1] - 1, dataset("r.h5", "top_index").ravel())
        numpy.testing.assert_array_equal(lines[:, 2].astype(numpy.float32),
                                         dataset("r.h5", "top_value").ravel())

    def test_arrays(self):
        for what in ("categories", "alive", "top_index", "top_value"):
            found = numpy.load(self.exported(f"{what}.npy", "npy", what))
            expected = dataset("r.h5", what)
            self.assertEqual(found.dtype, expected.dtype)
            numpy.testing.assert_array_equal(found, expected)

    def test_dense_output(self):
        found = numpy.load(self.exported("output.npy", "npy", "output"))
        self.assertEqual(found.dtype, numpy.float32)
        numpy.testing.assert_array_equal(found, self.output)

    def test_no_samples(self):
        empty = small_batch(self, "empty.h5", samples=1)  # its only sample has no features
        self.espalier("infer", self.network, empty, "-o", "none.h5")
        self.espalier("export", "none.h5", "--to", "tsv", "-o", "none.tsv")
        self.assertEqual(content("none.tsv"), b"")
        self.espalier("export", "none.h5", "--to", "npy", "-o", "none.npy")
        self.assertEqual(numpy.load("none.npy").shape, (0,))

    def refused(self, *arguments, status, words):
        for ranks in (1, 3):
            line = self.espalier("export", *arguments, ranks=ranks, status=status).complaint()
            for word in words:
                self.assertIn(word, line)

    def test_what_is_not_there(self):
        self.espalier("infer", self.network, self.batch, "-o", "plain.h5")
        self.refused("plain.h5", "--to", "npy", "--what", "top_index", "-o", "x.npy", status=65,
                     words=["plain.h5", "--output top"])
        self.refused("plain.h5", "--to", "tsv", "--what", "output", "-o", "x.tsv", status=65,
                     words=["plain.h5", "--output full"])
        self.refused(self.network, "--to", "tsv", "-o", "x.tsv", status=64,
                     words=["tsv", "npz", "safetensors"])
        self.refused("absent.h5", "--to", "tsv", "-o", "x.tsv", status=66, words=["absent.h5"])
        self.assertFalse(os.path.exists("x.tsv"))

    def test_usage(self):
        self.refused("r.h5", "--to", "csv", "-o", "x.csv", status=64, words=["csv", "tsv"])
        self.refused("r.h5", "--to", "tsv", "--what", "alive", "-o", "x", status=64,
                     words=["alive", "categories"])
        self.refused("r.h5", "-o", "x", status=64, words=["--to"])

    def test_output_in_place(self):
        write_lines("mine.tsv", ["precious"])
        self.refused("r.h5", "--to", "tsv", "-o", "mine.tsv", status=73, words=["mine.tsv"])
        self.assertEqual(content("mine.tsv"), b"precious\n")
        self.refused("r.h5", "--to", "tsv", "-o", "no/such.tsv", status=73, words=["no"])

    def test_dry_run(self):
        self.assertIn("would write", self.espalier("export", "r.h5", "--to", "npy", "-o", "x.npy",
                                                   "--dry-run", ranks=3).err)
        self.assertFalse(os.path.exists("x.npy"))


if __name__ == "__main__":
    main()
