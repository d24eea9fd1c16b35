#!/usr/bin/env python3
"""infer --precision bf16 against NumPy, and the same bytes on any number of ranks."""
import h5py
import numpy as np

from support import ProgramTest, main
from test_compare import write_batch
from pruning import write_network

SAMPLES, WIDTHS = 130, (96, 80, 64, 10)


def bfloat16(values):
    """The nearest of the values that bfloat16 can hold, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


class PrecisionTest(ProgramTest):
    def make(self, widths):
        random = np.random.default_rng(3)
        self.layers = [random.standard_normal((rows, cols)).astype(np.float32) / np.float32(cols ** 0.5)
                       for cols, rows in zip(widths, widths[1:])]
        for layer in self.layers:
            layer[random.random(layer.shape) < 0.5] = 0
        self.biases = [random.standard_normal(len(w)).astype(np.float32) for w in self.layers]
        write_network("net.h5", self.layers, biases=self.biases)
        with h5py.File("net.h5", "r+") as file:
            for name in file["layers"]:
                file[f"layers/{name}"].attrs["activation"] = "tanh"
        self.features = random.standard_normal((SAMPLES, widths[0])).astype(np.float32)
        write_batch("batch.h5", self.features)

    def output(self, name, *options, ranks=1):
        self.espalier("infer", "net.h5", "batch.h5", "-o", name, "--output", "full", *options, ranks=ranks)
        with h5py.File(name, "r") as file:
            group = file["output"]
            found = np.zeros((SAMPLES, len(self.layers[-1])), dtype=np.float32)
            pointers = group["pointers_to_1"][:]
            for sample in range(SAMPLES):
                part = slice(pointers[sample], pointers[sample + 1])
                found[sample, group["indices_1"][part]] = group["values"][part]
        return found

    def expected(self):
        values = bfloat16(self.features).astype(np.float64).T
        for number, (weights, bias) in enumerate(zip(self.layers, self.biases)):
            values = np.tanh(bfloat16(weights).astype(np.float64) @ values + bias[:, None])
            if number + 1 < len(self.layers):
                values = bfloat16(values).astype(np.float64)
        return values.T

    def test_one_layer_rounds_weights_and_features_only(self):
        self.make(WIDTHS[:2])
        found = self.output("rounded.h5", "--precision", "bf16")
        self.assertLess(np.abs(found - self.expected()).max(), 1e-5)
        self.assertGreater(np.abs(found - self.output("plain.h5")).max(), 1e-4)

    def test_layers_and_ranks(self):
        self.make(WIDTHS)
        found = self.output("one.h5", "--precision", "bf16")
        # A sum near the middle of two values may be rounded the other way here: one step of 2^-8.
        off = np.abs(found - self.expected())
        self.assertLess(off.max(), 0.02)
        self.assertLess(np.median(off), 1e-4)
        plain = self.output("plain.h5")
        self.assertLess(np.abs(found - plain).max(), 0.05)
        self.assertGreater(np.abs(found - plain).max(), 1e-4)
        for ranks, grid in ((2, "2x1"), (3, "1x3"), (4, "2x2")):
            self.output(f"{ranks}.h5", "--precision", "bf16", "--grid", grid, ranks=ranks)
            with open("one.h5", "rb") as one, open(f"{ranks}.h5", "rb") as other:
                self.assertEqual(one.read(), other.read(), grid)

    def test_it_is_another_result(self):
        self.make(WIDTHS[:2])
        self.output("result.h5")
        self.espalier("infer", "net.h5", "batch.h5", "-o", "result.h5", "--output", "full", "--precision", "bf16",
                      status=73)
        self.assertIn("bf16", self.espalier("infer", "net.h5", "batch.h5", "-o", "x.h5", "--precision", "fp16",
                                            status=64).err)


if __name__ == "__main__":
    main()
