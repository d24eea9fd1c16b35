#!/usr/bin/env python3
"""prune and import stop in time, and go on where they were: on other ranks, with other memory,
without doing anything twice."""
# timeout: 900
import os
import shutil
import signal
import struct
import time

import h5py
import numpy as np

import safetensors_format as st
from pruning import write_network
from resumable import (CALIBRATED, CALIBRATED_LAYERS, IMPORT, LITTLE_MEMORY, PRUNE, ROW_BY_ROW,
                       STOPPED, Background, StoppingTest, calibrated_inputs, import_inputs,
                       prune_inputs, prune_job, report, saved)
from support import content, main, write_lines


class Stopping(StoppingTest):
    def stop_after(self, units, *job, **more):
        super().stop_after(units, *job, **more)
        if more.get("number") != signal.SIGKILL:
            self.assertEqual(report()["units_done"] + report()["units_skipped"], len(saved("r.h5")))

    def finish(self, *job, ranks=1, undisturbed="undisturbed.h5"):
        """Goes on to the end."""
        units = len(saved("r.h5"))
        self.assertGreater(units, 0)
        self.espalier(*job, "--report", "run.json", ranks=ranks)
        self.assertEqual(report()["units_skipped"], units)
        self.assertEqual(content("r.h5"), content(undisturbed))
        self.assertFalse(os.path.exists("r.h5.units"))


class PruneTest(Stopping):
    def setUp(self):
        super().setUp()
        prune_inputs(self)

    def units_of(self, name):
        """Of a run that nobody disturbs."""
        self.espalier(*prune_job(name), "-o", "whole.h5", "--report", "run.json")
        self.assertEqual(content("whole.h5"), content(f"{name}.h5"))
        os.unlink("whole.h5")
        return report()["units_done"]

    def test_all_methods(self):
        for number, name in enumerate(PRUNE):
            with self.subTest(method=name):
                job = [*prune_job(name), "-o", "r.h5"]
                whole = self.units_of(name)
                # In the first pass, and in the second if there is one.
                stops = self.one_of(1, 2)
                for turn, thirds in enumerate(stops):
                    self.stop_after(whole * thirds // 3, *job, ranks=turn * number % 3 + 1)
                self.finish(*job, ranks=number % 2 + 2, undisturbed=f"{name}.h5")
                # Cut as the first run did, and nothing finished is done again.
                self.assertEqual(report()["units_done"] + report()["units_skipped"], whole)
                self.assertGreater(report()["units_done"], 0)
                self.assertEqual(report()["restarts"], len(stops))
                os.unlink("r.h5")

    def test_many_weights(self):
        """Of a large group a sample tells what to set aside, so that it is read once."""
        self.espalier("generate", "random", "--layers", "2100,2100", "--density", "0.2", "-o",
                      "wide.h5")
        job = ["prune", "wide.h5", *PRUNE["magnitude"][:2], "--sparsity", 0.9]
        self.espalier(*job, "-o", "whole.h5", ranks=2)
        self.stop_after(30, *job, *LITTLE_MEMORY, "-o", "r.h5")
        self.stop_after(100, *job, *LITTLE_MEMORY, "-o", "r.h5", ranks=3)
        self.finish(*job, "-o", "r.h5", ranks=2, undisturbed="whole.h5")

    def test_max_time_gets_on(self):
        """However little time there is, every run does something."""
        job = [*prune_job("magnitude"), "-o", "r.h5", "--max-time", 0]
        done = 0
        for ranks in (1, 3, 2):
            self.espalier(*job, ranks=ranks, status=STOPPED)
            self.assertGreater(len(saved("r.h5")), done)
            done = len(saved("r.h5"))
        self.finish(*job[:-2], undisturbed="magnitude.h5")

    def test_other_jobs_are_refused(self):
        job = [*prune_job("magnitude"), "-o", "r.h5"]
        self.stop_after(5, *job)
        self.refused(*[0.7 if word == 0.6 else word for word in job], status=65, output="r.h5",
                     words=["r.h5.units", "sparsity (0.6, now 0.7)", "--no-resume"])
        self.refused(*prune_job("bias"), "-o", "r.h5", status=65, output="r.h5", words=["method"])
        shutil.copytree("r.h5.units", "whole.units")
        for name in sorted(os.listdir("whole.units")):
            shutil.rmtree("r.h5.units")
            shutil.copytree("whole.units", "r.h5.units")
            with open(f"r.h5.units/{name}", "r+b") as file:
                file.seek(40)
                byte = file.read(1)
                file.seek(40)
                file.write(bytes([byte[0] ^ 8]))
            self.refused(*job, status=65, output="r.h5", words=["r.h5.units", "damaged"])
        os.unlink("net.h5")
        self.espalier("generate", "random", "--layers", "300,300", "--density", "0.4", "-o",
                      "net.h5")
        shutil.rmtree("r.h5.units")
        shutil.copytree("whole.units", "r.h5.units")
        self.refused(*job, status=65, output="r.h5", words=["input 1"])
        self.espalier(*job[:2], *PRUNE["threshold"], "-o", "r.h5", "--no-resume")
        self.assertFalse(os.path.exists("r.h5.units"))

    def test_less_memory_than_before(self):
        """Pieces that were cut for more memory are too large now: that is said, and nothing lost."""
        generous = ["prune", "net.h5", *PRUNE["magnitude"], "-o", "r.h5"]
        self.stop_after(3, *generous)
        line = self.espalier(*prune_job("magnitude"), "-o", "r.h5", status=69).complaint()
        self.assertIn("--memory-per-rank", line)
        self.finish(*generous, ranks=2, undisturbed="magnitude.h5")


class CalibratedTest(Stopping):
    """Layers that are finished are not pruned again, and carry the samples on."""

    def setUp(self):
        super().setUp()
        calibrated_inputs(self)

    def torment(self, source, *method, made="", ranks=(1, 3, 2)):
        """Stopped or killed, and finished. `made`: what of the output is compared."""
        for path in ("r.h5", "r.h5.units", "whole.h5"):
            if os.path.lexists(path):
                (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
        self.espalier("prune", source, *method, "-o", "whole.h5", "--report", "run.json",
                      ranks=ranks[2])
        whole = report()["units_done"]
        self.assertGreaterEqual(whole, CALIBRATED_LAYERS)
        job = ["prune", source, *method, "-o", "r.h5"]
        units = 0
        for turn, number in enumerate(self.one_of(signal.SIGUSR2, signal.SIGKILL)):
            before = units
            self.stop_after(before + whole // 8, *job, ranks=ranks[turn], number=number)
            units = len(saved("r.h5"))
            self.assertGreater(units, before)
        self.espalier(*job, "--report", "run.json", ranks=ranks[2])
        self.assertEqual(report()["units_skipped"], units)
        self.assertGreater(report()["units_done"], 0)
        self.assertEqual(content(f"r.h5{made}"), content(f"whole.h5{made}"))
        self.assertFalse(os.path.exists("r.h5.units"))

    def test_networks(self):
        for number, (name, method) in enumerate(CALIBRATED.items()):
            with self.subTest(method=name):
                self.torment("net.h5", *method, ranks=[(number + n) % 3 + 1 for n in range(3)])

    def test_half_types(self):
        self.torment("bf16.h5", *CALIBRATED["sparsegpt"])
        self.torment("f16.h5", "--method", "magnitude", "--sparsity", 0.7, ranks=(2, 1, 3))

    def test_models(self):
        model = "/model.safetensors"
        for dtype in ("bf16", "f16"):
            os.mkdir(dtype)
            os.rename(f"{dtype}.safetensors", f"{dtype}{model}")
        self.torment("bf16", "--to", "safetensors", *CALIBRATED["grams"], made=model)
        self.torment("f16", "--to", "safetensors", *CALIBRATED["norms"], made=model, ranks=(2, 3, 1))
        self.torment("bf16", "--to", "safetensors", *ROW_BY_ROW, made=model, ranks=(3, 1, 2))

    def test_other_jobs_are_refused(self):
        job = ["prune", "net.h5", *CALIBRATED["rounds"], "-o", "r.h5"]
        self.stop_after(50, *job)
        for word, other, words in ((2, 3, ["rounds (2, now 3)"]), ("owl", "erk", ["profile"]),
                                   (0.7, 0.6, ["sparsity (0.7, now 0.6)"])):
            self.refused(*[other if part == word else part for part in job], status=65,
                         output="r.h5", words=["r.h5.units", "--no-resume", *words])
        self.refused(*job, "--outlier", 4, status=65, output="r.h5", words=["outlier"])
        os.unlink("batch.h5")
        self.espalier("generate", "batch", "--features", 96, "--samples", 70, "--density", "0.5",
                      "--seed", 2, "-o", "batch.h5")
        self.refused(*job, status=65, output="r.h5", words=["input 2 has changed"])
        shutil.rmtree("r.h5.units")
        job = ["prune", "net.h5", *CALIBRATED["grams"], "-o", "r.h5"]
        self.stop_after(10, *job, ranks=2)
        self.refused(*[part for part in job if part != "--update"], status=65, output="r.h5",
                     words=["another job", "--no-resume"])
        tensors = st.read("grams.safetensors")[0]
        os.unlink("grams.safetensors")
        tensors["fc7.gram"] = st.Tensor.of("F32", 2 * tensors["fc7.gram"].values())
        st.write("grams.safetensors", tensors)
        self.refused(*job, status=65, output="r.h5", words=["input 2 has changed"])


class LargeLayerTest(Stopping):
    def test_stops_within_a_layer(self):
        """A single layer of sparsegpt takes much longer than the ten seconds there are."""
        width = 4000
        random = np.random.default_rng(1)
        write_network("net.h5", [random.standard_normal((width, width)).astype("f4")], "DMAT",
                      names=["fc"])
        st.write("grams.safetensors", {"fc.gram": st.Tensor.of("F32", np.eye(width) * 2 + 1)})
        run = Background(["prune", "net.h5", *CALIBRATED["grams"], "-o", "r.h5"], 2)
        self.addCleanup(run.close)
        time.sleep(3)
        since = time.monotonic()
        os.kill(run.process.pid, signal.SIGUSR2)  # mpirun passes it on to all ranks
        self.assertEqual(run.wait(), STOPPED, run.said())
        self.assertLess(time.monotonic() - since, 10)
        self.assertIn("the same command starts again", run.said())
        self.assertFalse(os.path.exists("r.h5"))


class ImportTest(Stopping):
    def setUp(self):
        super().setUp()
        import_inputs(self)
        self.job = [*IMPORT, "-o", "r.h5"]

    def test_weights(self):
        self.stop_after(20, *self.job)
        self.stop_after(100, *self.job, ranks=3)
        self.finish(*self.job, ranks=2)
        self.assertEqual(report()["restarts"], 2)
        self.assertGreater(report()["units_done"], 0)

    def test_features(self):
        """The parsed text is kept, and lines keep their numbers."""
        text = write_lines("batch.tsv", (f"{n // 20 + 1}\t{n % 20 * 12 + 1}\t{n % 7 + 1}"
                                         for n in range(150000)))
        job = ["import", "--from", "graphchallenge", "--features", text, "--neurons", 256]
        self.espalier(*job, "-o", "whole.h5")
        self.stop_after(3, *job, "-o", "r.h5")
        self.stop_after(8, *job, "-o", "r.h5", ranks=3)
        self.finish(*job, "-o", "r.h5", ranks=2, undisturbed="whole.h5")
        os.unlink("r.h5")
        with open(text, "a", encoding="ascii") as file:
            file.write("7\t1\t3\n")
        for ranks in (1, 3):
            line = self.espalier(*job, "-o", "r.h5", "--no-resume", ranks=ranks, status=65).complaint()
            self.assertIn("line 150001", line)
            self.assertIn("line 121 already", line)

    def test_images(self):
        with open("images", "wb") as file:
            file.write(bytes([0, 0, 8, 3]) + struct.pack(">iii", 3000, 20, 20))
            file.write(bytes(n * n % 251 for n in range(3000 * 400)))
        job = ["import", "--from", "idx", "--images", "images", "--resize", 16]
        self.espalier(*job, "-o", "whole.h5", ranks=2)
        self.stop_after(3, *job, "-o", "r.h5")
        self.finish(*job, "-o", "r.h5", ranks=3, undisturbed="whole.h5")

    def through(self, *job, first=10, second=20):
        """Stopped or killed, and finished, on other ranks."""
        job = ["import", "--from", *job]
        self.espalier(*job, "-o", "whole.h5", ranks=2)
        for units, ranks, number in self.one_of((first, 1, signal.SIGUSR2),
                                                (second, 3, signal.SIGKILL)):
            self.stop_after(units, *job, "-o", "r.h5", ranks=ranks, number=number)
        self.finish(*job, "-o", "r.h5", ranks=2, undisturbed="whole.h5")
        self.assertGreater(report()["units_done"], 0)
        os.unlink("r.h5")
        os.unlink("whole.h5")

    def test_matrices(self):
        """Dense in order, and sparse of entries that have to be sorted; many layers, one batch."""
        random = np.random.default_rng(5)
        names = [f"m{n}" for n in range(60)]
        for name in names:
            np.save(f"{name}.npy", random.standard_normal((90, 90)).astype("f4"))
            entries = random.choice(90 * 90, 300, replace=False)
            write_lines(f"{name}.mtx", ["%%MatrixMarket matrix coordinate real general",
                                        "90 90 300", *(f"{n // 90 + 1} {n % 90 + 1} {n % 7 + 1}"
                                                       for n in entries)])
        for form in ("npy", "mtx"):
            self.through(form, "--model", *(f"{name}.{form}" for name in names))
        np.save("x.npy", np.where(random.random((3000, 700)) < 0.9,
                                  random.standard_normal((3000, 700)), 0).astype("f4"))
        self.through("npy", "--features", "x.npy", first=4, second=8)

    def test_arrays_of_hdf5(self):
        with h5py.File("data.h5", "w") as file:
            file["x"] = np.random.default_rng(1).integers(0, 3, (4000, 600)).astype("u1")
            file["y"] = np.arange(4000)
        self.through("hdf5", "--features", "data.h5:/x", "--labels", "data.h5:/y", first=4, second=8)

    def test_models(self):
        calibrated_inputs(self)
        self.espalier("export", "net.h5", "--to", "onnx", "-o", "m.onnx")
        self.through("onnx", "--model", "m.onnx")
        self.through("safetensors", "--model", "bf16.safetensors")
        self.stop_after(5, "import", "--from", "safetensors", "--model", "bf16.safetensors", "-o",
                        "r.h5")
        self.refused("import", "--from", "safetensors", "--model", "f16.safetensors", "-o", "r.h5",
                     status=65, output="r.h5", words=["input 1 has changed"])

    def test_changed_text_is_refused(self):
        self.stop_after(20, *self.job, ranks=2)
        os.rename("text", "linked")
        shutil.copytree("linked", "text")
        write_lines("text/n256-l100.tsv", ["1\t1\t0.5"])
        self.refused(*self.job, status=65, output="r.h5", words=["input 1 has changed"])
        shutil.rmtree("text")
        os.rename("linked", "text")
        self.refused(*[7 if word == -0.3 else word for word in self.job], status=65, output="r.h5",
                     words=["bias (-0.3"])
        self.finish(*self.job, ranks=4)

    def test_max_time_gets_on(self):
        for ranks in (2, 1):
            done = len(saved("r.h5"))
            self.espalier(*self.job, "--max-time", 0, ranks=ranks, status=STOPPED)
            self.assertGreater(len(saved("r.h5")), done)
        self.finish(*self.job, ranks=3)


if __name__ == "__main__":
    main()
