#!/usr/bin/env python3
"""What espalier submit writes: a script that bash takes, with every word as it was given."""
import os
import re
import subprocess
import time

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

    def commands(self, script, **variables):
        """The words of each command that the scripts would start."""
        lines = [line for line in script.splitlines() if line.startswith(("command=", "output="))]
        shown = subprocess.run(
            ["bash", "-c", "\n".join(line + "\nprintf '%s\\0' \"${command[@]}\" ''" * (
                line.startswith("command=")) for line in lines)],
            capture_output=True, check=True, env={**os.environ, **variables}).stdout.decode()
        return [words.split("\0")[1:] for words in shown.split("\0\0")[:-1]]

    def test_arrays(self):
        script = self.submit("--dry-run", "-n", "2", "--array", "3%2", "--", "infer", "n.h5",
                             "b.h5", "-o", "r $x.h5", "--report=run.json", "--force").out
        self.assertEqual(script.count("#SBATCH --array=1-3%2\n"), 1)
        self.assertEqual(script.count("#SBATCH -n 2\n"), 2)
        self.assertEqual(
            self.commands(script, SLURM_ARRAY_TASK_ID="2"),
            [["infer", "n.h5", "b.h5", "-o", "r $x.h5.2of3", "--report=run.json.2of3", "--force",
              "--part", "2/3"],
             ["merge", "r $x.h5.1of3", "r $x.h5.2of3", "r $x.h5.3of3", "-o", "r $x.h5",
              "--force"]])
        for number in ("0", "-1", "x", "3%", "3%0", "1-3", "9999999"):
            self.submit("--array", number, "--", "infer", "n", "b", "-o", "r", status=64)
        self.submit("--array=2", "--", "verify", "r", status=64)
        self.submit("--array=2", "--", "infer", "n", "b", status=64)

    def test_chains(self):
        script = self.submit("--dry-run", "-n", "4", "--array", "2", "--", "import", "-o", "n.h5",
                             "--", "prune", "n.h5", "--out=p.h5", "--", "--ntasks=8", "-t9",
                             "infer", "p.h5", "b.h5", "-o", "r.h5").out
        self.assertEqual([words[0] for words in self.commands(script, SLURM_ARRAY_TASK_ID="1")],
                         ["import", "prune", "infer", "merge"])
        self.assertEqual(script.count("--kill-on-invalid-dep=yes"), 3)
        jobs = script.split("#!/bin/bash")[1:]
        self.assertEqual(["#SBATCH --ntasks=8\n#SBATCH -t9" in job for job in jobs],
                         [False, False, True, True])
        write_lines("job.sh", [script])
        self.assertEqual(self.run_command(["bash", "-n", "job.sh"]).status, 0)
        for wrong in (["--", "import", "--"], ["--", "import", "--", "--", "prune"],
                      ["--", "import", "--", "-n8"]):
            self.submit("--dry-run", *wrong, status=64)

    def test_the_script_by_hand(self):
        """Without Slurm it runs the job, passes TERM on as USR2, and ends with the job's status."""
        write_lines("by-hand.env", ["launch=(bash -c 'trap \"exit 75\" USR2; trap \"\" TERM; "
                                    "[ -z \"$STATUS\" ] || exit $STATUS; touch ready; "
                                    "while :; do sleep 0.05; done' launcher)"])
        script = self.submit("--dry-run", "--machine", "./by-hand.env", "--", "verify", "x").out
        write_lines("job.sh", [script])
        environment = {name: value for name, value in os.environ.items() if "SLURM" not in name}
        os.mkdir("tmp")
        environment["TMPDIR"] = f"{self.folder}/tmp"
        for told, status in ((0, 0), (66, 66), (137, 71), (205, 71), (1, 1)):
            done = subprocess.run(["bash", "job.sh"], env={**environment, "STATUS": str(told)},
                                  check=False, capture_output=True, text=True)
            self.assertEqual(done.returncode, status, done.stderr)
        job = subprocess.Popen(["bash", "job.sh"], env={**environment, "STATUS": ""},
                               stderr=subprocess.PIPE, text=True)
        while not os.path.exists("ready"):
            self.assertIsNone(job.poll())
            time.sleep(0.02)
        self.assertEqual(len(os.listdir("tmp")), 1)
        job.terminate()
        said = job.communicate(timeout=20)[1]
        self.assertEqual(job.returncode, 75, said)
        self.assertIn("the same command goes on from what was saved", said)
        self.assertEqual(os.listdir("tmp"), [])

    def test_misuse(self):
        for arguments in ([], ["-n", "4"], ["-n", "4", "--"], ["infer", "--", "infer"],
                          ["--restarts", "many", "--", "infer"], ["--machine"],
                          ["--comment", "a\nb", "--", "infer"]):
            self.submit(*arguments, status=64)

    def test_help(self):
        self.assertIn("--dry-run", self.submit("--help").out)


if __name__ == "__main__":
    main()
