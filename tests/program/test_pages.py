#!/usr/bin/env python3
"""The man page and bash's completion are made from the options that the program takes: each job and
option of --help is in both, and man and bash take them without complaint."""
import re
import shutil
import subprocess

from support import ESPALIER, ProgramTest, main


class PagesTest(ProgramTest):
    def page(self, name):
        # It must not need MPI, which a build machine may lack.
        run = self.run_command([ESPALIER, f"--{name}"], env={"OMPI_MCA_pml": "none"})
        self.assertEqual((run.status, run.err), (0, ""))
        self.assertGreater(len(run.out), 1000)
        return run.out

    def jobs(self):
        listed = self.espalier("--help").out.split("Jobs:\n")[1].split("\n\n")[0]
        return re.findall(r"^  (\w+)", listed, re.MULTILINE)

    def options(self, job):
        run = self.run_command([ESPALIER, job, "--help"])
        return set(re.findall(r"^  (?:-\w \[ )?(--[a-z][\w-]*)", run.out, re.MULTILINE))

    def complete(self, *words):
        """What bash offers for the last of the words."""
        with open("completion", "w", encoding="utf-8") as file:
            file.write(self.page("completion"))
        script = ("source ./completion; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); "
                  "_espalier; printf '%s\\n' \"${COMPREPLY[@]}\"; complete -p espalier")
        done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True,
                              text=True, check=True)
        self.assertEqual(done.stderr, "")
        lines = done.stdout.splitlines()
        self.assertIn("_espalier espalier", lines[-1])
        return {line for line in lines[:-1] if line}

    def test_man_page(self):
        page = self.page("manual")
        plain = page.replace("\\-", "-")
        for job in self.jobs():
            self.assertIn(f"\n.SS {job}\n", page)
            for option in self.options(job) if job not in ("submit", "scaling") else ():
                self.assertIn(option, plain)
        for heading in ("NAME", "SYNOPSIS", "EXIT STATUS", "OPTIONS OF EVERY JOB"):
            self.assertIn(f"\n.SH {heading}\n", page)
        if not shutil.which("groff"):
            print("no groff here: not formatted")
            return
        done = subprocess.run(["groff", "-Kutf8", "-man", "-Tutf8", "-ww", "-rLL=100n"], input=page,
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")
        self.assertIn("espalier infer NETWORK BATCH -o RESULT", re.sub(r"\x1b\[\d*m|.\x08", "",
                                                                        done.stdout))

    def test_completion(self):
        jobs = self.jobs()
        self.assertGreater(len(jobs), 12)
        self.assertEqual(self.complete("espalier", ""), {*jobs, "--help", "--version"})
        self.assertEqual(self.complete("espalier", "in"), {"infer", "inspect"})
        for job in jobs:
            with self.subTest(job=job):
                self.assertEqual(self.complete(ESPALIER, job, "--"), self.options(job))
        self.assertEqual(self.complete("espalier", "infer", "--par"), {"--part"})
        self.assertEqual(self.complete("espalier", "infer", "net"), set())  # files


if __name__ == "__main__":
    main()
