#!/usr/bin/env python3
"""What a killed run has left is resumed by the same job only, and only if it is whole."""
# timeout: 180
import os
import shutil
import signal

from resumable import INFER, Background, gone, report, saved, slow_inputs, wait_until
from support import ProgramTest, content, main

SAMPLES = 5000


def restore():
    shutil.rmtree("r.h5.units", ignore_errors=True)
    shutil.copytree("whole.units", "r.h5.units")


def damage(path, harm):
    if harm == "remove":
        os.unlink(path)
    elif harm == "cut":
        os.truncate(path, os.path.getsize(path) - 3)
    else:
        with open(path, "r+b") as file:
            file.seek(10)
            byte = file.read(1)
            file.seek(10)
            file.write(bytes([byte[0] ^ 1]))


class RefusalTest(ProgramTest):
    """What was saved is not taken for something else."""

    def setUp(self):
        super().setUp()
        slow_inputs(self, samples=SAMPLES)
        self.job = [*INFER, "--wave-samples", 64, "-o", "r.h5"]
        run = Background([*self.job, "--save-interval", 0], 2)
        self.addCleanup(run.close)
        self.assertTrue(wait_until(lambda: len(saved("r.h5")) > 4, run), run.said())
        pids = run.rank_pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        run.wait()
        self.assertTrue(gone(pids))
        self.assertFalse(os.path.exists("r.h5"))
        self.files = sorted(os.listdir("r.h5.units"))

    def test_another_option(self):
        job = [3 if word == 2 else word for word in self.job]
        self.refused(*job, status=65, output="r.h5", words=["r.h5.units", "top_k (2, now 3)"])

    def test_another_input(self):
        os.unlink("batch.h5")
        self.espalier("generate", "batch", "--features", 512, "--samples", SAMPLES, "--density",
                      "0.2", "--seed", 2, "-o", "batch.h5")
        self.refused(*self.job, status=65, output="r.h5",
                     words=["r.h5.units", "input 2", "--no-resume"])
        # Afresh it works.
        self.espalier(*self.job, "--no-resume", "--report", "run.json")
        self.assertEqual((report()["units_skipped"], report()["restarts"]), (0, 0))
        self.assertFalse(os.path.exists("r.h5.units"))

    def test_options_that_do_not_matter(self):
        self.espalier(*self.job[:-2], "-o", "r.h5", "--grid", "1x2", "--memory-per-rank", "1GiB",
                      "--report", "run.json", ranks=2)
        self.assertGreater(report()["units_skipped"], 4)

    def test_damage(self):
        shutil.copytree("r.h5.units", "whole.units")
        units = self.files[-1]
        self.assertTrue(units.endswith(".units"))
        for ranks, name, harm in ((1, "manifest", "flip"), (2, "manifest", "cut"),
                                  (2, units, "flip"), (1, units, "cut"), (1, units, "remove")):
            with self.subTest(name=name, harm=harm):
                restore()
                damage(f"r.h5.units/{name}", harm)
                run = self.espalier(*self.job, ranks=ranks, status=65)
                self.assertIn("r.h5.units", run.complaint())
                self.assertIn("--no-resume", run.complaint())
                self.assertFalse(os.path.exists("r.h5"))

    def test_two_runs_at_once(self):
        run = Background([*self.job, "--save-interval", 0], 1)
        self.addCleanup(run.close)
        before = len(saved("r.h5"))
        self.assertTrue(wait_until(lambda: len(saved("r.h5")) > before, run), run.said())
        line = self.espalier(*self.job, status=73).complaint()
        self.assertIn("another run", line)
        self.assertEqual(run.wait(), 0, run.said())

    def test_a_record_left_behind_by_a_finished_job(self):
        shutil.copytree("r.h5.units", "whole.units")
        self.espalier(*self.job)
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))
        restore()
        self.espalier(*self.job)
        self.assertFalse(os.path.exists("r.h5.units"))


if __name__ == "__main__":
    main()
