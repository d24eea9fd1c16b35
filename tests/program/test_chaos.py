#!/usr/bin/env python3
"""Runs that are killed without warning, at any moment and in any way, and resumed on another number
of ranks, end with the bytes of a run that nobody disturbed.

CHAOS_RUNS sets the number of kills (a few without it), CHAOS_SEED what they are."""
# timeout: 240
import json
import os
import random
import shutil
import signal
import time

from resumable import INFER, Background, gone, samples_of, saved, slow_inputs, wait_until
from support import ProgramTest, content, main

RUNS = int(os.environ.get("CHAOS_RUNS", 4))
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns()))
SAMPLES = 20000


class ChaosTest(ProgramTest):
    def test_infer(self):
        slow_inputs(self, samples=SAMPLES)
        job = [*INFER, "-o", "r.h5"]
        print(f"CHAOS_SEED={SEED}", flush=True)
        dice = random.Random(SEED)
        inside = skipped = kills = resumes = kept = 0
        while kills < RUNS:
            ranks = dice.randint(1, 4)
            for _ in range(dice.randint(1, 3)):
                before, after = self.kill_once(job, ranks, dice)
                kills += 1
                inside += before < after < SAMPLES
                if after == SAMPLES:
                    break  # it had nothing left but to write the result: no more units to kill
                ranks = dice.choice([n for n in range(1, 5) if n != ranks])
            units = len(saved("r.h5"))
            self.espalier(*job, "--wave-samples", 64 * dice.randint(1, 8), "--report", "run.json",
                          ranks=ranks)
            with open("run.json", encoding="utf-8") as file:
                told = json.load(file)
            self.assertEqual(told["units_skipped"], units)
            skipped += units > 0
            kept += after
            resumes += 1
            self.assertEqual(content("r.h5"), content("undisturbed.h5"))
            self.assertFalse(os.path.exists("r.h5.units"))
            os.unlink("r.h5")
        print(f"{kills} kills, {inside} of them between the first and the last unit; {resumes} times "
              f"resumed to the end, {skipped} times from finished units, on average from "
              f"{kept / resumes:.0f} of {SAMPLES} samples", flush=True)
        self.assertGreaterEqual(inside, 0.9 * kills - 1)  # one of a few may miss
        self.assertGreater(skipped, 0)

    def kill_once(self, job, ranks, dice):
        """Starts a run and kills it when it has saved a random share of what was left.
        Returns how many samples were saved before and after."""
        before = samples_of(saved("r.h5"))
        goal = before + dice.uniform(0, 0.75) * (SAMPLES - before)
        interval = dice.choice([0, 0, 0.02])
        run = Background([*job, "--wave-samples", 64, "--save-interval", interval], ranks,
                         launched=dice.random() < 0.5 or ranks > 1)
        try:
            reached = wait_until(lambda: samples_of(saved("r.h5")) > max(goal, before), run)
            self.assertTrue(reached, run.said())
            time.sleep(dice.uniform(0, 0.01))
            ranks_of_run = run.rank_pids()
            victims = {"rank": [dice.choice(ranks_of_run or [run.process.pid])],
                       "mpirun": [run.process.pid],
                       "node": [run.process.pid, *ranks_of_run]}[
                           dice.choice(["rank", "mpirun", "node"])]
            for pid in victims:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.assertNotEqual(run.wait(), 0, run.said())
            self.assertTrue(gone(ranks_of_run), "ranks outlive their mpirun")
            if os.path.exists("r.h5"):  # killed when its work was done: it counts as a miss
                self.assertEqual(content("r.h5"), content("undisturbed.h5"))
                os.unlink("r.h5")
                shutil.rmtree("r.h5.units", ignore_errors=True)
                return before, before
            return before, samples_of(saved("r.h5"))
        finally:
            run.close()


if __name__ == "__main__":
    main()
