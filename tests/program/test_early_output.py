#!/usr/bin/env python3
"""Full outputs are written while they are computed as long as none is zero. The file is the same
whether that went well, was given up in the first wave or the last, or an earlier run was stopped."""
# timeout: 300
import os
import signal
import subprocess

import h5py
import numpy as np

from matrices import dense
from pruning import write_network
from resumable import INFER, StoppingTest, link_inputs, saved
from support import can_mount, content, main
from test_compare import write_batch

SAMPLES, WAVE, HIDDEN, OUTPUTS = 300, 64, 20, 7
GRIDS = {"1x1": 1, "1x2": 2, "2x1": 2, "3x1": 3, "2x2": 4}


def small_inputs():
    """Samples and what the network multiplies them by. Output 0 stands for feature 0 alone, the
    others for all; small integers, so that sums are exact."""
    random = np.random.default_rng(5)
    first = random.integers(1, 4, (HIDDEN, HIDDEN)).astype("f4")
    second = random.integers(1, 4, (OUTPUTS, HIDDEN)).astype("f4")
    first[0, 1:] = 0
    second[0, 1:] = 0
    write_network("small.h5", [first, second])
    return random.integers(1, 9, (SAMPLES, HIDDEN)).astype("f4"), second @ first


class EarlyOutputTest(StoppingTest):
    def outputs_are(self, x, product):
        write_batch("small-batch.h5", x)
        infer = ["infer", "small.h5", "small-batch.h5", "--output", "full", "--top-k", 2]
        self.espalier(*infer, "-o", "one-wave.h5")
        for grid, ranks in GRIDS.items():
            self.espalier(*infer, "-o", f"r-{grid}.h5", "--wave-samples", WAVE, "--grid", grid,
                          "--threads", 1 + ranks % 2, ranks=ranks)
            self.assertEqual(content(f"r-{grid}.h5"), content("one-wave.h5"), grid)
            os.unlink(f"r-{grid}.h5")
        with h5py.File("one-wave.h5", "r") as file:
            np.testing.assert_array_equal(dense(file["output"]), x @ product.T)
        os.unlink("one-wave.h5")

    def test_zeros(self):
        x, product = small_inputs()
        self.outputs_are(x, product)
        for sample in (SAMPLES - 1, WAVE + 1, 0):
            with self.subTest(sample=sample):
                one = x.copy()
                one[sample, 0] = 0
                self.outputs_are(one, product)
        x[-1] = 0
        self.outputs_are(x, product)

    def inputs(self):
        def make():
            self.espalier("generate", "random", "--layers", "512,2048,2048,2048,2048,64", "--density",
                          0.3, "--activation", "silu", "--last-activation", "identity", "--seed", 1,
                          "-o", "net.h5")
            self.espalier("generate", "batch", "--features", 512, "--samples", 4000, "--density", 0.2,
                          "--seed", 1, "-o", "batch.h5")
            self.espalier(*INFER, "-o", "undisturbed.h5")
        link_inputs(self, "early", make)

    def test_stopped(self):
        self.inputs()
        for number, ranks in ((signal.SIGUSR2, 2), (signal.SIGKILL, 1)):
            with self.subTest(number=number):
                self.stop_after(2, *INFER, "-o", "r.h5", "--wave-samples", 320, ranks=ranks,
                                number=number)
                self.assertTrue(saved("r.h5"))
                # Who is killed cannot take away what he has begun.
                self.assertEqual(os.path.exists("r.h5.part"), number == signal.SIGKILL)
                self.espalier(*INFER, "-o", "r.h5", ranks=3 - ranks)
                self.assertEqual(content("r.h5"), content("undisturbed.h5"))
                os.unlink("r.h5")

    def test_little_room(self):
        if not can_mount():
            self.skipTest("a full disk takes the right to mount a small tmpfs")
        self.inputs()
        os.makedirs("disk")
        size = os.path.getsize("undisturbed.h5") * 3 // 2 >> 10
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", "disk"], check=True)
        self.addCleanup(subprocess.run, ["umount", f"{self.folder}/disk"], check=True)
        self.espalier(*INFER, "-o", "disk/r.h5", "--wave-samples", 640)
        self.assertEqual(content("disk/r.h5"), content("undisturbed.h5"))


if __name__ == "__main__":
    main()
