#!/usr/bin/env python3
"""espalier submit on a real Slurm: jobs that stop in time come back by themselves until they are
done, and no unfinished job is ever booked as completed."""
# label: full cluster
# timeout: 180
import os
import sys

from slurm import ENDED, SlurmTest, log_of, missing
from support import content, main


class ClusterTest(SlurmTest):
    def test_submit_stop_cancel_and_come_back(self):
        # Asked to stop, it saves, goes back into the queue and then on to the end.
        number = self.submit("--save-interval", 0.1)
        self.wait_for_units(number)
        self.slurm.run("scancel", "--signal=USR2", number)
        known = self.slurm.wait(number, ENDED)
        self.assertEqual((known["JobState"], known["ExitCode"]), ("COMPLETED", "0:0"),
                         log_of(number))
        self.assertEqual(known["Restarts"], "1", log_of(number))
        self.assertIn("resuming r.h5", log_of(number))
        self.assertIn("goes back into the queue", log_of(number))
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))
        self.assertFalse(os.path.exists("r.h5.units"))
        os.unlink("r.h5")

        # A job that somebody cancels saves and does not come back; the next one goes on from there.
        number = self.submit("--save-interval", 0.1)
        self.wait_for_units(number)
        self.slurm.run("scancel", number)
        known = self.slurm.wait(number, ENDED)
        self.assertEqual(known["JobState"], "CANCELLED", log_of(number))
        self.assertEqual(known["Restarts"], "0")
        self.assertFalse(os.path.exists("r.h5"))
        number = self.submit()
        known = self.slurm.wait(number, ENDED)
        self.assertEqual(known["JobState"], "COMPLETED", log_of(number))
        self.assertIn("resuming r.h5", log_of(number))
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))

    def test_a_job_that_gets_nowhere_is_not_restarted(self):
        number = self.submit("--max-time", 0.05)
        known = self.slurm.wait(number, ENDED)
        self.assertEqual((known["JobState"], known["ExitCode"]), ("FAILED", "75:0"),
                         log_of(number))
        self.assertIn("not restarted again", log_of(number))
        self.assertEqual(known["Restarts"], "0")


if __name__ == "__main__":
    if missing():
        print(f"SKIPPED: {missing()}")
        sys.exit(0)
    main()
