#!/usr/bin/env python3
"""What befalls a job while it runs: a rank that hangs, inputs that vanish or are held by others, a
folder that turns read-only. A clear line, the documented status, and what was saved is still there."""
# timeout: 240
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

from resumable import (IMPORT, INFER, Background, gone, import_inputs, prune_inputs, prune_job, saved,
                       slow_inputs, wait_until)
from support import ProgramTest, content, main

SYSTEM, NO_INPUT, IO_FAILED, NO_PERMISSION, BAD_DATA = 71, 66, 74, 77, 65


class HangTest(ProgramTest):
    """One rank is stopped by somebody: the others notice and end the job."""

    def hang(self, job, undisturbed, ranks, victim):
        run = Background([*job, "-o", "r.h5", "--save-interval", 0, "--stall-timeout", 1.5], ranks)
        self.addCleanup(run.close)
        self.assertTrue(wait_until(lambda: len(saved("r.h5")) > 2, run), run.said())
        pids = run.rank_pids()
        os.kill(pids[victim], signal.SIGSTOP)
        since = time.monotonic()
        self.assertEqual(run.wait(40), SYSTEM, run.said())
        self.assertLess(time.monotonic() - since, 30)
        self.assertTrue(gone(pids), "ranks outlive their mpirun")
        # The one that hangs says nothing, unless mpirun wakes it to end it.
        first = run.said().index("has made no progress for")
        for rank in range(ranks):
            line = run.said().find(f"rank {rank} has made no progress for")
            self.assertTrue(rank == victim or line >= 0, run.said())
            self.assertFalse(rank == victim and 0 <= line < first, run.said())
        self.assertRegex(run.said(), "no progress for [0-9]+ s (while it [a-z]+|between two phases) ")
        self.assertIn("--stall-timeout", run.said())
        self.assertFalse(os.path.exists("r.h5"))
        units = len(saved("r.h5"))
        self.assertGreater(units, 2)
        self.espalier(*job, "-o", "r.h5", "--report", "run.json", ranks=2)
        self.assertEqual(content("r.h5"), content(undisturbed))

    def test_infer(self):
        slow_inputs(self)
        self.hang([*INFER, "--wave-samples", 64], "undisturbed.h5", 3, 1)

    def test_prune(self):
        prune_inputs(self)
        self.hang(prune_job("magnitude"), "magnitude.h5", 2, 0)

    def test_import(self):
        import_inputs(self)
        self.hang(IMPORT, "undisturbed.h5", 3, 2)


class InputTest(ProgramTest):
    def test_text_that_vanishes(self):
        import_inputs(self)
        text = os.path.realpath("text")
        os.unlink("text")
        shutil.copytree(text, "text")
        for ranks in (1, 3):
            shutil.rmtree("r.h5.units", ignore_errors=True)
            run = Background([*IMPORT, "-o", "r.h5", "--save-interval", 0], ranks)
            self.addCleanup(run.close)
            self.assertTrue(wait_until(lambda: saved("r.h5"), run), run.said())
            os.rename("text/n256-l149.tsv", "away")
            self.assertEqual(run.wait(), NO_INPUT, run.said())
            self.assertIn("n256-l149.tsv", run.said())
            self.assertFalse(os.path.exists("r.h5"))
            self.assertGreater(len(saved("r.h5")), 100)
            os.rename("away", "text/n256-l149.tsv")
        self.espalier(*IMPORT, "-o", "r.h5", ranks=2)
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))

    def test_network_that_is_cut_short(self):
        """An open file that is removed is read on; one that is cut short is not."""
        prune_inputs(self)
        job = [*prune_job("magnitude"), "-o", "r.h5", "--save-interval", 0]
        whole = os.path.realpath("net.h5")
        for ranks in (1, 3):
            os.unlink("net.h5")
            shutil.copy(whole, "net.h5")
            run = Background(job, ranks)
            self.addCleanup(run.close)
            before = len(saved("r.h5"))
            self.assertTrue(wait_until(lambda: len(saved("r.h5")) > before, run), run.said())
            os.truncate("net.h5", 5000)
            self.assertIn(run.wait(), (BAD_DATA, IO_FAILED), run.said())
            self.assertIn("net.h5", run.said())
            self.assertFalse(os.path.exists("r.h5"))
        os.unlink("net.h5")
        shutil.copy(whole, "net.h5")
        self.espalier(*job, ranks=2)
        self.assertEqual(content("r.h5"), content("magnitude.h5"))

    def test_input_that_a_writer_holds_or_has_left(self):
        """HDF5 marks and locks what is open for writing; what a writer has left is not whole."""
        prune_inputs(self)
        script = textwrap.dedent("""
            import h5py, os, signal, sys
            source = h5py.File("net.h5", "r")
            file = h5py.File("held.h5", "w", libver="latest")
            source.copy("layers", file)
            file.flush()
            print("open", flush=True)
            sys.stdin.read()
            os.kill(os.getpid(), signal.SIGKILL)
        """)
        with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            job = ["prune", "held.h5", "--method", "threshold", "--threshold", "0.1"]
            self.refused(*job, "-o", "r.h5", status=BAD_DATA, output="r.h5", words=["held.h5", "open"])
            writer.stdin.close()
            writer.wait()
        self.refused(*job, "-o", "r.h5", status=BAD_DATA, output="r.h5", words=["held.h5", "open"])


class FolderTest(ProgramTest):
    def setUp(self):
        super().setUp()
        os.makedirs("disk")
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "disk"], capture_output=True,
                                 check=False)
        if mounted.returncode:
            self.skipTest("takes the right to mount")
        self.addCleanup(subprocess.run, ["umount", f"{self.folder}/disk"], check=True)

    def test_a_folder_that_turns_read_only(self):
        prune_inputs(self)
        for ranks in (1, 3):
            run = Background([*prune_job("magnitude"), "-o", "disk/r.h5", "--save-interval", 0],
                             ranks)
            self.addCleanup(run.close)
            before = len(saved("disk/r.h5"))
            self.assertTrue(wait_until(lambda: len(saved("disk/r.h5")) > before + 3, run),
                            run.said())
            # Nothing is cut off that is open for writing: only what is opened from now on fails.
            shutil.move("disk/r.h5.units/manifest", "disk/kept")
            os.makedirs("disk/r.h5.units/manifest/in-the-way")
            self.assertIn(run.wait(), (IO_FAILED, NO_PERMISSION, 73), run.said())
            self.assertIn("disk/r.h5.units", run.said())
            shutil.rmtree("disk/r.h5.units/manifest")
            shutil.move("disk/kept", "disk/r.h5.units/manifest")
        self.espalier(*prune_job("magnitude"), "-o", "disk/r.h5", ranks=2)
        self.assertEqual(content("disk/r.h5"), content("magnitude.h5"))

    def test_read_only_from_the_start(self):
        prune_inputs(self)
        import_inputs_below = ["import", "--from", "graphchallenge", "--weights", "nowhere",
                               "--neurons", 4, "--layers", 1, "--bias", 0]
        subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
        self.refused(*prune_job("magnitude"), "-o", "disk/r.h5", status=NO_PERMISSION,
                     words=["disk"])
        self.refused(*import_inputs_below, "-o", "disk/r.h5", status=NO_INPUT, words=["nowhere"])
        self.assertEqual(os.listdir("disk"), [])


if __name__ == "__main__":
    main()
