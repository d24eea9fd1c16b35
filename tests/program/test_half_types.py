#!/usr/bin/env python3
"""Half types are kept as they come: network files hold their bits, every job computes with what
they stand for, and what the file says of them is believed only if it can be."""
import json
import os
import shutil

import h5py
import numpy as np
import scipy.sparse

import safetensors_format as st
from matrices import dense, described
from support import ProgramTest, content, main
from test_convert import FORMS, snapshot, write_batch

NAMES = {"BF16": "bfloat16", "F16": "float16"}


class HalfTest(ProgramTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(5)
        self.arrays = {"fc1.weight": random.normal(0, 0.3, (40, 60)),
                       "fc2.weight": random.normal(0, 0.3, (9, 40))}
        for array in self.arrays.values():
            array[random.random(array.shape) < 0.1] = 0
        with open("layers.json", "w", encoding="ascii") as file:
            json.dump([{"weight": "fc1.weight", "activation": "relu"}, {"weight": "fc2.weight"}],
                      file)
        write_batch("batch.h5", 25, 60)

    def network(self, dtype, ranks=1):
        """The tensors as they are stored, and the network file."""
        tensors = {name: st.Tensor.of(dtype, array) for name, array in self.arrays.items()}
        tensors["fc1.bias"] = st.Tensor.of("F32", np.linspace(-0.1, 0.1, 40))
        st.write(f"{dtype}.safetensors", tensors)
        self.espalier("import", "--from", "safetensors", "--model", f"{dtype}.safetensors",
                      "--layers-file", "layers.json", "-o", f"{dtype}.h5", "--force", ranks=ranks)
        return tensors, f"{dtype}.h5"

    def value_types(self, path):
        return [layer["value_type"] for layer in
                json.loads(self.espalier("inspect", path, "--json").out)["layers"]]

    def outputs(self, path, *more):
        self.espalier("infer", path, "batch.h5", "--output", "full", "-o", "r.h5", "--force", *more)
        return snapshot("r.h5")

    def test_bits_are_kept(self):
        for dtype, name in NAMES.items():
            _, path = self.network(dtype, ranks=3)
            shared = content(path)
            tensors, path = self.network(dtype)
            self.assertEqual(content(path), shared)
            self.espalier("verify", path, ranks=2)
            self.assertEqual(self.value_types(path), [name, name])
            with h5py.File(path) as file:
                for number, weight in enumerate(("fc1.weight", "fc2.weight")):
                    group = file[f"layers/{number:06}/weight"]
                    np.testing.assert_array_equal(group["values"][:],
                                                  tensors[weight].words().view("u2").ravel())
                    self.assertEqual(group["values"].dtype, np.uint16)
                    self.assertEqual(described(group)["data_types"]["values"], "uint16")
                    np.testing.assert_array_equal(dense(group), tensors[weight].values())

    def widened(self, path, out="wide.h5"):
        """The same network in float32."""
        self.espalier("convert", path, "--to", "csr", "--values", "float32", "-o", out, "--force")
        self.assertEqual(set(self.value_types(out)), {"float32"})
        return out

    def weights(self, path):
        with h5py.File(path) as file:
            return [dense(layer["weight"]) for layer in file["layers"].values()]

    def test_jobs_compute_with_what_they_stand_for(self):
        for dtype, name in NAMES.items():
            tensors, path = self.network(dtype)
            wide = self.widened(path)
            for precision in ("fp32", "bf16"):
                outputs = [self.outputs(net, "--precision", precision) for net in (path, wide)]
                self.assertGreater(outputs[0]["output/values"][1][1][0], 100)
                self.assertEqual(*outputs)
            compared = json.loads(self.espalier("compare", path, wide, "batch.h5", "--json").out)
            self.assertEqual(compared["deviation_max"], 0)
            self.espalier("prune", path, "--method", "magnitude", "--sparsity", 0.6, "-o",
                          "pruned.h5", "--force", ranks=2)
            # In a model of their own, and back in the one they came from, the bits are the same.
            self.espalier("export", "pruned.h5", "--to", "safetensors", "-o", "alone.safetensors",
                          "--force")
            self.espalier("export", "pruned.h5", "--to", "safetensors", "--base",
                          f"{dtype}.safetensors", "-o", "back.safetensors", "--force")
            for back in ("alone.safetensors", "back.safetensors"):
                found = st.read(back)[0]
                self.assertEqual(found["fc1.bias"].dtype, "F32")
                for weight in self.arrays:
                    left = found[weight].words().view("u2")
                    self.assertEqual(found[weight].dtype, dtype)
                    self.assertGreater(np.count_nonzero(left), 100)
                    np.testing.assert_array_equal(
                        left, np.where(left != 0, tensors[weight].words().view("u2"), 0))
            # Other formats have float32 of the same values.
            for form in ("npy", "npz", "mtx") if dtype == "BF16" else ():
                self.espalier("export", "pruned.h5", "--to", form, "-o", form, "--force")
                self.espalier("import", "--from", form, "--model",
                              *[f"{form}/{file}" for file in sorted(os.listdir(form))], "-o",
                              "again.h5", "--force")
                for one, other in zip(self.weights("again.h5"), self.weights("pruned.h5")):
                    np.testing.assert_array_equal(one, other, form)

    def test_pruning_keeps_what_it_does_not_move(self):
        _, path = self.network("BF16")
        wide = self.widened(path)
        calibrate = ["--calibrate", "batch.h5", "--memory-per-rank", "300MiB"]
        stay = [["magnitude", "--sparsity", 0.6], ["threshold", "--threshold", 0.2],
                ["nm", "--pattern", "2:4"], ["group", "--unit", "block:2x2", "--sparsity", 0.5],
                ["lamp", "--sparsity", 0.5], ["bias"],
                ["wanda", "--sparsity", 0.5, *calibrate], ["bias", "--sparsity", 0.5, *calibrate]]
        move = [["l1", "--threshold", 0.1], ["lp", "--p", "0.5", "--threshold", 0.1],
                ["group", "--unit", "row", "--prox", "--threshold", 0.01],
                ["sparsegpt", "--sparsity", 0.5, *calibrate],
                ["magnitude", "--sparsity", 0.5, "--update", *calibrate]]
        for number, method in enumerate(stay + move):
            with self.subTest(method=method):
                for source, out in ((path, "half.h5"), (wide, "full.h5")):
                    self.espalier("prune", source, "--method", *method, "-o", out, "--force",
                                  ranks=1 + number % 3)
                kept = "bfloat16" if method in stay else "float32"
                self.assertEqual(self.value_types("half.h5"), [kept] * 2)
                for one, other in zip(self.weights("half.h5"), self.weights("full.h5")):
                    np.testing.assert_array_equal(one, other)
                self.assertGreater(np.count_nonzero(self.weights("half.h5")[0]), 100)
        # A layer that is left alone stays what it is.
        for method in (move[0], move[3]):
            self.espalier("prune", path, "--method", *method, "--exclude", "fc1", "-o", "half.h5",
                          "--force")
            self.assertEqual(self.value_types("half.h5"), ["bfloat16", "float32"])

    def test_one_value_for_all(self):
        self.arrays = {name: np.where(array > 0, 0.375, 0) for name, array in self.arrays.items()}
        _, path = self.network("F16")
        outputs = self.outputs(path)
        for values in ("iso", "full", "float32"):
            self.espalier("convert", path, "--to", "csr", "--values", values, "-o", "v.h5",
                          "--force", ranks=2)
            with h5py.File("v.h5") as file:
                group = file["layers/000000/weight"]
                stored = np.count_nonzero(self.arrays["fc1.weight"])
                self.assertEqual(len(group["values"]), 1 if values == "iso" else stored)
                self.assertEqual(described(group)["data_types"]["values"],
                                 {"iso": "iso[uint16]", "full": "uint16"}.get(values, "float32"))
                np.testing.assert_array_equal(dense(group), self.arrays["fc1.weight"])
            self.assertEqual(self.outputs("v.h5"), outputs)

    def test_all_forms_hold_them(self):
        _, path = self.network("BF16")
        self.espalier("convert", path, "--to", "csr", "-o", "direct.h5")
        expected = self.outputs(path)
        for number, form in enumerate(FORMS):
            self.espalier("convert", path, "--to", form, "-o", "form.h5", "--force")
            self.espalier("convert", path, "--to", form, "-o", "ranks.h5", "--force",
                          ranks=2 + number % 3)
            self.assertEqual(content("ranks.h5"), content("form.h5"), form)
            self.espalier("convert", path, "--to", form, "--compress", "-o", "packed.h5", "--force")
            self.assertEqual(snapshot("packed.h5"), snapshot("form.h5"), form)
            kept = "float32" if form == "list" else "bfloat16"
            self.assertEqual(self.value_types("form.h5"), [kept] * 2, form)
            self.espalier("verify", "packed.h5")
            source = "packed.h5" if form == "map" else "form.h5"
            self.assertEqual(self.outputs(source), expected, form)
            found = json.loads(self.espalier("inspect", "form.h5", "--weight", "0,1,2",
                                             "--json").out)
            weight = st.Tensor.of("BF16", self.arrays["fc1.weight"]).values()[1, 2]
            self.assertEqual(found["weight"], weight)
            if form != "list":
                self.espalier("convert", "form.h5", "--to", "csr", "-o", "back.h5", "--force")
                self.assertEqual(snapshot("back.h5"), snapshot("direct.h5"), form)

    def test_arrays_of_float16(self):
        array = self.arrays["fc2.weight"].astype("f2")
        sparse = scipy.sparse.csr_matrix(array.astype("f4"))
        common = {"shape": array.shape, "data": sparse.data.astype("f2")}
        np.save("little.npy", array.astype("<f2"))
        np.save("big.npy", array.astype(">f2"))
        np.save("columns.npy", np.asfortranarray(array))
        np.savez("dense.npz", array)
        np.savez("csr.npz", format=b"csr", indices=sparse.indices, indptr=sparse.indptr, **common)
        np.savez("coo.npz", format=b"coo", row=sparse.tocoo().row, col=sparse.indices, **common)
        with h5py.File("hdf5.h5", "w") as file:  # a network file from elsewhere
            group = file.create_group("layers/000000/weight")
            group["values"] = array.ravel()
            group.attrs["binsparse"] = json.dumps({"binsparse": {
                "version": "0.1", "format": "DMAT", "shape": array.shape,
                "number_of_stored_values": array.size, "data_types": {"values": "float16"}}})
        for source, name in (("little", "npy"), ("big", "npy"), ("columns", "npy"),
                             ("dense", "npz"), ("csr", "npz"), ("coo", "npz"),
                             ("hdf5", "binsparse")):
            with self.subTest(source=source):
                path = source + "." + ("h5" if name == "binsparse" else name)
                self.espalier("import", "--from", name, "--model", path, "-o", "net.h5", "--force")
                self.assertEqual(self.value_types("net.h5"), ["float16"])
                np.testing.assert_array_equal(self.weights("net.h5")[0], array)
        self.espalier("convert", "hdf5.h5", "--to", "csr", "-o", "net.h5", "--force")
        self.assertEqual(self.value_types("net.h5"), ["float16"])
        np.testing.assert_array_equal(self.weights("net.h5")[0], array)

    def test_what_is_not_finite_is_not_imported(self):
        for dtype, bits in (("BF16", 0x7FC0), ("F16", 0xFC00)):
            words = np.full((4, 5), 0x3C00, "u2")
            words[2, 3] = bits
            st.write("odd.safetensors", {"w": st.Tensor(dtype, words.shape, words.tobytes())})
            self.refused("import", "--from", "safetensors", "--model", "odd.safetensors", "-o",
                         "no.h5", status=65, words=["odd.safetensors", "row 2, column 3"],
                         output="no.h5")

    def spoilt(self, source, own, change=None):
        shutil.copy(source, "bad.h5")
        with h5py.File("bad.h5", "r+") as file:
            del file["espalier"], file.attrs["digest"]
            group = file["layers/000001/weight"]
            attribute = "binsparse" if "binsparse" in group.attrs else "espalier"
            root = json.loads(group.attrs[attribute])
            own = {**(root if attribute == "espalier" else root.get("espalier", {})), **own}
            group.attrs[attribute] = json.dumps(own if attribute == "espalier" else
                                                {**root, "espalier": own})
            if change:
                change(group)
        return "bad.h5"

    def test_what_is_no_half_type(self):
        _, path = self.network("BF16")
        self.espalier("convert", path, "--to", "list", "-o", "list.h5")
        self.espalier("convert", path, "--to", "map", "-o", "map.h5")

        def refused(words, own, change=None, source=path):
            bad = self.spoilt(source, own, change)
            for job in (["infer", bad, "batch.h5", "-o", "no.h5"], ["verify", bad],
                        ["convert", bad, "--to", "csc", "-o", "no.h5"]):
                line = self.espalier(*job, status=65).complaint()
                for word in ("bad.h5", "/layers/000001/weight", *words):
                    self.assertIn(word, line)
                self.assertFalse(os.path.exists("no.h5"))

        def values(array):
            def change(group):
                del group["values"]
                group["values"] = array
            return change

        def infinite(group):
            group["values"][7] = 0x7F80
        refused(["value_type", "float8"], {"value_type": "float8"})
        refused(["value_type", "7"], {"value_type": 7})
        refused(["value_type", "null"], {"value_type": None})
        refused(["value_type", "map"], {"value_type": {"map": ["float16"]}}, source="map.h5")
        refused(["value_type", "float32"], {"value_type": "bfloat16"}, values(np.ones(360, "f4")))
        refused(["value_type", "int16"], {"value_type": "bfloat16"}, values(np.ones(360, "i2")))
        refused(["[359]", "[360]"], {"value_type": "bfloat16"}, values(np.ones(359, "u2")))
        refused(["list", "value_type"], {"value_type": "bfloat16"}, source="list.h5")
        refused(["finite"], {"value_type": "bfloat16"}, infinite)
        self.refused("prune", "bad.h5", "--method", "magnitude", "--sparsity", 0.5, "-o", "no.h5",
                     status=65, words=["bad.h5", "finite"], output="no.h5")

    def test_what_others_write(self):
        """The other byte order, chunks, and whole numbers that nobody calls bits."""
        tensors, path = self.network("BF16")
        words = tensors["fc2.weight"].words().ravel()
        expected = self.outputs(path)

        def turned(group):
            del group["values"]
            group.create_dataset("values", data=words.astype(">u2"), chunks=(50,))
        self.assertEqual(self.outputs(self.spoilt(path, {}, turned)), expected)
        self.espalier("convert", "bad.h5", "--to", "csr", "-o", "back.h5")
        self.espalier("convert", path, "--to", "csr", "-o", "direct.h5")
        self.assertEqual(snapshot("back.h5"), snapshot("direct.h5"))

        def whole(group):
            group.attrs["binsparse"] = json.dumps(
                {"binsparse": json.loads(group.attrs["binsparse"])["binsparse"]})
        self.assertEqual(self.value_types(self.spoilt(path, {}, whole)), ["bfloat16", "uint16"])
        self.espalier("convert", "bad.h5", "--to", "csr", "-o", "back.h5", "--force")
        np.testing.assert_array_equal(self.weights("back.h5")[1].ravel(), words.astype("f4"))


if __name__ == "__main__":
    main()
