#!/usr/bin/env python3
"""Does the include checker notice what it is there for? Small trees, one wrong include each."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECKER = Path(__file__).with_name("check_includes.py")


class CheckIncludes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for room in ["kernels", "framework", "io", "jobs", "tests"]:
            (self.root / room).mkdir()
            (self.root / room / "a.hpp").write_text("#pragma once\n#include <vector>\n")

    def check(self, file, line):
        (self.root / file).write_text(f"// first line\n{line}\n")
        done = subprocess.run([sys.executable, str(CHECKER), str(self.root)],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def test_right_includes_pass(self):
        for file, line in [
                ("kernels/b.cpp", '#include "kernels/a.hpp"'),
                ("kernels/b.cpp", '#include "hwy/foreach_target.h"'),
                ("kernels/b.cpp", '/*\n#include <mpi.h>\n*/'),
                ("framework/b.cpp", "#include <mpi.h>"),
                ("framework/b.cpp", "#include <sys/stat.h>"),
                ("io/b.cpp", '#include "kernels/a.hpp"'),
                ("io/b.cpp", "#include <hdf5.h>"),
                ("jobs/b.cpp", '#include "io/a.hpp"'),
                ("jobs/b.cpp", "#include <boost/program_options.hpp>"),
                ("tests/b.cpp", '#include "jobs/a.hpp"')]:
            with self.subTest(file=file, line=line):
                self.assertEqual(self.check(file, line), (0, ""))
                (self.root / file).unlink()

    def test_wrong_includes_fail(self):
        for file, line in [
                ("kernels/b.cpp", '#include "framework/a.hpp"'),
                ("kernels/b.cpp", "#include <mpi.h>"),
                ("kernels/b.cpp", "#include <omp.h>"),
                ("kernels/b.hpp", "  #  include <unistd.h>"),
                ("framework/b.cpp", '#include "kernels/a.hpp"'),
                ("framework/b.hpp", "#include <hdf5.h>"),
                ("framework/b.hpp", "#include <hwy/highway.h>"),
                ("io/b.cpp", '#include "jobs/a.hpp"'),
                ("io/b.cpp", "#include <boost/program_options.hpp>"),
                ("jobs/b.cpp", "#include <hdf5.h>"),
                ("jobs/b.cpp", "#include <H5Fpublic.h>"),
                ("jobs/b.cpp", "#include <zlib.h>"),
                ("jobs/b.cpp", '#include "tests/a.hpp"'),
                ("io/b.cpp", '#include "../tests/a.hpp"'),
                ("io/b.cpp", '#include "a.hpp"'),
                ("io/b.cpp", '#include "io/gone.hpp"')]:
            with self.subTest(file=file, line=line):
                status, output = self.check(file, line)
                self.assertEqual(status, 1)
                self.assertIn(f"{file}:2: includes", output)
                (self.root / file).unlink()

    def test_a_tree_without_rooms_fails(self):
        (self.root / "io" / "a.hpp").unlink()
        (self.root / "io").rmdir()
        done = subprocess.run([sys.executable, str(CHECKER), str(self.root)],
                              capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main()
