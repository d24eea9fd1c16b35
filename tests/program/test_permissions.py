#!/usr/bin/env python3
"""What a user without rights sees: 77 and one line. Root reads everything, so root runs the program
as nobody, from a copy that nobody can reach."""
import os
import shutil

from support import ESPALIER, NOBODY, ProgramTest, main, small_batch, small_network


class PermissionTest(ProgramTest):
    @staticmethod
    def parent_folder():
        return "/tmp"  # the test's own folder may lie where nobody cannot go

    def setUp(self):
        super().setUp()
        self.network = small_network(self)
        self.batch = small_batch(self)
        os.makedirs("bin")
        here = os.path.dirname(os.path.realpath(ESPALIER))
        for name in ("espalier", "espalier-walk"):
            shutil.copy(os.path.join(here, name), "bin")
        os.makedirs("mine", mode=0o755)

    def as_user(self):
        """How a run of somebody without rights differs from one of our own."""
        return {"before": NOBODY if os.geteuid() == 0 else [],
                "program": f"{self.folder}/bin/espalier",
                "env": {"HOME": "/tmp", "TMPDIR": "/tmp"}}

    def refused(self, *arguments, words):
        super().refused(*arguments, status=77, words=words, **self.as_user())

    def test_readable_files_are_read(self):
        for ranks in (1, 3):
            self.espalier("inspect", self.network, ranks=ranks, **self.as_user())

    def test_unreadable_network(self):
        os.chmod(self.network, 0o000)
        self.refused("inspect", self.network, words=[self.network])
        self.refused("infer", self.network, self.batch, "-o", "r.h5", words=[self.network])

    def test_unreadable_text(self):
        os.chmod("net.h5.tsv/n40-l2.tsv", 0o000)
        os.chmod("batch.h5.tsv", 0o000)
        self.refused("import", "--from", "graphchallenge", "--weights", "net.h5.tsv", "--neurons",
                     "40", "--layers", "3", "--bias", "0", "-o", "n.h5", words=["n40-l2.tsv"])
        self.refused("import", "--from", "graphchallenge", "--features", "batch.h5.tsv",
                     "--neurons", "40", "-o", "b.h5", words=["batch.h5.tsv"])

    def test_unwritable_folder(self):
        os.chmod("mine", 0o555)
        self.refused("infer", self.network, self.batch, "-o", "mine/r.h5", words=["mine"])
        self.assertEqual(os.listdir("mine"), [])

    def test_unwritable_report_and_log(self):
        os.chmod("mine", 0o555)
        self.refused("inspect", self.network, "--report", "mine/run.json", words=["mine"])
        self.refused("inspect", self.network, "--log-dir", "mine/logs", words=["mine/logs"])

    def test_unreadable_configuration(self):
        with open("run.ini", "w", encoding="ascii") as file:
            file.write("threads = 1\n")
        os.chmod("run.ini", 0o000)
        self.refused("inspect", self.network, "--config", "run.ini", words=["run.ini"])


if __name__ == "__main__":
    main()
