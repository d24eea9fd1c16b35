#!/usr/bin/env python3
"""Odd shapes at odd numbers of ranks: more ranks than rows, more groups than samples, one layer, one
neuron, no samples, no weights. The answer is the one of a plain loop, and the same everywhere."""
# timeout: 420
import os

import h5py
import numpy

from support import ProgramTest, content, main, ring_layer, write_lines, write_triples


def plain_loop(layers, features, bias, clamp=32.0):
    """The challenge's arithmetic on dense float32 arrays; layers[k][i, j] leads from i to j. All
    values are small multiples of powers of two, so that no order of summing can matter."""
    y = features
    for weights in layers:
        z = y @ weights
        z = numpy.where(z != 0, z + numpy.float32(bias), z)
        y = numpy.minimum(clamp, numpy.maximum(0, z)).astype(numpy.float32)
    return y


class ShapeTest(ProgramTest):
    def network(self, layers, neurons, bias):
        """Imports `layers`, lists of (input, output, weight)."""
        os.makedirs("tsv", exist_ok=True)
        for number, triples in enumerate(layers, 1):
            write_triples(f"tsv/n{neurons}-l{number}.tsv", triples)
        self.espalier("import", "--from", "graphchallenge", "--weights", "tsv", "--neurons",
                      neurons, "--layers", len(layers), "--bias", bias, "-o", "net.h5", ranks=2,
                      launched=True)
        dense = []
        for triples in layers:
            dense.append(numpy.zeros((neurons, neurons), numpy.float32))
            for i, j, value in triples:
                dense[-1][i, j] = value
        return dense

    def batch(self, neurons, samples):
        """Imports a batch in which sample s has ones at every (s + 2)-th feature."""
        features = numpy.zeros((samples, neurons), numpy.float32)
        for s in range(samples):
            features[s, s % neurons::s + 2] = 1
        write_triples("f.tsv", [(s, j, 1) for s in range(samples)
                                for j in numpy.flatnonzero(features[s])])
        self.espalier("import", "--from", "graphchallenge", "--features", "f.tsv", "--neurons",
                      neurons, "--samples", samples, "-o", "batch.h5", ranks=2, launched=True)
        return features

    def check(self, layers, neurons, samples, runs, bias=-0.25):
        dense = self.network(layers, neurons, bias)
        expected = plain_loop(dense, self.batch(neurons, samples), bias)
        first = None
        for ranks, grid in runs:
            with self.subTest(ranks=ranks, grid=grid):
                name = f"r-{ranks}-{grid}.h5"
                shape = ["--grid", grid] if grid else []
                self.espalier("infer", "net.h5", "batch.h5", "-o", name, "--output", "full",
                              *shape, ranks=ranks, limit=180)
                with h5py.File(name, "r") as result:
                    self.assertEqual(list(result["categories"]),
                                     list(numpy.flatnonzero(expected.any(axis=1))))
                    numpy.testing.assert_array_equal(self.dense_output(result, neurons), expected)
                first = first or content(name)
                self.assertEqual(content(name), first)
                self.espalier("verify", name)

    @staticmethod
    def dense_output(result, neurons):
        group = result["output"]
        pointers = group["pointers_to_1"][:].astype("i8")
        dense = numpy.zeros((len(pointers) - 1, neurons), numpy.float32)
        values = numpy.broadcast_to(group["values"][:], pointers[-1]) \
            if len(group["values"]) == 1 else group["values"][:]
        for row in range(len(pointers) - 1):
            part = slice(pointers[row], pointers[row + 1])
            dense[row, group["indices_1"][part]] = values[part]
        return dense

    def test_sixteen_ranks(self):
        self.check([ring_layer(64, shift) for shift in (1, 2, 4)], 64, 40,
                   [(1, None), (16, None),
                    *self.one_of((16, "16x1"), (16, "1x16"), (16, "4x4"))])

    def test_more_ranks_than_rows_and_samples(self):
        self.check([ring_layer(3, 1)] * 2, 3, 2,
                   [(1, None), (4, "4x1"), (4, "1x4"), (6, "3x2"), (3, None)])

    def test_one_layer(self):
        self.check([ring_layer(40, 3)], 40, 30, [(1, None), (2, "2x1"), (3, "1x3"), (4, "2x2")])

    def test_one_neuron(self):
        self.check([[(0, 0, 0.5)]] * 2, 1, 3, [(1, None), (3, "3x1"), (3, "1x3")], bias=0.25)

    def test_no_samples(self):
        self.check([ring_layer(40, 3)], 40, 0, [(1, None), (3, "3x1"), (3, "1x3"), (4, "2x2")])

    def test_a_layer_without_weights(self):
        self.check([ring_layer(40, 1), [], ring_layer(40, 2)], 40, 30,
                   [(1, None), (3, "3x1"), (3, "1x3")])

    def test_empty_rows(self):
        half = [(i, j, value) for i, j, value in ring_layer(40, 1) if j < 7]
        self.check([half, ring_layer(40, 2)], 40, 30, [(1, None), (3, "3x1"), (4, "2x2")])

    def test_many_small_waves(self):
        # 400 samples are several panels, and not a whole number of them.
        self.check([ring_layer(40, shift) for shift in (1, 2)], 40, 400,
                   [(1, None), (3, "1x3"), (3, "3x1")])

    def test_empty_text_is_no_samples_only_if_said(self):
        write_lines("none.tsv", [])
        self.espalier("import", "--from", "graphchallenge", "--features", "none.tsv", "--neurons",
                      40, "--samples", 5, "-o", "five.h5")
        with h5py.File("five.h5", "r") as batch:
            self.assertEqual(len(batch["features/pointers_to_1"]), 6)


if __name__ == "__main__":
    main()
