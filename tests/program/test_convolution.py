#!/usr/bin/env python3
"""Convolutional networks: generated, looked at, run, pruned, against SciPy's own convolution."""
# timeout: 240
import json
import os
import shutil

import h5py
import numpy
import scipy.signal

from matrices import dense, described
from support import DATA, ProgramTest, content, main

UNIT = 2.0 ** -24


def filters(group):
    """A group of filters as an array (outputs, inputs, height, width)."""
    info = described(group)
    bank = numpy.zeros(info["shape"], numpy.float32)
    taps = bank.shape[2] * bank.shape[3]
    values = group["values"][:]
    outputs, inputs = group["indices_0"][:].astype("i8"), group["indices_1"][:].astype("i8")
    assert info["format"] == {"custom": {"level": {
        "level_desc": "sparse", "rank": 2, "level": {
            "level_desc": "dense", "rank": 2, "level": {"level_desc": "element"}}}}}
    assert len(values) == len(outputs) * taps == info["number_of_stored_values"]
    order = outputs * bank.shape[1] + inputs
    assert numpy.all(numpy.diff(order) > 0), "triplets are sorted"
    stored = values.reshape(-1, bank.shape[2], bank.shape[3])
    assert numpy.all(stored.any(axis=(1, 2))), "no filter without a value"
    bank[outputs, inputs] = stored
    return bank


def run_layer(group, x):
    """One layer of a network without groups or dilation, on (samples, neurons) in double."""
    kind = group.attrs.get("kind", "connections")
    if kind == "connections":
        x = x @ dense(group["weight"]).astype(float).T + group["bias/values"][:].astype(float)
    elif kind != "flatten":
        channels, height, width = group.attrs["input_shape"]
        kernel, strides = group.attrs["kernel"], group.attrs["strides"]
        top, left, bottom, right = group.attrs["padding"]
        x = x.reshape(-1, channels, height, width)
        if kind == "convolution":
            x = numpy.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
            bank = filters(group["weight"]).astype(float)
            assert tuple(bank.shape[2:]) == tuple(kernel) and group.attrs["groups"] == 1
            bias = group["bias/values"][:].astype(float)
            x = numpy.stack([sum(scipy.signal.correlate(x[:, i], bank[o, i][None], "valid")
                                 for i in range(bank.shape[1])) + bias[o]
                             for o in range(bank.shape[0])], axis=1)
        else:
            x = numpy.lib.stride_tricks.sliding_window_view(x, tuple(kernel), axis=(2, 3))
            x = x.max(axis=(4, 5)) if kind == "max_pool" else x.mean(axis=(4, 5))
        x = x[:, :, ::strides[0], ::strides[1]].reshape(len(x), -1)
    return numpy.maximum(x, 0) if group.attrs["activation"] == "relu" else x


def run_network(path, features):
    x = features.astype(float)
    with h5py.File(path, "r") as file:
        for name in sorted(file["layers"]):
            x = run_layer(file["layers"][name], x)
    return x


def edges(bank, height, width, padding):
    """Connections of a bank of filters of stride 1, counted by convolving ones."""
    ones = numpy.pad(numpy.ones((height, width)), padding)
    return sum(scipy.signal.correlate(ones, (f != 0).astype(float), "valid").sum()
               for f in bank.reshape(-1, *bank.shape[2:]))


class ConvolutionTest(ProgramTest):
    def images(self):
        """200 samples of 28 x 28: MNIST where it is at hand."""
        if DATA and os.path.isdir(os.path.join(DATA, "mnist")):
            name = os.path.join(DATA, "mnist", "t10k-images-idx3-ubyte")
            with open(name, "rb") as file:
                pixels = numpy.frombuffer(file.read()[16:], numpy.uint8)[:200 * 784]
            pixels = pixels.reshape(200, 784) / numpy.float32(255)
        else:
            pixels = numpy.random.default_rng(1).random((200, 784), numpy.float32)
            pixels[pixels < 0.8] = 0
        with h5py.File("images-raw.h5", "w") as file:
            file["x"] = pixels.astype(numpy.float32)
        self.espalier("import", "--from", "hdf5", "--features", "images-raw.h5:/x", "-o",
                      "images.h5")
        return pixels

    def infer(self, network, ranks, *more, report="run.json"):
        result = f"result-{ranks}{''.join(map(str, more))}.h5"
        self.espalier("infer", network, "images.h5", "-o", result, "--output", "full", "--report",
                      report, "--force", *more, ranks=ranks)
        return result

    def outputs(self, result):
        with h5py.File(result, "r") as file:
            return dense(file["output"])

    def assert_as_scipy(self, network, pixels, result):
        wanted = run_network(network, pixels)
        found = self.outputs(result)
        self.assertGreater(numpy.count_nonzero(found), 1500)
        # Sums of at most 400 products, five layers deep.
        numpy.testing.assert_allclose(found, wanted, rtol=0,
                                      atol=2000 * UNIT * (1 + abs(wanted).max()))

    def test_lenet(self):
        pixels = self.images()
        for ranks in (1, 3):
            self.espalier("generate", "lenet", "--seed", 3, "-o", f"lenet-{ranks}.h5", ranks=ranks)
        self.assertEqual(content("lenet-1.h5"), content("lenet-3.h5"))
        self.espalier("verify", "lenet-1.h5", ranks=2)
        first = self.infer("lenet-1.h5", 1)
        self.assert_as_scipy("lenet-1.h5", pixels, first)
        for ranks, grid in ((2, "2x1"), (2, "1x2"), (3, "3x1"), (4, "2x2"), (4, "4x1")):
            self.assertEqual(content(self.infer("lenet-1.h5", ranks, "--grid", grid)),
                             content(first), grid)
        with open("run.json", encoding="utf-8") as file:
            report = json.load(file)
        with h5py.File("lenet-1.h5", "r") as file:
            one, two = (filters(file[f"layers/00000{id}/weight"]) for id in (0, 2))
            rest = sum(described(file[f"layers/00000{id}/weight"])["number_of_stored_values"]
                       for id in (5, 6, 7))
        wanted = edges(one, 28, 28, 2) + edges(two, 14, 14, 0) + rest
        self.assertEqual(report["edges_nominal"], 200 * wanted)
        self.assertEqual(sum(layer["edges_computed"] for layer in report["layers"]),
                         report["edges_computed"])
        self.assertEqual(report["edges_computed"], report["edges_nominal"])

    def test_inspect(self):
        self.espalier("generate", "lenet", "--seed", 1, "--layout", "triplets", "-o", "lenet.h5")
        found = json.loads(self.espalier("inspect", "lenet.h5", "--json").out)
        self.assertEqual(found["nnz"], 150 + 2400 + 48000 + 10080 + 840)
        self.assertEqual([layer["kind"] for layer in found["layers"]],
                         ["convolution", "max_pool"] * 2 + ["flatten"] + ["connections"] * 3)
        self.assertEqual(found["layers"][2]["window"]["output_shape"], [16, 10, 10])
        self.assertEqual(found["layers"][2]["edges"], 2400 * 100)
        self.assertEqual(found["edges"], sum(layer["edges"] for layer in found["layers"]))
        table = self.espalier("inspect", "lenet.h5").out
        for words in ("16 x 6 x 5 x 5", "convolution to 6 x 28 x 28, padding [2,2,2,2]",
                      "max_pool to 16 x 5 x 5, strides [2,2]", "flatten to 16 x 5 x 5"):
            self.assertIn(words, table)

    def prune(self, output, *arguments):
        """Prunes lenet.h5 at 1 and 3 ranks, to the same bytes."""
        for ranks in (3, 1):
            self.espalier("prune", "lenet.h5", *arguments, "-o", output, "--force", "--report",
                          "prune.json", ranks=ranks)
            if ranks == 3:
                shutil.copy(output, "shared.h5")
        self.assertEqual(content(output), content("shared.h5"))
        self.espalier("verify", output)
        with open("prune.json", encoding="utf-8") as file:
            return json.load(file)

    def weights(self, path):
        """All filter banks and matrices, by layer."""
        with h5py.File(path, "r") as file:
            layers = file["layers"]
            return {name: filters(layers[name]["weight"]) if "kind" in layers[name].attrs
                    else dense(layers[name]["weight"])
                    for name in layers if "weight" in layers[name]}

    def test_prune_filters(self):
        pixels = self.images()
        self.espalier("generate", "lenet", "--seed", 2, "-o", "lenet.h5")
        before = self.weights("lenet.h5")
        report = self.prune("half.h5", "--method", "group", "--unit", "filter", "--sparsity", 0.7,
                            "--scope", "layer")
        after = self.weights("half.h5")
        wanted_edges = 0
        for name, bank in before.items():
            wanted = bank
            if bank.ndim == 4:
                sizes = numpy.sqrt((bank.astype(float) ** 2).mean(axis=(2, 3)))
                keep = sizes.size - int(0.7 * sizes.size + 0.5)
                least = numpy.sort(sizes.ravel())[-keep]
                wanted = numpy.where((sizes >= least)[:, :, None, None], bank, 0)
                self.assertEqual(numpy.count_nonzero(wanted.any(axis=(2, 3))), keep)
                side, padding = (28, 2) if bank.shape[1] == 1 else (14, 0)
                wanted_edges += edges(wanted, side, side, padding)
            else:
                wanted_edges += bank.size
            numpy.testing.assert_array_equal(after[name], wanted, name)
        self.assertEqual(report["weights_kept"],
                         sum(numpy.count_nonzero(bank) for bank in after.values()))
        first = self.infer("half.h5", 1)
        with open("run.json", encoding="utf-8") as file:
            self.assertEqual(json.load(file)["edges_computed"], 200 * wanted_edges)
        self.assert_as_scipy("half.h5", pixels, first)
        for ranks, grid in ((3, "3x1"), (4, "2x2")):
            self.assertEqual(content(self.infer("half.h5", ranks, "--grid", grid)), content(first))

    def test_prune_weights_and_channels(self):
        pixels = self.images()
        self.espalier("generate", "lenet", "--seed", 4, "-o", "lenet.h5")
        before = self.weights("lenet.h5")
        self.prune("tenth.h5", "--method", "magnitude", "--sparsity", 0.9)
        after = self.weights("tenth.h5")
        sizes = numpy.concatenate([abs(bank).ravel() for bank in before.values()])
        keep = sizes.size - int(0.9 * sizes.size + 0.5)
        least = numpy.sort(sizes)[-keep]
        for name, bank in before.items():
            numpy.testing.assert_array_equal(after[name], numpy.where(abs(bank) >= least, bank, 0))
        first = self.infer("tenth.h5", 1)
        self.assert_as_scipy("tenth.h5", pixels, first)
        with open("run.json", encoding="utf-8") as file:
            report = json.load(file)
        self.assertLess(report["edges_computed"], report["edges_nominal"])  # zeros inside filters

        self.prune("channels.h5", "--method", "group", "--unit", "row", "--keep", 9, "--scope",
                   "layer", "--exclude", "fc|conv1")
        bank = self.weights("channels.h5")["000002"]
        largest = numpy.argsort((before["000002"].astype(float) ** 2).mean(axis=(1, 2, 3)))[-9:]
        self.assertEqual(set(numpy.nonzero(bank.any(axis=(1, 2, 3)))[0]), set(largest))
        self.assert_as_scipy("channels.h5", pixels, self.infer("channels.h5", 2))

        self.prune("empty.h5", "--method", "threshold", "--threshold", 1e9, "--exclude", "fc")
        with h5py.File("empty.h5", "r") as file:
            self.assertEqual(file["layers/000002/weight/values"].shape, (0,))
        empty = self.infer("empty.h5", 1)
        numpy.testing.assert_allclose(self.outputs(empty), run_network("empty.h5", pixels),
                                      rtol=1e-4, atol=1e-6)
        self.assertEqual(content(self.infer("empty.h5", 3, "--grid", "3x1")), content(empty))

        self.refused("prune", "lenet.h5", "--method", "bias", "-o", "x.h5", status=65,
                     words=["conv1", "convolution"], output="x.h5")
        self.espalier("generate", "random", "--layers", "20,10", "--density", 1, "-o", "plain.h5")
        self.refused("prune", "plain.h5", "--method", "group", "--unit", "filter", "--keep", 1,
                     "-o", "x.h5", status=64, words=["no convolution"], output="x.h5")

    def test_evaluate_and_compare(self):
        pixels = self.images()
        self.espalier("generate", "lenet", "--seed", 5, "-o", "lenet.h5")
        self.prune("half.h5", "--method", "group", "--unit", "filter", "--keep", 40)
        found = json.loads(self.espalier("compare", "lenet.h5", "half.h5", "images.h5", "--json",
                                         ranks=2).out)
        one, other = (run_network(name, pixels) for name in ("lenet.h5", "half.h5"))
        self.assertAlmostEqual(found["deviation_max"], abs(one - other).max(), delta=1e-4)

    def test_hostile(self):
        self.espalier("generate", "lenet", "--seed", 1, "-o", "lenet.h5")
        self.images()

        def spoiled(spoil):
            shutil.copy("lenet.h5", "bad.h5")
            with h5py.File("bad.h5", "r+") as file:
                del file["espalier/checksums"]
                spoil(file["layers"])
            return "bad.h5"

        def indices(layers, name, value):
            layers["000002/weight"][name][7] = value

        for spoil, words in (
                (lambda f: f["000000"].attrs.modify("input_shape", [1, 2 ** 62, 2 ** 62]),
                 ["layer 0", "input_shape"]),
                (lambda f: f["000001"].attrs.modify("kernel", [60000, 60000]),
                 ["layer 1", "60000 x 60000", "larger than its input"]),
                (lambda f: f["000002"].attrs.modify("groups", 5), ["layer 2", "5 groups"]),
                (lambda f: f["000004"].attrs.modify("input_shape", [16, 5, 6]),
                 ["layer 4", "takes 480 inputs"]),
                (lambda f: indices(f, "indices_1", 200), ["filter 7", "input channel 200"]),
                (lambda f: indices(f, "indices_1", 0), ["filter 7", "input channel 0"]),
                (lambda f: indices(f, "indices_0", 16), ["row 16"])):
            self.refused("infer", spoiled(spoil), "images.h5", "-o", "r.h5", status=65,
                         words=["bad.h5", *words], output="r.h5")
            self.espalier("verify", "bad.h5", status=65)
        # A window that is small in the file and beyond any memory.
        with h5py.File("huge.h5", "w") as file:
            layer = file.create_group("layers/000000")
            layer.attrs["kind"] = "max_pool"
            layer.attrs["input_shape"] = [1, 65536, 65536]
            layer.attrs["kernel"] = [2, 2]
        with h5py.File("wide.h5", "w") as file:
            group = file.create_group("features")
            group.attrs["binsparse"] = json.dumps({"binsparse": {
                "version": "0.1", "format": "CSR", "shape": [1, 2 ** 32],
                "number_of_stored_values": 0,
                "data_types": {"pointers_to_1": "int64", "indices_1": "int64",
                               "values": "float32"}}})
            for name, length, kind in (("pointers_to_1", 2, "i8"), ("indices_1", 0, "i8"),
                                       ("values", 0, "f4")):
                group[name] = numpy.zeros(length, kind)
        self.refused("infer", "huge.h5", "wide.h5", "-o", "r.h5", status=69,
                     words=["does not fit"], output="r.h5")


if __name__ == "__main__":
    main()
