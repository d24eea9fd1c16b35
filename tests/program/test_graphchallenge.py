#!/usr/bin/env python3
"""The main job on the official data: 120 layers of 1024 neurons, 1,200 images, 19 known answers, and
the same bytes for any number of ranks and any grid."""
# label: data
# timeout: 400
import os
import sys

import h5py

from support import DATA, ProgramTest, content, main

RUNS = [(1, None), (2, None), (3, None), (4, None), (2, "1x2"), (2, "2x1"), (4, "2x2"), (4, "4x1")]


def official(name):
    return os.path.join(DATA, "graphchallenge", name)


class GraphChallengeTest(ProgramTest):
    def run_import(self, ranks, folder):
        os.makedirs(folder)
        self.espalier("import", "--from", "graphchallenge", "--weights",
                      official("neuron1024"), "--neurons", 1024, "--layers", 120, "-o",
                      f"{folder}/net.h5", ranks=ranks, limit=120)
        self.espalier("import", "--from", "graphchallenge", "--features",
                      official("sparse-images-1024-first1200.tsv"), "--neurons", 1024, "-o",
                      f"{folder}/batch.h5", ranks=ranks)

    def test_the_19_categories(self):
        self.run_import(2, "two")
        self.run_import(3, "three")
        for name in ("net.h5", "batch.h5"):
            self.assertEqual(content(f"two/{name}"), content(f"three/{name}"), name)

        truth_file = official("neuron1024-l120-categories-first1200.tsv")
        with open(truth_file, encoding="ascii") as file:
            truth = [int(line) - 1 for line in file]
        self.assertEqual(len(truth), 19)
        first = None
        for ranks, grid in RUNS:
            with self.subTest(ranks=ranks, grid=grid):
                output = f"r-{ranks}-{grid}.h5"
                shape = ["--grid", grid] if grid else []
                self.espalier("infer", "two/net.h5", "two/batch.h5", "-o", output, "--truth",
                              truth_file, *shape, ranks=ranks, limit=120)
                with h5py.File(output, "r") as result:
                    self.assertEqual(list(result["categories"]), truth)
                    self.assertEqual(result["alive"].shape, (1200,))
                    self.assertEqual(int(result["alive"][:].sum()), 19)
                first = first or content(output)
                self.assertEqual(content(output), first)

        # Line by line the same ids, 1-based again, out of the other end.
        self.espalier("export", "r-1-None.h5", "--to", "tsv", "-o", "out.tsv")
        with open("out.tsv", encoding="ascii") as file:
            self.assertEqual([int(line.split()[0]) - 1 for line in file], truth)
        self.espalier("verify", "two/net.h5", ranks=3)


if __name__ == "__main__":
    if DATA is None or not os.path.isdir(os.path.join(DATA, "graphchallenge")):
        print("SKIPPED: no folder ESPALIER_DATA with graphchallenge in it")
        sys.exit(0)
    main()
