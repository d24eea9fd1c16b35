#!/usr/bin/env python3
# timeout: 240
"""Pruning on the inputs that samples give each layer, against NumPy doing the same."""
import json

import h5py
import numpy as np

from pruning import PruneTest, describe, keep_largest, kept_of, read_network, write_network
from support import main


def write_batch(path, features, labels=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("features")
        group["values"] = features.astype(np.float32).ravel()
        describe(group, "DMAT", features.shape, features.size, group["values"][:])
        if labels is not None:
            file["labels"] = labels.astype(np.int64)
    return path


def read_biases(path):
    with h5py.File(path, "r") as file:
        return [file[f"layers/{name}/bias/values"][:] for name in sorted(file["layers"])]


def relu_layer(weights, bias, x):
    """What the next layer gets: sums in double, stored as float32."""
    return np.maximum(weights.astype(float) @ x + bias.astype(float)[:, None], 0).astype(
        np.float32).astype(float)


def float_keys(scores, weights):
    return np.where(weights != 0, scores.astype(np.float32), 0)


def keep_rows(weights, scores, keep):
    return np.stack([keep_largest([w], keep, [s])[0] for w, s in zip(weights, scores)])


def sparse_gpt(weights, x, sparsity):
    return sparse_gpt_by_gram(weights, x @ x.T, sparsity)


def sparse_gpt_by_gram(weights, gram, sparsity):
    """Algorithm 1 of the paper: blocks of 128 columns, in each the weights that count least go."""
    work, (rows, n) = weights.astype(float), weights.shape
    gram = gram + 0.01 * np.mean(np.diag(gram)) * np.eye(n)
    upper = np.linalg.cholesky(np.linalg.inv(gram)).T
    for begin in range(0, n, 128):
        end = min(begin + 128, n)
        block, diagonal = work[:, begin:end], np.diag(upper)[begin:end]
        scores = float_keys(np.abs(block) / diagonal, block)
        stays = keep_largest([block], kept_of(block.size, sparsity), [scores])[0] != 0
        errors = np.zeros_like(block)
        for j in range(end - begin):
            errors[:, j] = np.where(stays[:, j], 0, block[:, j]) / diagonal[j]
            block[:, j] = np.where(stays[:, j], block[:, j], 0)
            block[:, j + 1:] -= np.outer(errors[:, j], upper[begin + j, begin + j + 1:end])
        work[:, end:] -= errors @ upper[begin:end, end:]
    return work


def correlated(random, features, samples):
    """Inputs of few sources, some of them always zero or always one."""
    sources = random.standard_normal((max(features // 4, 2), samples))
    x = random.standard_normal((features, sources.shape[0])) @ sources
    x += 0.3 * random.standard_normal((features, samples)) + random.standard_normal((features, 1))
    x = np.maximum(x, 0).astype(np.float32).astype(float)
    x[5], x[9] = 0, 1
    return x


class CalibratedTest(PruneTest):
    WIDTHS = (150, 60, 33, 10)

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(7)
        self.layers = [random.standard_normal((rows, cols)).astype(np.float32)
                       for cols, rows in zip(self.WIDTHS, self.WIDTHS[1:])]
        self.layers[1][:, 3] = self.layers[1][:, 2]  # ties, as far as inputs let them
        self.biases = [random.standard_normal(len(w)).astype(np.float32) for w in self.layers]
        self.x = correlated(random, self.WIDTHS[0], 130)
        write_network("net.h5", self.layers, "DMAT", names=["a", "b", "c"], biases=self.biases)
        write_batch("batch.h5", self.x.T)

    def calibrated(self, *arguments, **more):
        return self.prune("net.h5", *arguments, "--calibrate", "batch.h5", **more)

    def test_wanda(self):
        for scope in ("row", "layer"):
            found = self.calibrated("--method", "wanda", "--sparsity", 0.7, "--scope", scope)
            x = self.x
            for weights, bias, new in zip(self.layers, self.biases, found):
                norms = np.sqrt(np.sum(x ** 2, axis=1))
                scores = np.maximum(float_keys(np.abs(weights.astype(float)) * norms, weights),
                                    np.float32(1e-45))
                if scope == "row":
                    expected = keep_rows(weights, scores, kept_of(weights.shape[1], 0.7))
                else:
                    expected = keep_largest([weights], kept_of(weights.size, 0.7), [scores])[0]
                np.testing.assert_array_equal(new, expected)
                x = relu_layer(new, bias, x)

    def test_bias_makes_up(self):
        for scope in ("layer", "row"):
            found = self.calibrated("--method", "bias", "--sparsity", 0.8, "--scope", scope)
            x = self.x
            for weights, bias, new, new_bias in zip(self.layers, self.biases, found,
                                                    read_biases("out.h5")):
                scores = np.maximum(float_keys(np.abs(weights.astype(float)) * x.std(axis=1),
                                               weights), np.float32(1e-45))
                scores[:, x.std(axis=1) < 1e-12] = np.float32(1e-45)
                if scope == "row":
                    expected = keep_rows(weights, scores, kept_of(weights.shape[1], 0.8))
                else:
                    expected = keep_largest([weights], kept_of(weights.size, 0.8), [scores])[0]
                np.testing.assert_array_equal(new, expected)
                gone = np.where(new == 0, weights, 0).astype(float)
                np.testing.assert_allclose(new_bias, bias + gone @ x.mean(axis=1), rtol=1e-5,
                                           atol=1e-5)
                x = relu_layer(new, new_bias, x)

    def test_sparsegpt(self):
        for sparsity in (0.5, 0.9):
            found = self.calibrated("--method", "sparsegpt", "--sparsity", sparsity)
            x = self.x
            for weights, bias, new in zip(self.layers, self.biases, found):
                self.assert_near(new, sparse_gpt(weights, x, sparsity))
                x = relu_layer(new, bias, x)

    def test_update_is_least_squares(self):
        masks = {"magnitude": ["--sparsity", 0.8, "--scope", "row"], "lamp": ["--sparsity", 0.8],
                 "nm": ["--pattern", "1:4"]}
        for method, arguments in masks.items():
            before = self.prune("net.h5", "--method", method, *arguments)
            found = self.calibrated("--method", method, *arguments, "--update")
            x = self.x
            for weights, old, bias, new in zip(self.layers, before, self.biases, found):
                np.testing.assert_array_equal(new != 0, old != 0)
                # As near as NumPy's solution, up to what is left of the residual.
                best = np.zeros_like(weights, dtype=float)
                for row, stays in enumerate(old != 0):
                    best[row, stays] = np.linalg.lstsq(x[stays].T, weights[row].astype(float) @ x,
                                                       rcond=None)[0]
                off = [np.linalg.norm((w - weights) @ x) for w in (old, new, best)]
                self.assertLess(off[1], off[0])
                self.assertLess(off[1], 1.001 * off[2] + 1e-3 * off[0])
                x = relu_layer(new, bias, x)

    def test_rounds_reach_the_sparsity(self):
        one = self.calibrated("--method", "wanda", "--sparsity", 0.9)
        for schedule in ("cubic", "linear"):
            found = self.calibrated("--method", "wanda", "--sparsity", 0.9, "--rounds", 3,
                                    "--schedule", schedule)
            for new, old, weights in zip(found, one, self.layers):
                self.assertEqual(np.count_nonzero(new), np.count_nonzero(old))
                np.testing.assert_array_equal(new[new != 0], weights[new != 0])
        # The first layer's inputs do not change, so nothing of it does.
        np.testing.assert_array_equal(found[0], one[0])
        # Where weights make up for others, they do so again on new inputs.
        one = self.calibrated("--method", "sparsegpt", "--sparsity", 0.9)
        found = self.calibrated("--method", "sparsegpt", "--sparsity", 0.9, "--rounds", 2)
        for new, old in zip(found, one):
            self.assertEqual(np.count_nonzero(new), np.count_nonzero(old))
            self.assertTrue(np.any(new != old))

    def test_owl_spares_layers_with_outliers(self):
        found = self.calibrated("--method", "wanda", "--sparsity", 0.6, "--profile", "owl",
                                "--outlier", 3, "--spread", 0.1)
        shares, x = [], self.x
        for weights, bias in zip(self.layers, self.biases):
            scores = np.abs(weights.astype(float)) * np.sqrt(np.sum(x ** 2, axis=1))
            shares.append(np.mean(scores > 3 * scores.mean()))
            x = relu_layer(weights, bias, x)
        shares = np.array(shares)
        spread = (shares - shares.min()) / (shares.max() - shares.min()) * 0.2
        sizes = np.array([w.size for w in self.layers])
        for weights, share in zip(found, spread - np.sum(spread * sizes) / sizes.sum()):
            keep = kept_of(weights.shape[1], 0.6 - share)
            np.testing.assert_array_equal(np.count_nonzero(weights, axis=1), keep)

    def test_bytes_do_not_depend_on_ranks(self):
        for arguments in (["wanda", "--sparsity", 0.8],
                          ["wanda", "--sparsity", 0.8, "--rounds", 2, "--exclude", "b"],
                          ["bias", "--sparsity", 0.8, "--scope", "row"],
                          ["sparsegpt", "--sparsity", 0.7, "--update", "--profile", "owl"],
                          ["magnitude", "--sparsity", 0.9, "--update", "--layout", "triplets"]):
            self.assert_same_bytes("net.h5", "--method", *arguments, "--calibrate", "batch.h5",
                                   memory="220MiB")

    def test_what_does_not_go_together(self):
        def refused(*arguments, words, status=64):
            self.refused("prune", "net.h5", *arguments, "-o", "no.h5", status=status, words=words,
                         output="no.h5")
        half, batch = ["--sparsity", 0.5], ["--calibrate", "batch.h5"]
        refused("--method", "wanda", *half, words=["--calibrate"])
        refused("--method", "magnitude", *half, *batch, words=["calibrate", "--update"])
        refused("--method", "magnitude", *half, "--update", words=["--calibrate"])
        refused("--method", "bias", *batch, words=["--sparsity"])
        refused("--method", "bias", "--update", words=["update"])
        refused("--method", "magnitude", *half, "--rounds", 2, words=["rounds"])
        refused("--method", "sparsegpt", "--keep", 5, *batch, words=["keep"])
        refused("--method", "magnitude", *half, "--profile", "owl", words=["owl"])
        write_batch("other.h5", self.x.T[:, :7])
        refused("--method", "wanda", *half, "--calibrate", "other.h5", status=65,
                words=["7 features"])
        write_batch("none.h5", self.x.T[:0])
        refused("--method", "wanda", *half, "--calibrate", "none.h5", status=65,
                words=["none.h5", "samples"])
        refused("--method", "wanda", *half, *batch, "--memory-per-rank", "120MiB", status=69,
                words=["--memory-per-rank"])
        with h5py.File("net.h5", "r+") as file:
            file["layers/000001"].attrs["bias_mode"] = "nonzero"
        refused("--method", "bias", *half, *batch, status=65, words=["bias_mode"])


if __name__ == "__main__":
    main()
