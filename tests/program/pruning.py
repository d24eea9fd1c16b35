"""Networks to be pruned, as others would write them, and what NumPy says stays of them."""
import json
import os

import h5py
import numpy as np

from support import ProgramTest, content

KINDS = ("plain", "ties", "iso", "sparse")


def matrix_of_kind(random, kind, rows, cols):
    """Weights as pruners meet them: float32, with few magnitudes, all equal, mostly zero."""
    weights = random.standard_normal((rows, cols)).astype(np.float32)
    if kind == "ties":
        weights = (weights.view(np.uint32) & np.uint32(0xFFF80000)).view(np.float32)
    elif kind == "iso":
        weights = np.where(weights > 0, np.float32(0.0625), np.float32(0))
    elif kind == "sparse":
        weights[random.random((rows, cols)) < 0.8] = 0
    return weights


def network_of_kind(kind, widths=(37, 23, 1, 11), seed=1):
    random = np.random.default_rng(seed)
    return [matrix_of_kind(random, kind, rows, cols) for cols, rows in zip(widths, widths[1:])]


def describe(group, form, shape, stored, values):
    types = {name: str(data.dtype) for name, data in group.items()}
    if values.size != stored:
        types["values"] = f"iso[{types['values']}]"
    group.attrs["binsparse"] = json.dumps({"binsparse": {
        "version": "0.1", "format": form, "shape": list(shape),
        "number_of_stored_values": int(stored), "data_types": types}})


def write_network(path, layers, form="CSR", names=None, biases=None):
    """A network file as others would write it."""
    with h5py.File(path, "w") as file:
        for number, weights in enumerate(layers):
            layer = file.create_group(f"layers/{number:06}")
            if names:
                layer.attrs["name"] = names[number]
            layer.attrs["activation"] = "relu"
            group = layer.create_group("weight")
            rows, cols = np.nonzero(weights)
            values = weights[rows, cols]
            if form == "DMAT":
                values = weights.ravel()
            else:
                group["indices_1"] = cols.astype(np.uint32)
            if form == "CSR":
                group["pointers_to_1"] = np.searchsorted(rows, np.arange(len(weights) + 1))
            if form == "COO":
                group["indices_0"] = rows.astype(np.uint64)
            stored = values.size
            if form != "DMAT" and stored and np.all(values == values[0]):
                values = values[:1]
            group["values"] = values
            describe(group, form, weights.shape, stored, values)
            if biases is not None:
                group = layer.create_group("bias")
                group["values"] = biases[number]
                describe(group, "DVEC", biases[number].shape, biases[number].size, biases[number])
    return path


def read_network(path):
    """Each layer's weights, dense."""
    layers = []
    with h5py.File(path, "r") as file:
        for name in sorted(file["layers"]):
            group = file[f"layers/{name}/weight"]
            info = json.loads(group.attrs["binsparse"])["binsparse"]
            stored, dense = info["number_of_stored_values"], np.zeros(info["shape"], np.float32)
            cols = group["indices_1"][:].astype(np.int64)
            if info["format"] == "CSR":
                rows = np.repeat(np.arange(len(dense)),
                                 np.diff(group["pointers_to_1"][:].astype(np.int64)))
            else:
                rows = group["indices_0"][:].astype(np.int64)
            values = group["values"][:]
            assert stored == cols.size and (values.size == stored or values.size == 1)
            assert np.all(values != 0)
            dense[rows, cols] = values
            assert np.count_nonzero(dense) == stored
            layers.append(dense)
    return layers


def is_iso(path, number):
    with h5py.File(path, "r") as file:
        group = file[f"layers/{number:06}/weight"]
        return "iso[" in group.attrs["binsparse"]


def kept_of(positions, sparsity):
    return positions - int(np.floor(sparsity * positions + 0.5))


def keep_largest(parts, keep, scores=None):
    """The `keep` largest non-zeros of all parts together; the lower place first among equals."""
    flat = np.concatenate([part.ravel() for part in parts])
    by = np.abs(flat) if scores is None else np.concatenate([s.ravel() for s in scores])
    places = np.flatnonzero(flat)
    order = places[np.argsort(-by[places].astype(np.float64), kind="stable")][:keep]
    left = np.zeros_like(flat)
    left[order] = flat[order]
    ends = np.cumsum([0] + [part.size for part in parts])
    return [left[b:e].reshape(part.shape) for b, e, part in zip(ends, ends[1:], parts)]


def group_sizes(weights, unit, norm):
    """The size of each group, spread over its positions, and each position's group number."""
    rows, cols = weights.shape
    height, width = {"row": (1, cols), "column": (rows, 1)}.get(unit) or map(
        int, unit[6:].split("x"))
    across = -(-cols // width)
    number = np.add.outer(np.arange(rows) // height * across, np.arange(cols) // width)
    total = np.zeros(number.max() + 1)
    sizes = np.abs(weights.astype(np.float64))
    positions = np.bincount(number.ravel())
    if norm == "inf":
        np.maximum.at(total, number, sizes)
    elif norm == "1":
        np.add.at(total, number, sizes)
        total /= positions
    else:
        np.add.at(total, number, sizes ** 2)
        total = np.sqrt(total / positions)
    return total.astype(np.float32), number


def lamp_scores(weights):
    """w^2 over the sum of v^2 of all v of the layer with |v| >= |w|."""
    sizes = np.abs(weights.astype(np.float64).ravel())
    values, counts = np.unique(sizes, return_counts=True)
    not_smaller = np.cumsum((values ** 2 * counts)[::-1])[::-1]
    scores = np.where(values > 0, values ** 2 / np.where(values > 0, not_smaller, 1), 0)
    return scores[np.searchsorted(values, sizes)].reshape(weights.shape)


class PruneTest(ProgramTest):
    def assert_near(self, found, expected):
        """The same weights stay, up to few that are nearly equal; their values nearly so."""
        differ = np.count_nonzero((found != 0) != (expected != 0))
        self.assertLessEqual(differ, 2)
        self.assertEqual(np.count_nonzero(found), np.count_nonzero(expected))
        if differ == 0:
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)

    def prune(self, path, *arguments, out="out.h5", **more):
        self.espalier("prune", path, *arguments, "-o", out, "--force", **more)
        return read_network(out)

    def assert_same(self, found, expected, what=""):
        self.assertEqual(len(found), len(expected))
        for number, (a, b) in enumerate(zip(found, expected)):
            np.testing.assert_array_equal(a, b, f"{what} layer {number}")

    def assert_same_bytes(self, path, *arguments, memory="100MiB"):
        """On more ranks, and in pieces as small as memory makes them."""
        self.espalier("prune", path, *arguments, "-o", "one.h5", "--force")
        for ranks in self.one_of(2, 3, 4):
            self.espalier("prune", path, *arguments, "-o", "more.h5", "--force",
                          "--memory-per-rank", memory, ranks=ranks)
            self.assertEqual(content("one.h5"), content("more.h5"), f"{arguments} {ranks} ranks")
