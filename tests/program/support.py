"""Runs espalier as its users do, and holds every run to the promises that all runs share: the exit
status, one line that says what is wrong, no half-written output, no hang."""
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

ESPALIER = os.environ.get("ESPALIER", shutil.which("espalier") or "espalier")
MPIRUN = os.environ.get("MPIRUN", "mpirun")
DATA = os.environ.get("ESPALIER_DATA")

# Ranks share the machine's cores and are not bound to them.
MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_btl": "self,vader",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_osc": "^ucx",
    "OMPI_MCA_ess_singleton_isolated": "1",
}
# Without looking for other nodes and for graphics cards, a run starts in a sixth less.
QUICK_START = {
    "OMPI_MCA_plm": "isolated",
    "OMPI_MCA_rtc": "^hwloc",
    "OMPI_MCA_patcher": "^overwrite",
    "PMIX_MCA_gds": "hash",
    "HWLOC_PLUGINS_PATH": "/none",
}
# Changes to the environment of a run that has other nodes, or starts as users start it.
USUAL_START = dict.fromkeys(QUICK_START)
# Whether cross products are run in full, as program.every_case does at night.
EVERY_CASE = bool(os.environ.get("ESPALIER_EVERY_CASE"))
NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
# What no user should ever see.
INTERNALS = ["terminate called", "HDF5-DIAG", "Segmentation fault", "Backtrace", "assert",
             "AddressSanitizer", "runtime error:"]


class Run:
    """What one run of the program said."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    def complaint(self):
        """The one line with which it gave up."""
        return next(line for line in self.err.splitlines() if line.startswith("espalier: "))


def clean_environment(changes=None):
    """The environment without ESPALIER_* variables, which the program would read, and with the
    `changes`, of which None takes a variable away."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("ESPALIER_")}
    environment.update({**MPI_ENVIRONMENT, **QUICK_START, **(changes or {})})
    return {name: value for name, value in environment.items() if value is not None}


def stop(process):
    """Ends a process that hangs: mpirun first gets the chance to end its ranks."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    return "", ""


class ProgramTest(unittest.TestCase):
    """A test in a fresh folder, which is the working directory."""

    longMessage = True

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="espalier-", dir=self.parent_folder())
        os.chmod(self.folder, 0o755)
        self.shuffler = random.Random(self.id().split(".", 1)[1])
        self.decks = {}
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(os.chdir, before)

    @staticmethod
    def parent_folder():
        return None

    def one_of(self, *cases):
        """One of the cases, the last first, then from a shuffled deck of them: each comes up, but
        not with everything it could be crossed with. The same in every run. All with EVERY_CASE."""
        if EVERY_CASE:
            return cases
        deck = self.decks.get(cases, list(cases))
        self.decks[cases] = deck[:-1] or self.shuffler.sample(cases, len(cases))
        return deck[-1:]

    def run_command(self, command, env=None, limit=60, cwd=None):
        """Runs any command; a run beyond `limit` seconds is a hang, and fails the test."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=clean_environment(env), cwd=cwd,
                                   start_new_session=True)
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            out, err = stop(process)
            self.fail(f"hangs, no end after {limit} s: {' '.join(command)}\n{err!r}")
        return Run(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    @staticmethod
    def launch(arguments, ranks=1, program=ESPALIER, launched=None):
        """The command that runs the program alone (ranks=1) or under mpirun."""
        launched = ranks > 1 if launched is None else launched
        return [*([MPIRUN, "-q", "-n", str(ranks)] if launched else []), program,
                *map(str, arguments)]

    def espalier(self, *arguments, ranks=1, status=0, env=None, limit=60, before=(), cwd=None,
                 program=ESPALIER, launched=None):
        """Runs the program as launch() says, and checks what holds for any run."""
        command = [*before, *self.launch(arguments, ranks, program, launched)]
        run = self.run_command(command, env, limit, cwd)
        shown = f"{' '.join(command)}\nstatus {run.status}\n{run.out}\n{run.err}"
        self.assertEqual(run.status, status, shown)
        complaints = [line for line in run.err.splitlines() if line.startswith("espalier:")]
        self.assertEqual(len(complaints), 0 if status == 0 or not arguments else 1, shown)
        self.assertNotIn("fatal on rank", run.err, shown)
        for internal in INTERNALS:
            self.assertNotIn(internal, run.err, shown)
        self.assert_nothing_half_written(cwd or self.folder)
        return run

    def refused(self, *arguments, status, words, output=None, **more):
        """At 1 or 3 ranks the job ends with `status`, says all `words` in its one line, and makes
        no output."""
        for ranks in self.one_of(1, 3):
            with self.subTest(ranks=ranks, arguments=arguments):
                line = self.espalier(*arguments, ranks=ranks, status=status, **more).complaint()
                for word in words:
                    self.assertIn(word, line)
                if output:
                    self.assertFalse(os.path.exists(output), output)

    def assert_nothing_half_written(self, folder):
        for where, _, names in os.walk(folder):
            self.assertEqual([name for name in names if name.endswith(".part")], [], where)


def write_lines(path, lines):
    with open(path, "w", encoding="ascii") as file:
        file.writelines(line + "\n" for line in lines)
    return path


def write_triples(path, triples):
    """A TSV of 0-based (i, j, value)."""
    return write_lines(path, (f"{i + 1}\t{j + 1}\t{value:.9g}" for i, j, value in triples))


def ring_layer(neurons, shift, weight=0.5):
    """Each input feeds the output of its own number and the one `shift` further."""
    return [(i, (i + k) % neurons, weight) for i in range(neurons) for k in (0, shift)]


def small_network(test, path="net.h5", neurons=40, layers=3, bias=-0.25):
    """A network of rings, imported from text."""
    folder = path + ".tsv"
    os.makedirs(folder, exist_ok=True)
    for layer in range(1, layers + 1):
        write_triples(f"{folder}/n{neurons}-l{layer}.tsv", ring_layer(neurons, layer))
    test.espalier("import", "--from", "graphchallenge", "--weights", folder, "--neurons", neurons,
                  "--layers", layers, "--bias", bias, "--clamp", 32, "-o", path)
    return path


def small_batch(test, path="batch.h5", neurons=40, samples=25):
    """Sample s has ones at s and every seventh feature after it; every fifth sample is empty."""
    triples = [(s, (s + k) % neurons, 1) for s in range(samples) if s % 5
               for k in range(0, neurons, 7)]
    text = path + ".tsv"
    write_triples(text, triples)
    test.espalier("import", "--from", "graphchallenge", "--features", text, "--neurons", neurons,
                  "-o", path)
    return path


def content(path):
    with open(path, "rb") as file:
        return file.read()


def files_below(folder="."):
    return sorted(os.path.join(where, name) for where, _, names in os.walk(folder)
                  for name in names)


def can_mount():
    """Whether small disks can be made here: it takes root."""
    os.makedirs("probe", exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "probe"],
                             capture_output=True, text=True)
    if mounted.returncode == 0:
        subprocess.run(["umount", "probe"], check=True)
    os.rmdir("probe")
    return mounted.returncode == 0


def main():
    unittest.main(module=sys.modules["__main__"], verbosity=2)
