#!/usr/bin/env python3
"""A disk that is full at any position of what a job writes: 74 and one line, no output, and what was
saved before is there: with more room the same command goes on to the same bytes.

DISK_STEP is the step in which disks grow, in KiB (without it about ten disks a job)."""
# timeout: 300
import os
import subprocess
import sys

from resumable import IMPORT, INFER, import_inputs, link_inputs, prune_inputs, prune_job
from support import ProgramTest, content, main

STEP = int(os.environ.get("DISK_STEP", 0)) << 10
FULL = 74


def room(kind, folder):
    """How to make, grow and drop a small disk: one that can reserve space, and one that cannot."""
    def run(*command):
        subprocess.run(command, check=True, capture_output=True)

    def make(size):
        if kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
        else:
            with open("image", "wb") as file:
                file.truncate(size)
            run("mkfs.ext2", "-q", "-b", "1024", "-m", "0", "-N", "64", "image")
            run("mount", "-o", "loop", "image", folder)
            os.rmdir(f"{folder}/lost+found")

    def grow(size):
        if kind == "tmpfs":
            run("mount", "-o", f"remount,size={size}", folder)
        else:
            # What it holds moves to a larger one.
            run("cp", "-r", folder, "held")
            run("umount", folder)
            make(size)
            run("cp", "-r", "held/.", folder)
            run("rm", "-r", "held")

    return make, grow, lambda: run("umount", folder)


class SweepTest(ProgramTest):
    def setUp(self):
        super().setUp()
        os.makedirs("disk")

    def sweep(self, job, undisturbed, kind="tmpfs"):
        """Runs the job on disks of growing size until it fits. Everything is saved at once, so that
        writes fail in files of units, manifests and the output itself."""
        make, grow, drop = room(kind, f"{self.folder}/disk")
        least = 4096 if kind == "tmpfs" else 64 << 10
        most = 16 << 20
        needed = 3 * os.path.getsize(undisturbed) + (256 << 10)
        step = STEP or max(needed // 10 // 4096 * 4096, 4096)
        statuses = []
        size = least
        while statuses[-2:] != [0, 0]:
            self.assertLess(size, most, statuses)
            ranks = len(statuses) % 3 + 1
            make(size)
            try:
                statuses.append(self.one_disk(job, undisturbed, ranks, lambda: grow(most)))
            finally:
                drop()
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

    def test_without_reservation(self):
        prune_inputs(self)
        self.sweep(prune_job("nm")[:-2], "nm.h5", kind="ext2")


def can_mount():
    os.makedirs("probe", exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "probe"],
                             capture_output=True, check=False)
    if mounted.returncode == 0:
        subprocess.run(["umount", "probe"], check=True)
    os.rmdir("probe")
    return mounted.returncode == 0


if __name__ == "__main__":
    if not can_mount():
        print("SKIPPED: a full disk takes the right to mount small ones")
        sys.exit(0)
    main()
