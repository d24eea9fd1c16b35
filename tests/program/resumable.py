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

import numpy as np

import safetensors_format as st
from pruning import write_network
from support import (ESPALIER, MPIRUN, ProgramTest, clean_environment, ring_layer,
                     write_triples)

STOPPED = 75


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
        if self.errors.closed:
            return
        if self.running():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.errors.close()
        os.unlink(self.errors.name)


def saved(output):
    """The units that are safe on the disk, as (first, end) of items: samples, or rows."""
    try:
        with open(f"{output}.units/manifest", encoding="utf-8") as file:
            return sorted((unit[0], unit[1]) for unit in json.loads(file.readline())["units"])
    except FileNotFoundError:
        return []


def items_of(output):
    """Of the whole job, 0 as long as nothing of it is saved."""
    try:
        with open(f"{output}.units/manifest", encoding="utf-8") as file:
            return json.loads(file.readline())["items"]
    except FileNotFoundError:
        return 0


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


def report(path="run.json"):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class StoppingTest(ProgramTest):
    """Jobs that save after every unit and are ended from outside."""

    def stop_after(self, units, *job, out="r.h5", ranks=1, number=signal.SIGUSR2, interval=0):
        """Starts the job and ends a rank by a signal when it has saved some units."""
        run = Background([*job, "--save-interval", interval, "--report", "run.json"], ranks)
        self.addCleanup(run.close)
        self.assertTrue(wait_until(lambda: len(saved(out)) >= units, run), run.said())
        since = time.monotonic()
        os.kill(run.rank_pids()[-1], number)
        if number == signal.SIGKILL:
            self.assertNotIn(run.wait(), (0, STOPPED), run.said())
        else:
            self.assertEqual(run.wait(), STOPPED, run.said())
            self.assertLess(time.monotonic() - since, 10)
            self.assertIn("the same command goes on", run.said())
        self.assertFalse(os.path.exists(out))


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


def link_inputs(test, name, make, folder="."):
    """Files that `make` has made once for all tests of a script, linked into `folder`."""
    kept = f"{CACHE}/{name}"
    if not os.path.isdir(kept):
        before = set(os.listdir())
        make()
        os.makedirs(kept)
        for made in sorted(set(os.listdir()) - before):
            os.rename(made, f"{kept}/{made}")
    for made in os.listdir(kept):
        os.symlink(f"{kept}/{made}", f"{folder}/{made}")


def slow_inputs(test, layers=10, samples=8000, folder="."):
    """net.h5 and batch.h5 that keep INFER busy for a second or more, in many units, and what it
    gives if nobody disturbs it."""
    def make():
        widths = ",".join(["512", *["2048"] * layers, "64"])
        test.espalier("generate", "random", "--layers", widths, "--density", "0.3", "--seed", 1,
                      "-o", "net.h5")
        test.espalier("generate", "batch", "--features", 512, "--samples", samples, "--density",
                      "0.2", "--seed", 1, "-o", "batch.h5")
        test.espalier(*INFER, "-o", "undisturbed.h5")

    link_inputs(test, f"infer-{layers}-{samples}", make, folder)


# With so little memory, pieces of a network are small, and units many.
LITTLE_MEMORY = ["--memory-per-rank", str((96 << 20) + (900 << 10))]
PRUNE = {
    "magnitude": ["--method", "magnitude", "--sparsity", 0.6],
    "layers": ["--method", "magnitude", "--sparsity", 0.5, "--scope", "layer", "--exclude", "2$"],
    "random": ["--method", "random", "--keep", 100000, "--seed", 3],
    "threshold": ["--method", "threshold", "--threshold", 0.02],
    "nm": ["--method", "nm", "--pattern", "2:4"],
    "l1": ["--method", "l1", "--sparsity", 0.7],
    "rows": ["--method", "group", "--unit", "row", "--sparsity", 0.5],
    "columns": ["--method", "group", "--unit", "column", "--sparsity", 0.5],
    "blocks": ["--method", "group", "--unit", "block:12x12", "--sparsity", 0.5],
    "bias": ["--method", "bias"],
    "lamp": ["--method", "lamp", "--sparsity", 0.7],
}


def prune_inputs(test, width=300, methods=tuple(PRUNE)):
    """net.h5 whose pruning takes many units, and what `methods` of PRUNE make of it undisturbed."""
    def make():
        widths = ",".join([str(width)] * 9)
        test.espalier("generate", "random", "--layers", widths, "--density", "0.4", "--seed", 1,
                      "-o", "net.h5")
        for name in methods:
            test.espalier("prune", "net.h5", *PRUNE[name], "-o", f"{name}.h5")

    link_inputs(test, f"prune-{width}", make)


def prune_job(name):
    return ["prune", "net.h5", *PRUNE[name], *LITTLE_MEMORY]


# Methods that take layer by layer, by what the samples or the statistics say of its inputs.
SAMPLES, NORMS, GRAMS = (["--calibrate", "batch.h5"], ["--activation-stats", "norms.safetensors"],
                         ["--activation-stats", "grams.safetensors"])
CALIBRATED = {
    "wanda": ["--method", "wanda", "--sparsity", 0.7, *SAMPLES],
    "rounds": ["--method", "wanda", "--sparsity", 0.7, "--rounds", 2, "--profile", "owl", *SAMPLES],
    "sparsegpt": ["--method", "sparsegpt", "--sparsity", 0.6, "--exclude", "2$", *SAMPLES],
    "compensate": ["--method", "bias", "--sparsity", 0.6, *SAMPLES],
    "update": ["--method", "magnitude", "--sparsity", 0.8, "--update", *SAMPLES],
    "norms": ["--method", "wanda", "--sparsity", 0.7, "--scope", "layer", *NORMS],
    "grams": ["--method", "sparsegpt", "--sparsity", 0.6, "--update", *GRAMS],
}
ROW_BY_ROW = ["--method", "wanda", "--sparsity", 0.5, *NORMS]
CALIBRATED_LAYERS, CALIBRATED_WIDTH = 100, 96


def calibrated_inputs(test):
    """A deep network as net.h5, half as large as bf16.h5 and f16.h5, and as the models
    bf16.safetensors and f16.safetensors; samples for it, norms and Gram matrices."""
    def make():
        random = np.random.default_rng(3)
        names = [f"fc{n}" for n in range(CALIBRATED_LAYERS)]
        shape = (CALIBRATED_WIDTH, CALIBRATED_WIDTH)
        layers = [random.standard_normal(shape).astype("f4") / np.float32(8) for _ in names]
        write_network("net.h5", layers, "DMAT", names=names,
                      biases=[random.standard_normal(shape[0]).astype("f4") for _ in names])
        test.espalier("generate", "batch", "--features", shape[1], "--samples", 70, "--density",
                      "0.5", "--seed", 1, "-o", "batch.h5")
        inputs = [np.abs(random.standard_normal((shape[1], 200))) for _ in names]
        for path, kind, of in (("norms", "norms", lambda x: np.sqrt(np.sum(x ** 2, axis=1))),
                               ("grams", "gram", lambda x: x @ x.T)):
            st.write(f"{path}.safetensors", {f"{name}.{kind}": st.Tensor.of("F32", of(x))
                                             for name, x in zip(names, inputs)})
        with open("layers.json", "w", encoding="ascii") as file:
            json.dump([{"weight": f"{name}.weight", "activation": "relu"} for name in names], file)
        for dtype in ("bf16", "f16"):
            st.write(f"{dtype}.safetensors", {
                f"{name}.weight": st.Tensor.of(dtype.upper(), weights)
                for name, weights in zip(names, layers)})
            test.espalier("import", "--from", "safetensors", "--model", f"{dtype}.safetensors",
                          "--layers-file", "layers.json", "-o", f"{dtype}.h5")

    link_inputs(test, "calibrated", make)


IMPORT_LAYERS, IMPORT_NEURONS = 150, 256
IMPORT = ["import", "--from", "graphchallenge", "--weights", "text", "--neurons", IMPORT_NEURONS,
          "--layers", IMPORT_LAYERS, "--bias", -0.3]


def import_inputs(test):
    """A folder of text whose import takes many units, and the network that comes of it."""
    def make():
        os.makedirs("text")
        for layer in range(1, IMPORT_LAYERS + 1):
            write_triples(f"text/n{IMPORT_NEURONS}-l{layer}.tsv",
                          ring_layer(IMPORT_NEURONS, layer, 1 / layer if layer % 3 else 0.5))
        test.espalier(*IMPORT, "-o", "undisturbed.h5")

    link_inputs(test, "import", make)
