#!/usr/bin/env python3
"""A full disk is noticed before work is lost: 74, one line, nothing left behind, no hang."""
import os
import subprocess
import sys

from support import ProgramTest, can_mount, main, small_batch, small_network


class FullDiskTest(ProgramTest):
    def setUp(self):
        super().setUp()
        os.makedirs("disk")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "disk"], check=True)
        self.addCleanup(subprocess.run, ["umount", f"{self.folder}/disk"], check=True)

    def refused(self, *arguments):
        super().refused(*arguments, status=74, words=["disk/"])
        self.assertEqual(os.listdir("disk"), [])

    def test_generate(self):
        self.refused("generate", "radixnet", "--neurons", 1024, "--layers", 16, "-o", "disk/n.h5")

    def test_import(self):
        small_network(self, neurons=2000, layers=8)
        self.refused("import", "--from", "graphchallenge", "--weights", "net.h5.tsv", "--neurons",
                     2000, "--layers", 8, "--bias", 0, "-o", "disk/n.h5")

    def test_infer(self):
        network = small_network(self, neurons=2000, bias=0.25)
        batch = small_batch(self, neurons=2000, samples=400)
        self.refused("infer", network, batch, "-o", "disk/r.h5", "--output", "full")
        # A small result still fits.
        self.espalier("infer", network, batch, "-o", "disk/r.h5")

    def test_report(self):
        with open("disk/rest", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        network = small_network(self)
        for ranks in (1, 3):
            self.espalier("inspect", network, "--report", "disk/run.json", ranks=ranks, status=74)
            self.assertEqual(os.listdir("disk"), ["rest"])


if __name__ == "__main__":
    if not can_mount():
        print("SKIPPED: a full disk takes the right to mount a small tmpfs")
        sys.exit(0)
    main()
