#!/usr/bin/env python3
"""A new user's walk: in an empty folder, with nothing but the part of README.md on Slurm, from
`espalier submit --dry-run` to a merged result, on a real Slurm, as another user than root."""
# label: full cluster
# timeout: 300
import os
import re
import shutil
import sys

from slurm import ROOT, Scenario, Slurm, missing
from support import ESPALIER, NOBODY, ProgramTest, content, main


def commands():
    """The command lines of the part on Slurm, in order."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        part = file.read().split("\n## Under Slurm\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(?:sh|shell)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


class WalkTest(ProgramTest):
    def test_commands_work_as_printed(self):
        slurm = Slurm(2)
        self.addCleanup(slurm.close)
        os.mkdir("empty")
        shutil.chown("empty", "nobody", "nogroup")
        here = Scenario(slurm, f"{self.folder}/empty", NOBODY)
        path = f"{os.path.dirname(os.path.realpath(ESPALIER))}:{os.environ['PATH']}"
        submitted = []
        for command in commands():
            said = slurm.run(*here.user, "env", f"PATH={path}", "bash", "-c", command,
                             folder=here.folder)
            if command.startswith("espalier submit") and "--dry-run" not in command:
                numbers = [int(line) for line in said.split()]
                self.assertGreater(len(numbers), 0, command)
                submitted += numbers
        self.assertGreater(len(submitted), 5)
        for number in submitted:
            known = here.wait(number, ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"))
            self.assertEqual(known["JobState"], "COMPLETED", f"{known}\n{here.log(number)}")
        self.assertEqual(content("empty/merged.h5"), content("empty/night.h5"))
        self.assertTrue(os.path.exists("empty/thin-result.h5"))
        self.assertTrue(os.path.exists("empty/scaling/scaling.html"))
        self.assertIn("MPI bandwidth", here.log(submitted[0]))
        self.assertEqual(os.listdir(slurm.temporary), [])


if __name__ == "__main__":
    if missing():
        print(f"SKIPPED: {missing()}")
        sys.exit(0)
    main()
