"""A real Slurm of a few nodes on this machine, and what befalls jobs on it: many scenarios side by
side, each with jobs, files and mostly nodes of its own."""
import concurrent.futures
import contextlib
import os
import random
import re
import shutil
import subprocess
import tempfile
import threading
import time

from resumable import INFER, saved, slow_inputs
from support import ESPALIER, USUAL_START, ProgramTest, clean_environment, content

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
MINI = os.path.join(ROOT, "cluster", "mini-slurm.sh")
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "unshare")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY",
         "DEADLINE", "BOOT_FAIL")


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
        self.temporary = f"{self.folder}/tmp"
        os.mkdir(self.temporary)
        os.chmod(self.temporary, 0o1777)
        self.environment = {**USUAL_START, "MINI_SLURM_DIR": f"{self.folder}/d",
                            "TMPDIR": self.temporary,
                            "MINI_SLURM_PORT": str(random.randrange(10000, 31000, 1000))}
        # Held while a command talks to the controller, and while there is none.
        self.controller = threading.Lock()
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

    def run(self, *command, folder=None):
        """What a client of Slurm prints."""
        with self.controller:
            done = subprocess.run([*map(str, command)], capture_output=True, check=False, text=True,
                                  timeout=60, env=clean_environment(self.environment), cwd=folder)
        if done.returncode != 0:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def wait_until_written_down(self, limit=60):
        """What happened until now is on disk: a controller that crashes remembers it."""
        state = f"{self.environment['MINI_SLURM_DIR']}/state/job_state"
        now = time.time()
        while not os.path.exists(state) or os.path.getmtime(state) <= now:
            if time.time() > now + limit:
                raise AssertionError(f"{state} was not written in {limit} s")
            time.sleep(0.1)

    @contextlib.contextmanager
    def without_controller(self):
        with self.controller:
            self.mini("crash-controller")
            yield
            self.mini("boot-controller")

    def job(self, number):
        """What Slurm knows of a job, or of a task as in "12_3"."""
        words = self.run("scontrol", "show", "job", "-o", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def booked(self):
        """What has been written down of every job that ended: its number and state, in order."""
        with open(f"{self.environment['MINI_SLURM_DIR']}/completed-jobs", encoding="utf-8") as file:
            return [(int(number), state) for number, state in
                    re.findall(r"^JobId=(\d+) .*JobState=(\w+)", file.read(), re.MULTILINE)]


class Scenario:
    """Some jobs in a folder of their own."""

    def __init__(self, slurm, folder, user=()):
        self.slurm = slurm
        self.folder = folder
        self.user = user
        self.finished = set()    # jobs that may be booked as completed

    def path(self, name):
        return f"{self.folder}/{name}"

    def submit(self, *words):
        """The numbers of the jobs that `espalier submit` starts."""
        said = self.slurm.run(*self.user, ESPALIER, "submit", *words, folder=self.folder)
        return [int(line) for line in said.split()]

    def infer(self, *job, options=("-N", 2, "-n", 2)):
        """The number of a job that runs INFER in many small units."""
        return self.submit("-t", 5, *options, "--", *INFER, "-o", "r.h5", "--wave-samples", 64,
                           "--save-interval", 0.1, *job)[0]

    def log(self, number):
        with contextlib.suppress(FileNotFoundError), \
                open(self.path(f"slurm-{number}.out"), encoding="utf-8", errors="replace") as file:
            return file.read()
        return ""

    def check(self, condition, number, what):
        if not condition:
            raise AssertionError(f"{what}\n{self.slurm.job(number)}\n{self.log(number)}\n"
                                 + self.slurm.run("sinfo", "-N", "-o", "%N %t %E"))

    def wait(self, number, wanted, limit=150):
        """Waits until the job is in one of the states `wanted`; returns what Slurm knows of it."""
        end = time.monotonic() + limit
        while True:
            known = self.slurm.job(number)
            if known["JobState"] in wanted:
                return known
            self.check(time.monotonic() < end, number, f"not {wanted} after {limit} s")
            time.sleep(0.2)

    def wait_for_units(self, number, output="r.h5", limit=60):
        end = time.monotonic() + limit
        while not saved(self.path(output)):
            self.check(time.monotonic() < end, number, "no units")
            time.sleep(0.02)

    def ends(self, number, state, code=None, restarts=0):
        """The job comes to that end."""
        known = self.wait(number, ENDED)
        if state == "COMPLETED":
            self.finished.add(int(known["JobId"]))
        self.check(known["JobState"] == state, number, f"not {state}")
        self.check(code is None or known["ExitCode"] == code, number, f"exit code is not {code}")
        self.check(known["Restarts"] == str(restarts), number, f"not restarted {restarts} times")
        return known

    def completes(self, number, restarts=0, resumed=None, output="r.h5"):
        """The job is done, and its result is that of an undisturbed run."""
        self.ends(number, "COMPLETED", "0:0", restarts)
        resumed = restarts > 0 if resumed is None else resumed
        self.check(("resuming" in self.log(number)) == resumed, number, "resumed or not")
        same = content(self.path(output)) == content(self.path("undisturbed.h5"))
        self.check(same, number, "other bytes than those of an undisturbed run")
        self.check(not os.path.exists(self.path(output + ".units")), number, "units are left")


class SlurmTest(ProgramTest):
    """Runs scenarios side by side on a Slurm of `NODES` nodes."""

    NODES = 2
    SAMPLES = 16000

    def setUp(self):
        super().setUp()
        self.finished = []  # jobs that are rightly booked as completed
        self.slurm = Slurm(self.NODES)
        self.addCleanup(self.slurm.close)

    def scenario(self, name, user=()):
        folder = f"{self.folder}/{name}"
        os.mkdir(folder)
        slow_inputs(self, samples=self.SAMPLES, folder=folder)
        if user:
            shutil.chown(folder, "nobody", "nogroup")
        return Scenario(self.slurm, folder, user)

    def run_scenarios(self, **work):
        """Each is a function of a Scenario, or a pair of that and the user's command prefix."""
        works = {name: one if isinstance(one, tuple) else (one, ()) for name, one in work.items()}
        scenarios = {name: self.scenario(name, user) for name, (_, user) in works.items()}
        with concurrent.futures.ThreadPoolExecutor(len(works)) as threads:
            running = {name: threads.submit(function, scenarios[name])
                       for name, (function, _) in works.items()}
        for name, run in running.items():
            with self.subTest(scenario=name):
                run.result()
        booked = [number for number, state in self.slurm.booked() if state == "COMPLETED"]
        self.finished += [number for one in scenarios.values() for number in one.finished]
        self.assertEqual(sorted(booked), sorted(self.finished))
        self.assertEqual(os.listdir(self.slurm.temporary), [])
