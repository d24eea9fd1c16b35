#!/usr/bin/env python3
"""espalier submit on a real Slurm: jobs that stop in time come back by themselves until they are
done, whatever befalls them, and no unfinished job is ever booked as completed."""
# label: full cluster
# timeout: 300
import os
import sys
import time

from resumable import INFER
from slurm import SlurmTest, missing
from support import NOBODY, main, ring_layer, write_triples


def asked_to_stop(here):
    number = here.infer(options=("-N", 2, "-n", 2, "-w", "n[1-2]"))
    here.wait_for_units(number)
    here.slurm.run("scancel", "--signal=USR2", number)
    here.completes(number, restarts=1)
    here.check("goes back into the queue" in here.log(number), number, "no word of it")


def cancelled(here):
    """It saves and does not come back; the next one goes on from there, as another job."""
    number = here.infer(options=("-N", 2, "-n", 2, "-w", "n[1-2]"))
    here.wait_for_units(number)
    here.slurm.run("scancel", number)
    here.ends(number, "CANCELLED")
    here.check(not os.path.exists(here.path("r.h5")), number, "there is a result")
    here.completes(here.infer(options=("-n", 1, "-w", "n3")), resumed=True)


def gets_nowhere(here):
    number = here.infer("--max-time", 0.05, options=("-n", 1, "-w", "n3"))
    here.ends(number, "FAILED", "75:0")
    here.check("not restarted again" in here.log(number), number, "no word of it")


def requeued_by_hand(here):
    number = here.infer(options=("-N", 2, "-n", 2, "-w", "n[3-4]"))
    here.wait_for_units(number)
    here.slurm.run("scontrol", "requeue", number)
    here.completes(number, restarts=1)


def preempted(here):
    """A job of a higher partition takes its nodes, which it gets back."""
    number = here.infer(options=("-N", 2, "-n", 4, "-w", "n[5-6]"))
    here.wait_for_units(number)
    other = int(here.slurm.run("sbatch", "--parsable", "-p", "urgent", "-N", 2, "-n", 4, "-w",
                               "n[5-6]", "-t", 1, "--wrap", "srun --mpi=none hostname",
                               folder=here.folder))
    here.ends(other, "COMPLETED")
    here.completes(number, restarts=1)


def node_crashes(here):
    number = here.infer(options=("-N", 2, "-n", 2, "--exclude", "n[1-6,10]"))
    here.wait_for_units(number)
    here.slurm.mini("crash", here.slurm.job(number)["BatchHost"])
    here.completes(number, restarts=1)


def controller_restarts(here):
    """Nobody asked a running job to stop, so it does not."""
    number = here.infer()
    here.wait_for_units(number)
    with here.slurm.without_controller():
        time.sleep(1)
    here.completes(number)


def array(here):
    """Tasks of an array are asked to stop and come back one by one; the merged result is whole."""
    first, merge = here.submit("-t", 5, "-n", 1, "--array", "3%2", "-w", "n10", "--", *INFER, "-o",
                               "r.h5", "--wave-samples", 64, "--save-interval", 0.1)
    here.check(here.slurm.job(merge)["JobState"] == "PENDING", merge, "waits for no part")
    here.wait_for_units(f"{first}_1", output="r.h5.1of3")
    here.slurm.run("scancel", "--signal=USR2", f"{first}_1")
    here.ends(f"{first}_1", "COMPLETED", restarts=1)
    for task in (2, 3):
        here.ends(f"{first}_{task}", "COMPLETED")
    here.completes(merge, resumed=False)


def chain(here):
    os.mkdir(here.path("weights"))
    for layer in (1, 2):
        write_triples(here.path(f"weights/n64-l{layer}.tsv"), ring_layer(64, layer))
    write_triples(here.path("images.tsv"), [(s, (s + k) % 64, 1) for s in range(9)
                                            for k in range(30)])
    import_ = ("import", "--from", "graphchallenge", "--neurons", 64)
    numbers = here.submit(
        "-t", 2, "-n", 1, "-w", "n10", "--",
        *import_, "--weights", "weights", "--layers", 2, "--bias", -0.25, "--clamp", 32, "-o",
        "w.h5", "--", *import_, "--features", "images.tsv", "-o", "b.h5", "--",
        "prune", "w.h5", "--method", "magnitude", "--keep", 200, "-o", "p.h5", "--",
        "--ntasks=2", "infer", "p.h5", "b.h5", "-o", "c.h5")
    here.check(len(numbers) == 4, numbers[0], f"{numbers} are not four jobs")
    for number in numbers:
        here.ends(number, "COMPLETED")
    here.check(os.path.exists(here.path("c.h5")), numbers[3], "no result")
    here.check("wrote" in here.log(numbers[2]), numbers[2], "nothing pruned")


def broken_chain(here):
    """What would follow a job that failed never starts, and does not wait for ever."""
    first, second, third = here.submit(
        "-t", 2, "-n", 1, "-w", "n10", "--", "prune", "nothing.h5", "--method", "magnitude",
        "--sparsity", 0.5, "-o", "p.h5", "--", "infer", "p.h5", "batch.h5", "-o", "r.h5", "--",
        "verify", "r.h5")
    here.ends(first, "FAILED", "66:0")
    here.ends(second, "CANCELLED")
    here.ends(third, "CANCELLED")


class ClusterTest(SlurmTest):
    NODES = 10

    def test_whatever_befalls_jobs(self):
        self.run_scenarios(
            asked_to_stop=asked_to_stop, cancelled=cancelled, gets_nowhere=gets_nowhere,
            requeued_by_hand=requeued_by_hand, preempted=preempted, node_crashes=node_crashes,
            array=array, broken_chain=broken_chain, chain=(chain, NOBODY))
        # By itself: what happens in the controller's last moment may be forgotten.
        self.run_scenarios(controller_restarts=controller_restarts)


if __name__ == "__main__":
    if missing():
        print(f"SKIPPED: {missing()}")
        sys.exit(0)
    main()
