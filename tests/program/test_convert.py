#!/usr/bin/env python3
"""Representations: every form of every network is what h5py and SciPy expect, comes back exactly,
has the same bytes at 1 to 4 ranks, and is taken by the other jobs; damaged ones are refused."""
# timeout: 400
import json
import os
import shutil

import h5py
import numpy as np
import scipy.sparse

from support import ProgramTest, content, main
from test_convolution import filters

FORMS = ["csr", "csc", "triplets", "tensor", "map", "list", "vector"]
# A rank's share of a layer is then cut into many pieces.
LITTLE = ["--memory-per-rank", "97MiB"]


def random_matrix(seed, rows, cols, density, iso=False):
    """Float32 weights, among them rows and columns without any where there is room for them."""
    draw = np.random.default_rng(seed)
    matrix = np.where(draw.random((rows, cols)) < density, draw.normal(size=(rows, cols)), 0)
    if rows > 3:
        matrix[1::3] = 0
    return np.where(matrix != 0, 0.25, 0).astype("f4") if iso else matrix.astype("f4")


def layers():
    """Every next one takes what the one before gives."""
    last = np.zeros((4, 9), "f4")
    last[2, 7] = -3
    return [random_matrix(1, 300, 260, 0.4), random_matrix(2, 257, 300, 0.02, iso=True),
            np.zeros((1, 257), "f4"), np.ones((1, 1), "f4") * 5, random_matrix(3, 9, 1, 1),
            last, random_matrix(4, 700, 4, 0.5), random_matrix(5, 3, 700, 0.9)]


def write_network(path, weights):
    """As somebody else would write it: CSR with int64 indices."""
    with h5py.File(path, "w") as file:
        for number, weight in enumerate(weights):
            csr = scipy.sparse.csr_matrix(weight)
            layer = file.create_group(f"layers/{number:06d}")
            layer.attrs.update({"name": f"fc{number}", "activation": "leaky_relu", "alpha": 0.5,
                                "inputs": [number - 1]})
            group = layer.create_group("weight")
            group["pointers_to_1"] = csr.indptr.astype("i8")
            group["indices_1"] = csr.indices.astype("i8")
            group["values"] = csr.data
            group.attrs["binsparse"] = json.dumps({"binsparse": {
                "version": "0.1", "format": "CSR", "shape": list(weight.shape),
                "number_of_stored_values": int(csr.nnz),
                "data_types": {"pointers_to_1": "int64", "indices_1": "int64",
                               "values": "float32"}}})
            if number % 3 != 2:
                bias = layer.create_group("bias")
                iso = number % 3 == 1
                bias["values"] = (np.full(1, -0.5) if iso else
                                  np.linspace(-1, 1, len(weight))).astype("f4")
                bias.attrs["binsparse"] = json.dumps({"binsparse": {
                    "version": "0.1", "format": "DVEC", "shape": [len(weight)],
                    "number_of_stored_values": len(weight),
                    "data_types": {"values": "iso[float32]" if iso else "float32"}}})
        file["input_scale"] = np.linspace(0.5, 1, weights[0].shape[1]).astype("f4")
        file["output_shift"] = np.linspace(0, 1, len(weights[-1])).astype("f4")
    return path


def write_batch(path, samples, features):
    with h5py.File(path, "w") as file:
        values = random_matrix(9, samples, features, 0.3)
        group = file.create_group("features")
        group["values"] = values.ravel()
        group.attrs["binsparse"] = json.dumps({"binsparse": {
            "version": "0.1", "format": "DMAT", "shape": list(values.shape),
            "number_of_stored_values": values.size, "data_types": {"values": "float32"}}})
    return path


def read_weight(group):
    """The dense matrix, by h5py and SciPy alone."""
    if "espalier" in group.attrs:
        own = json.loads(group.attrs["espalier"])
        assert own["form"] == "list"
        pairs = group["pairs"][:]
        return scipy.sparse.csr_matrix((pairs["weight"], pairs["index"].astype("i8"),
                                        group["pointers"][:].astype("i8")),
                                       own["shape"]).toarray()
    root = json.loads(group.attrs["binsparse"])
    info, own = root["binsparse"], root.get("espalier", {})
    stored, values = info["number_of_stored_values"], group["values"][:]
    if info["data_types"]["values"] == "iso[float32]":
        assert len(values) == 1
        values = np.full(stored, values[0])
    shape = tuple(info["shape"])

    def whole(name):
        return group[name][:].astype("i8")

    if info["format"] in ("CSR", "CSC"):
        kind = getattr(scipy.sparse, info["format"].lower() + "_matrix")
        found = kind((values, whole("indices_1"), whole("pointers_to_1")), shape)
        found.check_format()
        if own.get("form") == "map":
            linear = scipy.sparse.coo_matrix(found)
            flat = np.zeros(own["shape"][0] * own["shape"][1], "f4")
            flat[linear.row.astype("i8") * shape[1] + linear.col] = linear.data
            return flat.reshape(own["shape"])
        return found.toarray()
    if info["format"] == "COO":
        return scipy.sparse.coo_matrix((values, (whole("indices_0"), whole("indices_1"))),
                                       shape).toarray()
    if info["format"] == "CVEC":
        assert np.all(np.diff(whole("indices_0")) > 0)
        flat = np.zeros(shape, "f4")
        flat[whole("indices_0")] = values
        return flat.reshape(own["shape"])
    assert info["format"]["custom"]["level"]["level_desc"] == "sparse"
    blocks = np.zeros(shape, "f4")
    blocks[whole("indices_0"), whole("indices_1")] = values.reshape(-1, *shape[2:])
    rows, cols = own["shape"]
    return blocks.transpose(0, 2, 1, 3).reshape(shape[0] * shape[2], -1)[:rows, :cols]


def snapshot(path):
    """Everything in a file but where it comes from."""
    found = {}

    def note(name, item):
        if name != "espalier/checksums":
            attributes = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
            data = (item.dtype.str, item.shape, item[()].tobytes()) if isinstance(
                item, h5py.Dataset) else None
            found[name] = (attributes, data)

    with h5py.File(path, "r") as file:
        file.visititems(note)
    return found


class ConvertTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.weights = layers()
        self.net = write_network("net.h5", self.weights)

    def convert(self, form, source, target, *more, ranks=1, **others):
        block = ["--block", "3x2"] if form == "tensor" else []
        return self.espalier("convert", source, "--to", form, *block, "-o", target, *more,
                             ranks=ranks, **others)

    def check_weights(self, path):
        with h5py.File(path, "r") as file:
            for number, weight in enumerate(self.weights):
                found = read_weight(file[f"layers/{number:06d}/weight"])
                np.testing.assert_array_equal(found, weight, f"{path}, layer {number}")

    def test_forms_and_back(self):
        self.assertGreater(sum(np.count_nonzero(weight) for weight in self.weights), 20000)
        self.convert("csr", self.net, "direct.h5", *LITTLE)
        self.check_weights("direct.h5")
        for form in FORMS:
            with self.subTest(form=form):
                for ranks in (1, 2 + FORMS.index(form) % 3):
                    memory = LITTLE if ranks % 2 else []
                    self.convert(form, self.net, f"{form}{ranks}.h5", *memory, ranks=ranks)
                    self.assertEqual(content(f"{form}{ranks}.h5"), content(f"{form}1.h5"))
                path = form + "1.h5"
                self.check_weights(path)
                for ranks in self.one_of(1, 3):
                    self.assertIn("sound", self.espalier("verify", path, ranks=ranks).out)
                for ranks in self.one_of(1, 2):
                    self.convert("csr", path, "back.h5", "--force", ranks=ranks)
                    self.assertEqual(snapshot("back.h5"), snapshot("direct.h5"))
                # Between two others, neither of them by rows.
                for ranks in self.one_of(1, 2, 3):
                    self.convert("csc", path, form + "-csc.h5", *LITTLE, "--force", ranks=ranks)
                    self.check_weights(form + "-csc.h5")
        self.assertEqual(snapshot("vector-csc.h5"), snapshot("csc1.h5"))

    def test_values_and_compression(self):
        for form in FORMS:
            with self.subTest(form=form):
                self.convert(form, self.net, "full.h5", "--values", "full", "--force")
                self.check_weights("full.h5")
                with h5py.File("full.h5", "r") as file:
                    self.assertNotIn("iso", str(dict(file["layers/000001/weight"].attrs)))
                self.convert(form, self.net, "plain.h5", "--force")
                for ranks in self.one_of(1, 2):
                    self.convert(form, self.net, "packed.h5", "--compress", "--force", ranks=ranks)
                    self.assertEqual(snapshot("packed.h5"), snapshot("plain.h5"))
                self.espalier("verify", "packed.h5")
                with h5py.File("packed.h5", "r") as file:
                    name = "pairs" if form == "list" else "values"
                    self.assertIsNotNone(file["layers/000000/weight"][name].compression)
        for form, iso in (("csr", True), ("list", False), ("tensor", False)):
            self.convert(form, self.net, "iso.h5", "--force")
            described = json.loads(self.espalier("inspect", "iso.h5", "--json").out)
            self.assertEqual(described["layers"][1]["iso"], iso)

    def test_stored_zeros_stay_where_nothing_is_dense(self):
        with h5py.File(self.net, "r+") as file:
            file["layers/000000/weight/values"][5] = 0
        self.convert("csr", self.net, "direct.h5")
        for form in FORMS:
            self.convert(form, self.net, "there.h5", "--force")
            self.convert("csr", "there.h5", "back.h5", "--force")
            equal = snapshot("back.h5") == snapshot("direct.h5")
            self.assertEqual(equal, form != "tensor", form)

    def test_other_jobs_take_them(self):
        write_batch("batch.h5", 70, 260)
        self.espalier("infer", self.net, "batch.h5", "-o", "r.h5", "--output", "full")
        expected = snapshot("r.h5")
        self.espalier("prune", self.net, "--method", "magnitude", "--sparsity", 0.97, "-o", "p.h5")
        pruned = snapshot("p.h5")
        self.assertGreater(expected["output/values"][1][1][0], 50)
        for form in FORMS:
            with self.subTest(form=form):
                self.convert(form, self.net, "form.h5", "--force")
                for ranks in self.one_of(1, 3):
                    self.espalier("infer", "form.h5", "batch.h5", "-o", "f.h5", "--output", "full",
                                  "--grid", f"{ranks}x1", "--force", ranks=ranks)
                    self.assertEqual(snapshot("f.h5"), expected)
                for ranks in self.one_of(1, 2):
                    self.espalier("prune", "form.h5", "--method", "magnitude", "--sparsity", 0.97,
                                  "-o", "q.h5", "--force", *LITTLE, ranks=ranks)
                    self.assertEqual(snapshot("q.h5"), pruned)
        compared = json.loads(self.espalier("compare", "form.h5", self.net, "batch.h5",
                                            "--json").out)
        self.assertEqual(compared["deviation_max"], 0)

    def test_dense_and_triplets_from_others(self):
        weight = self.weights[0]
        with h5py.File(self.net, "r+") as file:
            group = file["layers/000000/weight"]
            for name in list(group):
                del group[name]
            group["values"] = weight
            group.attrs["binsparse"] = json.dumps({"binsparse": {
                "version": "0.1", "format": "DMAT", "shape": list(weight.shape),
                "number_of_stored_values": weight.size, "data_types": {"values": "float32"}}})
        for form in FORMS:
            for ranks in self.one_of(1, 3, 2):
                self.convert(form, self.net, "form.h5", "--force", ranks=ranks)
                self.check_weights("form.h5")

    def test_one_weight(self):
        weight = random_matrix(7, 2000, 3000, 0.1)
        write_network("large.h5", [weight])
        rows, cols = np.nonzero(weight)
        places = [(rows[k], cols[k]) for k in (0, len(rows) // 2, -1)] + [(1, 0), (0, 0)]
        for form in FORMS:
            self.convert(form, "large.h5", "form.h5", "--force")
            with self.subTest(form=form):
                for row, col in places:
                    found = json.loads(self.espalier(
                        "inspect", "form.h5", "--weight", f"0,{row},{col}", "--json").out)
                    self.assertEqual(np.float32(found["weight"]), weight[row, col])
                    self.assertEqual(found["stored"], weight[row, col] != 0)
                    self.assertLess(found["bytes_read"], 1000)
                    self.assertGreater(os.path.getsize("form.h5"), 2000000)
        row, col = places[1]
        line = self.espalier("inspect", "form.h5", "--weight", f"0,{row},{col}", ranks=2).out
        self.assertEqual(line, f"layer 0, output {row}, input {col}: {weight[row, col]!s}\n")
        for place, word in (("0,2000,0", "2000"), ("1,0,0", "layer 1"), ("0,1", "LAYER"),
                            ("0,1,x", "LAYER"), ("0,-1,2", "LAYER")):
            self.refused("inspect", "form.h5", "--weight", place, status=64, words=[word])

    def test_networks_with_convolutions(self):
        """Filters stay as they are, layers of connections between them and the output do not."""
        self.espalier("generate", "lenet", "--seed", 2, "-o", "lenet.h5")
        self.espalier("prune", "lenet.h5", "--method", "group", "--unit", "filter", "--sparsity",
                      0.6, "--scope", "layer", "-o", "half.h5")
        write_batch("images.h5", 9, 784)
        self.espalier("infer", "half.h5", "images.h5", "-o", "r.h5", "--output", "full")
        expected = snapshot("r.h5")
        self.assertGreater(expected["output/values"][1][1][0], 50)
        self.convert("csr", "half.h5", "direct.h5")
        before = snapshot("half.h5")
        for number, form in enumerate(FORMS):
            with self.subTest(form=form):
                self.convert(form, "half.h5", "form.h5", "--force", ranks=1 + number % 3)
                after = snapshot("form.h5")
                filters = [name for name in before if name.startswith(("layers/000000/weight",
                                                                       "layers/000002/weight"))]
                self.assertEqual(len(filters), 8)
                for name in filters:
                    self.assertEqual(after[name], before[name], name)
                self.espalier("infer", "form.h5", "images.h5", "-o", "f.h5", "--output", "full",
                              "--force", ranks=1 + number % 2)
                self.assertEqual(snapshot("f.h5"), expected)
                self.convert("csr", "form.h5", "back.h5", "--force")
                self.assertEqual(snapshot("back.h5"), snapshot("direct.h5"))

    def test_one_weight_of_a_filter(self):
        self.espalier("generate", "lenet", "--seed", 2, "-o", "lenet.h5")
        self.espalier("prune", "lenet.h5", "--method", "magnitude", "--sparsity", 0.97, "-o",
                      "few.h5")
        with h5py.File("few.h5", "r") as file:
            bank = filters(file["layers/000002/weight"]).reshape(16, -1)
        gone = np.argwhere(np.all(bank.reshape(16, 6, 25) == 0, axis=2))
        inside = np.argwhere((bank == 0) & np.repeat(np.any(bank.reshape(16, 6, 25), axis=2), 25,
                                                     axis=1))
        there = np.argwhere(bank)
        self.assertTrue(len(gone) and len(inside) and len(there))
        for row, col in (there[0], there[-1], inside[0], gone[0] * (1, 25), gone[-1] * (1, 25)):
            found = json.loads(self.espalier("inspect", "few.h5", "--weight", f"2,{row},{col}",
                                             "--json").out)
            self.assertEqual(np.float32(found["weight"]), bank[row, col])
            self.assertEqual(found["stored"], bank[row, col] != 0)
        for place, word in (("2,16,0", "16"), ("2,0,150", "150"), ("1,0,0", "max_pool")):
            self.refused("inspect", "few.h5", "--weight", place, status=64, words=[word])

    def test_memory(self):
        self.refused("convert", self.net, "--to", "csc", "-o", "out.h5", "--memory-per-rank",
                     "96MiB", status=69, words=["memory-per-rank"], output="out.h5")
        self.refused("convert", self.net, "--to", "bsr", "-o", "out.h5", status=64,
                     words=["bsr", "csc"], output="out.h5")
        self.refused("convert", self.net, "--to", "tensor", "--block", "4", "-o", "out.h5",
                     status=64, words=["block", "4x4"], output="out.h5")
        self.refused("convert", self.net, "--to", "csr", "--block", "4x4", "-o", "out.h5",
                     status=64, words=["tensor"], output="out.h5")

    def test_done_before(self):
        self.convert("csc", self.net, "out.h5")
        before = os.stat("out.h5").st_mtime_ns
        self.convert("csc", self.net, "out.h5", ranks=2)
        self.assertEqual(os.stat("out.h5").st_mtime_ns, before)
        self.convert("map", self.net, "out.h5", status=73)
        self.espalier("convert", self.net, "--to", "map", "-o", "dry.h5", "--dry-run")
        self.assertFalse(os.path.exists("dry.h5"))


class HostileTest(ProgramTest):
    """One wrong element or number at a time, without checksums that would tell."""

    def setUp(self):
        super().setUp()
        write_network("net.h5", [random_matrix(8, 40, 50, 0.2)])

    def damaged(self, form, words, change):
        good = form + ".h5"
        if not os.path.exists(good):
            block = ["--block", "3x2"] if form == "tensor" else []
            self.espalier("convert", "net.h5", "--to", form, *block, "-o", good, "--values", "full")
        shutil.copy(good, "bad.h5")
        with h5py.File("bad.h5", "r+") as file:
            del file["espalier"], file.attrs["digest"]
            change(file["layers/000000/weight"])
        # Ranks take turns: reading by rows and by all, by one rank and by several.
        for one, other in self.one_of((1, 1), (1, 3), (3, 1)):
            line = self.espalier("verify", "bad.h5", ranks=one, status=65).complaint()
            for word in ["bad.h5", "/layers/000000/weight", *words]:
                self.assertIn(word, line)
            self.espalier("convert", "bad.h5", "--to", "csc" if form != "csc" else "csr", "-o",
                          "o.h5", ranks=other, status=65)
            self.assertFalse(os.path.exists("o.h5"))

    @staticmethod
    def put(name, place, value):
        def change(group):
            data = group[name][:]
            data[place] = value
            group[name][...] = data
        return change

    @staticmethod
    def describe(**keys):
        def change(group):
            name = "espalier" if "espalier" in group.attrs else "binsparse"
            root = json.loads(group.attrs[name])
            holder = root.get("binsparse", root)
            own = root.get("espalier", root)
            for key, value in keys.items():
                if key.startswith("own_"):
                    own[key[4:]] = value
                else:
                    holder[key] = value
            group.attrs[name] = json.dumps(root)
        return change

    @staticmethod
    def swap(*names):
        """Two neighbours change places."""
        def change(group):
            for name in names:
                data = group[name][:]
                data[[3, 4]] = data[[4, 3]]
                group[name][...] = data
        return change

    def test_columns(self):
        self.damaged("csc", ["column"], self.put("pointers_to_1", 3, 200))
        self.damaged("csc", ["pointer"], self.put("pointers_to_1", -1, 7))
        self.damaged("csc", ["column"], self.put("indices_1", 2, 255))
        self.damaged("csc", ["column"], self.swap("indices_1"))
        self.damaged("csc", ["finite"], self.put("values", 4, np.nan))
        self.damaged("csc", ["pointers_to_1"], self.describe(shape=[40, 51]))

    def test_linear(self):
        for form, name in (("vector", "indices_0"), ("map", "indices_1")):
            self.damaged(form, [], self.swap(name))
            self.damaged(form, ["finite"], self.put("values", 4, np.inf))
            self.damaged(form, [], self.describe(own_shape=[40, 500]))
            self.damaged(form, ["63 bits"], self.describe(own_shape=[2 ** 40, 2 ** 31]))
            self.damaged(form, ["shape"], self.describe(own_shape=[-40, -50]))
            self.damaged(form, [], self.describe(number_of_stored_values=2 ** 62))
        self.damaged("vector", ["index 3000"], self.put("indices_0", -1, 3000))
        self.damaged("map", ["bucket_bits"], self.describe(own_bucket_bits=64))
        self.damaged("map", ["pointer"], self.put("pointers_to_1", 0, 1))
        self.damaged("map", ["ascend"], self.put("pointers_to_1", 1, 3))

    def test_lists(self):
        pair = np.array((5, 1), dtype=[("index", "u4"), ("weight", "f4")])
        self.damaged("list", ["row"], self.swap("pairs"))
        self.damaged("list", ["4294967295"], self.put("pairs", 3, np.array(
            (2 ** 32 - 1, 1), dtype=pair.dtype)))
        self.damaged("list", ["finite"], self.put("pairs", 0, np.array(
            (0, np.nan), dtype=pair.dtype)))
        self.damaged("list", ["row"], self.put("pointers", 3, 255))

        def other_type(group):
            data = group["pairs"][:]
            del group["pairs"]
            group["pairs"] = data.astype([("index", "u4"), ("weight", "f8")])
        self.damaged("list", ["pairs"], other_type)
        self.damaged("list", ["form"], self.describe(form="tree"))

    def test_blocks(self):
        self.damaged("tensor", ["block"], self.swap("indices_1"))
        self.damaged("tensor", ["block"], self.swap("indices_0", "indices_1"))
        self.damaged("tensor", ["block"], self.put("indices_0", -1, 200))
        self.damaged("tensor", ["finite"], self.put("values", 3, -np.inf))
        # 40 rows in blocks of 3: the last row of blocks holds one row.
        self.damaged("tensor", ["40 x 50"], self.put("values", -1, 1))
        self.damaged("tensor", ["shape"], self.describe(own_shape=[43, 50]))
        self.damaged("tensor", ["blocks"], self.describe(shape=[14, 25, 2 ** 40, 2 ** 40]))
        self.damaged("tensor", [], self.describe(shape=[14, 25, 3, 0]))


if __name__ == "__main__":
    main()
