#!/usr/bin/env python3
"""A disk that is full at any position of what a job writes: 74 and one line, no output, and what was
saved before is there: with more room the same command goes on to the same bytes.

DISK_STEP is the step in which disks grow, in KiB (without it about ten disks a job)."""
# timeout: 600
import os
import subprocess
import sys

from resumable import IMPORT, INFER, import_inputs, link_inputs, prune_inputs
from support import ProgramTest, can_mount, content, main

STEP = int(os.environ.get("DISK_STEP", 0)) << 10
FULL = 74


def on_disk(folder, *options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], check=True)


class SweepTest(ProgramTest):
    def setUp(self):
        super().setUp()
        os.makedirs("disk")

    def sweep(self, job, undisturbed):
        """Runs the job on disks of growing size until it fits. Everything is saved at once, so that
        writes fail in files of units, manifests and the output itself."""
        disk = f"{self.folder}/disk"
        least = 4096
        most = 16 << 20
        needed = 3 * os.path.getsize(undisturbed) + (256 << 10)
        step = STEP or max(needed // 10 // 4096 * 4096, 4096)
        statuses = []
        size = least
        while statuses[-2:] != [0, 0]:
            self.assertLess(size, most, statuses)
            ranks = len(statuses) % 3 + 1
            on_disk(disk, f"size={size}")
            try:
                statuses.append(self.one_disk(job, undisturbed, ranks,
                                              lambda: on_disk(disk, "remount", f"size={most}")))
            finally:
                subprocess.run(["umount", disk], check=True)
            size += step
        print(f"{self.id()}: {len(statuses)} disks from {least >> 10} to {size >> 10} KiB, "
              f"{statuses.count(FULL)} of them full", flush=True)
        self.assertGreater(statuses.count(FULL), 2)

    def one_disk(self, job, undisturbed, ranks, grow):
        command = [*job, "-o", "disk/r.h5", "--save-interval", 0]
        run = self.run_command(self.launch(command, ranks))
        shown = f"{command}\n{run.status}\n{run.err}"
        self.assertIn(run.status, (0, FULL), shown)
        self.assert_nothing_half_written("disk")
        if run.status == FULL:
            self.assertIn("disk/", run.complaint())
            self.assertLessEqual(set(os.listdir("disk")), {"r.h5.units"}, shown)
            grow()
            self.espalier(*command, ranks=(ranks + 1) % 3 + 1)
        self.assertEqual(content("disk/r.h5"), content(undisturbed), shown)
        self.assertEqual(os.listdir("disk"), ["r.h5"])
        return run.status

    def test_infer(self):
        def make():
            self.espalier("generate", "radixnet", "--neurons", 64, "--layers", 6, "-o", "net.h5")
            self.espalier("generate", "images", "--neurons", 64, "--samples", 3000, "--seed", 1, "-o",
                          "batch.h5")
            self.espalier(*INFER, "-o", "undisturbed.h5")

        link_inputs(self, "small", make)
        self.sweep([*INFER, "--wave-samples", 300], "undisturbed.h5")

    def test_prune(self):
        prune_inputs(self)
        # One piece a layer or so: the disk is what this is about.
        self.sweep(["prune", "net.h5", "--method", "magnitude", "--sparsity", "0.6"], "magnitude.h5")

    def test_import(self):
        import_inputs(self)
        self.sweep(IMPORT, "undisturbed.h5")


if __name__ == "__main__":
    if not can_mount():
        print("SKIPPED: a full disk takes the right to mount small ones")
        sys.exit(0)
    main()
