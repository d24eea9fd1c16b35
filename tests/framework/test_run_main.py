"""How a program ends: exit status, what it says, and that no rank waits for ever."""

import os
import subprocess
import unittest

MPIRUN = os.environ["MPIRUN"]
PROGRAM = os.environ["PROGRAM"]
LIMIT_SECONDS = 40


def end(ending, ranks):
    """Exit status, standard output and the program's own lines of standard error."""
    command = [PROGRAM, ending]
    if ranks > 0:
        command = [MPIRUN, "-n", str(ranks)] + command
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    lines = [line for line in done.stderr.splitlines() if line.startswith("espalier: ")]
    return done.returncode, done.stdout, lines


# Alone, under mpirun on 1 rank, and on several.
RANKS = [0, 1, 3]


class RunMain(unittest.TestCase):
    def test_done(self):
        for ranks in RANKS:
            with self.subTest(ranks=ranks):
                self.assertEqual(end("done", ranks), (0, f"done on {max(1, ranks)} ranks", []))

    def test_the_status_of_the_story_is_the_exit_status(self):
        for ranks in RANKS:
            with self.subTest(ranks=ranks):
                status, _, lines = end("stopped", ranks)
                self.assertEqual((status, lines), (75, []))

    def test_a_shared_error_is_told_once(self):
        for ranks in RANKS:
            with self.subTest(ranks=ranks):
                status, _, lines = end("shared", ranks)
                self.assertEqual((status, lines), (66, ["espalier: layer 7 is missing"]))

    def test_an_error_on_one_rank_ends_all(self):
        for ranks in RANKS:
            with self.subTest(ranks=ranks):
                status, _, lines = end("error", ranks)
                fatal = "fatal on rank 2: " if ranks == 3 else ""
                self.assertEqual((status, lines), (74, [f"espalier: {fatal}the disk is full"]))

    def test_what_is_set_for_the_start_is_not_passed_on(self):
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith(("OMPI_MCA_pml", "OMPI_MCA_btl"))}
        for given, found in (({}, "nothing"), ({"OMPI_MCA_pml": "ob1"}, "ob1")):
            with self.subTest(given=given):
                done = subprocess.run([PROGRAM, "environment"], capture_output=True, text=True,
                                      timeout=LIMIT_SECONDS, env={**inherited, **given})
                self.assertEqual((done.returncode, done.stdout), (0, f"{found}, done on 1 ranks"))

    def check_fatal(self, ending, expected_status, message):
        for ranks in RANKS:
            with self.subTest(ranks=ranks):
                status, _, lines = end(ending, ranks)
                rank = max(1, ranks) - 1
                self.assertEqual(status, expected_status)
                self.assertEqual(len(lines), 1, lines)
                self.assertRegex(lines[0], f"^espalier: fatal on rank {rank}: {message(rank)}$")

    def test_a_bug_on_one_rank_ends_all(self):
        self.check_fatal("bug", 70, lambda rank:
                         r"framework/prog_run_main\.cpp:\d+: violated: rows are sorted")

    def test_running_out_of_memory_on_one_rank_ends_all(self):
        self.check_fatal("memory", 69, lambda rank: f"out of memory on rank {rank}")

    def test_an_unexpected_exception_on_one_rank_ends_all(self):
        self.check_fatal("surprise", 70, lambda rank: "index 7")

    def test_what_is_no_exception_class_ends_all(self):
        self.check_fatal("unknown", 70, lambda rank: "an exception of unknown type")

    def test_an_error_that_only_some_ranks_share_ends_all_and_is_told_once(self):
        status, _, lines = end("shared_by_some", 3)
        self.assertEqual((status, lines), (65, ["espalier: fatal on rank 1: damaged shard"]))

    def test_a_rank_that_hangs_ends_all_and_is_told_apart(self):
        for ranks in RANKS:
            with self.subTest(ranks=ranks):
                status, _, lines = end("hangs", ranks)
                self.assertEqual(status, 71)
                culprit = f"rank {max(1, ranks) - 1} has made no progress for 1 s while it reads"
                self.assertEqual(len([line for line in lines if culprit in line]), 1, lines)
                self.assertEqual(len([line for line in lines if "between two phases" in line]),
                                 max(1, ranks) - 1, lines)

    def test_the_line_is_never_lost(self):
        for _ in range(10):
            status, _, lines = end("error", 2)
            self.assertEqual((status, lines),
                             (74, ["espalier: fatal on rank 1: the disk is full"]))


if __name__ == "__main__":
    unittest.main()
