#!/usr/bin/env python3
"""All of MNIST, prepared as the GraphChallenge prepared it."""
# label: data
# timeout: 300
import os
import sys

import h5py
import numpy

from matrices import dataset, described
from support import DATA, ProgramTest, content, main

OFFICIAL_INPUTS = 6374505  # non-zeros of the challenge's 60,000 images at 1024 neurons


def mnist(name):
    return os.path.join(DATA, "mnist", name)


class MnistTest(ProgramTest):
    def test_training_images(self):
        for ranks in (1, 3):
            self.espalier("import", "--from", "idx", "--images",
                          mnist("train-images-idx3-ubyte"), "--labels",
                          mnist("train-labels-idx1-ubyte"), "--resize", 32, "--threshold", 184,
                          "--transpose", "-o", f"b{ranks}.h5", ranks=ranks, limit=120)
        self.assertEqual(content("b3.h5"), content("b1.h5"))
        with h5py.File("b1.h5", "r") as file:
            info = described(file["features"])
            self.assertEqual(info["shape"], [60000, 1024])
            self.assertEqual(info["data_types"]["values"], "iso[float32]")
            inputs = info["number_of_stored_values"]
        self.assertLess(abs(inputs - OFFICIAL_INPUTS) / OFFICIAL_INPUTS, 0.002)
        with open(mnist("train-labels-idx1-ubyte"), "rb") as file:
            labels = numpy.frombuffer(file.read()[8:], numpy.uint8)
        numpy.testing.assert_array_equal(dataset("b1.h5", "labels"), labels)

    def test_images_as_they_are(self):
        self.espalier("import", "--from", "idx", "--images", mnist("t10k-images-idx3-ubyte"),
                      "-o", "b.h5", ranks=2)
        with open(mnist("t10k-images-idx3-ubyte"), "rb") as file:
            pixels = numpy.frombuffer(file.read()[16:], numpy.uint8).reshape(10000, 784)
        with h5py.File("b.h5", "r") as file:
            group = file["features"]
            numpy.testing.assert_array_equal(group["values"][:], pixels[pixels != 0])
            numpy.testing.assert_array_equal(group["indices_1"][:], numpy.nonzero(pixels)[1])
            numpy.testing.assert_array_equal(numpy.diff(group["pointers_to_1"][:].astype("i8")),
                                             numpy.count_nonzero(pixels, axis=1))


if __name__ == "__main__":
    if DATA is None or not os.path.isdir(os.path.join(DATA, "mnist")):
        print("SKIPPED: no folder ESPALIER_DATA with mnist in it")
        sys.exit(0)
    main()
