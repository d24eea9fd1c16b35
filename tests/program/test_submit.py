#!/usr/bin/env python3
"""What espalier submit writes: a script that bash takes, with every word as it was given."""
import os
import re
import subprocess

from support import ESPALIER, ProgramTest, main, write_lines


class SubmitTest(ProgramTest):
    def submit(self, *arguments, status=0):
        run = self.run_command([ESPALIER, "submit", *arguments])
        self.assertEqual(run.status, status, run.err)
        if status:
            self.assertEqual(len(run.err.splitlines()), 1, run.err)
            self.assertTrue(run.err.startswith("espalier: submit: "), run.err)
        return run

    def test_the_script(self):
        job = ["infer", "net.h5", "b atch's $HOME & @output@.h5", "-o", "r \"1\".h5", "--top-k", "2"]
        script = self.submit("--dry-run", "-N", "2", "--ntasks=4", "--exclusive", "--comment",
                             "two words", "--restarts", "7", "--", *job).out
        directives = re.findall("^#SBATCH (.*)$", script, re.MULTILINE)
        self.assertEqual(directives, ["--job-name=espalier-infer", "--requeue",
                                      "--open-mode=append", "-N 2", "--ntasks=4", "--exclusive",
                                      '--comment "two words"'])
        self.assertEqual(re.findall("^most_restarts=(.*)$", script, re.MULTILINE), ["7"])
        self.assertNotRegex(script, "@(sbatch|machine|profile|folder|command|restarts|name)@")
        write_lines("job.sh", [script])
        self.run_command(["bash", "-n", "job.sh"])
        # What it would start is what was given, and the record lies beside the output.
        lines = [line for line in script.splitlines() if line.startswith(("command=", "output="))]
        shown = subprocess.run(["bash", "-c", "\n".join(lines) + "\n" +
                                "printf '%s\\0' \"${command[@]}\" \"$output\""],
                               capture_output=True, check=True).stdout.decode().split("\0")
        self.assertEqual(shown[1:-1], [*job, 'r "1".h5'])
        self.assertEqual(os.path.realpath(shown[0]), os.path.realpath(ESPALIER))

    def test_machines(self):
        job = ["--", "infer", "a", "b", "--out=c"]
        self.assertIn("launch=(srun --mpi=pmix", self.submit("--dry-run", *job).out)
        self.assertIn("output=c\n", self.submit("--dry-run", *job).out)
        self.assertIn("launch=(mpirun", self.submit("--dry-run", "--machine", "mpirun", *job).out)
        write_lines("mine.env", ["launch=(mylauncher --fast)"])
        self.assertIn("mylauncher", self.submit("--dry-run", "--machine=./mine.env", *job).out)
        self.submit("--machine", "moon", *job, status=66)

    def test_misuse(self):
        for arguments in ([], ["-n", "4"], ["-n", "4", "--"], ["infer", "--", "infer"],
                          ["--restarts", "many", "--", "infer"], ["--machine"],
                          ["--comment", "a\nb", "--", "infer"]):
            self.submit(*arguments, status=64)

    def test_help(self):
        self.assertIn("--dry-run", self.submit("--help").out)


if __name__ == "__main__":
    main()
