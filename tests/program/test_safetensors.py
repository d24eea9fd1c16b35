"""Networks from safetensors and back, against a reader and writer made from the format's definition."""
import json
import os
import unittest

import h5py
import numpy
import safetensors_format as st
from matrices import values_of
from support import ProgramTest, content


def weights(seed, shape):
    values = numpy.random.default_rng(seed).normal(0, 0.3, shape).astype("f4")
    values[numpy.abs(values) < 0.05] = 0
    return values


def write_model(path, dtype="F32"):
    tensors = {"fc1.weight": st.Tensor.of(dtype, weights(1, (12, 9))),
               "fc1.bias": st.Tensor.of("F32", weights(2, (12,))),
               "steps": st.Tensor.of("I64", numpy.arange(3)),
               "fc2.weight": st.Tensor.of(dtype, weights(3, (4, 12))),
               "conv.weight": st.Tensor.of("F16", weights(4, (3, 2, 2, 2)))}
    st.write(path, tensors, {"format": "pt"})
    return tensors


def write_layers(path, layers):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(layers, file)
    return path


CHAIN = [{"weight": "fc1.weight", "activation": "relu"}, {"weight": "fc2.weight"}]


class Safetensors(ProgramTest):

    def test_models_become_networks(self):
        for dtype in ("F32", "BF16", "F16", "F64"):
            tensors = write_model(f"{dtype}.safetensors", dtype)
            self.espalier("import", "--from", "safetensors", "--model", f"{dtype}.safetensors",
                          "-o", f"{dtype}-1.h5")
            self.espalier("import", "--from", "safetensors", "--model", f"{dtype}.safetensors",
                          "-o", f"{dtype}-3.h5", ranks=3)
            self.assertEqual(content(f"{dtype}-1.h5"), content(f"{dtype}-3.h5"))
            with h5py.File(f"{dtype}-1.h5") as file:
                self.assertEqual([layer.attrs["name"] for layer in file["layers"].values()],
                                 ["fc1", "fc2", "conv"])
                self.assertEqual(file["layers/000000"].attrs["inputs"], "unknown")
                for number, name in enumerate(("fc1.weight", "fc2.weight", "conv.weight")):
                    values = values_of(file[f"layers/00000{number}/weight"])
                    self.assertTrue(numpy.array_equal(
                        values, tensors[name].values().astype("f4").ravel()))
                self.assertTrue(numpy.array_equal(file["layers/000000/bias/values"][:],
                                                  tensors["fc1.bias"].values()))
                self.assertNotIn("bias", file["layers/000001"])

    def test_a_stated_graph_runs(self):
        tensors = write_model("m.safetensors")
        write_layers("layers.json", CHAIN)
        self.espalier("import", "--from", "safetensors", "--model", "m.safetensors",
                      "--layers-file", "layers.json", "-o", "net.h5", ranks=2)
        self.espalier("verify", "net.h5")
        x = numpy.random.default_rng(9).normal(0, 1, (7, 9)).astype("f4")
        with h5py.File("x.h5", "w") as file:
            file["x"] = x
        self.espalier("import", "--from", "hdf5", "--features", "x.h5:/x", "-o", "batch.h5")
        self.espalier("infer", "net.h5", "batch.h5", "--output", "full", "-o", "result.h5")
        self.espalier("export", "result.h5", "--to", "npy", "--what", "output", "-o", "y.npy")
        hidden = numpy.maximum(x @ tensors["fc1.weight"].values().T + tensors["fc1.bias"].values(), 0)
        self.assertTrue(numpy.allclose(numpy.load("y.npy"),
                                       hidden @ tensors["fc2.weight"].values().T, atol=1e-4))

    def run_on(self, network, features, ranks=1):
        """What a network gives for features."""
        with h5py.File("x.h5", "w") as file:
            file["x"] = features
        self.espalier("import", "--from", "hdf5", "--features", "x.h5:/x", "-o", "batch.h5", "--force")
        self.espalier("infer", network, "batch.h5", "--output", "full", "-o", "r.h5", "--force", ranks=ranks)
        self.espalier("export", "r.h5", "--to", "npy", "--what", "output", "-o", "y.npy", "--force")
        return numpy.load("y.npy")

    def test_a_stated_lenet_is_the_one_that_was_written(self):
        self.espalier("generate", "lenet", "--seed", 5, "-o", "lenet.h5")
        self.espalier("export", "lenet.h5", "--to", "safetensors", "-o", "lenet.safetensors")
        pool = {"kind": "max_pool", "kernel": [2, 2]}
        relu = {"activation": "relu"}
        write_layers("layers.json", [
            {"weight": "conv1.weight", "kind": "convolution", "input_shape": [1, 28, 28],
             "padding": [2, 2, 2, 2], **relu}, {**pool, "name": "pool1"},
            {"weight": "conv2.weight", "kind": "convolution", "inputs": ["pool1"], **relu}, pool,
            {"kind": "flatten"}, {"weight": "fc1.weight", **relu}, {"weight": "fc2.weight", **relu},
            {"weight": "fc3.weight"}])
        for ranks in (1, 3):
            self.espalier("import", "--from", "safetensors", "--model", "lenet.safetensors",
                          "--layers-file", "layers.json", "-o", f"net{ranks}.h5", ranks=ranks)
        self.assertEqual(content("net1.h5"), content("net3.h5"))
        self.espalier("verify", "net1.h5")
        x = numpy.random.default_rng(2).random((9, 784), "f4")
        wanted = self.run_on("lenet.h5", x)
        self.assertEqual(len(numpy.unique(wanted)), wanted.size)
        self.assertTrue(numpy.array_equal(self.run_on("net1.h5", x, ranks=2), wanted))
        # As filters again, of which whole ones go.
        for network in ("net1.h5", "lenet.h5"):
            self.espalier("prune", network, "--method", "group", "--unit", "filter", "--sparsity", 0.5,
                          "-o", f"pruned-{network}")
        pruned = self.run_on("pruned-lenet.h5", x)
        self.assertFalse(numpy.array_equal(pruned, wanted))
        self.assertTrue(numpy.array_equal(self.run_on("pruned-net1.h5", x), pruned))

    def test_groups_strides_dilation_and_one_dimension(self):
        bank, line = weights(5, (4, 3, 3, 2)), weights(6, (2, 4, 3))
        st.write("m.safetensors", {"a.weight": st.Tensor.of("F32", bank),
                                   "b.weight": st.Tensor.of("BF16", line)})
        write_layers("layers.json", [
            {"weight": "a.weight", "kind": "convolution", "input_shape": [6, 7, 9], "groups": 2,
             "strides": [2, 1], "dilation": [1, 3], "padding": [1, 0, 0, 2], "activation": "relu"},
            {"kind": "average_pool", "kernel": [3, 1], "name": "p"},
            {"weight": "b.weight", "kind": "convolution", "strides": [1, 2], "inputs": ["p"]}])
        self.espalier("import", "--from", "safetensors", "--model", "m.safetensors", "--layers-file",
                      "layers.json", "-o", "net.h5")
        x = numpy.random.default_rng(3).normal(0, 1, (5, 6, 7, 9)).astype("f4")
        padded = numpy.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2))).astype(float)
        hidden = numpy.zeros((5, 4, 3, 8))
        for o in range(4):
            for (i, j, k), weight in numpy.ndenumerate(bank[o]):
                hidden[:, o] += weight * padded[:, 3 * (o // 2) + i, j:j + 6:2, 3 * k:3 * k + 8]
        hidden = numpy.maximum(hidden, 0).mean(axis=2)
        stored = st.Tensor.of("BF16", line).values()
        wanted = sum(numpy.einsum("oi,nix->nox", stored[:, :, k], hidden[:, :, k:k + 6:2]) for k in range(3))
        found = self.run_on("net.h5", x.reshape(5, -1), ranks=2)
        self.assertEqual(found.shape, (5, 2 * 3))
        numpy.testing.assert_allclose(found, wanted.reshape(5, -1), rtol=0, atol=1e-4)
        self.assertGreater(abs(wanted).max(), 0.1)

    def test_without_a_graph_infer_says_why_not(self):
        write_model("m.safetensors")
        self.espalier("import", "--from", "safetensors", "--model", "m.safetensors", "--include",
                      "^fc", "--exclude", "2", "-o", "net.h5")
        with h5py.File("x.h5", "w") as file:
            file["x"] = numpy.ones((2, 9), "f4")
        self.espalier("import", "--from", "hdf5", "--features", "x.h5:/x", "-o", "batch.h5")
        self.refused("infer", "net.h5", "batch.h5", "-o", "out.h5", status=65,
                     words=["net.h5", "which layer reads which", "--layers-file"], output="out.h5")
        self.espalier("inspect", "net.h5")
        self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.5, "-o", "p.h5")
        self.espalier("verify", "p.h5")

    def test_networks_become_models(self):
        tensors = write_model("m.safetensors")
        write_layers("layers.json", CHAIN)
        self.espalier("import", "--from", "safetensors", "--model", "m.safetensors",
                      "--layers-file", "layers.json", "-o", "net.h5")
        self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.6, "--scope",
                      "row", "-o", "p.h5")
        for ranks in (1, 2, 4):
            self.espalier("export", "p.h5", "--to", "safetensors", "-o", f"alone{ranks}.safetensors",
                          ranks=ranks)
            self.espalier("export", "p.h5", "--to", "safetensors", "--base", "m.safetensors", "-o",
                          f"based{ranks}.safetensors", ranks=ranks)
            self.assertEqual(content(f"alone{ranks}.safetensors"), content("alone1.safetensors"))
            self.assertEqual(content(f"based{ranks}.safetensors"), content("based1.safetensors"))
        alone, based = st.read("alone1.safetensors")[0], st.read("based1.safetensors")[0]
        self.assertEqual(list(alone), ["fc1.weight", "fc1.bias", "fc2.weight"])
        self.assertEqual(list(based), list(tensors))
        for name in ("fc1.weight", "fc2.weight"):
            was, now = tensors[name].values(), alone[name].values()
            self.assertTrue(numpy.all((now == was) | (now == 0)))
            self.assertGreater(numpy.count_nonzero(was), numpy.count_nonzero(now))
            self.assertEqual(based[name].data, alone[name].data)
        for name in ("steps", "conv.weight", "fc1.bias"):
            self.assertEqual(based[name].data, tensors[name].data)
        self.espalier("export", "p.h5", "--to", "safetensors", "-o", "alone1.safetensors")
        self.espalier("import", "--from", "safetensors", "--model", "alone1.safetensors", "-o",
                      "again.h5")
        self.espalier("export", "again.h5", "--to", "safetensors", "-o", "again.safetensors")
        self.assertEqual(content("again.safetensors"), content("alone1.safetensors"))

    def test_a_base_keeps_types_shards_and_side_files(self):
        os.mkdir("base")
        halves = {"fc1.weight": st.Tensor.of("BF16", weights(1, (12, 9))),
                  "fc1.bias": st.Tensor.of("BF16", weights(2, (12,)))}
        others = {"fc2.weight": st.Tensor.of("F16", weights(3, (4, 12))),
                  "norm": st.Tensor.of("F32", weights(4, (5,)))}
        st.write("base/model-1.safetensors", halves, padding=3)
        st.write("base/model-2.safetensors", others)
        index = {"weight_map": {**{n: "model-1.safetensors" for n in halves},
                                **{n: "model-2.safetensors" for n in others}}}
        write_layers("base/model.safetensors.index.json", index)
        write_layers("base/config.json", {"a": 1})
        self.espalier("import", "--from", "safetensors", "--model", "base", "-o", "net.h5")
        self.espalier("export", "net.h5", "--to", "safetensors", "--base", "base", "-o", "out",
                      ranks=2)
        for name in os.listdir("base"):
            self.assertEqual(content(f"base/{name}"), content(f"out/{name}"), name)
        self.espalier("prune", "net.h5", "--method", "magnitude", "--sparsity", 0.7, "-o", "p.h5")
        self.espalier("export", "p.h5", "--to", "safetensors", "--base", "base", "-o", "pruned")
        self.espalier("prune", "base", "--to", "safetensors", "--method", "magnitude", "--sparsity",
                      0.7, "-o", "direct")
        for name in os.listdir("base"):
            self.assertEqual(content(f"pruned/{name}"), content(f"direct/{name}"), name)

    def test_what_does_not_fit_is_said(self):
        write_model("m.safetensors")
        job = ["import", "--from", "safetensors", "--model", "m.safetensors", "-o", "net.h5"]
        self.refused(*job, "--include", "(", status=64, words=["--include", '"("'])
        self.refused(*job, "--include", "nothing", status=65, words=["no weights"])
        self.refused("import", "--from", "safetensors", "-o", "net.h5", status=64, words=["--model"])
        cases = [([], "JSON list"), ([{}], "weight"), ([{"weight": "fc3.weight"}], "fc3.weight"),
                 ([{"weight": "fc1.weight", "more": 1}], "more"),
                 ([{"weight": "fc1.weight", "activation": "step"}], "step"),
                 ([{"weight": "fc1.weight", "inputs": [7]}], "7"),
                 ([{"weight": "fc1.weight", "inputs": [1 << 70]}], "input"),
                 ([{"weight": "fc1.weight", "bias": "none"}], "none"),
                 ([{"weight": "fc1.weight", "clamp": "a"}], "clamp"),
                 (CHAIN[:1] * 2, "another"), (CHAIN[::-1], "layer 1"),
                 (CHAIN + [{"weight": "conv.weight"}], "layer 2"),
                 ([{"weight": "conv.weight", "padding": [1, 1, 1, 1]}], "padding"),
                 ([{"weight": "conv.weight", "kind": "conv"}], "max_pool"),
                 ([{"weight": "conv.weight", "kind": "convolution"}], "input_shape"),
                 ([{"weight": "conv.weight", "kind": "convolution", "input_shape": [3, 4, 4]}], "8 columns"),
                 ([{"weight": "conv.weight", "kind": "convolution", "input_shape": [2, 1, 4]}], "larger"),
                 ([{"kind": "max_pool", "input_shape": [2, 4, 4]}], "kernel"),
                 ([{"kind": "flatten", "weight": "fc1.weight"}], "flatten"),
                 ([{"kind": "convolution"}], "weight"), ([[]], "layer 0")]
        for number, (layers, word) in enumerate(cases):
            file = write_layers(f"{number}.json", layers)
            line = self.espalier(*job, "--layers-file", file, status=65).complaint()
            self.assertIn(word, line)
        with open("key.json", "w", encoding="ascii") as file:
            file.write('[{"weight": "fc1.weight", "weight": "fc2.weight"}]')
        self.refused(*job, "--layers-file", "key.json", status=65,
                     words=["key.json", '"weight"', "keys occur once"])
        st.write("unnamed.safetensors", {"": st.Tensor.of("F32", weights(1, (3, 3)))})
        self.refused("import", "--from", "safetensors", "--model", "unnamed.safetensors", "-o",
                     "o.h5", status=65, words=["unnamed.safetensors", "no name"])
        self.espalier(*job)
        st.write("other.safetensors", {"fc1.weight": st.Tensor.of("F32", weights(1, (3, 3)))})
        self.refused("export", "net.h5", "--to", "safetensors", "--base", "other.safetensors", "-o",
                     "x.safetensors", status=65, words=["fc1.weight", "12 x 9"])
        odd = weights(1, (3,))
        odd[1] = numpy.nan
        st.write("odd.safetensors", {"a.weight": st.Tensor.of("F32", weights(1, (3, 3))),
                                     "a.bias": st.Tensor.of("F32", odd)})
        self.refused("import", "--from", "safetensors", "--model", "odd.safetensors", "-o", "o.h5",
                     status=65, words=["a.bias", "element 1", "finite"], output="o.h5")


if __name__ == "__main__":
    unittest.main()
