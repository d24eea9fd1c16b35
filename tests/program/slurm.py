"""A real Slurm of a few nodes on this machine, for as long as a test class runs."""
import os
import random
import shutil
import subprocess
import tempfile
import time

from resumable import INFER, saved, slow_inputs
from support import ESPALIER, ProgramTest, clean_environment

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
MINI = os.path.join(ROOT, "cluster", "mini-slurm.sh")
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "unshare")


def missing():
    """Why there can be no Slurm here, or nothing."""
    if os.geteuid() != 0:
        return "a Slurm of namespaces needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"no {' '.join(absent)} here (Debian: slurmctld slurmd slurm-client munge)"
    probe = subprocess.run(["unshare", "--pid", "--mount", "--uts", "--fork", "--mount-proc",
                            "true"], capture_output=True, check=False)
    return "namespaces are not allowed here" if probe.returncode else None


class Slurm:
    def __init__(self, nodes):
        # A short path: sockets lie below it.
        self.folder = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.environment = {"MINI_SLURM_DIR": f"{self.folder}/d",
                            "MINI_SLURM_PORT": str(random.randrange(10000, 31000, 1000))}
        try:
            self.mini("start", str(nodes))
        except RuntimeError:
            self.close()
            raise
        for line in self.mini("env").splitlines():
            self.environment.update(word.split("=", 1) for word in line.split()[1:])

    def mini(self, *arguments):
        # Its daemons stay behind and must not hold our pipes.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run([MINI, *arguments], check=False, stdout=said, stderr=said,
                                  timeout=60, env=clean_environment(self.environment))
            said.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"mini-slurm.sh {' '.join(arguments)}: {said.read()}")
            return said.read()

    def close(self):
        self.mini("stop")
        shutil.rmtree(self.folder)

    def run(self, *command):
        done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, check=True, text=True,
                              timeout=60, env=clean_environment(self.environment))
        return done.stdout

    def job(self, number):
        """What Slurm knows of a job."""
        words = self.run("scontrol", "show", "job", "-o", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number, wanted, limit=90):
        """Waits until the job is in one of the states `wanted`; returns what Slurm knows of it."""
        end = time.monotonic() + limit
        while True:
            known = self.job(number)
            if known["JobState"] in wanted:
                return known
            if time.monotonic() > end:
                raise AssertionError(f"not {wanted} after {limit} s: {known}\n{log_of(number)}")
            time.sleep(0.05)


ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")


def log_of(number):
    try:
        with open(f"slurm-{number}.out", encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class SlurmTest(ProgramTest):
    """Jobs that run INFER on two nodes of a Slurm of `NODES` nodes."""

    NODES = 2
    SAMPLES = 20000

    def setUp(self):
        super().setUp()
        slow_inputs(self, samples=self.SAMPLES)
        self.slurm = Slurm(self.NODES)
        self.addCleanup(self.slurm.close)

    def submit(self, *job, options=()):
        """The number of the job that runs INFER with `job` as further options on two nodes."""
        return int(self.slurm.run(ESPALIER, "submit", "-N", 2, "-n", 2, "-t", 5, *options, "--",
                                  *INFER, "-o", "r.h5", "--wave-samples", 64, *job))

    def wait_for_units(self, number, limit=30):
        end = time.monotonic() + limit
        while not saved("r.h5"):
            self.assertLess(time.monotonic(), end, log_of(number))
            time.sleep(0.01)
