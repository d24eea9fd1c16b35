#!/usr/bin/env python3
"""Stopping a job in time and going on with it: signals and time limits."""
# timeout: 400
import os
import signal
import time

import h5py

from resumable import (IMPORT, INFER, PRUNE, STOPPED, Background, gone, import_inputs, items_of,
                       prune_inputs, report, samples_of, saved, slow_inputs, wait_until)
from support import ProgramTest, content, main


class StopTest(ProgramTest):
    SAMPLES = 8000

    def setUp(self):
        super().setUp()
        slow_inputs(self, samples=self.SAMPLES)
        self.units = [*INFER, "--wave-samples", 64, "-o", "r.h5"]

    def start(self, *more, ranks=1, env=None):
        run = Background([*self.units, *more, "--report", "run.json"], ranks, env)
        self.addCleanup(run.close)
        return run

    def assert_stopped_and_resumed(self, run, ranks, since):
        """The run has just been asked to stop: it saves and ends in time, and another one goes on."""
        self.assertEqual(run.wait(), STOPPED, run.said())
        self.assertLess(time.monotonic() - since, 10)
        self.assertIn("the same command goes on", run.said())
        self.assertEqual(report()["outcome"], "stopped early")
        self.assertGreater(report()["saves"], 0)
        self.assertGreater(report()["save_seconds"], 0)
        self.assertFalse(os.path.exists("r.h5"))
        done = saved("r.h5")
        self.assertGreater(len(done), 0)
        self.assertLess(samples_of(done), self.SAMPLES)
        self.assertEqual(report()["units_done"], len(done))
        self.espalier(*self.units, "--report", "run.json", ranks=ranks)
        self.assertEqual(report()["units_skipped"], len(done))
        self.assertEqual(report()["restarts"], 1)
        self.assertGreater(report()["units_done"], 0)
        # Rates are those of this run: what was skipped is not counted as computed.
        with h5py.File("net.h5") as network:
            weights = sum(layer["weight/indices_1"].size for layer in network["layers"].values())
        self.assertEqual(report()["samples"], self.SAMPLES)
        self.assertEqual(report()["edges_nominal"], (self.SAMPLES - samples_of(done)) * weights)
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))
        self.assertFalse(os.path.exists("r.h5.units"))
        os.unlink("r.h5")

    def test_signals_at_the_ranks(self):
        for number, ranks, ranks_after in ((signal.SIGINT, 1, 3), (signal.SIGTERM, 3, 1)):
            with self.subTest(signal=number, ranks=ranks):
                run = self.start("--save-interval", 0.1, ranks=ranks)
                self.assertTrue(wait_until(lambda: saved("r.h5"), run), run.said())
                # One rank is told, all stop.
                since = time.monotonic()
                os.kill(run.rank_pids()[-1], number)
                self.assert_stopped_and_resumed(run, ranks_after, since)

    def test_usr2_through_mpirun(self):
        run = self.start("--save-interval", 0.1, ranks=2)
        self.assertTrue(wait_until(lambda: saved("r.h5"), run), run.said())
        since = time.monotonic()
        os.kill(run.process.pid, signal.SIGUSR2)
        self.assert_stopped_and_resumed(run, 1, since)

    def test_usr1_saves_and_goes_on(self):
        run = self.start()  # on its own it would save after a minute
        self.assertTrue(wait_until(lambda: "memory of a rank" in run.said(), run))
        time.sleep(0.1)
        pid = run.rank_pids()[0]
        seen = False  # the record goes when the job is done, so it is looked for meanwhile
        while run.running() and not seen:
            os.kill(pid, signal.SIGUSR1)
            time.sleep(0.005)
            seen = len(saved("r.h5")) > 0
        self.assertTrue(seen, run.said())
        self.assertEqual(run.wait(), 0, run.said())
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))

    def test_a_second_interrupt_ends_at_once(self):
        run = self.start("--save-interval", 0)
        self.assertTrue(wait_until(lambda: saved("r.h5"), run), run.said())
        for _ in range(2):
            os.kill(run.process.pid, signal.SIGINT)
        self.assertIn(run.wait(), (-signal.SIGINT, STOPPED))
        self.espalier(*self.units)
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))

    def test_max_time(self):
        """The same command again and again, with a little more time each, gets to the end."""
        for ranks in self.one_of(1, 3):
            stops = skipped = 0
            for limit in range(1, 12):
                started = time.monotonic()
                run = self.start("--max-time", limit, ranks=ranks)
                status = run.wait()
                took = time.monotonic() - started
                skipped += report()["units_skipped"] > 0
                if status == 0:
                    break
                self.assertEqual(status, STOPPED, run.said())
                self.assertIn("stopped early", run.said())
                self.assertLess(took, limit + 3)  # mpirun starts and ends, too
                stops += 1
            self.assertEqual(content("r.h5"), content("undisturbed.h5"))
            self.assertGreater(stops, 0)
            self.assertGreater(skipped, 0)
            os.unlink("r.h5")

    def test_slurm_end_time(self):
        run = self.start(env={"SLURM_JOB_END_TIME": str(int(time.time()) + 2)})
        self.assertEqual(run.wait(), STOPPED, run.said())
        self.assertIn("Slurm", run.said())

    def test_a_time_in_which_nothing_fits(self):
        run = self.start("--max-time", 0.1)
        self.assertEqual(run.wait(), STOPPED, run.said())
        self.assertFalse(os.path.exists("r.h5"))


class LateSignalTest(ProgramTest):
    """The signal comes when the last unit is saved and the output is completed, or after that."""
    DELAYS = (0, 0.03, 0.06, 0.1, 0.15, 0.2)  # in seconds

    def signalled(self, run, number):
        """The status of a run that is signalled now."""
        since = time.monotonic()
        ranks = run.rank_pids()
        for pid in ranks:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # it has ended
        status = run.wait()
        self.assertIn(status, (0, STOPPED), run.said())
        self.assertLess(time.monotonic() - since, 10)
        self.assertTrue(gone(ranks))
        return status

    def late(self, job, undisturbed, ranks):
        job = [*job, "-o", "r.h5"]
        late = 0
        for n, delay in enumerate(self.DELAYS):
            run = Background([*job, "--save-interval", 0], ranks)
            self.addCleanup(run.close)
            # On a busy machine it may end unseen.
            if wait_until(lambda: 0 < items_of("r.h5") == samples_of(saved("r.h5")), run):
                late += 1
                time.sleep(delay)
                if self.signalled(run, (signal.SIGTERM, signal.SIGUSR2)[n % 2]) == STOPPED:
                    self.assertIn("the same command goes on", run.said())
                    self.espalier(*job, "--report", "run.json")
                    self.assertEqual(report()["units_done"], 0)
            self.assertIn(run.wait(), (0, STOPPED), run.said())
            self.assertEqual(content("r.h5"), content(undisturbed))
            self.assertFalse(os.path.exists("r.h5.units"))
            self.assertFalse(os.path.exists("r.h5.part"))
            os.unlink("r.h5")
        self.assertGreater(late, 0)

    def test_infer(self):
        slow_inputs(self, layers=2)
        self.late([*INFER, "--wave-samples", 640], "undisturbed.h5", 2)

    def test_import(self):
        import_inputs(self)
        self.late(IMPORT, "undisturbed.h5", 1)

    def test_prune(self):
        prune_inputs(self, width=600, methods=["magnitude"])
        self.late(["prune", "net.h5", *PRUNE["magnitude"]], "magnitude.h5", 3)


if __name__ == "__main__":
    main()
