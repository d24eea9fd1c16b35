#!/usr/bin/env python3
"""infer --part and merge: joined parts have the bytes of an undivided run, however they were cut and
on whatever ranks; parts that do not belong together are refused."""
# timeout: 600
import json
import os

import h5py
import numpy

from support import ProgramTest, content, main, small_network

SAMPLES = 57
MODES = {"categories": [], "top": ["--output", "top", "--top-k", 3],
         "full": ["--output", "full", "--top-k", 2]}


def flip_byte(path, dataset):
    with h5py.File(path) as file:
        offset = file[dataset].id.get_offset()
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


class MergeTest(ProgramTest):
    def setUp(self):
        super().setUp()
        small_network(self)
        random = numpy.random.default_rng(1)
        with h5py.File("data.h5", "w") as file:
            x = (2 + random.random((SAMPLES, 40))) * (random.random((SAMPLES, 40)) < 0.4)
            x[::5] = 0
            file["x"] = x.astype(numpy.float32)
            file["id"] = numpy.array([b"sample-%d" % s for s in range(SAMPLES)])
        self.espalier("import", "--from", "hdf5", "--features", "data.h5:/x", "--ids",
                      "data.h5:/id", "-o", "batch.h5")

    def infer(self, output, *options, ranks=1, **more):
        return self.espalier("infer", "net.h5", "batch.h5", "-o", output, *options, ranks=ranks,
                             **more)

    def parts(self, count, *options, name="part"):
        files = [f"{name}-{i + 1}of{count}.h5" for i in range(count)]
        for i, file in enumerate(files):
            self.infer(file, *options, "--part", f"{i + 1}/{count}", ranks=1 + i % 3)
        return files

    def export(self, result, what):
        self.espalier("export", result, "--to", "tsv", "--what", what, "-o", "out.tsv", "--force")
        return content("out.tsv")

    def test_bytes_equal_those_of_an_undivided_run(self):
        for (mode, options), count in zip(MODES.items(), (4, 3, 2)):
            with self.subTest(mode=mode, parts=count):
                self.infer(f"{mode}.h5", *options)
                with h5py.File(f"{mode}.h5") as file:
                    self.assertGreater(len(file["categories"]), SAMPLES // 2)
                    self.assertLess(len(file["categories"]), SAMPLES)
                files = self.parts(count, *options, name=mode)
                for ranks in self.one_of(1, 2, 3):
                    merged = f"{mode}-{ranks}.h5"
                    self.espalier("merge", *reversed(files), "-o", merged, ranks=ranks)
                    self.assertEqual(content(merged), content(f"{mode}.h5"))
                self.assertIn("nothing to do", self.espalier("merge", *files, "-o", merged).err)
                self.assertIn("nothing to do", self.infer(merged, *options).err)

    def test_more_parts_than_samples_and_parts_of_different_cuts(self):
        self.infer("whole.h5", *MODES["full"])
        halves = self.parts(2, *MODES["full"])
        quarters = self.parts(4, *MODES["full"])
        self.espalier("merge", halves[0], *quarters[2:], "-o", "mixed.h5", ranks=2)
        self.assertEqual(content("mixed.h5"), content("whole.h5"))
        with h5py.File("data.h5") as file, h5py.File("two.h5", "w") as two:
            two["x"] = file["x"][:2]
        self.espalier("import", "--from", "hdf5", "--features", "two.h5:/x", "-o", "batch.h5",
                      "--force")
        self.infer("two-whole.h5", *MODES["top"])
        files = self.parts(3, *MODES["top"], name="two")
        with h5py.File(files[2]) as file:
            self.assertEqual(len(file["alive"]), 0)
        self.espalier("merge", *files, "-o", "two-merged.h5", ranks=3)
        self.assertEqual(content("two-merged.h5"), content("two-whole.h5"))

    def test_a_part_is_a_result_that_knows_its_place(self):
        self.infer("whole.h5", *MODES["full"])
        files = self.parts(3, *MODES["full"])
        for what in ("categories", "top", "output"):
            self.assertEqual(b"".join(self.export(file, what) for file in files),
                             self.export("whole.h5", what))
        for file in files:
            self.espalier("verify", file, ranks=2)
        found = json.loads(self.espalier("inspect", files[1], "--json").out)
        self.assertEqual(found["part"], {"first": 19, "of": SAMPLES})
        self.assertIsNone(json.loads(self.espalier("inspect", "whole.h5", "--json").out)["part"])

    def test_the_truth_of_all_samples_serves_for_a_part(self):
        self.infer("whole.h5")
        truth = self.export("whole.h5", "categories")
        with open("truth.tsv", "wb") as file:
            file.write(truth)
        for ranks in (1, 3):
            self.infer("part.h5", "--part", "2/3", "--truth", "truth.tsv", ranks=ranks)
        ids = truth.decode().split()
        inside = next(word for word in ids if 19 < int(word) <= 38)
        with open("truth.tsv", "w", encoding="ascii") as file:
            file.writelines(word + "\n" for word in ids if word != inside)
        self.infer("other.h5", "--part", "1/3", "--truth", "truth.tsv")
        run = self.infer("part.h5", "--part", "2/3", "--truth", "truth.tsv", ranks=2, status=65)
        self.assertIn(f"first at sample {inside} ", run.complaint())

    def test_what_does_not_belong_together_is_refused(self):
        files = self.parts(3)

        def refuse(parts, *words, status=65):
            self.refused("merge", *parts, "-o", "merged.h5", status=status, words=words,
                         output="merged.h5")

        refuse(files[:1] + files[2:], "samples 20 to 38", "in no part")
        refuse(files[:2], "samples 39 to 57", "in no part")
        refuse(files[1:], "samples 1 to 19", "in no part")
        refuse([*files, files[1]], "both hold samples from 20")
        refuse([*files, *self.parts(2)[1:]], "both hold samples from 3")
        refuse([*files[:2], *self.parts(3, *MODES["top"], name="top")[2:]], "other options")
        self.infer("whole.h5")
        refuse([*files, "whole.h5"], "whole.h5 is no part of a result")
        refuse([*files, "net.h5"], "net.h5 is a network file")
        refuse([*files, "nothing.h5"], "nothing.h5", status=66)
        small_network(self, "net.h5.2", bias=-0.5)
        self.espalier("infer", "net.h5.2", "batch.h5", "-o", "foreign.h5", "--part", "3/3")
        refuse([*files[:2], "foreign.h5"], "foreign.h5", "another network or batch")
        flip_byte(files[2], "alive")
        refuse(files, files[2], "/alive")

    def test_misuse(self):
        for spelled in ("0/3", "4/3", "1", "1/", "/2", "a/b", "1/2/3", "-1/2", "1/0",
                        "1/99999999999"):
            with self.subTest(part=spelled):
                self.assertIn("--part", self.infer("r.h5", f"--part={spelled}",
                                                   status=64).complaint())
        self.espalier("merge", "-o", "r.h5", status=64)
        files = self.parts(2)
        self.espalier("merge", *files, "-o", "r.h5", "--dry-run")
        self.assertFalse(os.path.exists("r.h5"))
        with open("r.h5", "wb") as file:
            file.write(b"something else")
        self.espalier("merge", *files, "-o", "r.h5", status=73)


if __name__ == "__main__":
    main()
