#!/usr/bin/env python3
"""export of networks: what NumPy, SciPy and espalier itself read of it is the network, the same
bytes at 1 and 3 ranks."""
import glob
import os

import h5py
import numpy
import scipy.io
import scipy.sparse

from matrices import dense
from support import ProgramTest, content, files_below, main, small_network

RANKS = (1, 3)


def layers(path):
    with h5py.File(path, "r") as file:
        return [(dense(layer["weight"]), layer["bias/values"][:] if "bias" in layer else None)
                for _, layer in sorted(file["layers"].items())]


class ExportNetworkTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.espalier("generate", "random", "--layers", "30,41,25,7", "--density", 0.3, "--seed", 2,
                      "-o", "net.h5")
        self.right = layers("net.h5")
        self.assertEqual(len(self.right), 3)

    def exported(self, format, net="net.h5"):
        for ranks in RANKS:
            self.espalier("export", net, "--to", format, "-o", f"{format}{ranks}", ranks=ranks)
        names = [os.path.basename(path) for path in files_below(f"{format}1")]
        self.assertEqual(names, [os.path.basename(path) for path in files_below(f"{format}3")])
        for name in names:
            self.assertEqual(content(f"{format}1/{name}"), content(f"{format}3/{name}"), name)
        return sorted(glob.glob(f"{format}1/*"))

    def read(self, path):
        if path.endswith(".npy"):
            return numpy.load(path)
        if path.endswith(".npz"):
            return scipy.sparse.load_npz(path).toarray()
        found = scipy.io.mmread(path)
        return found.toarray() if scipy.sparse.issparse(found) else found

    def test_what_others_read(self):
        for format in ("npy", "npz", "mtx"):
            files = self.exported(format)
            self.assertEqual(len(files), 6)
            for k, (weight, bias) in enumerate(self.right):
                numpy.testing.assert_array_equal(self.read(files[2 * k]).astype("f4"), weight)
                numpy.testing.assert_array_equal(self.read(files[2 * k + 1]).ravel().astype("f4"),
                                                 bias)

    def test_and_back(self):
        for format in ("npy", "npz", "mtx"):
            self.espalier("import", "--from", format, "--model", *self.exported(format), "-o",
                          f"{format}.h5", ranks=2)
            for (weight, bias), (right, right_bias) in zip(layers(f"{format}.h5"), self.right):
                numpy.testing.assert_array_equal(weight, right)
                numpy.testing.assert_array_equal(bias, right_bias)

    def test_one_layer_is_one_file(self):
        numpy.save("w.npy", self.right[0][0])
        self.espalier("import", "--from", "npy", "--model", "w.npy", "-o", "one.h5")
        for format in ("npy", "npz", "mtx"):
            self.espalier("export", "one.h5", "--to", format, "-o", f"one.{format}")
            numpy.testing.assert_array_equal(self.read(f"one.{format}").astype("f4"),
                                             self.right[0][0])
        self.assertEqual(content("one.npy"), content("w.npy"))

    def test_graphchallenge(self):
        small_network(self, "small.h5", neurons=40, layers=3)
        files = self.exported("graphchallenge", "small.h5")
        self.assertEqual(len(files), 3)
        self.espalier("import", "--from", "graphchallenge", "--weights", "graphchallenge1",
                      "--neurons", 40, "--layers", 3, "--bias", -0.25, "-o", "again.h5")
        for (weight, _), (right, _) in zip(layers("again.h5"), layers("small.h5")):
            numpy.testing.assert_array_equal(weight, right)
        self.refused("export", "net.h5", "--to", "graphchallenge", "-o", "no", status=65,
                     words=["layer 0", "41 x 30"], output="no")

    def test_nothing_is_overwritten(self):
        self.exported("npz")
        before = content("npz1/000000.0.weight.npz")
        self.refused("export", "net.h5", "--to", "npz", "-o", "npz1", status=73,
                     words=["000000.0.weight.npz"])
        self.assertEqual(content("npz1/000000.0.weight.npz"), before)
        self.espalier("export", "net.h5", "--to", "npz", "-o", "npz1", "--force")
        self.refused("export", "net.h5", "--to", "tsv", "-o", "x", status=64, words=["--to"])
        self.refused("export", "net.h5", "--to", "npy", "-o", "no/where", status=73,
                     words=["no/where"])


if __name__ == "__main__":
    main()
