#!/usr/bin/env python3
# timeout: 400
"""The rules that look beyond one weight's magnitude, each against NumPy."""
import numpy as np

from pruning import (KINDS, PruneTest, keep_largest, kept_of, lamp_scores, network_of_kind,
                     write_network)
from support import content, main


class LampTest(PruneTest):
    def test_against_sorting(self):
        for kind in KINDS:
            layers = network_of_kind(kind, widths=(200, 90, 31, 40))
            # Layers of very different sizes of weights: magnitudes alone would empty the last one.
            layers = [weights * np.float32(8.0 ** -number) for number, weights in enumerate(layers)]
            scores = [lamp_scores(weights) for weights in layers]
            positions = sum(weights.size for weights in layers)
            for form in ("CSR", "DMAT"):
                write_network("net.h5", layers, form)
                for sparsity in (0, 0.5, 0.93, 1):
                    found = self.prune("net.h5", "--method", "lamp", "--sparsity", sparsity)
                    self.assert_same(found, keep_largest(layers, kept_of(positions, sparsity),
                                                         scores), f"{kind} {sparsity}")

    def test_equal_layers_share_by_place(self):
        layers = network_of_kind("ties", widths=(30, 30)) * 2
        write_network("net.h5", layers)
        scores = [lamp_scores(weights) for weights in layers]
        for keep in (1, 7, 100, 801):
            found = self.prune("net.h5", "--method", "lamp", "--keep", keep, ranks=2)
            self.assert_same(found, keep_largest(layers, keep, scores))

    def test_excluded_layers_do_not_count(self):
        layers = network_of_kind("plain")
        write_network("net.h5", layers, names=["a", "b", "c"])
        found = self.prune("net.h5", "--method", "lamp", "--sparsity", 0.8, "--exclude", "b")
        rest = [layers[0], layers[2]]
        expected = keep_largest(rest, kept_of(rest[0].size + rest[1].size, 0.8),
                                [lamp_scores(weights) for weights in rest])
        self.assert_same(found, [expected[0], layers[1], expected[1]])

    def test_bytes_do_not_depend_on_ranks(self):
        write_network("net.h5", network_of_kind("plain", widths=(500, 300, 1, 40)), "DMAT")
        self.assert_same_bytes("net.h5", "--method", "lamp", "--sparsity", 0.8)

    def test_one_value_and_pieces_without_any(self):
        for method in ("lamp", "magnitude"):
            layers = network_of_kind("iso", widths=(9, 7, 2))
            layers[0][2:], layers[1][1] = 0, 0
            write_network("net.h5", layers)
            for keep in (1, 3, 5):
                found = self.prune("net.h5", "--method", method, "--keep", keep, ranks=4)
                scores = [lamp_scores(weights) for weights in layers] if method == "lamp" else None
                self.assert_same(found, keep_largest(layers, keep, scores))

    def test_compares_all_layers(self):
        write_network("net.h5", network_of_kind("plain"))
        for more in (["--scope", "layer"], ["--profile", "erk"]):
            self.refused("prune", "net.h5", "--method", "lamp", "--sparsity", 0.5, *more, "-o",
                         "out.h5", status=64, words=["lamp", more[0]], output="out.h5")


class LargeTest(PruneTest):
    def test_one_look_after_a_sample(self):
        """Beyond 4 Mi weights a sample of the rows tells where to look; it may mislead."""
        random = np.random.default_rng(4)
        plain = random.standard_normal((2100, 2100)).astype(np.float32)
        misleading = plain.copy()
        for middle in (350, 1050, 1750):  # of the pieces
            misleading[middle - 30:middle + 30] *= 100
        for weights in (plain, misleading):
            write_network("net.h5", [weights], "DMAT")
            found = self.prune("net.h5", "--method", "magnitude", "--sparsity", 0.9, limit=180)
            cut = np.partition(np.abs(weights).ravel(), -kept_of(weights.size, 0.9))[
                -kept_of(weights.size, 0.9)]
            expected = np.where(np.abs(weights) >= cut, weights, 0)
            self.assertLess(np.count_nonzero(found[0] != expected), 10)  # equals of the cut
            self.assertEqual(np.count_nonzero(found[0]), kept_of(weights.size, 0.9))
            self.prune("net.h5", "--method", "magnitude", "--sparsity", 0.9, out="more.h5",
                       ranks=3, limit=180)
            self.assertEqual(content("out.h5"), content("more.h5"))


if __name__ == "__main__":
    main()
