#!/usr/bin/env python3
"""import --from graphchallenge: what ends up in the files, whatever the ranks and the order of lines."""
import json
import os

import h5py
import numpy

from matrices import dense, described, features
from support import ProgramTest, content, main, ring_layer, write_lines, write_triples

RANKS = (1, 3)


class TsvTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.random = numpy.random.default_rng(11)

    def write_layers(self, folder, neurons, layers):
        """Random layers in random order of lines; returns them as (inputs x outputs) arrays."""
        os.makedirs(folder)
        arrays = []
        for layer in range(1, layers + 1):
            array = self.random.normal(size=(neurons, neurons)).astype(numpy.float32)
            array[self.random.random((neurons, neurons)) < 0.8] = 0
            triples = [(i, j, array[i, j]) for i, j in self.random.permutation(numpy.argwhere(array))]
            write_triples(f"{folder}/n{neurons}-l{layer}.tsv", triples)
            arrays.append(array)
        return arrays

    def imported(self, *options):
        """The network's layers, the same bytes at all numbers of ranks."""
        for ranks in RANKS:
            self.espalier("import", "--from", "graphchallenge", *options, "-o", f"n{ranks}.h5",
                          "--force", ranks=ranks)
            self.assertEqual(content(f"n{ranks}.h5"), content("n1.h5"), ranks)
        with h5py.File("n1.h5", "r") as file:
            return [(dense(file[f"layers/{name}/weight"]),
                     described(file[f"layers/{name}/weight"]), dict(file[f"layers/{name}"].attrs),
                     file[f"layers/{name}/bias/values"][:]) for name in sorted(file["layers"])]

    def test_rows_are_outputs(self):
        arrays = self.write_layers("tsv", 23, 4)
        layers = self.imported("--weights", "tsv", "--neurons", 23, "--layers", 4, "--bias", 0.5)
        self.assertEqual(len(layers), 4)
        for array, (found, info, attributes, bias) in zip(arrays, layers):
            numpy.testing.assert_array_equal(found, array.T)
            self.assertEqual((info["format"], info["data_types"]["indices_1"]), ("CSR", "uint8"))
            self.assertEqual((attributes["activation"], attributes["clamp"],
                              attributes["bias_mode"]), ("relu", 32, "nonzero"))
            numpy.testing.assert_array_equal(bias, [0.5])

    def test_triplets_and_clamp(self):
        arrays = self.write_layers("tsv", 23, 2)
        layers = self.imported("--weights", "tsv", "--neurons", 23, "--layers", 2, "--bias", -1,
                               "--clamp", 5.5, "--layout", "triplets")
        for array, (found, info, attributes, _) in zip(arrays, layers):
            numpy.testing.assert_array_equal(found, array.T)
            self.assertEqual((info["format"], attributes["clamp"]), ("COO", 5.5))

    def test_bias_of_the_challenge(self):
        for neurons, bias in ((1024, -0.30), (4096, -0.35)):
            os.makedirs(f"all/neuron{neurons}")
            write_triples(f"all/neuron{neurons}/n{neurons}-l1.tsv", ring_layer(neurons, 1))
            # The folder above is as good.
            for folder in ("all", f"all/neuron{neurons}"):
                layers = self.imported_once(folder, neurons)
                self.assertEqual(layers, numpy.float32(bias))

    def imported_once(self, folder, neurons):
        self.espalier("import", "--from", "graphchallenge", "--weights", folder, "--neurons",
                      neurons, "--layers", 1, "-o", "b.h5", "--force")
        with h5py.File("b.h5", "r") as file:
            group = file["layers/000000/weight"]
            self.assertEqual(described(group)["data_types"]["values"], "iso[float32]")
            return file["layers/000000/bias/values"][0]

    def test_features(self):
        array = self.random.normal(size=(19, 30)).astype(numpy.float32)
        array[self.random.random((19, 30)) < 0.7] = 0
        array[18] = 0
        order = self.random.permutation(numpy.argwhere(array))
        write_triples("f.tsv", [(s, f, array[s, f]) for s, f in order])
        for samples in (None, 25):
            for ranks in RANKS:
                more = [] if samples is None else ["--samples", samples]
                self.espalier("import", "--from", "graphchallenge", "--features", "f.tsv",
                              "--neurons", 30, *more, "-o", f"b{ranks}.h5", "--force", ranks=ranks)
            self.assertEqual(content("b3.h5"), content("b1.h5"))
            rows = 18 if samples is None else samples
            expected = numpy.zeros((rows, 30), numpy.float32)
            expected[:18] = array[:18]
            numpy.testing.assert_array_equal(features("b1.h5"), expected)

    def test_one_message_for_all_ranks(self):
        arrays = self.write_layers("tsv", 23, 2)
        self.assertEqual(len(arrays), 2)
        with open("tsv/n23-l2.tsv", encoding="ascii") as file:
            lines = file.read().splitlines()
        for place in (0, len(lines) // 2, len(lines) - 1):
            changed = list(lines)
            changed[place] = changed[place].replace("\t", " ", 1)
            changed[-1] += "?"
            write_lines("tsv/n23-l2.tsv", changed)
            said = {self.espalier("import", "--from", "graphchallenge", "--weights", "tsv",
                                  "--neurons", 23, "--layers", 2, "--bias", 0, "-o", "no.h5",
                                  ranks=ranks, status=65).complaint() for ranks in (1, 2, 3)}
            self.assertEqual(len(said), 1, said)
            self.assertIn(f"tsv/n23-l2.tsv: line {place + 1}: ", said.pop())

    def test_report_and_dry_run(self):
        self.write_layers("tsv", 23, 2)
        command = ["import", "--from", "graphchallenge", "--weights", "tsv", "--neurons", 23,
                   "--layers", 2, "--bias", 0, "-o", "n.h5", "--report", "run.json"]
        said = self.espalier(*command, "--dry-run", ranks=3)
        self.assertIn("would write n.h5", said.err)
        self.assertFalse(os.path.exists("n.h5"))
        self.assertFalse(os.path.exists("run.json"))
        self.espalier(*command, ranks=3)
        with open("run.json", encoding="utf-8") as file:
            report = json.load(file)
        size = sum(os.path.getsize(f"tsv/n23-l{layer}.tsv") for layer in (1, 2))
        self.assertEqual((report["layers"], report["rows"], report["input_bytes"]), (2, 46, size))
        self.assertEqual(report["bytes_read"], size)
        self.assertGreater(report["phases"]["read"]["seconds_max"], 0)
        self.assertGreater(report["input_bytes_per_second"], 0)

    def test_usage(self):
        for options, word in ((["--weights", "w", "--features", "f", "--neurons", 4], "--features"),
                              (["--weights", "w", "--neurons", 1024], "--layers"),
                              (["--weights", "w", "--neurons", 0, "--layers", 1], "--neurons"),
                              (["--neurons", 1024, "--layers", 1], "--weights"),
                              (["--features", "f", "--neurons", 4, "--bias", 1], "--bias"),
                              (["--features", "f", "--neurons", 4, "--samples", -1], "--samples"),
                              (["--weights", "w", "--neurons", 1024, "--layers", 1, "--bias",
                                "1e99"], "--bias")):
            for ranks in RANKS:
                line = self.espalier("import", "--from", "graphchallenge", *options, "-o", "n.h5",
                                     ranks=ranks, status=64).complaint()
                self.assertIn(word, line)


if __name__ == "__main__":
    main()
