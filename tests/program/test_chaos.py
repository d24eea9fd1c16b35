#!/usr/bin/env python3
"""Runs that are killed without warning, at any moment and in any way, and resumed on another number
of ranks, end with the bytes of a run that nobody disturbed.

CHAOS_RUNS sets the number of kills of infer (a few without it; half as many of prune and of
import), CHAOS_SEED what they are."""
# timeout: 600
import json
import os
import random
import shutil
import signal
import time

from resumable import (CALIBRATED, IMPORT, INFER, PRUNE, Background, calibrated_inputs, gone,
                       import_inputs, items_of, prune_inputs, samples_of, saved, slow_inputs,
                       wait_until)
from support import ProgramTest, content, main

RUNS = int(os.environ.get("CHAOS_RUNS", 4))
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns()))


class Kind:
    """A job that is killed: what it is, what it makes undisturbed, what its later runs may do
    otherwise."""

    def __init__(self, job, undisturbed="undisturbed.h5", start=(), finish=()):
        self.job = job
        self.undisturbed = undisturbed
        self.start = list(start)
        self.finish = list(finish)


class Tally:
    """What has been seen of one kind."""

    def __init__(self):
        self.kills = self.inside = self.resumes = self.skipped = 0
        self.outrun = 0  # runs that ended before they were killed
        self.shares = []  # of the work that was saved when the last run began
        self.lost = []  # seconds of work


class ChaosTest(ProgramTest):
    def setUp(self):
        super().setUp()
        print(f"CHAOS_SEED={SEED}", flush=True)
        self.dice = random.Random(SEED)

    def test_infer(self):
        slow_inputs(self, samples=10000)
        self.torment(RUNS, lambda: Kind(
            [*INFER, "-o", "r.h5"], start=["--wave-samples", 64],
            finish=["--wave-samples", 64 * self.dice.randint(1, 8)]))

    def test_prune(self):
        # Long enough to be hit; many units, but room for all groups.
        width, room = (1600, 3400) if RUNS >= 50 else (1200, 1800)
        prune_inputs(self, width=width, methods=())
        memory = ["--memory-per-rank", (96 << 20) + (room << 10)]

        def kind():
            name = self.dice.choice(list(PRUNE))
            if not os.path.exists(f"{name}.h5"):
                self.espalier("prune", "net.h5", *PRUNE[name], "-o", f"{name}.h5")
            return Kind(["prune", "net.h5", *PRUNE[name], "-o", "r.h5"], undisturbed=f"{name}.h5",
                        start=memory,
                        finish=self.dice.choice([memory, ["--memory-per-rank", "1GiB"]]))

        self.torment(max(RUNS // 2, 3), kind)

    def test_calibrated(self):
        calibrated_inputs(self)
        for name, method in CALIBRATED.items():
            self.espalier("prune", "net.h5", *method, "-o", f"{name}.h5")

        def kind():
            name = self.dice.choice(list(CALIBRATED))
            return Kind(["prune", "net.h5", *CALIBRATED[name], "-o", "r.h5"],
                        undisturbed=f"{name}.h5")

        self.torment(max(RUNS // 2, 3), kind)

    def test_import(self):
        import_inputs(self)
        self.torment(max(RUNS // 2, 3), lambda: Kind([*IMPORT, "-o", "r.h5"]))

    def torment(self, runs, choose):
        tally = Tally()
        # A few more where luck has left every last run without finished units, or hit none of the
        # runs in the middle.
        while tally.kills < runs or (min(tally.skipped, tally.inside) == 0 and
                                     tally.kills < 4 * runs):
            kind = choose()
            ranks = self.dice.randint(1, 4)
            share = 0
            for _ in range(self.dice.randint(1, 3)):
                share = self.kill_once(kind, ranks, tally)
                if share > 0.6:
                    break  # so little is left that a kill would seldom come before its end
                ranks = self.dice.choice([n for n in range(1, 5) if n != ranks])
            self.resume(kind, ranks, share, tally)
            self.assertLessEqual(tally.outrun, runs + 2, "the job is too short to be killed")
        mean = sum(tally.lost) / max(len(tally.lost), 1)
        print(f"{self.id()}: {tally.kills} kills, {tally.inside} of them between the first and the "
              f"last unit; {tally.resumes} times resumed to the end, {tally.skipped} times from "
              f"finished units, on average with {sum(tally.shares) / tally.resumes:.0%} of the work "
              f"done; on average {mean * 1000:.1f} ms of work lost by a kill", flush=True)
        # A few kills of short jobs on a busy machine prove little about how many hit; many must.
        self.assertGreaterEqual(tally.inside, 0.9 * tally.kills if runs >= 50 else 1)
        self.assertGreater(tally.skipped, 0)

    def resume(self, kind, ranks, share, tally):
        """Runs the job to its end, and looks at what it did."""
        units = len(saved("r.h5"))
        self.espalier(*kind.job, *kind.finish, "--report", "run.json", ranks=ranks)
        with open("run.json", encoding="utf-8") as file:
            told = json.load(file)
        self.assertEqual(told["units_skipped"], units)
        if share == 1:
            self.assertEqual(told["units_done"], 0)
        tally.skipped += units > 0
        tally.shares.append(share)
        tally.resumes += 1
        self.assertEqual(content("r.h5"), content(kind.undisturbed))
        self.assertFalse(os.path.exists("r.h5.units"))
        os.unlink("r.h5")

    def kill_once(self, kind, ranks, tally):
        """Starts a run and kills it when it has saved a random share of what was left.
        Returns the share of all work that is saved then."""
        before = samples_of(saved("r.h5"))
        interval = self.dice.choice([0, 0, 0.02])
        part = self.dice.uniform(0, 0.6)
        run = Background([*kind.job, *kind.start, "--save-interval", interval], ranks,
                         launched=self.dice.random() < 0.5 or ranks > 1)

        items = 0

        def far_enough():
            nonlocal items
            done = samples_of(saved("r.h5"))
            items = items or items_of("r.h5")
            return done > before and done >= before + part * (items - before)

        try:
            if not wait_until(far_enough, run):
                self.assertEqual(run.wait(), 0, run.said())
                tally.outrun += 1
                return self.take_finished(kind)
            time.sleep(self.dice.uniform(0, 0.01))
            ranks_of_run = run.rank_pids()
            victims = {"rank": [self.dice.choice(ranks_of_run or [run.process.pid])],
                       "mpirun": [run.process.pid],
                       "node": [run.process.pid, *ranks_of_run]}[
                           self.dice.choice(["rank", "mpirun", "node"])]
            killed = time.time()
            for pid in victims:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.assertNotEqual(run.wait(), 0, run.said())
            self.assertTrue(gone(ranks_of_run), "ranks outlive their mpirun")
            tally.kills += 1
            if os.path.exists("r.h5"):  # killed when its work was done: it counts as a miss
                return self.take_finished(kind)
            after = samples_of(saved("r.h5"))
            tally.lost.append(max(killed - os.path.getmtime("r.h5.units/manifest"), 0))
            tally.inside += before < after < items
            return after / items
        finally:
            run.close()

    def take_finished(self, kind):
        """Away with a result that came before the kill, for another start; 0 as the share saved."""
        self.assertEqual(content("r.h5"), content(kind.undisturbed))
        os.unlink("r.h5")
        shutil.rmtree("r.h5.units", ignore_errors=True)
        return 0


if __name__ == "__main__":
    main()
