#!/usr/bin/env python3
"""Every command that README.md shows in a block of `sh` works as printed, one after the other, in an
empty folder with data such as a user would have; and what README.md says exists, exists."""
# timeout: 300
import os
import re
import struct

import h5py
import numpy

import safetensors_format as st
from support import (ESPALIER, USUAL_START, ProgramTest, main, ring_layer, write_lines,
                     write_triples)

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


def readme():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return file.read()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", readme(), re.MULTILINE | re.DOTALL)


def write_idx(path, array):
    with open(path, "wb") as file:
        file.write(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape))
        file.write(array.astype(numpy.uint8).tobytes())


def make_user_data():
    """The files that the commands take as given."""
    os.makedirs("weights")
    for layer in range(1, 13):
        write_triples(f"weights/n1024-l{layer}.tsv", ring_layer(1024, layer, 1.0))
    # Image s is a bar of 100 pixels, or empty: bars grow up to the clamp and stay alive.
    write_triples("images.tsv", [(s, (40 * s + k) % 1024, 1) for s in range(20) if s % 4
                                 for k in range(100)])
    write_lines("truth.tsv", [str(s + 1) for s in range(20) if s % 4])
    pixels = numpy.arange(6 * 28 * 28).reshape(6, 28, 28) % 256
    write_idx("train-images-idx3-ubyte", pixels)
    write_idx("train-labels-idx1-ubyte", numpy.arange(6))
    with h5py.File("data.h5", "w") as file:
        file["x"] = numpy.eye(9, 5, dtype=numpy.float32)
        file["y"] = numpy.arange(9)
        file["name"] = numpy.array([b"sample-%d" % s for s in range(9)])
    st.write("stats.safetensors", {f"fc{layer}.norms": st.Tensor.of("F32", numpy.arange(width))
                                   for layer, width in ((1, 784), (2, 512), (3, 512))})


class ReadmeTest(ProgramTest):
    def test_commands_work_as_printed(self):
        make_user_data()
        commands = [line for block in blocks("sh") for line in block.splitlines() if line]
        self.assertGreater(len(commands), 15)
        path = f"{os.path.dirname(os.path.realpath(ESPALIER))}:{os.environ['PATH']}"
        for command in commands:
            run = self.run_command(["bash", "-c", command], env={**USUAL_START, "PATH": path},
                                   limit=120)
            self.assertEqual(run.status, 0, f"{command}\n{run.out}\n{run.err}")
        with open("categories.tsv", encoding="ascii") as file, \
                open("truth.tsv", encoding="ascii") as truth:
            self.assertEqual(file.read(), truth.read())
        self.assertEqual(numpy.load("output.npy").shape, (20, 1024))

    def test_set_up_is_two_commands(self):
        commands = [line for block in blocks("bash") for line in block.splitlines()]
        self.assertEqual(commands, ["bash tests/demo.sh", "bash tests/check.sh"])
        for command in commands:
            self.assertTrue(os.path.isfile(os.path.join(ROOT, command.split()[1])), command)

    def test_links_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)]+)\)", readme()):
            if not target.startswith("https://"):
                self.assertTrue(os.path.exists(os.path.join(ROOT, target)), target)

    def test_tables_name_what_there_is(self):
        jobs = re.findall(r"^\| `(\w+)` \| ", readme().split("## Jobs")[1].split("##")[0],
                          re.MULTILINE)
        listed = self.espalier("--help").out.split("Jobs:\n")[1].split("\n\n")[0]
        self.assertEqual(sorted(jobs), sorted(re.findall(r"^  (\w+)", listed, re.MULTILINE)))
        table = readme().split("Every job takes:")[1].split("\n\n")[1]
        told = {option for row in table.splitlines()
                for option in re.findall(r"--[a-z][\w-]+", row.split("|")[1])}
        common = self.espalier("infer", "--help").out.split("Options of every job:")[1]
        self.assertEqual(told, set(re.findall(r"^  (?:-\w \[ )?(--[\w-]+)", common, re.MULTILINE))
                         - {"--help"})


if __name__ == "__main__":
    main()
