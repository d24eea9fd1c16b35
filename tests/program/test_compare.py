#!/usr/bin/env python3
"""evaluate and compare against NumPy in double precision."""
import json

import h5py
import numpy as np

from support import ProgramTest, main
from pruning import describe, read_network, write_network

SAMPLES, WIDTHS = 150, (20, 30, 25, 6)
ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "identity": lambda x: x,
               "softmax": lambda x: np.exp(x - x.max(0)) / np.exp(x - x.max(0)).sum(0)}


def write_batch(path, features, labels=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("features")
        group["values"] = features.ravel()
        describe(group, "DMAT", features.shape, features.size, features.ravel())
        if labels is not None:
            file["labels"] = labels.astype(np.int64)
    return path


def layer_inputs(path, features):
    """What each layer gets, and what the last one puts out."""
    values = [features.astype(np.float64).T]
    with h5py.File(path, "r") as file:
        for number, weights in enumerate(read_network(path)):
            layer = file[f"layers/{number:06}"]
            sums = weights.astype(np.float64) @ values[-1]
            bias = layer["bias/values"][:].astype(np.float64)[:, None]
            values.append(ACTIVATIONS[layer.attrs["activation"]](sums + bias))
    return values


class CompareTest(ProgramTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(7)
        layers = [random.standard_normal((rows, cols)).astype(np.float32) / np.float32(cols ** 0.5)
                  for cols, rows in zip(WIDTHS, WIDTHS[1:])]
        biases = [random.standard_normal(len(w)).astype(np.float32) for w in layers]
        write_network("net.h5", layers, biases=biases)
        with h5py.File("net.h5", "r+") as file:
            for number, name in enumerate(("relu", "tanh", "softmax")):
                file[f"layers/{number:06}"].attrs["activation"] = name
        self.features = random.standard_normal((SAMPLES, WIDTHS[0])).astype(np.float32)
        self.labels = random.integers(0, WIDTHS[-1], SAMPLES)
        write_batch("batch.h5", self.features, self.labels)
        self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.7, "-o",
                      "pruned.h5")

    def test_compare(self):
        inputs, after = (layer_inputs(path, self.features) for path in ("net.h5", "pruned.h5"))
        off = np.abs(after[-1] - inputs[-1])
        printed = set()
        for ranks in (1, 2, 3, 4):
            out = self.espalier("compare", "net.h5", "pruned.h5", "batch.h5", "--json",
                                ranks=ranks).out
            printed.add(out)
        self.assertEqual(len(printed), 1)
        result = json.loads(out)
        self.assertEqual(result["samples"], SAMPLES)
        self.assertAlmostEqual(result["deviation_max"], off.max(), places=5)
        self.assertAlmostEqual(result["deviation_mean"], off.mean(), places=6)
        self.assertAlmostEqual(result["top1_agreement"],
                               np.mean(inputs[-1].argmax(0) == after[-1].argmax(0)))
        for layer, old, new, x in zip(result["layers"], read_network("net.h5"),
                                      read_network("pruned.h5"), inputs):
            error = np.linalg.norm((new - old).astype(float) @ x) / np.linalg.norm(
                old.astype(float) @ x)
            self.assertAlmostEqual(layer["reconstruction_error"], error, places=5)

    def test_compare_with_itself(self):
        result = json.loads(self.espalier("compare", "net.h5", "net.h5", "batch.h5", "--json").out)
        self.assertEqual((result["deviation_max"], result["deviation_mean"],
                          result["top1_agreement"]), (0, 0, 1))
        self.assertEqual([layer["reconstruction_error"] for layer in result["layers"]], [0] * 3)

    def test_compare_with_a_smaller_network(self):
        self.espalier("prune", "net.h5", "--method", "group", "--unit", "row", "--exclude",
                      "layer-2", "--sparsity", 0.5, "-o", "rows.h5")
        self.espalier("prune", "rows.h5", "--method", "bias", "-o", "small.h5")
        out = self.espalier("compare", "rows.h5", "small.h5", "batch.h5").out
        self.assertIn("other shape", out)
        result = json.loads(self.espalier("compare", "rows.h5", "small.h5", "batch.h5",
                                          "--json").out)
        self.assertLess(result["deviation_max"], 1e-5)
        self.assertIsNone(result["layers"][0]["reconstruction_error"])

    def test_evaluate(self):
        outputs = layer_inputs("net.h5", self.features)[-1].T
        printed = set()
        for ranks in (1, 2, 3, 4):
            out = self.espalier("evaluate", "net.h5", "batch.h5", "--top-k", 3, "--json",
                                ranks=ranks).out
            printed.add(out)
        self.assertEqual(len(printed), 1)
        result = json.loads(out)
        order = np.argsort(-outputs, axis=1)[:, :3]
        found = np.mean(np.any(order == self.labels[:, None], axis=1))
        self.assertAlmostEqual(result["accuracy"], np.mean(order[:, 0] == self.labels))
        self.assertAlmostEqual(result["top_k_accuracy"], found)
        self.assertAlmostEqual(result["precision_at_k"], found / 3)
        wanted = np.eye(WIDTHS[-1])[self.labels]
        self.assertAlmostEqual(result["rmse"], np.sqrt(np.mean((outputs - wanted) ** 2)),
                               places=6)
        self.assertIn("accuracy", self.espalier("evaluate", "net.h5", "batch.h5").out)

    def test_evaluate_one_output(self):
        write_network("one.h5", [np.ones((1, WIDTHS[0]), np.float32)],
                      biases=[np.zeros(1, np.float32)])
        write_batch("batch.h5", self.features, self.labels - 3)
        result = json.loads(self.espalier("evaluate", "one.h5", "batch.h5", "--json").out)
        sums = np.maximum(self.features.astype(float).sum(1), 0)
        self.assertAlmostEqual(result["rmse"], np.sqrt(np.mean((sums - self.labels + 3) ** 2)),
                               places=5)
        self.assertNotIn("accuracy", result)

    def test_no_samples(self):
        write_batch("none.h5", self.features[:0], self.labels[:0])
        for ranks in (1, 2):
            result = json.loads(self.espalier("compare", "net.h5", "pruned.h5", "none.h5",
                                              "--json", ranks=ranks).out)
            self.assertEqual((result["samples"], result["deviation_max"]), (0, 0))
            self.espalier("evaluate", "net.h5", "none.h5", ranks=ranks)

    def test_refused(self):
        write_batch("plain.h5", self.features)
        write_batch("narrow.h5", self.features[:, 1:], self.labels)
        write_batch("odd.h5", self.features, self.labels + 100)
        write_network("short.h5", [np.ones((6, 20), np.float32)])
        for ranks in (1, 3):
            for word, arguments in (
                    ("/labels", ["evaluate", "net.h5", "plain.h5"]),
                    ("19 features", ["evaluate", "net.h5", "narrow.h5"]),
                    ("sample 0 has label", ["evaluate", "net.h5", "odd.h5"]),
                    ("1 layers", ["compare", "net.h5", "short.h5", "batch.h5"]),
                    ("19 features", ["compare", "net.h5", "pruned.h5", "narrow.h5"])):
                line = self.espalier(*arguments, status=65, ranks=ranks).complaint()
                self.assertIn(word, line)
            self.espalier("compare", "net.h5", "none.h5", "batch.h5", status=66, ranks=ranks)
            self.espalier("evaluate", "net.h5", "batch.h5", "--memory-per-rank", "90MiB",
                          status=69, ranks=ranks)
        self.espalier("evaluate", "net.h5", "batch.h5", "--top-k", 0, status=64)


if __name__ == "__main__":
    main()
