#!/usr/bin/env python3
# timeout: 900
"""Pruning against NumPy: the same weights stay, whatever the layout, the ranks and the memory."""
import json
import os

import h5py
import numpy as np

from pruning import (KINDS, PruneTest, group_sizes, is_iso, keep_largest, kept_of, network_of_kind, read_network,
                     write_network)
from support import content, main


class MagnitudeTest(PruneTest):
    def test_global(self):
        for kind in KINDS:
            layers = network_of_kind(kind)
            positions = sum(weights.size for weights in layers)
            for form in ("CSR", "COO", "DMAT"):
                write_network("net.h5", layers, form)
                for sparsity in self.one_of(0, 0.3, 0.9, 1):
                    found = self.prune("net.h5", "--method", "magnitude", "--sparsity", sparsity)
                    expected = keep_largest(layers, kept_of(positions, sparsity))
                    self.assert_same(found, expected, f"{kind} {form} {sparsity}")

    def test_each_layer_and_each_row(self):
        for kind in ("plain", "ties", "sparse"):
            layers = network_of_kind(kind)
            write_network("net.h5", layers, "DMAT" if kind == "ties" else "CSR")
            found = self.prune("net.h5", "--method", "magnitude", "--sparsity", 0.75,
                               "--scope", "layer")
            self.assert_same(found, [keep_largest([w], kept_of(w.size, 0.75))[0] for w in layers])
            found = self.prune("net.h5", "--method", "magnitude", "--sparsity", 0.75,
                               "--scope", "row")
            self.assert_same(found, [np.stack([keep_largest([row], kept_of(row.size, 0.75))[0]
                                               for row in w]) for w in layers])

    def test_counts(self):
        layers = network_of_kind("ties")
        write_network("net.h5", layers)
        for keep in (0, 1, 100, 10 ** 6):
            found = self.prune("net.h5", "--method", "magnitude", "--keep", keep)
            self.assert_same(found, keep_largest(layers, keep))
        found = self.prune("net.h5", "--method", "magnitude", "--keep", 3, "--scope", "row")
        self.assert_same(found, [np.stack([keep_largest([row], 3)[0] for row in w])
                                 for w in layers])

    def test_threshold(self):
        layers = network_of_kind("ties")
        write_network("net.h5", layers)
        limit = np.abs(layers[0].ravel()[5])
        for method in ("threshold", "magnitude"):
            found = self.prune("net.h5", "--method", method, "--threshold", repr(float(limit)))
            self.assert_same(found, [np.where(np.abs(w) >= limit, w, 0) for w in layers])

    def test_exclude(self):
        layers = network_of_kind("plain")
        write_network("net.h5", layers, names=["first", "mid", "last"])
        found = self.prune("net.h5", "--method", "magnitude", "--sparsity", 0.9,
                           "--exclude", "^(mid|la)")
        self.assert_same(found, [keep_largest(layers[:1], kept_of(layers[0].size, 0.9))[0],
                                 *layers[1:]])
        found = self.prune("net.h5", "--method", "threshold", "--threshold", 2,
                           "--exclude", "first")
        self.assert_same(found, [layers[0]] + [np.where(np.abs(w) >= 2, w, 0) for w in layers[1:]])

    def test_profiles(self):
        layers = network_of_kind("plain", widths=(300, 40, 20, 10))
        write_network("net.h5", layers)
        found = self.prune("net.h5", "--method", "magnitude", "--profile", "list:0.5,0,1")
        self.assert_same(found, [keep_largest([w], kept_of(w.size, s))[0]
                                 for w, s in zip(layers, (0.5, 0, 1))])
        found = self.prune("net.h5", "--method", "magnitude", "--profile", "uniform",
                           "--sparsity", 0.6)
        self.assert_same(found, [keep_largest([w], kept_of(w.size, 0.6))[0] for w in layers])
        found = self.prune("net.h5", "--method", "magnitude", "--profile", "erk",
                           "--sparsity", 0.9)
        sizes = np.array([w.size for w in layers], float)
        shares = np.array([sum(w.shape) for w in layers], float)
        full = np.zeros(len(layers), bool)
        while True:
            scale = (0.1 * sizes.sum() - sizes[full].sum()) / shares[~full].sum()
            densities = np.where(full, 1, scale * shares / sizes)
            if np.all(densities <= 1):
                break
            full |= densities > 1
        for weights, density in zip(found, densities):
            self.assertLessEqual(abs(np.count_nonzero(weights) - density * weights.size), 1)

    def test_equal_weights_stay_one_value(self):
        layers = network_of_kind("iso")
        write_network("net.h5", layers)
        self.prune("net.h5", "--method", "magnitude", "--sparsity", 0.9)
        self.assertTrue(is_iso("out.h5", 0))
        mixed = [np.array([[1, 2, 2], [-1, 2, 0]], np.float32), np.array([[3, -3]], np.float32)]
        write_network("net.h5", mixed, "DMAT")
        self.prune("net.h5", "--method", "magnitude", "--keep", 5)
        self.assertTrue(is_iso("out.h5", 0))  # the twos
        self.assertFalse(is_iso("out.h5", 1))  # both signs

    def test_nothing_changes_if_few_are_there(self):
        layers = network_of_kind("sparse")
        write_network("net.h5", layers)
        self.assert_same(self.prune("net.h5", "--method", "magnitude", "--sparsity", 0.1), layers)

    def test_odd_sizes(self):
        for layers in ([np.zeros((3, 4), np.float32)], [np.ones((1, 1), np.float32)],
                       [np.zeros((1, 1), np.float32), np.full((5, 1), -2, np.float32)]):
            for form in ("CSR", "DMAT"):
                write_network("net.h5", layers, form)
                for sparsity in self.one_of(0, 1, 0.5):
                    positions = sum(w.size for w in layers)
                    found = self.prune("net.h5", "--method", "magnitude", "--sparsity", sparsity,
                                       ranks=2)
                    self.assert_same(found, keep_largest(layers, kept_of(positions, sparsity)))

    def test_bias_and_attributes_are_carried_over(self):
        layers = network_of_kind("plain")
        biases = [np.arange(len(w), dtype=np.float32) for w in layers]
        write_network("net.h5", layers, names=["a", "b", "c"], biases=biases)
        self.prune("net.h5", "--method", "magnitude", "--sparsity", 0.5, ranks=3)
        with h5py.File("out.h5", "r") as file:
            for number, bias in enumerate(biases):
                layer = file[f"layers/{number:06}"]
                np.testing.assert_array_equal(layer["bias/values"][:], bias)
                self.assertEqual(layer.attrs["name"], "abc"[number])
                self.assertEqual(layer.attrs["activation"], "relu")
        self.espalier("verify", "out.h5")


class OtherMethodsTest(PruneTest):
    def test_random_keeps_the_right_number_of_old_weights(self):
        layers = network_of_kind("sparse", widths=(400, 300, 200))
        write_network("net.h5", layers)
        found = {}
        for seed in (1, 2):
            found[seed] = self.prune("net.h5", "--method", "random", "--keep", 9000,
                                     "--seed", seed)
            self.assertEqual(sum(np.count_nonzero(w) for w in found[seed]), 9000)
            for new, old in zip(found[seed], layers):
                self.assertTrue(np.all((new == old) | (new == 0)))
        self.assertTrue(np.any(found[1][0] != found[2][0]))
        # Half of what is there stays, of large weights as of small ones.
        old = np.concatenate([w.ravel() for w in layers])
        stays = np.concatenate([w.ravel() for w in found[1]]) != 0
        share = 9000 / np.count_nonzero(old)
        for part in (np.abs(old) > 1, (old != 0) & (np.abs(old) < 0.3)):
            self.assertAlmostEqual(stays[part].mean(), share, delta=0.03)

    def test_probabilistic_prefers_large_weights(self):
        layers = network_of_kind("plain", widths=(200, 100))
        write_network("net.h5", layers)
        found = self.prune("net.h5", "--method", "random", "--probabilistic", "--sparsity", 0.5)
        self.assertEqual(np.count_nonzero(found[0]), 10000)
        sizes, stays = np.abs(layers[0]), found[0] != 0
        shares = [stays[(sizes >= low) & (sizes < low + 0.5)].mean() for low in (0, 0.5, 1, 1.5)]
        self.assertEqual(shares, sorted(shares))
        self.assertLess(shares[0], 0.35)
        self.assertGreater(shares[3], 0.6)

    def test_proximal_steps(self):
        layers = network_of_kind("plain")
        write_network("net.h5", layers)
        t = 0.25
        found = self.prune("net.h5", "--method", "l1", "--threshold", t)
        soft = [np.sign(w) * np.maximum(np.abs(w) - np.float32(t), 0) for w in layers]
        self.assert_same(found, soft)
        self.assert_same(self.prune("net.h5", "--method", "lp", "--p", 1, "--threshold", t), soft)
        found = self.prune("net.h5", "--method", "lp", "--p", 0, "--threshold", t)
        self.assert_same(found, [np.where(np.abs(w) > np.sqrt(2 * t), w, 0) for w in layers])
        found = self.prune("net.h5", "--method", "lp", "--p", 0.5, "--threshold", t)
        for new, old in zip(found, layers):
            stays = np.abs(old) > 54 ** (1 / 3) / 4 * t ** (2 / 3)
            np.testing.assert_array_equal(new != 0, stays)
            # Where it is not zero, the step's derivative vanishes.
            x, w = np.abs(new[stays]).astype(float), np.abs(old[stays]).astype(float)
            np.testing.assert_allclose(2 * (x - w) + t * 0.5 / np.sqrt(x), 0, atol=1e-6)

    def test_proximal_steps_by_count(self):
        for kind in ("plain", "ties"):
            layers = network_of_kind(kind)
            write_network("net.h5", layers, "DMAT")
            sizes = np.sort(np.abs(np.concatenate([w.ravel() for w in layers])))[::-1]
            cut = sizes[100]
            found = self.prune("net.h5", "--method", "l1", "--keep", 100)
            self.assert_same(found, [np.sign(w) * np.maximum(np.abs(w) - cut, 0) for w in layers])
            found = self.prune("net.h5", "--method", "lp", "--p", "2/3", "--keep", 100)
            for new, old in zip(found, layers):
                np.testing.assert_array_equal(new != 0, np.abs(old) > cut)
                self.assertTrue(np.all(np.abs(new) <= np.abs(old)))

    def test_n_of_m(self):
        for kind in KINDS:
            layers = network_of_kind(kind)
            write_network("net.h5", layers)
            found = self.prune("net.h5", "--method", "nm", "--pattern", "2:4", ranks=2)
            expected = []
            for weights in layers:
                left = np.zeros_like(weights)
                for row in range(weights.shape[0]):
                    for col in range(0, weights.shape[1], 4):
                        left[row, col:col + 4] = keep_largest([weights[row, col:col + 4]], 2)[0]
                expected.append(left)
            self.assert_same(found, expected, kind)

    def test_groups(self):
        for kind in ("plain", "ties", "sparse"):
            layers = network_of_kind(kind, widths=(40, 30, 1, 13))
            # Integers: their sums have no rounding, and ties are frequent.
            layers = [np.round(weights * 3) for weights in layers]
            write_network("net.h5", layers, "DMAT" if kind == "ties" else "CSR")
            for unit in ("row", "column", "block:4x3", "block:1x100"):
                for norm in self.one_of("1", "2", "inf"):
                    sizes = [group_sizes(weights, unit, norm) for weights in layers]
                    count = sum(total.size for total, _ in sizes)
                    kept = keep_largest([t.ravel() for t, _ in sizes], kept_of(count, 0.6))
                    expected = [np.where((k != 0)[number], weights, 0)
                                for weights, k, (_, number) in zip(layers, kept, sizes)]
                    found = self.prune("net.h5", "--method", "group", "--unit", unit,
                                       "--norm", norm, "--sparsity", 0.6)
                    self.assert_same(found, expected, f"{kind} {unit} {norm}")
            sizes = [group_sizes(weights, "block:1x100", "inf") for weights in layers]
            limit = float(sizes[0][0][0])
            found = self.prune("net.h5", "--method", "group", "--unit", "block:1x100", "--norm",
                               "inf", "--threshold", limit, ranks=2)
            self.assert_same(found, [np.where((total >= limit)[number], weights, 0)
                                     for weights, (total, number) in zip(layers, sizes)])

    def test_groups_shrink(self):
        layers = network_of_kind("plain", widths=(40, 30, 13))
        write_network("net.h5", layers)
        sizes = [group_sizes(weights, "block:4x3", "2") for weights in layers]
        largest = np.sort(np.concatenate([total for total, _ in sizes]))[::-1]
        for amount, t in ((["--threshold", 1.1], 1.1), (["--keep", 20], float(largest[20]))):
            found = self.prune("net.h5", "--method", "group", "--unit", "block:4x3", "--prox",
                               *amount, ranks=2)
            for new, old, (total, number) in zip(found, layers, sizes):
                share = np.maximum(1 - t / total.astype(float), 0)[number]
                self.assertGreater(np.count_nonzero(share), 0)
                np.testing.assert_array_equal(new != 0, share > 0)
                np.testing.assert_allclose(new, old * share, rtol=1e-6)
        self.refused("prune", "net.h5", "--method", "group", "--unit", "row", "--prox", "--norm",
                     "1", "--keep", 1, "-o", "no.h5", status=64, words=["prox", "--norm 2"])

    def test_groups_of_each_layer_do_not_depend_on_ranks(self):
        write_network("net.h5", network_of_kind("plain", widths=(500, 301, 1, 40)), "DMAT")
        for unit in ("row", "column", "block:7x5"):
            for scope in ("global", "layer"):
                self.assert_same_bytes("net.h5", "--method", "group", "--unit", unit,
                                       "--sparsity", 0.7, "--scope", scope)

    def test_masks_and_scores(self):
        layers = network_of_kind("plain")
        others = network_of_kind("ties", seed=5)
        for other in others:
            other[::3] = 0
        write_network("net.h5", layers)
        for form in ("CSR", "COO", "DMAT"):
            write_network("other.h5", others, form)
            found = self.prune("net.h5", "--method", "mask", "--file", "other.h5")
            self.assert_same(found, [np.where(o != 0, w, 0) for w, o in zip(layers, others)])
            found = self.prune("net.h5", "--method", "scores", "--file", "other.h5",
                               "--keep", 500)
            self.assert_same(found, keep_largest(layers, 500, others))

    def test_bytes_do_not_depend_on_ranks(self):
        layers = network_of_kind("ties", widths=(500, 300, 1, 40))
        write_network("net.h5", layers, "DMAT")
        write_network("sparse.h5", network_of_kind("ties", widths=(500, 300, 1, 40), seed=9), "COO")
        for arguments in (["magnitude", "--sparsity", 0.8],
                          ["magnitude", "--sparsity", 0.8, "--scope", "layer"],
                          ["magnitude", "--sparsity", 0.8, "--scope", "row"],
                          ["random", "--keep", 20000],
                          ["random", "--keep", 20000, "--probabilistic"],
                          ["lp", "--p", 0.5, "--sparsity", 0.7],
                          ["nm", "--pattern", "1:4", "--layout", "triplets"],
                          ["scores", "--file", "sparse.h5", "--keep", 7000]):
            self.assert_same_bytes("net.h5", "--method", *arguments)
        self.assert_same_bytes("sparse.h5", "--method", "magnitude", "--sparsity", 0.8)


class DeadNeuronsTest(PruneTest):
    ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "identity": lambda x: x,
                   "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh}

    def run_network(self, path, features):
        """The outputs, in double precision."""
        values = features.astype(np.float64).T
        layers = read_network(path)
        with h5py.File(path, "r") as file:
            for number, weights in enumerate(layers):
                layer = file[f"layers/{number:06}"]
                values = weights.astype(np.float64) @ values
                if "bias" in layer:
                    bias = layer["bias/values"][:].astype(np.float64)
                    if layer.attrs.get("bias_mode", "always") == "nonzero":
                        values += np.where(values != 0, bias[:, None], 0)
                    else:
                        values += bias[:, None]
                values = self.ACTIVATIONS[layer.attrs["activation"]](values)
        return values.T

    def network(self, activation, mode="always", bias=True):
        """Random layers with rows and columns of zeros, also such that follow from others."""
        random = np.random.default_rng(3)
        layers = [random.standard_normal((rows, cols)).astype(np.float32)
                  for cols, rows in ((20, 30), (30, 25), (25, 15), (15, 6))]
        layers[0][[1, 4, 7, 29]] = 0        # constant
        layers[1][3, 5:] = layers[1][3, 0] = layers[1][3, 2:4] = 0
        layers[1][3, [1, 4]] = 1            # constant once those are folded
        layers[2][:, [0, 6, 24]] = 0        # nobody reads them
        layers[1][[0, 6, 24], :] *= 1
        layers[1][:, 9] = 0
        layers[1][[0, 6], 9] = 2            # read only by what nobody reads
        layers[3][2] = 0                    # an output stays
        biases = [random.standard_normal(len(w)).astype(np.float32) for w in layers]
        write_network("net.h5", layers, biases=biases if bias else None)
        with h5py.File("net.h5", "r+") as file:
            for name in file["layers"]:
                file[f"layers/{name}"].attrs["activation"] = activation
                file[f"layers/{name}"].attrs["bias_mode"] = mode
        return layers

    def shapes(self, path="out.h5"):
        return [weights.shape for weights in read_network(path)]

    def test_outputs_stay_and_layers_shrink(self):
        features = np.random.default_rng(4).standard_normal((50, 20)).astype(np.float32)
        for activation in self.ACTIVATIONS:
            for bias in (True, False):
                self.network(activation, bias=bias)
                self.prune("net.h5", "--method", "bias")
                self.assertEqual(self.shapes(), [(25, 20), (21, 25), (15, 21), (6, 15)])
                np.testing.assert_allclose(self.run_network("out.h5", features),
                                           self.run_network("net.h5", features),
                                           rtol=2e-6, atol=2e-6)

    def test_bias_where_nonzero(self):
        features = np.random.default_rng(4).standard_normal((50, 20)).astype(np.float32)
        for activation, shapes in (
                ("relu", [(25, 20), (21, 25), (15, 21), (6, 15)]),
                # The constant 1/2 cannot be folded into a bias that may not be added.
                ("sigmoid", [(29, 20), (22, 29), (15, 22), (6, 15)])):
            self.network(activation, mode="nonzero")
            self.prune("net.h5", "--method", "bias")
            self.assertEqual(self.shapes(), shapes)
            np.testing.assert_allclose(self.run_network("out.h5", features),
                                       self.run_network("net.h5", features), rtol=2e-6, atol=2e-6)

    def test_a_fixed_point(self):
        self.network("relu")
        self.prune("net.h5", "--method", "bias")
        again = self.prune("out.h5", "--method", "bias", out="again.h5")
        self.assert_same(again, read_network("out.h5"))

    def test_bytes_do_not_depend_on_ranks(self):
        self.network("tanh")
        self.assert_same_bytes("net.h5", "--method", "bias")
        random = np.random.default_rng(5)
        layers = [random.standard_normal(shape).astype(np.float32)
                  for shape in ((400, 500), (300, 400), (10, 300))]
        for weights in layers:
            weights[random.random(weights.shape) < 0.99] = 0
        write_network("large.h5", layers, "DMAT",
                      biases=[random.standard_normal(len(w)).astype(np.float32) for w in layers])
        self.assert_same_bytes("large.h5", "--method", "bias")
        self.assertLess(self.shapes("one.h5")[1][0], 300)

    def test_nothing_left(self):
        layers = [np.zeros((5, 4), np.float32), np.zeros((3, 5), np.float32)]
        write_network("net.h5", layers)
        for ranks in (1, 3):
            self.prune("net.h5", "--method", "bias", ranks=ranks)
            self.assertEqual(self.shapes(), [(1, 4), (3, 1)])

    def test_only_chains(self):
        write_network("net.h5", [np.ones((4, 4), np.float32)] * 2)
        with h5py.File("net.h5", "r+") as file:
            file["layers/000001"].attrs["inputs"] = [-1]
        line = self.espalier("prune", "net.h5", "--method", "bias", "-o", "out.h5",
                             status=65).complaint()
        self.assertIn("chain", line)


class BehaviourTest(PruneTest):
    def test_report_and_output(self):
        layers = network_of_kind("plain")
        positions = sum(w.size for w in layers)
        write_network("net.h5", layers)
        run = self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.9, "-o",
                            "out.h5", "--report", "run.json", ranks=2)
        self.assertEqual(run.out, "")
        self.assertIn("norm removed", run.err)
        with open("run.json", encoding="utf-8") as file:
            report = json.load(file)
        kept = kept_of(positions, 0.9)
        self.assertEqual(report["weights_total"], positions)
        self.assertEqual(report["weights_kept"], kept)
        self.assertAlmostEqual(report["sparsity"], 1 - kept / positions)
        flat = np.concatenate([w.ravel() for w in layers])
        self.assertEqual(np.float32(report["threshold"]), np.sort(np.abs(flat))[-kept])
        self.assertGreater(report["seconds"], 0)
        for layer, old, new in zip(report["layers"], layers, read_network("out.h5")):
            self.assertEqual((layer["rows"], layer["cols"]), old.shape)
            self.assertEqual(layer["kept"], np.count_nonzero(new))
            self.assertAlmostEqual(layer["norm_removed"], np.linalg.norm((old - new).ravel()),
                                   places=4)

    def test_same_job_again_does_nothing(self):
        write_network("net.h5", network_of_kind("plain"))
        arguments = ["prune", "net.h5", "--method", "magnitude", "--sparsity", 0.5, "-o", "out.h5"]
        self.espalier(*arguments)
        before = os.stat("out.h5").st_mtime_ns
        self.assertIn("nothing to do", self.espalier(*arguments).err)
        self.assertEqual(os.stat("out.h5").st_mtime_ns, before)
        arguments[5] = 0.6
        self.espalier(*arguments, status=73)

    def test_dry_run_writes_nothing(self):
        write_network("net.h5", network_of_kind("plain"))
        run = self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.5, "-o",
                            "out.h5", "--dry-run")
        self.assertIn("would write out.h5", run.err)
        self.assertFalse(os.path.exists("out.h5"))

    def test_not_finite(self):
        for form in ("CSR", "DMAT"):
            for value in (np.nan, np.inf, -np.inf):
                layers = network_of_kind("plain")
                layers[0][7, 5] = value
                write_network("net.h5", layers, form)
                for method in self.one_of(("threshold", "--threshold", 1),
                                          ("magnitude", "--sparsity", 0.5)):
                    for ranks in self.one_of(1, 3):
                        line = self.espalier("prune", "net.h5", "--method", *method, "-o",
                                             "out.h5", status=65, ranks=ranks).complaint()
                        self.assertIn("row 7, column 5", line)
                        self.assertIn("/layers/000000/weight", line)
                self.assertFalse(os.path.exists("out.h5"))

    def test_memory(self):
        write_network("net.h5", [np.ones((2, 300000), np.float32)], "DMAT")
        line = self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.5, "-o",
                             "out.h5", "--memory-per-rank", "10MiB", status=69).complaint()
        self.assertIn("--memory-per-rank", line)
        line = self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.5, "-o",
                             "out.h5", "--memory-per-rank", "100MiB", status=69).complaint()
        self.assertIn("300,000 weights", line)
        self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.5, "-o",
                      "out.h5", "--memory-per-rank", "160MiB")

    def test_refused(self):
        layers = network_of_kind("plain")
        write_network("net.h5", layers, names=["a", "b", "c"])
        write_network("other.h5", [layers[0], layers[1], layers[2].T])
        for status, word, arguments in (
                (64, "--method", ["magnificent"]),
                (64, "--sparsity, --keep or --threshold", ["magnitude"]),
                (64, "just one", ["magnitude", "--sparsity", 0.5, "--keep", 3]),
                (64, "--sparsity or --keep", ["random", "--threshold", 1]),
                (64, "--threshold", ["threshold", "--keep", 1]),
                (64, "takes no", ["nm", "--pattern", "2:4", "--sparsity", 0.5]),
                (64, "0 to 1", ["magnitude", "--sparsity", 1.5]),
                (64, "0 to 1", ["magnitude", "--sparsity", -0.5]),
                (64, "--keep", ["magnitude", "--keep", -1]),
                (64, "--threshold", ["threshold", "--threshold", -1]),
                (64, "N:M", ["nm", "--pattern", "4:2"]),
                (64, "--pattern", ["nm"]),
                (64, "--p", ["lp", "--keep", 3]),
                (64, "2/3", ["lp", "--p", 3, "--keep", 3]),
                (64, "does not go with", ["magnitude", "--keep", 3, "--p", 1]),
                (64, "does not go with", ["magnitude", "--keep", 3, "--probabilistic"]),
                (64, "--exclude", ["bias", "--exclude", "a"]),
                (64, "takes no", ["bias", "--keep", 3]),
                (64, "block:RxC", ["group", "--unit", "block:0x4", "--keep", 3]),
                (64, "--unit", ["group", "--keep", 3]),
                (64, "inf", ["group", "--unit", "row", "--norm", 3, "--keep", 3]),
                (64, "--scope", ["threshold", "--threshold", 1, "--scope", "layer"]),
                (64, "--scope", ["l1", "--keep", 3, "--scope", "row"]),
                (64, "--profile", ["magnitude", "--keep", 3, "--profile", "erk"]),
                (64, "--profile", ["magnitude", "--sparsity", 0.5, "--profile", "odd"]),
                (64, "2 values", ["magnitude", "--profile", "list:0.5,0.5"]),
                (64, "regular expression", ["magnitude", "--keep", 3, "--exclude", "(("]),
                (64, "no layer", ["magnitude", "--keep", 3, "--exclude", "."]),
                (66, "none.h5", ["mask", "--file", "none.h5"]),
                (65, "layer 2", ["mask", "--file", "other.h5"])):
            for ranks in (1, 3) if status != 64 else (1,):
                run = self.espalier("prune", "net.h5", "--method", *arguments, "-o", "out.h5",
                                    status=status, ranks=ranks)
                self.assertIn(word, run.complaint())
            self.assertFalse(os.path.exists("out.h5"))
        self.espalier("prune", "none.h5", "--method", "magnitude", "--keep", 1, "-o", "out.h5",
                      status=66)


if __name__ == "__main__":
    main()
