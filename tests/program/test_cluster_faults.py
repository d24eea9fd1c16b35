#!/usr/bin/env python3
"""What takes long or starts ranks by mpirun: the time is over, a node crashes (kill -9 of all that
runs there, so MPI's files stay), a job is preempted. Each time the job comes back by itself, goes on
from what was saved, and ends with the bytes of an undisturbed run."""
# label: night cluster
# timeout: 600
import sys
import time

from slurm import SlurmTest, missing
from support import main, write_lines


def time_is_over(here):
    # Slurm counts minutes: the first run begins its work when little is left of its only one.
    write_lines(here.path("late.env"), ['[ -n "${SLURM_RESTART_COUNT:-}" ] || sleep 50',
                                        "launch=(srun --mpi=pmix --kill-on-bad-exit=0)"])
    number = here.infer(options=("-N", 2, "-n", 2, "-w", "n[1-2]", "--machine", "late.env", "-t", 1))
    here.wait(number, ("RUNNING",))
    here.wait(number, ("PENDING", "COMPLETED"), 120)
    here.check("stopped early by the end of the Slurm job's time" in here.log(number), number,
               "not stopped by its time")
    here.completes(number, restarts=1)


def time_is_over_under_mpirun(here):
    write_lines(here.path("late.env"), ['[ -n "${SLURM_RESTART_COUNT:-}" ] || sleep 50',
                                        "launch=(mpirun -q)"])
    number = here.infer(options=("-N", 2, "-n", 2, "-w", "n[3-4]", "--machine", "late.env", "-t", 1))
    here.wait(number, ("RUNNING",))
    here.wait(number, ("PENDING", "COMPLETED"), 120)
    here.check("stopped early by the end of the Slurm job's time" in here.log(number), number,
               "not stopped by its time")
    here.completes(number, restarts=1)


MPIRUN = ("--machine", "mpirun")


def asked_to_stop(here):
    number = here.infer(options=("-N", 2, "-n", 2, "-w", "n[5-6]", *MPIRUN))
    here.wait_for_units(number)
    here.slurm.run("scancel", "-b", "--signal=TERM", number)
    here.completes(number, restarts=1)
    here.check("asked to stop" not in here.log(number), number, "mpirun has not kept the 75")


def preempted(here):
    number = here.infer(options=("-N", 2, "-n", 4, "-w", "n[7-8]", *MPIRUN))
    here.wait_for_units(number)
    other = int(here.slurm.run("sbatch", "--parsable", "-p", "urgent", "-N", 2, "-n", 4, "-w",
                               "n[7-8]", "-t", 1, "--wrap", "srun --mpi=none hostname",
                               folder=here.folder))
    here.ends(other, "COMPLETED")
    here.completes(number, restarts=1)


def node_crashes(here):
    number = here.infer(options=("-N", 2, "-n", 2, "-w", "n[9-10]", *MPIRUN))
    here.wait_for_units(number)
    here.slurm.mini("crash", "n10")
    # mpirun notices before Slurm does.
    here.ends(number, "FAILED", "71:0")
    here.check("a rank or a node was lost" in here.log(number), number, "no word of it")
    here.slurm.mini("boot", "n10")
    here.completes(here.infer(options=("-N", 2, "-n", 2, "-w", "n[9-10]", *MPIRUN)), resumed=True)


def controller_restarts(here):
    """Nobody asked a running job to stop, so it does not."""
    number = here.infer()
    here.wait_for_units(number)
    here.slurm.wait_until_written_down()
    with here.slurm.without_controller():
        time.sleep(1)
    here.completes(number)


class ClusterFaultsTest(SlurmTest):
    NODES = 10

    def test_what_takes_long_and_what_mpirun_does(self):
        self.run_scenarios(
            time_is_over=time_is_over, time_is_over_under_mpirun=time_is_over_under_mpirun,
            asked_to_stop=asked_to_stop, preempted=preempted, node_crashes=node_crashes)

    def test_a_controller_that_crashes(self):
        # By itself: what happens in the controller's last moment may be forgotten.
        self.run_scenarios(controller_restarts=controller_restarts)


if __name__ == "__main__":
    if missing():
        print(f"SKIPPED: {missing()}")
        sys.exit(0)
    main()
