#!/usr/bin/env python3
"""import and export of ONNX: models made with Debian's python3-onnx compute what NumPy says, before
and after the way through a network file; what is damaged or no chain is refused."""
import json
import os

import h5py
import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from matrices import dense, described
import safetensors_format as st
from support import ProgramTest, content, main

RANKS = (1, 3)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])


def make_model(nodes, initializers, inputs, outputs, sparse=()):
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers,
                              sparse_initializer=list(sparse))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    return model


class OnnxTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.random = numpy.random.default_rng(3)

    def normal(self, *shape):
        return self.random.normal(size=shape).astype("f4")

    def imported(self, path="m.onnx", out="net.h5"):
        for ranks in RANKS:
            self.espalier("import", "--from", "onnx", "--model", path, "-o", f"{ranks}.h5",
                          "--force", ranks=ranks)
            self.assertEqual(content(f"{ranks}.h5"), content("1.h5"))
        os.rename("1.h5", out)
        self.espalier("verify", out)
        return out

    def outputs(self, net, x):
        numpy.save("x.npy", x.reshape(len(x), -1))
        self.espalier("import", "--from", "npy", "--features", "x.npy", "-o", "x.h5", "--force")
        self.espalier("infer", net, "x.h5", "--output", "full", "-o", "r.h5", "--force")
        self.espalier("export", "r.h5", "--to", "npy", "--what", "output", "-o", "r.npy", "--force")
        return numpy.load("r.npy")

    def linear_model(self):
        """Every way to spell a layer, and what it computes."""
        w1, w2, w3, w4 = (self.normal(12, 20), self.normal(20, 16), self.normal(16, 9),
                          self.normal(5, 9))
        b1, b2, b4 = self.normal(20), self.normal(16), self.normal(5)
        scale, shift, mean = self.normal(16), self.normal(16), self.normal(16)
        var = self.random.random(16).astype("f4") + 0.5
        half = w3.astype("f2")
        typed = helper.make_tensor("w1", TensorProto.FLOAT, w1.shape, w1.ravel())  # no raw data
        halves = numpy_helper.from_array(half, "w3")
        kept = self.random.random(w4.shape) < 0.5
        w4 = numpy.where(kept, w4, 0).astype("f4")
        places = numpy.flatnonzero(w4)
        self.assertGreater(len(places), 0)
        sparse = helper.make_sparse_tensor(
            helper.make_tensor("w4", TensorProto.FLOAT, [len(places)], w4.ravel()[places]),
            helper.make_tensor("w4_at", TensorProto.INT64, [len(places)], places), w4.shape)
        nodes = [
            helper.make_node("MatMul", ["x", "w1"], ["a"]),
            helper.make_node("Add", ["b1", "a"], ["b"]),
            helper.make_node("Relu", ["b"], ["c"]),
            helper.make_node("Gemm", ["c", "w2", "b2"], ["d"], alpha=0.5, beta=2.0),
            helper.make_node("BatchNormalization", ["d", "scale", "shift", "mean", "var"], ["e"],
                             epsilon=1e-3),
            helper.make_node("LeakyRelu", ["e"], ["f"], alpha=0.2),
            helper.make_node("MatMul", ["f", "w3"], ["g"]),
            helper.make_node("Clip", ["g", "zero", "six"], ["h"]),
            helper.make_node("Gemm", ["h", "w4", "b4"], ["y"], transB=1)]
        arrays = dict(b1=b1, w2=w2, b2=b2, scale=scale, shift=shift, mean=mean, var=var, b4=b4,
                      zero=numpy.float32(0), six=numpy.float32(6))
        initializers = [typed, halves] + [numpy_helper.from_array(numpy.asarray(array), name)
                                          for name, array in arrays.items()]
        model = make_model(nodes, initializers, [value("x", 12)], [value("y", 5)], [sparse])

        def compute(x):
            x = numpy.maximum(x.astype("f8") @ w1 + b1, 0)
            x = 0.5 * (x @ w2) + 2.0 * b2
            x = (x - mean) / numpy.sqrt(var.astype("f8") + 1e-3) * scale + shift
            x = numpy.where(x >= 0, x, 0.2 * x)
            x = numpy.clip(x @ half.astype("f8"), 0, 6)
            return x @ w4.T + b4
        return model, compute

    def test_linear_layers(self):
        model, compute = self.linear_model()
        onnx.save(model, "m.onnx")
        x = self.normal(33, 12)
        net = self.imported()
        numpy.testing.assert_allclose(self.outputs(net, x), compute(x), rtol=2e-4, atol=2e-4)
        with h5py.File(net, "r") as file:
            formats = [described(file[f"layers/{k:06}/weight"])["format"] for k in range(4)]
        self.assertEqual(formats, ["DMAT", "DMAT", "DMAT", "CSR"])
        # Tensors in a file of their own make the same layers.
        onnx.save(model, "external.onnx", save_as_external_data=True, location="weights.bin",
                  size_threshold=0)
        self.assertGreater(os.path.getsize("weights.bin"), 1000)
        again = self.imported("external.onnx", "again.h5")
        self.assertEqual(self.weights(net), self.weights(again))

    def weights(self, net):
        with h5py.File(net, "r") as file:
            return [dense(layer["weight"]).tobytes() for layer in file["layers"].values()
                    if "weight" in layer]

    def test_half_types(self):
        """Kept in the file as they are, unless a factor makes other numbers of them."""
        k, v = self.normal(4, 2, 3, 3).astype("f2"), self.normal(6, 4 * 16).astype("f2")
        u = st.to_bf16(self.normal(6, 5))
        brain = TensorProto(name="u", data_type=TensorProto.BFLOAT16, dims=u.shape,
                            raw_data=u.tobytes())
        w = st.to_bf16(self.normal(5, 3))
        typed = TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=w.shape,
                            int32_data=w.ravel().tolist())
        places = numpy.arange(0, 12, 2)
        scarce = helper.make_sparse_tensor(
            TensorProto(name="s", data_type=TensorProto.FLOAT16, dims=places.shape,
                        raw_data=self.normal(6).astype("f2").tobytes()),
            helper.make_tensor("s_at", TensorProto.INT64, places.shape, places), [3, 4])
        nodes = [helper.make_node("Reshape", ["x", "image"], ["x4"]),
                 helper.make_node("Conv", ["x4", "k"], ["a"], kernel_shape=[3, 3]),
                 helper.make_node("Flatten", ["a"], ["b"]),
                 helper.make_node("Gemm", ["b", "v"], ["c"], transB=1, alpha=0.3),
                 helper.make_node("MatMul", ["c", "u"], ["d"]),
                 helper.make_node("MatMul", ["d", "w"], ["e"]),
                 helper.make_node("MatMul", ["e", "s"], ["y"])]
        model = make_model(nodes, [numpy_helper.from_array(k, "k"), numpy_helper.from_array(v, "v"),
                                   brain, typed,
                                   numpy_helper.from_array(numpy.array([-1, 2, 6, 6]), "image")],
                           [value("x", 72)], [value("y", 4)], [scarce])
        onnx.save(model, "m.onnx")
        net = self.imported()

        def types(path):
            layers = json.loads(self.espalier("inspect", path, "--json").out)["layers"]
            return [layer["value_type"] for layer in layers if layer.get("value_type")]
        kinds = ["float16", "float32", "bfloat16", "bfloat16", "float16"]
        self.assertEqual(types(net), kinds)
        with h5py.File(net, "r") as file:
            layers = [file[f"layers/{number:06}/weight"] for number in (0, 2, 3, 4)]
            numpy.testing.assert_array_equal(dense(layers[0]).ravel(), k.ravel().astype("f4"))
            scaled = (0.3 * v.astype("f8")).astype("f4")
            numpy.testing.assert_allclose(dense(layers[1]), scaled, rtol=1e-6)
            numpy.testing.assert_array_equal(dense(layers[2]), st.from_bf16(u).T)
            numpy.testing.assert_array_equal(dense(layers[3]), st.from_bf16(w).T)
        # Filters of half types compute what those of float32 do.
        self.espalier("prune", net, "--method", "group", "--unit", "filter", "--sparsity", 0.5,
                      "-o", "p.h5")
        self.assertEqual(types("p.h5")[0], "float16")
        self.espalier("convert", "p.h5", "--to", "csr", "--values", "float32", "-o", "wide.h5")
        self.assertEqual(set(types("wide.h5")), {"float32"})
        x = self.normal(5, 72)
        numpy.testing.assert_array_equal(self.outputs("p.h5", x), self.outputs("wide.h5", x))

    def test_there_and_back(self):
        model, _ = self.linear_model()
        onnx.save(model, "m.onnx")
        net = self.imported()
        self.espalier("prune", net, "--method", "magnitude", "--sparsity", 0.6, "-o", "pruned.h5")
        for ranks in RANKS:
            self.espalier("export", "pruned.h5", "--to", "onnx", "-o", f"{ranks}.onnx",
                          ranks=ranks)
        self.assertEqual(content("1.onnx"), content("3.onnx"))
        onnx.checker.check_model(onnx.load("1.onnx"), full_check=True)
        back = self.imported("1.onnx", "back.h5")
        x = self.normal(8, 12)
        numpy.testing.assert_array_equal(self.outputs(back, x), self.outputs("pruned.h5", x))
        found = [numpy_helper.to_array(tensor) for tensor in onnx.load("1.onnx").graph.initializer
                 if tensor.name.endswith("weight")]
        self.assertGreater(numpy.mean([numpy.mean(array == 0) for array in found]), 0.5)

    def refuses(self, model, *words):
        onnx.save(model, "bad.onnx")
        self.refused("import", "--from", "onnx", "--model", "bad.onnx", "-o", "out.h5", status=65,
                     words=["bad.onnx", *words], output="out.h5")

    def test_damaged_files(self):
        model, _ = self.linear_model()
        onnx.save(model, "m.onnx")
        good = content("m.onnx")
        for cut in (0, 1, 100, len(good) // 2, len(good) - 1):
            with open("cut.onnx", "wb") as file:
                file.write(good[:cut])
            self.refused("import", "--from", "onnx", "--model", "cut.onnx", "-o", "out.h5",
                         status=65, words=["cut.onnx"], output="out.h5")

    def test_tensors_that_lie(self):
        def changed(change, name="w2"):
            model, _ = self.linear_model()
            change(next(t for t in model.graph.initializer if t.name == name))
            return model

        def dims(tensor):
            tensor.dims[0] = 2**62

        def nothing(tensor):
            tensor.dims[0] = -1

        def short(tensor):
            tensor.raw_data = tensor.raw_data[:-4]

        def words(tensor):
            tensor.data_type = TensorProto.STRING

        def not_a_number(tensor):
            tensor.raw_data = numpy.full(20 * 16, numpy.nan, "f4").tobytes()

        def external(location, **more):
            def change(tensor):
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                for key, item in dict(location=location, **more).items():
                    tensor.external_data.add(key=key, value=str(item))
            return change
        with open("w.bin", "wb") as file:
            file.write(bytes(20 * 16 * 4))
        self.refuses(changed(dims), "w2")
        self.refuses(changed(nothing), "w2", "-1")
        self.refuses(changed(short), "w2", "1276")
        self.refuses(changed(words), "w2", "type 8")
        self.refuses(changed(not_a_number), "w2", "not finite")
        self.refuses(changed(external("../w.bin")), "w2", "folder of the model")
        self.refuses(changed(external("/etc/passwd")), "w2", "folder of the model")
        self.refuses(changed(external("w.bin", offset=4)), "w2", "1276")
        self.refuses(changed(external("w.bin", offset=2**62)), "w2", "w.bin")
        self.refuses(changed(external("w.bin", length=2**63)), "w2", "length")

    def test_what_is_no_chain(self):
        w = numpy_helper.from_array(self.normal(4, 4), "w")
        x, y = [value("x", 4)], [value("y", 4)]
        node = helper.make_node

        def refuses(nodes, *words, initializers=(w,)):
            self.refuses(make_model(nodes, list(initializers), x, y), *words)
        refuses([node("MatMul", ["x", "w"], ["a"]), node("Sin", ["a"], ["y"])], "Sin")
        refuses([node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "x"], ["y"])], "constant")
        refuses([node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["x", "w"], ["y"])], "chain")
        refuses([node("MatMul", ["x", "v"], ["y"])], "v")
        refuses([node("Relu", ["x"], ["y"])], "before the first layer")
        refuses([node("MatMul", ["x", "w"], ["y"])], "two constants", initializers=(w, w))
        refuses([node("MatMul", ["x", "w"], ["a"]), node("Softmax", ["a"], ["b"]),
                 node("MatMul", ["b", "w"], ["y"])], "Softmax")

    def lenet(self):
        """A LeNet-like model and what NumPy says it computes."""
        k1, c1 = self.normal(6, 1, 5, 5), self.normal(6)
        k2, c2 = self.normal(8, 3, 3, 3), self.normal(8)
        scale, shift, mean = self.normal(8), self.normal(8), self.normal(8)
        var = self.random.random(8).astype("f4") + 0.5
        w, b = self.normal(10, 8 * 3 * 3), self.normal(10)
        node = helper.make_node
        nodes = [
            node("Reshape", ["x", "image"], ["x4"]),
            node("Conv", ["x4", "k1", "c1"], ["a"], pads=[2, 2, 2, 2], kernel_shape=[5, 5]),
            node("Relu", ["a"], ["b"]),
            node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["c", "k2"], ["d"], group=2, strides=[2, 2], dilations=[1, 1],
                 auto_pad="SAME_UPPER"),
            node("Add", ["d", "c2"], ["e"]),
            node("BatchNormalization", ["e", "scale", "shift", "mean", "var"], ["f"]),
            node("Relu", ["f"], ["g"]),
            node("AveragePool", ["g"], ["h"], kernel_shape=[2, 2], strides=[1, 1]),
            node("Flatten", ["h"], ["i"]),
            node("Gemm", ["i", "w", "bias"], ["y"], transB=1)]
        arrays = dict(k1=k1, c1=c1, k2=k2, c2=c2.reshape(1, 8, 1, 1), scale=scale, shift=shift,
                      mean=mean, var=var, w=w, bias=b, image=numpy.array([-1, 1, 16, 16]))
        model = make_model(nodes, [numpy_helper.from_array(array, name)
                                   for name, array in arrays.items()],
                           [value("x", 256)], [value("y", 10)])
        return model

    def convolve(self, x, k, b, stride, pads, groups):
        x = numpy.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
        parts = []
        for part, filters in zip(numpy.split(x, groups, 1), numpy.split(k, groups)):
            windows = numpy.lib.stride_tricks.sliding_window_view(part, filters.shape[2:], (2, 3))
            windows = windows[:, :, ::stride, ::stride]
            parts.append(numpy.einsum("ncyxij,ocij->noyx", windows, filters))
        return numpy.concatenate(parts, 1) + (0 if b is None else b.reshape(1, -1, 1, 1))

    def pool(self, x, size, stride, how):
        windows = numpy.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
        return how(windows[:, :, ::stride, ::stride], axis=(4, 5))

    def compute(self, model, x):
        """Runs the nodes of a model in double, written from ONNX's definitions of them."""
        values = {t.name: numpy_helper.to_array(t).astype("f8") for t in model.graph.initializer}
        shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        values[model.graph.input[0].name] = x.astype("f8").reshape(-1, *shape)
        for node in model.graph.node:
            given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            ins = [values[name] if name else None for name in node.input]
            if node.op_type == "Conv":
                pads = list(given.get("pads", [0, 0, 0, 0]))
                stride = given.get("strides", [1, 1])[0]
                if given.get("auto_pad", b"NOTSET") == b"SAME_UPPER":
                    missing = max((-(-ins[0].shape[2] // stride) - 1) * stride + ins[1].shape[2] -
                                  ins[0].shape[2], 0)
                    pads = [missing // 2] * 2 + [missing - missing // 2] * 2
                out = self.convolve(ins[0], ins[1], ins[2] if len(ins) > 2 else None, stride, pads,
                                    given.get("group", 1))
            elif node.op_type == "BatchNormalization":
                scale, shift, mean, var = (v.reshape(1, -1, 1, 1) for v in ins[1:])
                out = (ins[0] - mean) / numpy.sqrt(var + given.get("epsilon", 1e-5)) * scale + shift
            elif node.op_type in ("MaxPool", "AveragePool"):
                out = self.pool(ins[0], given["kernel_shape"][0], given["strides"][0],
                                numpy.max if node.op_type == "MaxPool" else numpy.mean)
            elif node.op_type == "Gemm":
                out = ins[0] @ ins[1].T + ins[2]
            else:
                out = {"Relu": lambda: numpy.maximum(ins[0], 0), "Add": lambda: ins[0] + ins[1],
                       "Reshape": lambda: ins[0].reshape(ins[1].astype(int)),
                       "Flatten": lambda: ins[0].reshape(len(ins[0]), -1)}[node.op_type]()
            values[node.output[0]] = out
        return values[model.graph.output[0].name]

    def test_convolution_model_there_and_back(self):
        model = self.lenet()
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, "m.onnx")
        net = self.imported()
        x = self.normal(7, 1, 16, 16)
        right = self.compute(model, x)
        self.assertGreater(numpy.abs(right).max(), 1)
        numpy.testing.assert_allclose(self.outputs(net, x), right, rtol=1e-3, atol=1e-3)
        self.espalier("prune", net, "--method", "magnitude", "--sparsity", 0.7, "-o", "pruned.h5")
        for ranks in RANKS:
            self.espalier("export", "pruned.h5", "--to", "onnx", "-o", f"{ranks}.onnx",
                          ranks=ranks)
        self.assertEqual(content("1.onnx"), content("3.onnx"))
        exported = onnx.load("1.onnx")
        onnx.checker.check_model(exported, full_check=True)
        weights = [numpy_helper.to_array(t) for t in exported.graph.initializer
                   if t.name.endswith("weight")]
        zeros = sum(numpy.count_nonzero(w == 0) for w in weights)
        self.assertGreater(zeros / sum(w.size for w in weights), 0.65)
        pruned = self.compute(exported, x)
        self.assertGreater(numpy.abs(pruned - right).max(), 1e-2)
        numpy.testing.assert_allclose(self.outputs("pruned.h5", x), pruned, rtol=1e-3, atol=1e-3)
        back = self.imported("1.onnx", "back.h5")
        numpy.testing.assert_array_equal(self.outputs(back, x), self.outputs("pruned.h5", x))

        self.espalier("export", "pruned.h5", "--to", "safetensors", "-o", "p.safetensors")
        tensors = {name: tensor.values() for name, tensor in st.read("p.safetensors")[0].items()}
        self.assertEqual([a.shape for name, a in tensors.items() if name.endswith("weight")],
                         [w.shape for w in weights])
        for found, weight in zip((a for name, a in tensors.items() if name.endswith("weight")),
                                 weights):
            numpy.testing.assert_array_equal(found, weight)
        self.refused("export", "pruned.h5", "--to", "npz", "-o", "folder", status=65,
                     words=["layer 0", "convolution", "--to onnx"], output="folder")


if __name__ == "__main__":
    main()
