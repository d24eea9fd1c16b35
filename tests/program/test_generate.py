#!/usr/bin/env python3
"""generate: the same bytes for any number of ranks and threads, and the shape that was asked for."""
# timeout: 300
import json
import os

import h5py
import numpy

from matrices import dataset, dense, described, features
from support import ProgramTest, content, main

RANKS = (1, 3)


class GenerateTest(ProgramTest):
    def generated(self, *arguments):
        """The path of the file, the same bytes however it was made."""
        for ranks in RANKS:
            self.espalier("generate", *arguments, "-o", f"g{ranks}.h5", "--force", "--threads",
                          1 + ranks % 2, ranks=ranks)
            self.assertEqual(content(f"g{ranks}.h5"), content("g1.h5"), ranks)
        return "g1.h5"

    def layers(self, path):
        with h5py.File(path, "r") as file:
            return [(dense(file[f"layers/{name}/weight"]), dict(file[f"layers/{name}"].attrs),
                     file[f"layers/{name}/bias/values"][:] if "bias" in file[f"layers/{name}"]
                     else None) for name in sorted(file["layers"])]

    def refused(self, *arguments, words, status=64):
        for ranks in self.one_of(1, 3):
            line = self.espalier("generate", *arguments, "-o", "no.h5", ranks=ranks,
                                 status=status).complaint()
            for word in words:
                self.assertIn(word, line)
            self.assertFalse(os.path.exists("no.h5"))


class RadixnetTest(GenerateTest):
    def test_layers(self):
        layers = self.layers(self.generated("radixnet", "--neurons", 64, "--layers", 5, "--seed", 3))
        self.assertEqual(len(layers), 5)
        self.espalier("verify", "g1.h5", ranks=2)
        for weight, attributes, bias in layers:
            self.assertEqual(weight.shape, (64, 64))
            self.assertEqual(set(weight.sum(axis=0)) | set(weight.sum(axis=1)), {2.0})
            self.assertEqual(set(weight.ravel()), {0, 0.0625})
            self.assertEqual((attributes["activation"], attributes["clamp"],
                              attributes["bias_mode"]), ("relu", 32, "nonzero"))
            numpy.testing.assert_allclose(bias, [-0.30 + 0.05 * 2], rtol=1e-6)

    def test_options(self):
        self.generated("radixnet", "--neurons", 32, "--layers", 2, "--bias", -0.5, "--clamp", 7,
                       "--layout", "triplets")
        with h5py.File("g1.h5", "r") as file:
            self.assertEqual(described(file["layers/000001/weight"])["format"], "COO")
            self.assertEqual(file["layers/000001"].attrs["clamp"], 7)
            self.assertEqual(file["layers/000001/bias/values"][0], -0.5)

    def test_seeds(self):
        for seed in (1, 2):
            self.espalier("generate", "radixnet", "--neurons", 64, "--layers", 4, "--seed", seed,
                          "-o", f"s{seed}.h5")
        first, second = self.layers("s1.h5"), self.layers("s2.h5")
        for k, same in ((0, True), (1, True), (2, False), (3, False)):
            self.assertEqual(numpy.array_equal(first[k][0], second[k][0]), same, k)

    def test_usage(self):
        self.refused("radixnet", "--neurons", 48, "--layers", 2, words=["48", "power of two"])
        self.refused("radixnet", "--neurons", 64, words=["--layers"])
        self.refused("radixnet", "--neurons", 64, "--layers", "two", words=["two"])
        self.refused("radixnet", "--neurons", 64, "--layers", 2, "--density", 0.5,
                     words=["--density", "radixnet"])
        self.refused("radixnets", words=["radixnets", "images"])
        self.refused("radixnet", "--neurons", 64, "--layers", 2, "--layout", "csc", words=["csc"])


class LabelsTest(GenerateTest):
    def places(self, group):
        self.generated("xmc", "--labels", 90, "--hidden", 20, "--fan-in", 6, "--seed", 5,
                       *(["--group", group] if group > 1 else []))
        (weight, attributes, bias), = self.layers("g1.h5")
        self.assertEqual((weight.shape, attributes["activation"], bias), ((90, 20), "identity", None))
        stored = weight[weight != 0]
        self.assertEqual(stored.size, 90 * 6)
        self.assertEqual(numpy.unique(stored).size, stored.size)
        self.assertAlmostEqual(stored.std() * numpy.sqrt(6), 1, delta=0.15)
        return weight != 0

    def test_each_its_own(self):
        places = self.places(1)
        self.assertEqual(set(places.sum(axis=1)), {6})
        self.assertGreater(len({row.tobytes() for row in places}), 80)
        self.assertTrue(10 < places.sum(axis=0).min() and places.sum(axis=0).max() < 50)

    def test_groups(self):
        places = self.places(16)
        self.assertEqual(set(places.sum(axis=1)), {6})
        sets = [row.tobytes() for row in places]
        for first in range(0, 90, 16):
            self.assertEqual(len(set(sets[first:first + 16])), 1)
        self.assertEqual(len(set(sets)), 6)

    def test_all_inputs(self):
        self.generated("xmc", "--labels", 5, "--hidden", 4, "--fan-in", 4, "--layout", "triplets")
        (weight, _, _), = self.layers("g1.h5")
        self.assertEqual(numpy.count_nonzero(weight), 20)

    def test_usage(self):
        self.refused("xmc", "--labels", 5, "--hidden", 4, "--fan-in", 5, words=["--fan-in", "4"])
        self.refused("xmc", "--labels", 5, "--hidden", 4, "--fan-in", 2, "--group", 6,
                     words=["--group", "5"])
        self.refused("xmc", "--labels", 5, "--fan-in", 2, words=["--hidden"])
        self.refused("random", "--layers", "4,5", "--density", 0.5, "--fan-in", 2,
                     words=["--fan-in", "random"])


class RandomTest(GenerateTest):
    def test_weights(self):
        layers = self.layers(self.generated("random", "--layers", "300,200,10", "--density", 0.1,
                                            "--seed", 4))
        self.assertEqual([weight.shape for weight, _, _ in layers], [(200, 300), (10, 200)])
        for weight, attributes, bias in layers:
            stored = weight[weight != 0]
            self.assertAlmostEqual(stored.size / weight.size, 0.1, delta=0.02)
            deviation = numpy.sqrt(2 / (0.1 * weight.shape[1]))
            self.assertAlmostEqual(stored.std() / deviation, 1, delta=0.15)
            self.assertLess(abs(stored.mean()), deviation / 4)
            self.assertEqual(bias.shape, (weight.shape[0],))
            self.assertLess(abs(bias).max(), 0.06)
            self.assertGreater(numpy.count_nonzero(bias), 9)
            self.assertEqual((attributes["activation"], attributes["bias_mode"]),
                             ("relu", "always"))

    def test_none_and_all(self):
        for density in (0, 1):
            layers = self.layers(self.generated("random", "--layers", "7,5,3", "--density", density))
            for weight, _, _ in layers:
                self.assertEqual(numpy.count_nonzero(weight), density * weight.size)

    def test_options(self):
        layers = self.layers(self.generated(
            "random", "--layers", "20,30,10", "--density", 0.5, "--activation", "leaky_relu",
            "--alpha", 0.25, "--last-activation", "softmax", "--clamp", 6, "--no-bias", "--layout",
            "triplets"))
        self.assertEqual([attributes["activation"] for _, attributes, _ in layers],
                         ["leaky_relu", "softmax"])
        self.assertEqual(layers[0][1]["alpha"], 0.25)
        self.assertEqual(layers[0][1]["clamp"], 6)
        self.assertTrue(all(bias is None for _, _, bias in layers))
        self.generated("random", "--layers", "4,4", "--density", 0.5, "--activation", "elu",
                       "--bias-mode", "nonzero")
        attributes = self.layers("g1.h5")[0][1]
        self.assertEqual((attributes["alpha"], attributes["bias_mode"]), (1, "nonzero"))

    def test_more_ranks_than_rows(self):
        self.generated("random", "--layers", "5,1,2", "--density", 0.5)

    def test_usage(self):
        self.refused("random", "--layers", "10", "--density", 0.5, words=["10", "784,4096,10"])
        self.refused("random", "--layers", "10,0", "--density", 0.5, words=["0"])
        self.refused("random", "--layers", "10,x", "--density", 0.5, words=["x"])
        self.refused("random", "--layers", "10,,5", "--density", 0.5, words=["--layers"])
        self.refused("random", "--layers", "10,5", "--density", 1.5, words=["1.5"])
        self.refused("random", "--layers", "10,5", words=["--density"])
        self.refused("random", "--layers", "10,5", "--density", 0.5, "--activation", "softmax",
                     words=["--last-activation"])
        self.refused("random", "--layers", "10,5", "--density", 0.5, "--activation", "swish",
                     words=["swish", "silu"])


class BatchTest(GenerateTest):
    def test_sparse(self):
        found = features(self.generated("batch", "--features", 80, "--samples", 60, "--density",
                                        0.25, "--labels", 7, "--seed", 2))
        self.assertEqual(found.shape, (60, 80))
        self.assertAlmostEqual(numpy.count_nonzero(found) / found.size, 0.25, delta=0.04)
        self.assertTrue(((found >= 0) & (found <= 1)).all())
        labels = dataset("g1.h5", "labels")
        self.assertEqual((len(labels), set(labels)), (60, set(range(7))))

    def test_dense_has_the_same_values(self):
        sparse = features(self.generated("batch", "--features", 9, "--samples", 20, "--density",
                                         0.5))
        with_zeros = features(self.generated("batch", "--features", 9, "--samples", 20,
                                             "--density", 0.5, "--dense"))
        numpy.testing.assert_array_equal(with_zeros, sparse)
        with h5py.File("g1.h5", "r") as file:
            self.assertEqual(described(file["features"])["format"], "DMAT")

    def test_images(self):
        found = features(self.generated("images", "--neurons", 1024, "--samples", 150, "--seed", 1))
        self.assertEqual(set(found.ravel()), {0, 1})
        self.assertAlmostEqual(found.mean(), 0.1, delta=0.02)

    def test_some_images_survive(self):
        self.generated("images", "--neurons", 256, "--samples", 200)
        self.espalier("generate", "radixnet", "--neurons", 256, "--layers", 40, "-o", "net.h5")
        self.espalier("infer", "net.h5", "g1.h5", "-o", "r.h5")
        alive = int(dataset("r.h5", "alive").sum())
        self.assertGreater(alive, 5)
        self.assertLess(alive, 150)

    def test_no_samples(self):
        self.assertEqual(features(self.generated("images", "--neurons", 32, "--samples", 0)).shape,
                         (0, 32))
        self.assertEqual(features(self.generated("batch", "--features", 3, "--samples", 0,
                                                 "--density", 1, "--labels", 2)).shape, (0, 3))

    def test_usage(self):
        self.refused("images", "--samples", 3, words=["--neurons"])
        self.refused("batch", "--features", 0, "--samples", 3, "--density", 0, words=["--features"])
        self.refused("batch", "--features", 3, "--samples", -1, "--density", 0, words=["--samples"])


class RunTest(GenerateTest):
    def test_dry_run(self):
        for arguments in (["radixnet", "--neurons", 64, "--layers", 2],
                          ["random", "--layers", "9,8", "--density", 0.5],
                          ["images", "--neurons", 64, "--samples", 5],
                          ["batch", "--features", 5, "--samples", 5, "--density", 0.5]):
            said = self.espalier("generate", *arguments, "-o", "g.h5", "--dry-run", ranks=3)
            self.assertIn("would write g.h5", said.err)
            self.assertEqual(said.out, "")
            self.assertFalse(os.path.exists("g.h5"))

    def test_report(self):
        self.espalier("generate", "random", "--layers", "50,40", "--density", 0.5, "-o", "g.h5",
                      "--report", "run.json", ranks=3)
        with open("run.json", encoding="utf-8") as file:
            report = json.load(file)
        self.assertEqual(report["rows"], 40)
        self.assertEqual(report["nnz"], numpy.count_nonzero(self.layers("g.h5")[0][0]))
        self.assertGreater(report["seconds"], 0)
        self.assertGreater(report["bytes_written"], 4 * report["nnz"])
        self.assertEqual(len(report["job_digest"]), 64)


if __name__ == "__main__":
    main()
