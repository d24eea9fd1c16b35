"""Jobs that are stopped, killed and resumed: starting them in the background, watching what they
have saved, ending them in all the ways a cluster does."""
import atexit
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time

from support import ESPALIER, MPIRUN, clean_environment

INPUTS = ("net.h5", "batch.h5", "undisturbed.h5")


class Background:
    """A run of the program that goes on while the test watches."""

    def __init__(self, arguments, ranks, env=None, launched=None):
        launched = ranks > 1 if launched is None else launched
        command = [MPIRUN, "-q", "-n", str(ranks)] if launched else []
        self.launched = launched
        self.ranks = ranks
        self.errors = open(f"errors-{random.getrandbits(40)}", "w+b")
        self.process = subprocess.Popen([*command, ESPALIER, *map(str, arguments)],
                                        stdin=subprocess.DEVNULL, stdout=self.errors,
                                        stderr=self.errors, env=clean_environment(env),
                                        start_new_session=True)

    def running(self):
        return self.process.poll() is None

    def rank_pids(self):
        """The processes that do the work."""
        if not self.launched:
            return [self.process.pid]
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children",
                      encoding="ascii") as file:
                return [int(word) for word in file.read().split()]
        except FileNotFoundError:
            return []

    def wait(self, limit=60):
        """The exit status; a run beyond `limit` seconds is a hang."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"hangs, no end after {limit} s\n{self.said()}") from None

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def close(self):
        if self.running():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.errors.close()
        os.unlink(self.errors.name)


def saved(output):
    """The units that are safe on the disk, as (first, end) of samples."""
    try:
        with open(f"{output}.units/manifest", encoding="utf-8") as file:
            return sorted((unit[0], unit[1]) for unit in json.loads(file.readline())["units"])
    except FileNotFoundError:
        return []


def samples_of(units):
    return sum(end - first for first, end in units)


def wait_until(condition, run, limit=60):
    """Waits for `condition` while the run goes on; False if it ended before."""
    end = time.monotonic() + limit
    while not condition():
        if not run.running():
            return False
        if time.monotonic() > end:
            run.close()
            raise AssertionError(f"nothing happens for {limit} s")
        time.sleep(0.002)
    return True


def gone(pids, limit=20):
    """Waits until no process is left of `pids`."""
    end = time.monotonic() + limit
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


CACHE = tempfile.mkdtemp(prefix="espalier-inputs-")
os.chmod(CACHE, 0o755)
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
INFER = ["infer", "net.h5", "batch.h5", "--output", "full", "--top-k", 2, "--threads", 1]


def slow_inputs(test, layers=10, samples=8000, folder="."):
    """net.h5 and batch.h5 that keep INFER busy for a second or more, in many units, and what it
    gives if nobody disturbs it: made once for all tests of a script, linked into their folders."""
    kept = f"{CACHE}/{layers}-{samples}"
    if not os.path.isdir(kept):
        widths = ",".join(["512", *["2048"] * layers, "64"])
        test.espalier("generate", "random", "--layers", widths, "--density", "0.3", "--seed", 1,
                      "-o", "net.h5")
        test.espalier("generate", "batch", "--features", 512, "--samples", samples, "--density",
                      "0.2", "--seed", 1, "-o", "batch.h5")
        test.espalier(*INFER, "-o", "undisturbed.h5")
        os.makedirs(kept)
        for name in INPUTS:
            os.rename(name, f"{kept}/{name}")
    for name in INPUTS:
        os.symlink(f"{kept}/{name}", f"{folder}/{name}")
