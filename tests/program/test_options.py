#!/usr/bin/env python3
"""The command line: what is refused, what wins over what, what --help and --print-config say."""
# timeout: 300
import os

from support import ProgramTest, files_below, main, small_batch, small_network, write_lines

JOBS = ["import", "export", "generate", "prune", "infer", "inspect", "verify"]


class HelpTest(ProgramTest):
    def test_help_lists_every_job(self):
        for ranks in self.one_of(1, 3):
            out = self.espalier("--help", ranks=ranks).out
            self.assertEqual(out.count("usage: espalier"), 1)
            for job in JOBS:
                self.assertIn(f"\n  {job} ", out)
            self.assertIn("65 bad or damaged data", out)

    def test_each_job_explains_itself(self):
        for job in JOBS:
            out = self.espalier(job, "--help").out
            self.assertTrue(out.startswith(f"usage: espalier {job} "), out)
            self.assertIn("--memory-per-rank", out)
            self.assertIn("Examples:\n", out)
            self.assertIn(f"espalier {job} ", out.split("Examples:")[1])
        self.assertEqual(self.espalier("infer", "--help", ranks=3).out.count("Examples:"), 1)

    def test_version_names_the_libraries(self):
        for ranks in self.one_of(1, 3):
            out = self.espalier("--version", ranks=ranks).out
            self.assertRegex(out, r"\Aespalier \d+\.\d+\.\d+ \(git .+\)\nMPI: .+\nHDF5: \d.+\n"
                                  r"SIMD: .+\n\Z")

    def test_alone_it_shows_its_usage(self):
        for ranks in self.one_of(1, 3):
            run = self.espalier(ranks=ranks, status=64)
            self.assertEqual(run.out, "")
            self.assertEqual(run.err.count("usage: espalier JOB"), 1)

    def test_unknown_job_lists_the_jobs(self):
        for ranks in self.one_of(1, 3):
            line = self.espalier("prunne", ranks=ranks, status=64).complaint()
            self.assertIn("'prunne'", line)
            for job in JOBS:
                self.assertIn(job, line)


class CommandLineTest(ProgramTest):
    def refused(self, *arguments, words, status=64, **more):
        super().refused(*arguments, words=words, status=status, **more)

    def test_unknown_option(self):
        self.refused("infer", "a", "b", "--zork", "3", words=["--zork", "espalier infer --help"])
        self.refused("infer", "a", "b", "-z", words=["-z"])

    def test_abbreviated_option(self):
        self.refused("infer", "a", "b", "--memory", "1GiB", words=["--memory-per-rank"])
        self.refused("infer", "a", "b", "--top_k", "3", words=["--top-k"])

    def test_option_given_twice(self):
        self.refused("infer", "a", "b", "-o", "c", "--out", "d", words=["--out", "twice"])

    def test_value_missing_or_too_much(self):
        self.refused("infer", "a", "b", "-o", words=["--out"])
        self.refused("infer", "a", "b", "-o", "c", "--force=3", words=["--force"])
        self.refused("inspect", "a", "b", words=["'b'"])

    def test_argument_missing(self):
        self.refused("infer", words=["network", "usage: espalier infer"])
        self.refused("infer", "a", words=["batch"])
        self.refused("infer", "a", "b", words=["--out"])

    def test_numbers_are_read_strictly(self):
        for threads in ("12abc", "", "1.5", "0x2", "99999999999999999999"):
            self.refused("inspect", "a", f"--threads={threads}", words=["--threads"])
        self.refused("inspect", "a", "--threads", "0", words=["--threads", "1 to"])
        self.refused("inspect", "a", "--threads", "-1", words=["--threads", "1 to"])

    def test_quiet_against_verbose(self):
        self.refused("inspect", "a", "--quiet", "--verbose", words=["--quiet", "--verbose"])

    def test_sizes_name_what_is_right(self):
        network, batch = small_network(self), small_batch(self)
        for size in ("4G", "4 GiB", "-1", "1.5", "many"):
            self.refused("infer", network, batch, "-o", "r.h5", "--memory-per-rank", size,
                         words=["--memory-per-rank", "KiB", "MiB", "GiB"])
        self.assertFalse(os.path.exists("r.h5"))

    def test_grid_must_fit_the_ranks(self):
        network, batch = small_network(self), small_batch(self)
        self.refused("infer", network, batch, "-o", "r.h5", "--grid", "2x2", words=["2x2"])
        self.refused("infer", network, batch, "-o", "r.h5", "--grid", "two", words=["two"])
        self.assertFalse(os.path.exists("r.h5"))

    def test_like_ranks_give_the_same_bytes_with_their_best_instructions(self):
        network, batch = small_network(self), small_batch(self)
        self.refused("infer", network, batch, "-o", "r.h5", "--reproducible", "maybe",
                     words=["--reproducible", "'maybe'", "on, off"])
        results = []
        for word in ("on", "off"):
            self.espalier("infer", network, batch, "-o", f"{word}.h5", "--reproducible", word,
                          ranks=2)
            with open(f"{word}.h5", "rb") as file:
                results.append(file.read())
        self.assertEqual(*results)

    def test_both_spellings_of_a_value(self):
        for arguments in (["--threads", "2"], ["--threads=2"]):
            config = self.espalier("inspect", "a", *arguments, "--print-config").out
            self.assertIn("threads = 2\n", config)


class SourcesTest(ProgramTest):
    """Command line > environment > configuration file > default."""

    def threads(self, *arguments, env=None, ranks=1):
        out = self.espalier("inspect", "a", "--print-config", *arguments, env=env, ranks=ranks).out
        return [line for line in out.splitlines() if line.startswith("threads")]

    def test_precedence(self):
        write_lines("run.ini", ["# threads of a rank", "", "threads = 3", "grid=1x1"])
        file = ["--config", "run.ini"]
        variable = {"ESPALIER_THREADS": "5"}
        for ranks in self.one_of(1, 3):
            self.assertEqual(self.threads(ranks=ranks), [])
            self.assertEqual(self.threads(*file, ranks=ranks), ["threads = 3"])
            self.assertEqual(self.threads(*file, env=variable, ranks=ranks), ["threads = 5"])
            self.assertEqual(self.threads(*file, "--threads", "7", env=variable, ranks=ranks),
                             ["threads = 7"])

    def test_the_file_may_be_named_by_a_variable(self):
        write_lines("run.ini", ["threads = 3"])
        self.assertEqual(self.threads(env={"ESPALIER_CONFIG": "run.ini"}), ["threads = 3"])

    def test_dashes_become_underscores(self):
        out = self.espalier("inspect", "a", "--print-config",
                            env={"ESPALIER_MEMORY_PER_RANK": "3GiB"}).out
        self.assertIn("memory-per-rank = 3GiB\n", out)

    def test_reserved_and_foreign_variables(self):
        # ESPALIER_DATA belongs to tests; --top-k to another job.
        self.threads(env={"ESPALIER_DATA": "/nowhere", "ESPALIER_TOP_K": "3"})

    def test_printed_configuration_is_accepted_again(self):
        first = self.espalier("infer", "my net.h5", " odd=name.h5 ", "-o", "#r.h5", "--top-k", "3",
                              "--compress", "--memory-per-rank", "1.5GiB", "--print-config").out
        with open("printed.ini", "w", encoding="utf-8") as file:
            file.write(first)
        for ranks in self.one_of(1, 3):
            again = self.espalier("infer", "--config", "printed.ini", "--print-config",
                                  ranks=ranks).out
            self.assertEqual(again, first)
        self.assertIn("compress = on\n", first)

    def refused_config(self, lines, words, env=None, status=78, file="run.ini"):
        write_lines("run.ini", lines)
        self.refused("inspect", "a", "--config", file, status=status, words=words, env=env)

    def test_bad_configuration_files(self):
        self.refused_config(["seed = 3", "thread = 3"], ["run.ini:2", "'thread'"])
        self.refused_config(["threads = 3x"], ["threads in run.ini", "'3x'"])
        self.refused_config(["threads = 3", "threads = 4"], ["run.ini:2", "twice"])
        self.refused_config(["threads"], ["run.ini:1"])
        self.refused_config(["[inspect]", "threads = 3"], ["run.ini:1"])
        self.refused_config(["print-config = on"], ["print-config"])
        self.refused_config(["config = other.ini"], ["'config'"])
        self.refused_config(["force = perhaps"], ["force in run.ini", "on"])
        self.refused_config([], ["nowhere.ini"], status=66, file="nowhere.ini")
        self.refused_config([], [self.folder], status=66, file=self.folder)

    def test_bad_variables(self):
        self.refused_config([], ["ESPALIER_THREAD "], env={"ESPALIER_THREAD": "3"})
        self.refused_config([], ["ESPALIER_THREADS", "'x'"], env={"ESPALIER_THREADS": "x"})
        self.refused_config([], ["ESPALIER_PRINT_CONFIG"], env={"ESPALIER_PRINT_CONFIG": "on"})


class DryRunTest(ProgramTest):
    def test_dry_run_writes_nothing(self):
        network, batch = small_network(self), small_batch(self)
        before = files_below()
        jobs = [["infer", network, batch, "-o", "r.h5"],
                ["import", "--from", "graphchallenge", "--weights", "net.h5.tsv", "--neurons",
                 "40", "--layers", "3", "--bias", "0", "-o", "n.h5"],
                ["import", "--from", "graphchallenge", "--features", "batch.h5.tsv", "--neurons",
                 "40", "-o", "b.h5"],
                ["generate", "radixnet", "--neurons", "64", "--layers", "2", "-o", "g.h5"]]
        for job in jobs:
            for ranks in self.one_of(1, 3):
                self.espalier(*job, "--dry-run", "--report", "run.json", "--log-dir", "logs",
                              ranks=ranks)
                self.assertEqual(files_below(), before, job)

    def test_dry_run_finds_faults(self):
        network, batch = small_network(self), small_batch(self, neurons=41)
        self.espalier("infer", network, batch, "-o", "r.h5", "--dry-run", status=65)
        self.espalier("infer", network, "nothing.h5", "-o", "r.h5", "--dry-run", status=66)


if __name__ == "__main__":
    main()
