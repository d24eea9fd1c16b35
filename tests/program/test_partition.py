#!/usr/bin/env python3
"""Four hosts of namespaces: when the network to one is cut, the job script ends with 71 within ten
seconds, and the same script goes on from what was saved."""
# label: full cluster
# timeout: 180
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from resumable import INFER, gone, saved, slow_inputs
from slurm import ROOT
from support import ESPALIER, USUAL_START, ProgramTest, clean_environment, content, main

HOSTS = os.path.join(ROOT, "cluster", "test-hosts.sh")


def missing():
    """Why there can be no hosts here, or nothing."""
    if os.geteuid() != 0:
        return "hosts of namespaces need root"
    if not shutil.which("ip"):
        return "no ip here (Debian: iproute2)"
    name = f"eprobe{random.randrange(1000)}"
    probe = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return "network namespaces are not allowed here" if probe.returncode else None


class PartitionTest(ProgramTest):
    def setUp(self):
        super().setUp()
        slow_inputs(self, samples=12000)
        # A short path: sockets lie below it.
        self.place = tempfile.mkdtemp(prefix="hosts-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.place)
        self.environment = clean_environment({
            **USUAL_START, "TEST_HOSTS_DIR": f"{self.place}/d", "TMPDIR": self.place,
            "OMPI_MCA_orte_tmpdir_base": self.place,
            "TEST_HOSTS_PREFIX": f"e{random.randrange(100000)}x"})
        self.addCleanup(self.hosts, "down")
        self.hosts("up", "4")

    def hosts(self, *arguments):
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run([HOSTS, *arguments], env=self.environment, stdout=said,
                                  stderr=said, check=False, timeout=60)
            said.seek(0)
            self.assertEqual(done.returncode, 0, f"{arguments}")
            return said.read()

    def start(self):
        log = open("log", "wb")
        self.addCleanup(log.close)
        process = subprocess.Popen([HOSTS, "run", "bash", "job.sh"], env=self.environment,
                                   stdout=log, stderr=log, start_new_session=True)
        self.addCleanup(process.kill)
        return process

    def ranks(self):
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and self.is_ours(pid)]

    def is_ours(self, pid):
        try:
            return f"{self.folder}\0".encode() in content(f"/proc/{pid}/environ") \
                and b"OMPI_COMM_WORLD_RANK" in content(f"/proc/{pid}/environ")
        except OSError:
            return False

    def test_a_network_that_is_cut(self):
        with open(os.path.join(ROOT, "cluster", "machines", "mpirun.env"), encoding="utf-8") as file:
            profile = file.read()
        with open("hosts.env", "w", encoding="utf-8") as file:
            file.write(f"{profile}\n{self.hosts('profile')}\nlaunch+=(-n 4)\n")
        script = subprocess.run(
            [ESPALIER, "submit", "--dry-run", "--machine", "hosts.env", "--", *map(str, INFER),
             "-o", "r.h5", "--wave-samples", "64", "--save-interval", "0.1"],
            env=self.environment, check=True, capture_output=True, text=True).stdout
        with open("job.sh", "w", encoding="utf-8") as file:
            file.write(f"export HERE={self.folder}\n{script}")

        job = self.start()
        end = time.monotonic() + 60
        while not saved("r.h5"):
            self.assertIsNone(job.poll(), content("log"))
            self.assertLess(time.monotonic(), end, content("log"))
            time.sleep(0.02)
        ranks = self.ranks()
        self.assertEqual(len(ranks), 4)
        cut = time.monotonic()
        self.hosts("cut", "h3")
        self.assertEqual(job.wait(60), 71, content("log"))
        took = time.monotonic() - cut
        print(f"ended {took:.1f} s after the cut")
        self.assertLess(took, 10)
        self.assertIn(b"a rank or a node was lost", content("log"))
        self.assertFalse(os.path.exists("r.h5"))
        self.assertTrue(gone(ranks), "ranks live on")

        self.hosts("heal", "h3")
        self.assertEqual(self.start().wait(120), 0, content("log"))
        self.assertIn(b"resuming r.h5", content("log"))
        self.assertEqual(content("r.h5"), content("undisturbed.h5"))
        self.assertFalse(os.path.exists("r.h5.units"))


if __name__ == "__main__":
    if missing():
        print(f"SKIPPED: {missing()}")
        sys.exit(0)
    main()
