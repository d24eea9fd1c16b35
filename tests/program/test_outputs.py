#!/usr/bin/env python3
"""What stands where an output should go: never lost, and not made twice."""
# timeout: 240
import os
import shutil

from support import ProgramTest, content, main, small_batch, small_network, write_lines


class OutputInPlaceTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.network = small_network(self)
        self.batch = small_batch(self)

    def test_something_else_in_place(self):
        for what in (lambda: write_lines("r.h5", ["precious"]),
                     lambda: shutil.copy(self.batch, "r.h5")):
            what()
            before = content("r.h5")
            self.refused("infer", self.network, self.batch, "-o", "r.h5", status=73,
                         words=["r.h5", "--force"])
            self.assertEqual(content("r.h5"), before)

    def test_another_run_in_place(self):
        self.espalier("infer", self.network, self.batch, "-o", "r.h5", "--output", "top")
        before = content("r.h5")
        self.refused("infer", self.network, self.batch, "-o", "r.h5", status=73, words=["r.h5"])
        self.assertEqual(content("r.h5"), before)
        for ranks in (1, 3):
            self.espalier("infer", self.network, self.batch, "-o", "r.h5", "--force", ranks=ranks)
        self.assertNotEqual(content("r.h5"), before)

    def test_the_same_job_again_does_nothing(self):
        jobs = [["infer", self.network, self.batch, "-o", "again.h5"],
                ["import", "--from", "graphchallenge", "--features", "batch.h5.tsv", "--neurons",
                 "40", "-o", "again.h5"],
                ["generate", "radixnet", "--neurons", "64", "--layers", "2", "-o", "again.h5"]]
        for job in jobs:
            self.espalier(*job, "--force")
            before = os.stat("again.h5")
            for ranks in (1, 3):
                self.espalier(*job, ranks=ranks)
            after = os.stat("again.h5")
            self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))

    def test_a_report_takes_the_place_of_reports_only(self):
        job = ["infer", self.network, self.batch, "-o", "r.h5", "--report"]
        write_lines("notes.json", ['{"version": 1}'])
        os.symlink("elsewhere", "link.json")
        os.mkfifo("pipe")
        for path, word in ((self.network, "no run report"), (self.batch, "no run report"),
                           ("notes.json", "no run report"), ("link.json", "regular"),
                           ("pipe", "regular")):
            before = None if word == "regular" else content(path)
            for more in ([], ["--force"]):
                self.refused(*job, path, *more, status=73, words=[path, word])
            self.assertEqual(before, None if word == "regular" else content(path))
        for path in ("r.h5", "./r.h5"):
            self.refused(*job, path, status=64, words=["--out"])
        self.assertFalse(os.path.exists("r.h5"))
        write_lines("run.json", [])
        os.truncate("run.json", 0)
        for ranks in (1, 2):
            self.espalier(*job, "run.json", ranks=ranks)
        self.espalier("verify", "r.h5", "--report", "run.json")

    def test_output_in_a_missing_folder(self):
        self.refused("infer", self.network, self.batch, "-o", "no/such/r.h5", status=73,
                     words=["no/such"])

    def test_output_is_a_folder(self):
        os.makedirs("r.h5")
        for arguments in ([], ["--force"]):
            self.refused("infer", self.network, self.batch, "-o", "r.h5", *arguments, status=73,
                         words=["r.h5"])


if __name__ == "__main__":
    main()
