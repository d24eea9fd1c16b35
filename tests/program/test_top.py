#!/usr/bin/env python3
"""The best outputs of samples through so many outputs that they are never held together: the same
as from outputs that are, on every grid."""
# timeout: 300
import h5py
import numpy

from support import ProgramTest, content, main

LABELS = 140_000  # above the number from which outputs stream by
GRIDS = {"1x1": 1, "1x2": 2, "2x1": 2, "3x1": 3, "2x2": 4}


class TopTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.espalier("generate", "batch", "--features", 32, "--samples", 150, "--density", 0.06,
                      "--seed", 3, "-o", "batch.h5")

    def streams(self, network, k):
        self.espalier("infer", network, "batch.h5", "-o", "full.h5", "--output", "full", "--top-k", k)
        with h5py.File("full.h5", "r") as file:
            held = {name: file[name][:] for name in ("alive", "categories", "top_index", "top_value")}
        self.assertTrue(0 < held["categories"].size < 150, "some samples live and some are dead")
        for grid, ranks in GRIDS.items():
            self.espalier("infer", network, "batch.h5", "-o", f"top-{grid}.h5", "--output", "top",
                          "--top-k", k, "--grid", grid, "--threads", 1 + ranks % 2, ranks=ranks)
            self.assertEqual(content(f"top-{grid}.h5"), content("top-1x1.h5"), grid)
        with h5py.File("top-1x1.h5", "r") as file:
            for name, values in held.items():
                numpy.testing.assert_array_equal(file[name][:], values, name)
        self.espalier("infer", network, "batch.h5", "-o", "alive.h5", ranks=2)
        with h5py.File("alive.h5", "r") as file:
            numpy.testing.assert_array_equal(file["alive"][:], held["alive"])
        return held

    def test_labels(self):
        self.espalier("generate", "xmc", "--labels", LABELS, "--hidden", 32, "--fan-in", 4,
                      "--group", 16, "-o", "labels.h5", ranks=2)
        held = self.streams("labels.h5", 3)
        dead = held["alive"] == 0
        numpy.testing.assert_array_equal(held["top_index"][dead], [[0, 1, 2]] * dead.sum())
        self.assertFalse(held["top_value"][dead].any())

    def test_after_hidden_layers(self):
        self.espalier("generate", "random", "--layers", f"32,24,{LABELS}", "--density", 0.1,
                      "--bias-mode", "nonzero", "-o", "deep.h5", ranks=2)
        held = self.streams("deep.h5", 1)
        self.assertGreater(held["top_value"].max(), 0)

    def test_plan_says_so(self):
        """What is never held needs no memory: the outputs alone would be 68 MiB for 64 samples."""
        self.espalier("generate", "xmc", "--labels", LABELS, "--hidden", 32, "--fan-in", 4, "-o",
                      "labels.h5")
        infer = ["infer", "labels.h5", "batch.h5", "-o", "r.h5", "--memory-per-rank", "120MiB"]
        self.espalier(*infer, "--output", "top")
        self.assertIn("does not fit", self.espalier(*infer, "--output", "full", "--force",
                                                    status=69).complaint())


if __name__ == "__main__":
    main()
