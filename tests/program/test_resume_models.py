#!/usr/bin/env python3
"""prune MODEL --to safetensors, by magnitudes, row by row, in groups or by lamp, stops in time and goes on where it was:
what is written already lies in OUT.part, and is trusted only if it is what it was."""
import os
import shutil
import signal

import numpy

import safetensors_format as st
import test_prune_model as models
from resumable import STOPPED, StoppingTest, report, saved
from support import content, main

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TYPES = ("BF16", "F16", "F32")


def many_layers(number):
    """Layers of all types with a bias each, in two shards; the float32 among them near each other,
    so that some are in doubt to the end."""
    def tensors(first):
        found = {}
        for n in range(first, first + number // 2):
            values = models.weights(n, (64, 40), 60)
            if n % 3 == 2:
                values = numpy.float32(0.05) * (1 + values * numpy.float32(1e-4))
            found[f"{n}.weight"] = st.Tensor.of(TYPES[n % 3], values)
            found[f"{n}.bias"] = st.Tensor.of("F32", models.weights(n, (7,)))
        return found
    return {SHARDS[0]: tensors(0), SHARDS[1]: tensors(number // 2)}


def measured_model():
    """Four layers, of which one, to be excluded, holds what is no number."""
    near = numpy.float32(0.05) * (1 + models.weights(2, (64, 40)) * numpy.float32(1e-4))
    odd = models.weights(3, (64, 40))
    odd[5, 6:8] = numpy.nan, -numpy.inf
    return {SHARDS[0]: {"0.weight": st.Tensor.of("BF16", models.weights(0, (64, 40), 60)),
                        "0.bias": st.Tensor.of("F32", models.weights(1, (7,)))},
            SHARDS[1]: {"1.weight": st.Tensor.of("F64", near.astype("f8") * (1 + 1e-9)),
                        "odd": st.Tensor.of("F32", odd),
                        "2.weight": st.Tensor.of("F32", near[::-1] * numpy.float32(1.001))}}


# Methods that measure or count everything once before they write, and how many units that takes in
# three layers of four pieces.
MEASURED = {"row": (["group", "--unit", "row", "--norm", "2", "--sparsity", 0.5], 3 * 4),
            "column": (["group", "--unit", "column", "--norm", "1", "--sparsity", 0.6], 3),
            "lamp": (["lamp", "--sparsity", 0.5], 3 * 4)}


def everything(folder):
    """The content of all files."""
    return {name: content(f"{folder}/{name}") for name in os.listdir(folder)}


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 4]))


class ResumeModels(StoppingTest):
    def assert_nothing_half_written(self, folder):
        """But beside a record."""
        for name in os.listdir(folder):
            if name.endswith(".part"):
                self.assertTrue(os.path.exists(f"{folder}/{name[:-5]}.units/manifest"), name)

    def model(self, number):
        files = many_layers(number)
        models.write_folder("model", files)
        return files

    def job(self, *method, out="out"):
        return ["prune", "model", "--to", "safetensors", "-o", out, *method]

    def undisturbed(self, *method):
        """The bytes that all others are compared with, and how many units they take."""
        shutil.rmtree("whole", ignore_errors=True)
        self.espalier(*self.job(*method, out="whole"), "--report", "run.json", ranks=4)
        self.assertEqual(report()["units_skipped"], 0)
        return everything("whole"), report()["units_done"]

    def step(self, *job, ranks):
        """A run without any time: it finishes one round of work and saves it."""
        before = len(saved("out"))
        self.espalier(*job, "--max-time", 0, "--report", "run.json", ranks=ranks, status=STOPPED)
        self.assertEqual(report()["units_skipped"], before)
        self.assertGreater(len(saved("out")), before)
        self.assertFalse(os.path.exists("out"))

    def finish(self, *job, ranks, wanted):
        before = len(saved("out"))
        self.assertGreater(before, 0)
        self.espalier(*job, "--report", "run.json", ranks=ranks)
        self.assertEqual(report()["units_skipped"], before)
        self.assertEqual(everything("out"), wanted)
        self.assertEqual([name for name in os.listdir() if name.startswith("out.")], [])

    def test_all_scopes_stopped_again_and_again(self):
        files = self.model(4)
        for number, (scope, method) in enumerate((
                ("layer", ["--method", "magnitude", "--sparsity", 0.7, "--scope", "layer"]),
                ("row", ["--method", "magnitude", "--sparsity", 0.6, "--scope", "row",
                         "--exclude", "1.weight"]),
                (None, ["--method", "threshold", "--threshold", 0.05]),
                ("pattern", ["--method", "nm", "--pattern", "2:4", "--exclude", "1.weight"]),
                (None, ["--method", "random", "--sparsity", 0.5, "--scope", "row"]))):
            with self.subTest(method=method):
                wanted, units = self.undisturbed(*method)
                if scope == "pattern":
                    found = {name: tensor for shard in SHARDS
                             for name, tensor in st.read(f"whole/{shard}")[0].items()}
                    self.assertEqual(found["1.weight"].data, files[SHARDS[0]]["1.weight"].data)
                    for name in ("0.weight", "2.weight", "3.weight"):
                        groups = found[name].values().reshape(-1, 4)
                        self.assertEqual(numpy.count_nonzero(groups, axis=1).max(), 2)
                elif scope:
                    pruned = models.expected(files, method[3], scope,
                                             {"1.weight"} if "--exclude" in method else ())
                    for name, tensors in pruned.items():
                        found = st.read(f"whole/{name}")[0]
                        self.assertTrue(all(found[t].data == tensors[t].data for t in tensors))
                job = self.job(*method)
                # The first run cuts four pieces a layer, as the undisturbed one did.
                for ranks in (4, 3, 1, 2):
                    self.step(*job, ranks=ranks)
                self.assertLess(len(saved("out")), units)
                if scope != "layer":  # which is still counting
                    first = 8 + int.from_bytes(wanted[SHARDS[0]][:8], "little")
                    flip(f"out.part/{SHARDS[0]}", first)
                    self.assertIn("is damaged", self.espalier(*job, status=65, ranks=2).complaint())
                    flip(f"out.part/{SHARDS[0]}", first)
                self.finish(*job, ranks=number % 4 + 1, wanted=wanted)
                shutil.rmtree("out")

    def test_stopped_after_every_round_and_while_it_settles(self):
        """A run that is killed while it takes back what was in doubt leaves some of it as it is."""
        files = self.model(4)
        method = ["--method", "magnitude", "--sparsity", 0.5]
        wanted, units = self.undisturbed(*method)
        for name, tensors in models.expected(files, 0.5, "global").items():
            found = st.read(f"whole/{name}")[0]
            self.assertTrue(all(found[t].data == tensors[t].data for t in tensors))
        job = self.job(*method)
        runs = 0
        while len(saved("out")) < units:
            self.step(*job, ranks=4 if runs % 5 < 3 else 3)
            runs += 1
        self.assertGreater(runs, 8)
        unsettled = everything("out.part")
        self.assertEqual(unsettled[SHARDS[0]], wanted[SHARDS[0]])
        self.assertNotEqual(unsettled[SHARDS[1]], wanted[SHARDS[1]])
        shutil.copyfile(f"whole/{SHARDS[1]}", f"out.part/{SHARDS[1]}")
        # What was in doubt is in no checksum: it comes from the model again.
        start = 8 + int.from_bytes(wanted[SHARDS[1]][:8], "little")
        was, now = (numpy.frombuffer(data[start:start + 64 * 40 * 4], "u4")
                    for data in (unsettled[SHARDS[1]], wanted[SHARDS[1]]))
        bins = set((was[was != now] >> 11) & 0xFFFFF)
        stays = [n for n in range(now.size) if now[n] and (now[n] >> 11) & 0xFFFFF in bins]
        self.assertTrue(stays)
        flip(f"out.part/{SHARDS[1]}", start + 4 * stays[0])
        shutil.copytree("out.units", "units")
        self.finish(*job, ranks=2, wanted=wanted)
        # Killed before it could take its record away, and run again.
        os.rename("units", "out.units")
        self.assertIn("nothing to do", self.espalier(*job).err)
        self.assertFalse(os.path.exists("out.units"))

    def interrupt(self, units, *job, **more):
        self.stop_after(units, *job, out="out", **more)
        self.assertTrue(os.path.isdir("out.part"))

    def test_signals_and_kills(self):
        """While it counts, copies and writes."""
        self.model(48)
        method = ["--method", "magnitude", "--sparsity", 0.5]
        wanted, units = self.undisturbed(*method)
        job = self.job(*method)
        # Several pieces a save, too, whose counts are kept in one unit.
        self.interrupt(3, *job, ranks=4, number=signal.SIGUSR2, interval=0.01)
        self.assertLess(len(saved("out")), 150)
        self.interrupt(60, *job, ranks=1, number=signal.SIGKILL, interval=0.01)
        counted = 4 * 48
        self.interrupt(counted + 5, *job, ranks=2, number=signal.SIGKILL)
        self.interrupt(counted + 60, *job, ranks=3, number=signal.SIGUSR2)
        self.interrupt(counted + 120, *job, ranks=1, number=signal.SIGKILL)
        self.assertLess(len(saved("out")), units)
        self.finish(*job, ranks=4, wanted=wanted)

    def test_nothing_is_trusted(self):
        files = self.model(2)
        method = ["--method", "magnitude", "--sparsity", 0.5]
        wanted, units = self.undisturbed(*method)
        job = self.job(*method)
        while len(saved("out")) < units - 4:
            self.step(*job, ranks=4)
        for name in ("model", "out.part", "out.units"):
            shutil.copytree(name, f"kept/{name}")
        inputs = st.read(f"model/{SHARDS[0]}")[0]
        self.assertEqual(list(inputs)[0], "0.weight")
        with open(f"model/{SHARDS[0]}", "rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
        size = os.path.getsize(f"model/{SHARDS[1]}")
        record = sorted(os.listdir("out.units"))
        self.assertEqual(record[0], "manifest")
        bias = start + len(inputs["0.weight"].data) + 3

        def refused(words, damage, ranks):
            damage()
            line = self.espalier(*job, status=65, ranks=ranks).complaint()
            for word in (*words, "--no-resume"):
                self.assertIn(word, line)
            self.assertFalse(os.path.exists("out"))
            for name in ("model", "out.part", "out.units"):
                shutil.rmtree(name, ignore_errors=True)
                shutil.copytree(f"kept/{name}", name)

        for ranks, words, damage in (
                (2, [f"out.part/{SHARDS[0]} is damaged"],
                 lambda: flip(f"out.part/{SHARDS[0]}", start + 10)),
                (1, [f"out.part/{SHARDS[0]} is damaged"],
                 lambda: flip(f"out.part/{SHARDS[0]}", bias)),
                (3, ["header", "out.part", "damaged"], lambda: flip(f"out.part/{SHARDS[1]}", 20)),
                (2, ["out.part", "bytes"], lambda: os.truncate(f"out.part/{SHARDS[0]}", size - 1)),
                (1, ["out.part", "gone"], lambda: os.unlink(f"out.part/{SHARDS[1]}")),
                (1, ["out.part", "gone"], lambda: shutil.rmtree("out.part")),
                (3, ["out.units", "damaged"], lambda: flip(f"out.units/{record[0]}", 60)),
                (2, ["out.units", "damaged"], lambda: flip(f"out.units/{record[-1]}", 5)),
                (2, [f"model/{SHARDS[0]}", "has changed"],
                 lambda: flip(f"model/{SHARDS[0]}", start + 10)),
                (1, [f"model/{SHARDS[0]}", "has changed"],
                 lambda: flip(f"model/{SHARDS[0]}", bias)),
                # Counted, not written yet.
                (2, [f"model/{SHARDS[1]}", "1.weight has changed"],
                 lambda: flip(f"model/{SHARDS[1]}", size - 40)),
                (2, ["input 1 has changed"],
                 lambda: st.write(f"model/{SHARDS[1]}", {
                     **files[SHARDS[1]], "1.bias": st.Tensor.of("F16", models.weights(1, (14,)))},
                                  {"format": "pt"}, padding=5))):
            with self.subTest(words=words):
                refused(words, damage, ranks)
        self.refused(*self.job("--method", "magnitude", "--sparsity", 0.6), status=65, output="out",
                     words=["sparsity (0.5, now 0.6)", "--no-resume"])
        self.finish(*job, ranks=3, wanted=wanted)

    def begin_measured(self, name):
        """What to run, what comes of it undisturbed, how many units are measured and in all."""
        files = measured_model()
        models.write_folder("model", files)
        method, measured = MEASURED[name]
        method = ["--method", *method, "--exclude", "odd"]
        wanted, units = self.undisturbed(*method)
        sizes = sum(os.path.getsize(f"model/{shard}") for shard in SHARDS)
        self.assertLessEqual(report()["bytes_read"], 2 * sizes)
        pruned = models.expected_measured(files, MEASURED[name][0], {"odd"})
        for shard, tensors in pruned.items():
            found = st.read(f"whole/{shard}")[0]
            self.assertTrue(all(found[t].data == tensors[t].data for t in tensors))
        self.assertEqual(units, measured + 1 + 4 * 4)
        return self.job(*method), wanted, measured, units

    def refused_once(self, job, path, at, *words):
        """With one byte changed; which is put back then."""
        flip(path, at)
        line = self.espalier(*job, status=65, ranks=len(words)).complaint()
        for word in (path, *words, "--no-resume"):
            self.assertIn(word, line)
        self.assertFalse(os.path.exists("out"))
        flip(path, at)

    def test_what_is_measured_is_stopped_again_and_again(self):
        for name in MEASURED:
            with self.subTest(method=name):
                job, wanted, measured, units = self.begin_measured(name)
                last = os.path.getsize(f"model/{SHARDS[1]}") - 3
                first = 8 + int.from_bytes(wanted[SHARDS[0]][:8], "little") + 3
                ranks = [4] * 8 + [2, 1, 3, 4]
                while len(saved("out")) <= measured:
                    self.step(*job, ranks=ranks.pop())
                # Measured, not written yet.
                self.refused_once(job, f"model/{SHARDS[1]}", last, "2.weight has changed")
                while len(saved("out")) <= measured + 4:
                    self.step(*job, ranks=ranks.pop())
                self.refused_once(job, f"model/{SHARDS[0]}", first, "has changed", "bytes")
                self.refused_once(job, f"out.part/{SHARDS[0]}", first, "is damaged", "bytes")
                self.finish(*job, ranks=3, wanted=wanted)
                for folder in ("model", "out"):
                    shutil.rmtree(folder)

    def test_measured_and_killed(self):
        """Also while what lamp was in doubt about is taken back, of which some is left as it is."""
        for name in ("column", "lamp"):
            with self.subTest(method=name):
                job, wanted, measured, units = self.begin_measured(name)
                self.interrupt(measured // 2, *job, ranks=4, number=signal.SIGKILL)
                self.interrupt(measured + 3, *job, ranks=3, number=signal.SIGKILL)
                while name == "lamp" and len(saved("out")) < units:
                    self.step(*job, ranks=4)
                if name == "lamp":
                    self.assertNotEqual(everything("out.part")[SHARDS[1]], wanted[SHARDS[1]])
                    shutil.copyfile(f"whole/{SHARDS[1]}", f"out.part/{SHARDS[1]}")
                self.finish(*job, ranks=2, wanted=wanted)
                for folder in ("model", "out"):
                    shutil.rmtree(folder)

    def test_one_file_whose_ties_are_dealt_out(self):
        """Of 16-bit weights, while they are written; and a record that is dropped."""
        st.write("m.safetensors", many_layers(4)[SHARDS[0]])
        job = ["prune", "m.safetensors", "--to", "safetensors", "--method", "magnitude",
               "--sparsity", 0.5, "--scope", "layer", "-o"]
        self.espalier(*job, "whole.safetensors", ranks=2)
        out = "out.safetensors"
        # Both layers counted, their biases copied, three of four pieces written.
        for ranks in (4, 4, 4, 3):
            self.espalier(*job, out, "--max-time", 0, ranks=ranks, status=STOPPED)
        self.assertEqual(len(saved(out)), 4 + 4 + 2 + 3)
        shutil.copytree(f"{out}.units", "units")
        self.espalier(*job, out, "--report", "run.json", ranks=2)
        self.assertEqual(report()["units_skipped"], 13)
        os.rename("units", f"{out}.units")
        for name in ("", ".espalier.json"):
            self.assertEqual(content(f"{out}{name}"), content(f"whole.safetensors{name}"))
        self.espalier(*job, out, "--force", "--no-resume", "--report", "run.json")
        self.assertEqual(report()["units_skipped"], 0)
        self.assertEqual(content(out), content("whole.safetensors"))
        self.assertFalse(os.path.exists(f"{out}.part"))


if __name__ == "__main__":
    main()
