#!/usr/bin/env python3
# label: night data
# timeout: 900
"""What pruning to 90 % costs a network that has learnt MNIST: methods that look at the inputs and
change the weights that stay lose at most half of what plain magnitudes lose."""
import json
import os
import struct
import sys

import h5py
import numpy as np

from pruning import PruneTest, write_network
from support import DATA, main

WIDTHS = (784, 300, 100, 10)


def read_idx(name):
    with open(os.path.join(DATA, "mnist", name), "rb") as file:
        dimensions = struct.unpack(">I", file.read(4))[0] & 0xFF
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        return np.frombuffer(file.read(), np.uint8).reshape(shape)


def trained(x, labels, epochs=5):
    """Weights and biases after stochastic gradient descent with momentum on cross-entropy."""
    random = np.random.default_rng(1)
    weights = [(random.standard_normal((rows, cols)) * np.sqrt(2 / cols)).astype(np.float32)
               for cols, rows in zip(WIDTHS, WIDTHS[1:])]
    parameters = weights + [np.zeros((rows, 1), np.float32) for rows in WIDTHS[1:]]
    speeds = [np.zeros_like(p) for p in parameters]
    for epoch in range(epochs):
        order, rate = random.permutation(len(x)), 0.08 * 0.7 ** epoch
        for begin in range(0, len(x), 100):
            some = order[begin:begin + 100]
            outputs = [x[some].T]
            for number in range(3):
                sums = parameters[number] @ outputs[-1] + parameters[number + 3]
                outputs.append(np.maximum(sums, 0) if number < 2 else sums)
            shares = np.exp(outputs[3] - outputs[3].max(axis=0))
            error = shares / shares.sum(axis=0)
            error[labels[some], np.arange(len(some))] -= 1
            for number in reversed(range(3)):
                steps = (error @ outputs[number].T / len(some),
                         error.mean(axis=1, keepdims=True))
                error = (parameters[number].T @ error) * (outputs[number] > 0)
                for at, step in zip((number, number + 3), steps):
                    speeds[at] = np.float32(0.9) * speeds[at] + step.astype(np.float32)
                    parameters[at] = parameters[at] - np.float32(rate) * speeds[at]
    return parameters[:3], [bias.ravel() for bias in parameters[3:]]


class MnistTest(PruneTest):
    def accuracy(self, path):
        run = self.espalier("evaluate", path, "test.h5", "--json", limit=300)
        return json.loads(run.out)["accuracy"]

    def test_losses(self):
        self.espalier("import", "--from", "idx", "--images", f"{DATA}/mnist/t10k-images-idx3-ubyte",
                      "--labels", f"{DATA}/mnist/t10k-labels-idx1-ubyte", "-o", "test.h5", limit=300)
        self.espalier("import", "--from", "idx", "--images",
                      f"{DATA}/mnist/train-images-idx3-ubyte", "--labels",
                      f"{DATA}/mnist/train-labels-idx1-ubyte", "-o", "train.h5", limit=300)
        images = read_idx("train-images-idx3-ubyte").reshape(-1, WIDTHS[0])
        weights, biases = trained(images.astype(np.float32) / 255,
                                  read_idx("train-labels-idx1-ubyte"))
        write_network("net.h5", weights, "DMAT", biases=biases)
        with h5py.File("net.h5", "r+") as file:
            file["layers/000002"].attrs["activation"] = "identity"
            file["input_scale"] = np.full(WIDTHS[0], 1 / 255, np.float32)
        dense = self.accuracy("net.h5")
        self.assertGreater(dense, 0.97)
        erk, inputs = ["--profile", "erk"], ["--calibrate", "train.h5"]
        losses = {}
        for name, arguments in {
                "magnitude": ["magnitude"],
                "lamp": ["lamp"],
                "wanda": ["wanda", *erk, *inputs],
                "bias": ["bias", *erk, *inputs],
                "wanda, updated": ["wanda", *erk, *inputs, "--update"],
                "sparsegpt": ["sparsegpt", *erk, *inputs],
                "magnitude, updated": ["magnitude", *inputs, "--update"]}.items():
            self.espalier("prune", "net.h5", "--method", *arguments, "--sparsity", 0.9, "-o",
                          "out.h5", "--force", limit=300)
            losses[name] = dense - self.accuracy("out.h5")
        print(f"accuracy {dense:.4f}, lost at 90 %:",
              ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items()))
        self.assertGreater(losses["magnitude"], 0.01)
        for name in ("wanda, updated", "sparsegpt", "magnitude, updated"):
            self.assertLessEqual(losses[name], losses["magnitude"] / 2, name)


if __name__ == "__main__":
    if DATA is None or not os.path.isdir(os.path.join(DATA, "mnist")):
        print("SKIPPED: no folder ESPALIER_DATA with mnist in it")
        sys.exit(0)
    main()
