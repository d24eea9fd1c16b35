#!/usr/bin/env python3
"""h5py and scipy read our files without us and find the same products.

Where every product and sum is exact in float32 the two must be equal. In general scipy sums in its
own order, so that a sum of n products may differ by n * 2^-24 * sum |w x|, as may ours."""
# timeout: 300
import json

import h5py
import numpy
import scipy.sparse

from support import ProgramTest, main, small_batch, small_network

UNIT = 2.0 ** -24  # half a step of float32 at 1


def read_matrix(group):
    """A binsparse CSR group, as io/FORMAT.md shows it."""
    described = json.loads(group.attrs["binsparse"])["binsparse"]
    values = group["values"][:]
    if described["data_types"]["values"].startswith("iso"):
        values = numpy.full(described["number_of_stored_values"], values[0])
    pointers = group["pointers_to_1"][:].astype("i8")
    assert described["format"] == "CSR" and pointers[-1] == len(values)
    return scipy.sparse.csr_matrix((values, group["indices_1"][:].astype("i8"), pointers),
                                   described["shape"])


class SecondOpinionTest(ProgramTest):
    def infer_full(self, network, batch, ranks):
        self.espalier("infer", network, batch, "-o", f"r{ranks}.h5", "--output", "full",
                      ranks=ranks)
        with h5py.File(f"r{ranks}.h5", "r") as file:
            return read_matrix(file["output"]).toarray()

    def test_exact_products(self):
        network, batch = small_network(self, neurons=200, bias=0.25), small_batch(self, neurons=200)
        with h5py.File(batch, "r") as file:
            y = read_matrix(file["features"]).astype(numpy.float32)
        with h5py.File(network, "r") as file:
            for name in sorted(file["layers"]):
                y = read_matrix(file[f"layers/{name}/weight"]) @ y.T
                y.data = numpy.clip(y.data + numpy.float32(0.25), 0, 32)
                y = scipy.sparse.csr_matrix(y.T)
        for ranks in (1, 3):
            numpy.testing.assert_array_equal(self.infer_full(network, batch, ranks), y.toarray())

    def test_random_products(self):
        self.espalier("generate", "random", "--layers", "300,200,150", "--density", 0.1, "--seed",
                      7, "-o", "net.h5", ranks=2)
        self.espalier("generate", "batch", "--features", 300, "--samples", 60, "--density", 0.3,
                      "--seed", 8, "-o", "batch.h5", ranks=2)
        with h5py.File("batch.h5", "r") as file:
            y = read_matrix(file["features"]).toarray().astype(numpy.float64)
        slack = numpy.zeros_like(y)
        with h5py.File("net.h5", "r") as file:
            for name in sorted(file["layers"]):
                layer = file[f"layers/{name}"]
                weight = read_matrix(layer["weight"]).astype(numpy.float64)
                bias = layer["bias/values"][:].astype(numpy.float64)
                longest = numpy.diff(weight.indptr).max() + 1
                # What the layer's own rounding adds to what came in from the layer before.
                size = abs(weight).dot(abs(y).T).T + abs(bias)
                slack = abs(weight).dot(slack.T).T + longest * UNIT * size
                y = numpy.maximum(0, weight.dot(y.T).T + bias)
        for ranks in (1, 3):
            ours = self.infer_full("net.h5", "batch.h5", ranks)
            difference = abs(ours - y)
            self.assertTrue((difference <= slack + UNIT * abs(y)).all(),
                            f"largest difference {difference.max()}")
            self.assertGreater(numpy.count_nonzero(ours), 1000)


if __name__ == "__main__":
    main()
