"""prune MODEL --to safetensors: whole models in and out, against plain sorting in NumPy."""
import filecmp
import json
import os
import unittest

import numpy
import safetensors_format as st
from pruning import group_sizes, lamp_scores
from pruning import keep_largest as keep_best
from resumable import report
from support import ProgramTest

SIDE_FILES = {"config.json": b'{"model_type": "test"}', "tokenizer.json": b"\x00\x01 any bytes"}


def weights(seed, shape, levels=None):
    """Normal weights, some of them zero; with `levels` few magnitudes, so that most are ties."""
    random = numpy.random.default_rng(seed)
    values = random.normal(0, 0.05, shape).astype("f4")
    if levels:
        values = numpy.round(values * levels) / levels
    values[random.random(shape) < 0.05] = 0
    return values


def write_folder(folder, files, index="model.safetensors.index.json"):
    """files: {name: {tensor name: Tensor}}"""
    os.mkdir(folder)
    where = {}
    for name, tensors in files.items():
        st.write(f"{folder}/{name}", tensors, {"format": "pt"}, padding=5)
        where.update({tensor: name for tensor in tensors})
    if index:
        with open(f"{folder}/{index}", "w", encoding="utf-8") as file:
            json.dump({"metadata": {"total_size": 1}, "weight_map": where}, file)
    for name, content in SIDE_FILES.items():
        with open(f"{folder}/{name}", "wb") as file:
            file.write(content)


def mixed_model():
    """All types, in shards whose names are not in the order of writing."""
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    return {two: {"z.weight": st.Tensor.of("BF16", weights(1, (40, 33))),
                  "count": st.Tensor.of("I64", numpy.arange(5)),
                  "conv.weight": st.Tensor.of("F16", weights(2, (8, 3, 2, 5))),
                  "none": st.Tensor.of("F32", numpy.zeros((0, 4)))},
            one: {"embed.weight": st.Tensor.of("BF16", weights(3, (31, 16), 64)),
                  "norm.weight": st.Tensor.of("BF16", weights(4, (16,))),
                  "a.weight": st.Tensor.of("F32", weights(5, (25, 40))),
                  "a.bias": st.Tensor.of("F32", weights(6, (25,))),
                  "d.weight": st.Tensor.of("F64", weights(7, (10, 21)).astype("f8") * (1 + 1e-9)),
                  "mask": st.Tensor.of("U8", weights(8, (4, 6)) > 0)}}


def layers_of(files, exclude=()):
    """(file, name, tensor) of what is pruned, in the order in which ties are decided."""
    return [(file, name, tensor) for file in sorted(files) for name, tensor in files[file].items()
            if tensor.dtype in ("BF16", "F16", "F32", "F64") and len(tensor.shape) >= 2
            and tensor.data and name not in exclude]


def keep_of(positions, sparsity):
    return positions - int(numpy.floor(sparsity * positions + 0.5))


def keep_largest(magnitudes, keep):
    """A mask of the `keep` largest, among equals the first."""
    if numpy.count_nonzero(magnitudes) <= keep:
        return numpy.ones(magnitudes.size, bool)
    mask = numpy.zeros(magnitudes.size, bool)
    mask[numpy.argsort(-magnitudes, kind="stable")[:keep]] = True
    return mask


def magnitudes_of(tensor):
    return numpy.abs(tensor.values().astype("f4")).ravel()


def masked(tensor, mask):
    words = tensor.words().copy().ravel()
    words[~mask] = 0
    return st.Tensor(tensor.dtype, tensor.shape, words.tobytes())


def expected(files, sparsity, scope, exclude=()):
    """The same files with zeros where weights go."""
    out = {file: dict(tensors) for file, tensors in files.items()}
    layers = layers_of(files, exclude)
    if scope == "global":
        everything = numpy.concatenate([magnitudes_of(tensor) for _, _, tensor in layers])
        mask = keep_largest(everything, keep_of(everything.size, sparsity))
        masks = numpy.split(mask, numpy.cumsum([magnitudes_of(t).size for _, _, t in layers])[:-1])
    elif scope == "layer":
        masks = [keep_largest(magnitudes_of(t), keep_of(magnitudes_of(t).size, sparsity))
                 for _, _, t in layers]
    else:
        masks = [numpy.concatenate([keep_largest(row, keep_of(row.size, sparsity)) for row in
                                    magnitudes_of(t).reshape(t.shape[0], -1)]) for _, _, t in layers]
    for (file, name, tensor), mask in zip(layers, masks):
        out[file][name] = masked(tensor, mask)
    return out


def expected_measured(files, method, exclude=()):
    """The same by `group` or `lamp`, with --sparsity or --threshold at the end."""
    layers = layers_of(files, exclude)
    weights = [t.values().astype("f4").reshape(t.shape[0], -1) for _, _, t in layers]
    amount = float(method[-1])
    if method[0] == "lamp":
        keep = keep_of(sum(w.size for w in weights), amount)
        stay = keep_best(weights, keep, [lamp_scores(w) for w in weights])
        stay = [left != 0 for left in stay]
    else:
        sizes = [group_sizes(w, method[method.index("--unit") + 1],
                             method[method.index("--norm") + 1]) for w in weights]
        keep = keep_of(sum(total.size for total, _ in sizes), amount)
        best = [total >= amount for total, _ in sizes] if "--threshold" in method else \
            keep_best([total for total, _ in sizes], keep)
        stay = [(left != 0)[number] & (w != 0)
                for left, (_, number), w in zip(best, sizes, weights)]
    out = {file: dict(tensors) for file, tensors in files.items()}
    for (file, name, tensor), mask in zip(layers, stay):
        out[file][name] = masked(tensor, mask.ravel())
    return out


class PruneModel(ProgramTest):

    def check_folder(self, out, wanted, source="model"):
        """Same files and headers, the wanted data, side files as they were."""
        names = {name for name in os.listdir(source)}
        self.assertEqual(set(os.listdir(out)) - {"espalier.json"}, names)
        for name in names - set(wanted):
            self.assertTrue(filecmp.cmp(f"{source}/{name}", f"{out}/{name}", shallow=False), name)
        for name, tensors in wanted.items():
            with open(f"{source}/{name}", "rb") as before, open(f"{out}/{name}", "rb") as after:
                length = int.from_bytes(before.read(8), "little") + 8
                before.seek(0)
                self.assertEqual(before.read(length), after.read(length))
            found, metadata = st.read(f"{out}/{name}")
            self.assertEqual(metadata, {"format": "pt"})
            for tensor in tensors:
                self.assertEqual(found[tensor].data, tensors[tensor].data, f"{out}: {tensor}")

    def prune(self, out, *arguments, source="model", **more):
        return self.espalier("prune", source, "--to", "safetensors", "-o", out, *arguments, **more)

    def test_magnitudes_of_all_scopes_on_1_to_4_ranks(self):
        files = mixed_model()
        write_folder("model", files)
        self.assertGreater(len(layers_of(files)), 4)
        for scope in ("global", "layer", "row"):
            for ranks in (1, 2, 3, 4):
                with self.subTest(scope=scope, ranks=ranks):
                    out = f"{scope}{ranks}"
                    self.prune(out, "--method", "magnitude", "--sparsity", 0.7, "--scope", scope,
                               "--exclude", "embed", "--threads", 3 - ranks % 2, ranks=ranks)
                    self.check_folder(out, expected(files, 0.7, scope, {"embed.weight"}))

    def test_ties_go_to_the_first(self):
        for dtype in ("BF16", "F16", "F32"):
            with self.subTest(dtype=dtype):
                files = {"model.safetensors": {
                    f"{i}.weight": st.Tensor.of(dtype, weights(i, (30, 200), 40)) for i in range(3)}}
                source = f"model-{dtype}"
                write_folder(source, files, index=None)
                for scope, sparsity in (("global", 0.61), ("layer", 0.35), ("row", 0.5)):
                    wanted = expected(files, sparsity, scope)
                    self.assertNotEqual(wanted, files)
                    for ranks in (1, 3):
                        out = f"{dtype}-{scope}{ranks}"
                        self.prune(out, "--method", "magnitude", "--sparsity", sparsity, "--scope",
                                   scope, source=source, ranks=ranks)
                        self.check_folder(out, wanted, source)

    def test_neighbours_in_float32_are_told_apart(self):
        """More weights than not share the first 20 bits of their magnitude."""
        random = numpy.random.default_rng(5)
        near = numpy.float32(1) + random.integers(0, 600, (60, 50)).astype("f4") * numpy.float32(2) ** -23
        files = {"model.safetensors": {
            "near": st.Tensor.of("F32", near), "few": st.Tensor.of("F64", 1 + near.astype("f8") * 1e-9),
            "short": st.Tensor.of("BF16", numpy.where(near > 1.00003, 1, 0.5))}}
        write_folder("model", files, index=None)
        for scope in ("global", "layer"):
            wanted = expected(files, 0.5, scope)
            for ranks in (1, 2, 4):
                self.prune(f"{scope}{ranks}", "--method", "magnitude", "--sparsity", 0.5, "--scope",
                           scope, ranks=ranks)
                self.check_folder(f"{scope}{ranks}", wanted)

    def test_many_pieces_within_a_small_memory(self):
        files = {"model.safetensors": {
            "big": st.Tensor.of("BF16", weights(1, (700, 900))),
            "other": st.Tensor.of("F32", weights(2, (300, 700)))}}
        write_folder("model", files, index=None)
        wanted = expected(files, 0.8, "global")
        self.prune("out", "--method", "magnitude", "--sparsity", 0.8, "--memory-per-rank", "200MiB",
                   "--report", "run.json", ranks=2)
        self.check_folder("out", wanted)
        with open("run.json", encoding="utf-8") as file:
            report = json.load(file)
        self.assertLess(report["peak_rss_bytes_max"], 200 << 20)
        self.assertEqual(report["weights_total"], 840000)
        self.assertEqual(report["weights_kept"], keep_of(840000, 0.8))
        self.assertEqual([layer["name"] for layer in report["layers"]], ["big", "other"])
        data = os.path.getsize("model/model.safetensors")
        self.assertLessEqual(report["bytes_read"], 2 * data)
        norm = numpy.linalg.norm(files["model.safetensors"]["big"].values() -
                                 wanted["model.safetensors"]["big"].values())
        self.assertAlmostEqual(report["layers"][0]["norm_removed"] / norm, 1, places=4)

    def test_keep_threshold_and_nothing_to_do(self):
        files = mixed_model()
        write_folder("model", files)
        self.prune("keep", "--method", "magnitude", "--keep", 100)
        total = sum(numpy.count_nonzero(tensor.values()) for file in files for name, tensor in
                    st.read(f"keep/{file}")[0].items() if len(tensor.shape) >= 2
                    and tensor.dtype != "U8")
        self.assertEqual(total, 100)
        self.prune("threshold", "--method", "threshold", "--threshold", 0.04, ranks=2)
        wanted = {file: dict(tensors) for file, tensors in files.items()}
        for file, name, tensor in layers_of(files):
            wanted[file][name] = masked(tensor, magnitudes_of(tensor).astype("f8") >= 0.04)
        self.check_folder("threshold", wanted)
        self.prune("same", "--method", "magnitude", "--sparsity", 0)
        self.check_folder("same", files)
        self.prune("gone", "--method", "magnitude", "--sparsity", 1, ranks=2)
        self.check_folder("gone", expected(files, 1, "global"))

    def test_other_methods_prune_models_too(self):
        files = mixed_model()
        write_folder("model", files)
        for method in (["nm", "--pattern", "2:4"], ["random", "--sparsity", 0.5],
                       ["random", "--sparsity", 0.5, "--scope", "row"],
                       ["l1", "--sparsity", 0.5], ["l1", "--threshold", 0.02],
                       ["group", "--unit", "row", "--sparsity", 0.5]):
            out = "-".join(map(str, method))
            for ranks in (1, 3):
                self.prune(f"{out}-{ranks}", "--method", *method, ranks=ranks)
            for file in files:
                self.assertTrue(filecmp.cmp(f"{out}-1/{file}", f"{out}-3/{file}", shallow=False))
                found = st.read(f"{out}-1/{file}")[0]
                for name, tensor in files[file].items():
                    if (file, name, tensor) not in layers_of(files):
                        self.assertEqual(found[name].data, tensor.data)
                        continue
                    was, now = tensor.values(), found[name].values()
                    self.assertLess(numpy.count_nonzero(now), numpy.count_nonzero(was))
                    self.assertGreater(numpy.count_nonzero(now), 0)
                    if method[0] != "l1":
                        self.assertTrue(numpy.all((now == was) | (now == 0)))
                    elif "--threshold" in method:
                        right = numpy.sign(was) * numpy.maximum(numpy.abs(was) - 0.02, 0)
                        self.assertLess(numpy.max(numpy.abs(now - right)), 1e-3)
        words = st.read("nm---pattern-2:4-1/model-00001-of-00002.safetensors")[0]["a.weight"]
        self.assertTrue(numpy.all(numpy.count_nonzero(words.values().reshape(25, 10, 4), 2) <= 2))

    def test_groups_and_lamp_in_two_readings(self):
        files = mixed_model()
        write_folder("model", files)
        data = sum(os.path.getsize(f"model/{name}") for name in files)
        for number, method in enumerate((
                ["group", "--unit", "row", "--norm", "1", "--sparsity", 0.5],
                ["group", "--unit", "row", "--norm", "inf", "--threshold", 0.12],
                ["group", "--unit", "column", "--norm", "2", "--sparsity", 0.4],
                ["group", "--unit", "column", "--norm", "1", "--threshold", 0.04],
                ["group", "--unit", "block:4x3", "--norm", "inf", "--sparsity", 0.6],
                ["group", "--unit", "block:4x3", "--norm", "2", "--threshold", 0.05],
                ["lamp", "--sparsity", 0.3], ["lamp", "--sparsity", 0.9],
                ["lamp", "--sparsity", 0])):
            with self.subTest(method=method):
                wanted = expected_measured(files, method, {"embed.weight"})
                self.assertTrue(0 in method or wanted != files)
                ranks = number % 4 + 1
                self.prune(f"{number}", "--method", *method, "--exclude", "embed", "--report",
                           "run.json", "--threads", 3 - ranks % 2, ranks=ranks)
                self.check_folder(f"{number}", wanted)
                self.assertLessEqual(report()["bytes_read"], 2 * data)

    def test_groups_and_lamp_within_a_small_memory(self):
        """Many pieces, ties and neighbours, more in doubt than stays in memory."""
        near = 1 + weights(4, (500, 300)) * numpy.float32(1e-3)
        files = {"model.safetensors": {
            "big": st.Tensor.of("BF16", weights(1, (700, 900))),
            "near": st.Tensor.of("F64", near.astype("f8") * (1 + 1e-9)),
            "other": st.Tensor.of("F32", weights(2, (300, 700), 80))}}
        write_folder("model", files, index=None)
        data = os.path.getsize("model/model.safetensors")
        for number, method in enumerate((
                ["group", "--unit", "row", "--norm", "2", "--sparsity", 0.5],
                ["group", "--unit", "column", "--norm", "2", "--sparsity", 0.5],
                ["lamp", "--sparsity", 0.5])):
            self.prune(f"{number}", "--method", *method, "--memory-per-rank", "99MiB", "--report",
                       "run.json", ranks=2)
            self.check_folder(f"{number}", expected_measured(files, method))
            self.assertLess(report()["peak_rss_bytes_max"], 99 << 20)
            self.assertLessEqual(report()["bytes_read"], 2 * data)

    def test_what_is_excluded_may_hold_anything(self):
        odd = weights(2, (9, 8))
        odd[3, 4:6] = numpy.nan, -numpy.inf
        files = {"m.safetensors": {"odd": st.Tensor.of("F32", odd),
                                   "w": st.Tensor.of("F32", weights(3, (16, 12)))}}
        st.write("m.safetensors", files["m.safetensors"])
        for axis, method in ((None, ["magnitude", "--sparsity", 0.5]),
                             (None, ["nm", "--pattern", "2:4"]),
                             (None, ["random", "--sparsity", 0.5, "--scope", "row"]),
                             (None, ["lamp", "--sparsity", 0.5]),
                             (1, ["group", "--unit", "row", "--sparsity", 0.5]),
                             (0, ["group", "--unit", "column", "--sparsity", 0.5])):
            self.prune("p.safetensors", "--method", *method, "--exclude", "odd", "--force",
                       source="m.safetensors")
            found = st.read("p.safetensors")[0]
            self.assertEqual(found["odd"].data, files["m.safetensors"]["odd"].data, method)
            left = found["w"].values()
            left = left if axis is None else numpy.any(left, axis=axis)
            self.assertEqual(numpy.count_nonzero(left), left.size // 2, method)

    def test_doubles_that_are_zero_as_float32_become_zeros(self):
        values = numpy.array([[1e-300, -1e-46, 1.0, -2.0], [-0.0, 3.0, 1e-60, 0.5]])
        tensor = st.Tensor.of("F64", values)
        st.write("m.safetensors", {"odd": tensor, "w": tensor})
        for method, keep in ((["magnitude", "--sparsity", 1], 0),
                             (["magnitude", "--sparsity", 0.75], 2),
                             (["magnitude", "--keep", 0, "--scope", "layer"], 0),
                             (["magnitude", "--keep", 1, "--scope", "row"], 2),
                             (["threshold", "--threshold", 1e-40], 4),
                             (["threshold", "--threshold", 0.75], 3)):
            self.prune("p.safetensors", "--method", *method, "--exclude", "odd", "--force",
                       "--report", "run.json", source="m.safetensors")
            found = st.read("p.safetensors")[0]
            self.assertEqual(found["odd"].data, tensor.data)
            self.assertEqual(numpy.count_nonzero(found["w"].values()), keep, method)
            with open("run.json", encoding="utf-8") as file:
                kept = json.load(file)["layers"][-1]["kept"]
            self.assertEqual(kept, keep, method)

    def test_one_file_in_and_out(self):
        files = {"m.safetensors": {"w": st.Tensor.of("BF16", weights(1, (20, 30)))}}
        st.write("m.safetensors", files["m.safetensors"])
        self.prune("p.safetensors", "--method", "magnitude", "--sparsity", 0.5, "--scope", "row",
                   source="m.safetensors", ranks=2)
        found = st.read("p.safetensors")[0]
        self.assertEqual(found["w"].data, expected(files, 0.5, "row")["m.safetensors"]["w"].data)

    def test_what_is_measured_is_finite(self):
        odd = weights(1, (5, 7))
        odd[2, 4] = numpy.nan
        st.write("odd.safetensors", {"fine": st.Tensor.of("F32", weights(2, (5, 7))),
                                     "w.x": st.Tensor.of("F16", odd)})
        for method in (["group", "--unit", "row"], ["group", "--unit", "column"], ["lamp"]):
            self.refused("prune", "odd.safetensors", "--to", "safetensors", "-o", "out", "--method",
                         *method, "--sparsity", 0.5, status=65,
                         words=["odd.safetensors", "w.x", "row 2", "column 4", "finite"])

    def test_the_same_job_again_does_nothing(self):
        write_folder("model", mixed_model())
        job = ["--method", "magnitude", "--sparsity", 0.5]
        self.prune("out", *job)
        before = os.stat("out/model-00001-of-00002.safetensors").st_mtime_ns
        self.assertIn("nothing to do", self.prune("out", *job, ranks=2).err)
        self.assertEqual(os.stat("out/model-00001-of-00002.safetensors").st_mtime_ns, before)
        self.prune("out", "--method", "magnitude", "--sparsity", 0.6, status=73)
        self.prune("out", "--method", "magnitude", "--sparsity", 0.6, "--force", ranks=3)
        self.check_folder("out", expected(mixed_model(), 0.6, "global"))
        with open("model/config.json", "w", encoding="utf-8") as file:
            file.write("{}")
        self.prune("out", "--method", "magnitude", "--sparsity", 0.6, status=73)
        os.mkdir("out/own")
        self.prune("out", *job, "--force", status=73)

    def test_what_cannot_be_done_is_said(self):
        write_folder("model", mixed_model())
        job = ["--method", "magnitude", "--sparsity", 0.5]
        refused = lambda *rest, **more: self.refused("prune", *rest, **more)
        refused("model", "--to", "onnx", "-o", "out", *job, status=64, words=["--to", "safetensors"])
        refused("model", "--to", "safetensors", "-o", "out", "--method", "bias", status=64,
                words=["--method", "--layers-file"])
        refused("model", "--to", "safetensors", "-o", "out.safetensors", *job, status=64,
                words=["2 files", "folder"])
        refused("nothing", "--to", "safetensors", "-o", "out", *job, status=66, words=["nothing"])
        refused("model", "--to", "safetensors", "-o", "out", *job, "--exclude", ".", status=64,
                words=["no layer"])
        for value in (numpy.inf, numpy.nan):
            odd = weights(1, (3, 7))
            odd[2, 4] = value
            for dtype in ("BF16", "F16", "F32", "F64"):
                st.write("odd.safetensors", {"w.x": st.Tensor.of(dtype, odd)})
                for scope in ("global", "row"):
                    self.espalier("prune", "odd.safetensors", "--to", "safetensors", "-o", "out",
                                  *job, "--scope", scope, status=65)
        refused("odd.safetensors", "--to", "safetensors", "-o", "out", *job, status=65,
                words=["odd.safetensors", "w.x", "row 2", "column 4", "finite"])

    def test_folders_that_do_not_fit_together(self):
        job = ["--to", "safetensors", "-o", "out", "--method", "magnitude", "--sparsity", 0.5]
        one = {"a": st.Tensor.of("F32", weights(1, (3, 3)))}
        two = {"b": st.Tensor.of("F32", weights(2, (3, 3)))}

        def refused(name, index, words, files):
            write_folder(name, files, index=None)
            if index is not None:
                with open(f"{name}/model.safetensors.index.json", "w", encoding="utf-8") as file:
                    file.write(index)
            self.espalier("prune", name, *job, status=65)
            line = self.espalier("prune", name, *job, status=65, ranks=2).complaint()
            for word in words:
                self.assertIn(word, line)

        both = {"x.safetensors": one, "y.safetensors": two}
        refused("no-index", None, ["index"], both)
        refused("twice", '{"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}', ['"a"'],
                {"x.safetensors": one, "y.safetensors": {**one, **two}})
        refused("elsewhere", '{"weight_map": {"a": "y.safetensors", "b": "y.safetensors"}}',
                ['"a"', "no file"], both)
        refused("unnamed", '{"weight_map": {"b": "y.safetensors"}}', ['"c"'],
                {"y.safetensors": {**two, "c": one["a"]}})
        refused("outside", '{"weight_map": {"a": "../model/x.safetensors"}}', ["same folder"], both)
        refused("no-json", "{", ["index"], both)
        refused("key", '{"weight_map": {"a": "z.safetensors", "a": "x.safetensors", '
                '"b": "y.safetensors"}}', ['"a"', "keys occur once"], both)
        refused("nothing", '{"weight_map": {}}', ["weight_map", "empty"], both)
        refused("list", '{"weight_map": {"a": 7}}', ["weight_map"], both)
        os.mkdir("empty")
        self.refused("prune", "empty", *job, status=65, words=["empty", ".safetensors"])


class Hostile(ProgramTest):

    def test_headers_that_lie(self):
        data = b"\0" * 16
        entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
        with_entry = lambda **changes: {"a": {**entry, **changes}}
        cases = {
            "short": b"\x07\0\0",
            "long header": (100_000_001).to_bytes(8, "little") + b"{" * 64,
            "2^63 header": (1 << 63).to_bytes(8, "little") + b"{}",
            "cut header": st.spell({"a": entry}, data)[:40],
            "cut data": st.spell({"a": entry}, data)[:-1],
            "more data": st.spell({"a": entry}, data + b"x"),
            "hole": st.spell(with_entry(data_offsets=[1, 17]), data + b"x"),
            "overlap": st.spell({"a": entry, "b": {**entry, "data_offsets": [8, 24]}}, data * 2),
            "range": st.spell(with_entry(data_offsets=[0, 1 << 62]), data),
            "2^64": st.spell(with_entry(data_offsets=[0, (1 << 64) - 1]), data),
            "backwards": st.spell(with_entry(data_offsets=[16, 0]), data),
            "shape": st.spell(with_entry(shape=[1 << 62, 1 << 62]), data),
            "2^63 shape": st.spell(with_entry(shape=[1 << 63, 1]), data),
            "negative": st.spell(with_entry(shape=[-2, -2]), data),
            "product": st.spell(with_entry(shape=[2, 3]), data),
            "dtype": st.spell(with_entry(dtype=7), data),
            "deep": st.spell(b'{"a":' * 50000 + b"1" + b"}" * 50000, data),
            "twice": st.spell(b'{"a":%s,"a":%s}' % ((json.dumps(entry).encode(),) * 2), data),
            "no utf-8": st.spell(b'{"\xff":%s}' % json.dumps(entry).encode(), data),
            "list": st.spell(b"[]", data), "empty": b"", "zeros": b"\0" * 64}
        for name, content in cases.items():
            with self.subTest(case=name):
                with open("x.safetensors", "wb") as file:
                    file.write(content)
                line = self.espalier("prune", "x.safetensors", "--to", "safetensors", "--method",
                                     "magnitude", "--sparsity", 0.5, "-o", "out",
                                     status=65).complaint()
                self.assertIn("x.safetensors", line)
        self.assertFalse(os.path.exists("out"))


if __name__ == "__main__":
    unittest.main()
