#!/usr/bin/env python3
"""import --from idx: images and labels become a batch, the same for any number of ranks."""
import gzip
import os

import h5py
import numpy

from matrices import dataset, described, features, write_idx
from support import ProgramTest, content, main

RANKS = (1, 3)


class IdxTest(ProgramTest):
    def setUp(self):
        super().setUp()
        random = numpy.random.default_rng(5)
        self.pixels = random.integers(0, 256, (37, 6, 9), numpy.uint8)
        self.pixels[4] = 0
        self.labels = random.integers(0, 10, 37).astype(numpy.uint8)
        write_idx("images", self.pixels)
        write_idx("labels", self.labels)

    def imported(self, *options):
        """The batch, the same bytes at all numbers of ranks."""
        for ranks in RANKS:
            self.espalier("import", "--from", "idx", "--images", "images", *options, "-o",
                          f"b{ranks}.h5", "--force", ranks=ranks)
            self.assertEqual(content(f"b{ranks}.h5"), content("b1.h5"), ranks)
        self.espalier("verify", "b1.h5")
        return features("b1.h5")

    def refused(self, *options, status, words):
        for ranks in self.one_of(1, 3):
            line = self.espalier("import", "--from", "idx", *options, "-o", "no.h5", ranks=ranks,
                                 status=status).complaint()
            for word in words:
                self.assertIn(word, line)
            self.assertFalse(os.path.exists("no.h5"))

    def test_bytes_are_kept(self):
        found = self.imported("--labels", "labels")
        self.assertEqual(found.dtype, numpy.uint8)
        numpy.testing.assert_array_equal(found, self.pixels.reshape(37, 54))
        numpy.testing.assert_array_equal(dataset("b1.h5", "labels"), self.labels)
        self.assertEqual(dataset("b1.h5", "labels").dtype, numpy.int64)

    def test_threshold(self):
        found = self.imported("--threshold", 100)
        numpy.testing.assert_array_equal(found, (self.pixels > 100).reshape(37, 54))
        with h5py.File("b1.h5", "r") as file:
            self.assertEqual(described(file["features"])["data_types"]["values"], "iso[float32]")
            self.assertNotIn("labels", file)

    def test_threshold_that_nothing_is_above(self):
        self.assertEqual(self.imported("--threshold", 255).sum(), 0)

    def test_transpose(self):
        found = self.imported("--transpose", "--threshold", 7)
        numpy.testing.assert_array_equal(
            found, (self.pixels > 7).transpose(0, 2, 1).reshape(37, 54))

    def test_resize(self):
        # Each image in one grey: resizing keeps it, wherever it is cut.
        self.pixels[:] = numpy.arange(37, dtype=numpy.uint8)[:, None, None] * 5
        write_idx("images", self.pixels)
        found = self.imported("--resize", 8)
        numpy.testing.assert_array_equal(
            found, numpy.repeat(numpy.arange(37) * 5, 64).reshape(37, 64))
        self.assertEqual(self.imported("--resize", 8, "--threshold", 90).sum(), 64 * 18)

    def test_no_images(self):
        write_idx("images", self.pixels[:0])
        write_idx("labels", self.labels[:0])
        self.assertEqual(self.imported("--labels", "labels").shape, (0, 54))

    def test_bad_files(self):
        with gzip.open("images.gz", "wb") as file:
            file.write(content("images"))
        self.refused("--images", "images.gz", status=65, words=["images.gz", "gunzip"])
        os.truncate("images", os.path.getsize("images") - 1)
        self.refused("--images", "images", status=65, words=["images", "truncated", "2013", "2014"])
        self.refused("--images", "absent", status=66, words=["absent"])
        self.refused("--images", "labels", status=65, words=["labels", "1 dimension", "3"])
        with open("text", "w", encoding="ascii") as file:
            file.write("1\t2\t3\n")
        self.refused("--images", "text", status=65, words=["text", "IDX"])

    def test_labels_that_do_not_match(self):
        write_idx("labels", self.labels[:30])
        self.refused("--images", "images", "--labels", "labels", status=65,
                     words=["labels", "images", "30", "37"])
        self.refused("--images", "images", "--labels", "images", status=65, words=["images", "3"])

    def test_usage(self):
        self.refused("--images", "images", "--threshold", 256, status=64, words=["256", "255"])
        self.refused("--images", "images", "--resize", 0, status=64, words=["--resize"])
        self.refused("--images", "images", "--neurons", 5, status=64, words=["--neurons", "idx"])
        self.refused(status=64, words=["--images"])

    def test_dry_run(self):
        said = self.espalier("import", "--from", "idx", "--images", "images", "-o", "b.h5",
                             "--dry-run", ranks=3).err
        self.assertIn("37 samples", said)
        self.assertFalse(os.path.exists("b.h5"))

    def test_compressed_is_the_same(self):
        plain = self.imported()
        self.espalier("import", "--from", "idx", "--images", "images", "-o", "small.h5",
                      "--compress", ranks=3)
        numpy.testing.assert_array_equal(features("small.h5"), plain)
        self.espalier("verify", "small.h5", ranks=3)


if __name__ == "__main__":
    main()
