#!/usr/bin/env python3
"""What befalls jobs on a cluster: a node dies, an administrator requeues, the time is over. Each time
the job comes back by itself, goes on from what was saved, and ends with the bytes of an undisturbed
run."""
# label: night cluster
# timeout: 600
import os
import sys

from slurm import ENDED, SlurmTest, log_of, missing
from support import content, main, write_lines


class ClusterFaultsTest(SlurmTest):
    NODES = 3
    SAMPLES = 80000

    def assert_came_back_and_finished(self, number, limit=180):
        known = self.slurm.wait(number, ENDED, limit)
        self.assertEqual((known["JobState"], known["ExitCode"]), ("COMPLETED", "0:0"),
                         log_of(number))
        self.assertEqual(known["Restarts"], "1", log_of(number))
        self.assertIn("resuming r.h5", log_of(number))
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))
        self.assertFalse(os.path.exists("r.h5.units"))

    def test_a_node_crashes(self):
        number = self.submit("--save-interval", 0.1)
        self.wait_for_units(number)
        lost = self.slurm.job(number)["BatchHost"]
        self.slurm.mini("crash", lost)
        self.assert_came_back_and_finished(number)

    def test_requeued_by_hand(self):
        number = self.submit("--save-interval", 0.1)
        self.wait_for_units(number)
        self.slurm.run("scontrol", "requeue", number)
        self.assert_came_back_and_finished(number)

    def test_the_time_is_over(self):
        # Slurm counts minutes: the first run begins its work when little is left of its only one.
        write_lines("late.env", ['[ -n "${SLURM_RESTART_COUNT:-}" ] || sleep 53',
                                 "launch=(srun --mpi=pmix)"])
        number = self.submit(options=("--machine", "late.env", "-t", 1))
        self.slurm.wait(number, ("RUNNING",))
        self.slurm.wait(number, ("PENDING", *ENDED), 100)
        self.assertIn("stopped early by the end of the Slurm job's time", log_of(number))
        self.assert_came_back_and_finished(number)


if __name__ == "__main__":
    if missing():
        print(f"SKIPPED: {missing()}")
        sys.exit(0)
    main()
