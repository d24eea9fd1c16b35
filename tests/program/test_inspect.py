#!/usr/bin/env python3
"""What inspect and verify say of sound files, and what a run report holds."""
# timeout: 300
import json
import os

import h5py
import numpy

from support import ProgramTest, main, small_batch, small_network

COMMON_KEYS = set("""version git job job_digest argv config started finished hosts ranks threads grid
mpi hdf5 simd slurm restarts units_done units_skipped phases bytes_read bytes_written bytes_exchanged
messages peak_rss_bytes peak_rss_bytes_max outcome exit_status message""".split())
INFER_KEYS = set("""samples alive categories_match edges_nominal edges_computed seconds
edges_per_second computed_edges_per_second fma_peak_per_second layers""".split())


class InspectTest(ProgramTest):
    def inspect(self, path, ranks=1):
        return json.loads(self.espalier("inspect", path, "--json", ranks=ranks).out)

    def test_network(self):
        network = small_network(self, layers=3, bias=-0.25)
        for ranks in (1, 3):
            found = self.inspect(network, ranks)
            self.assertEqual(found["kind"], "network")
            self.assertEqual((found["layer_count"], found["inputs"], found["outputs"]), (3, 40, 40))
            self.assertEqual(found["nnz"], 3 * 80)
            self.assertEqual(found["dense_bytes"], 3 * 40 * 40 * 4)
            self.assertTrue(found["checksums"] and found["chain"])
            self.assertEqual(found["provenance"]["job"], "import")
            layer = found["layers"][2]
            self.assertEqual({key: layer[key] for key in
                              ("rows", "cols", "nnz", "format", "index_type", "value_type", "iso",
                               "activation", "clamp", "bias", "bias_mode", "inputs")},
                             {"rows": 40, "cols": 40, "nnz": 80, "format": "CSR",
                              "index_type": "uint8", "value_type": "float32", "iso": True,
                              "activation": "relu", "clamp": 32, "bias": "iso",
                              "bias_mode": "nonzero", "inputs": [1]})
            self.assertAlmostEqual(layer["density"], 80 / 1600)

    def test_table_of_a_network(self):
        network = small_network(self, layers=30)
        short = self.espalier("inspect", network, ranks=3).out
        self.assertIn("25 more layers, all like layer 2", short)
        self.assertEqual(short.count("relu"), 5)
        self.assertEqual(self.espalier("inspect", network, "--verbose").out.count("relu"), 30)
        header, row = [line for line in short.splitlines() if "weights" in line and "name" in line
                       or "n40-l1 " in line]
        # Right-aligned numbers end where their heading ends.
        self.assertEqual(row.index(" 80 ") + 3, header.index("weights") + len("weights"))

    def test_batch_and_result(self):
        network, batch = small_network(self, bias=0), small_batch(self)
        found = self.inspect(batch)
        self.assertEqual((found["kind"], found["samples"], found["features"], found["labels"],
                          found["sample_id"]), ("batch", 25, 40, False, None))
        self.assertEqual(found["matrix"]["nnz"], 20 * 6)
        self.espalier("infer", network, batch, "-o", "r.h5", "--output", "full", "--top-k", 3)
        found = self.inspect("r.h5", ranks=3)
        self.assertEqual((found["kind"], found["samples"], found["categories"], found["top_k"]),
                         ("result", 25, 20, 3))
        self.assertEqual(found["output"]["cols"], 40)
        for path, word in ((batch, "samples   25"), ("r.h5", "categories  20")):
            self.assertIn(word, self.espalier("inspect", path).out)

    def test_file_of_others(self):
        with h5py.File("b.h5", "w") as file:
            group = file.create_group("features")
            group["values"] = [1.5, 2.5]
            group["indices_1"] = [1, 0]
            group["pointers_to_1"] = [0, 1, 2]
            group.attrs["binsparse"] = json.dumps({
                "version": "0.1", "format": "CSR", "shape": [2, 3], "number_of_stored_values": 2,
                "data_types": {"pointers_to_1": "int64", "indices_1": "int64",
                               "values": "float64"}})
            file["labels"] = [3, 4]
            file["sample_id"] = numpy.array([b"a", b"b"])
        found = self.inspect("b.h5")
        self.assertEqual((found["samples"], found["labels"], found["sample_id"], found["checksums"],
                          found["provenance"]), (2, True, "text[1]", False, None))
        out = self.espalier("verify", "b.h5", ranks=3).out
        self.assertIn("b.h5: sound: batch, 2 samples of 3 features", out)
        self.assertIn("no checksums", out)

    def test_verify_says_what_it_checked(self):
        network, batch = small_network(self), small_batch(self)
        self.espalier("infer", network, batch, "-o", "r.h5", "--output", "full")
        for path, words in ((network, "network, 3 layers, 240 weights"),
                            (batch, "batch, 25 samples of 40 features"), ("r.h5", "result, 25 ")):
            for ranks in (1, 3):
                out = self.espalier("verify", path, ranks=ranks).out
                self.assertRegex(out, rf"\A{path}: sound: {words}.*, \d+ blocks checked\n\Z")


class ReportTest(ProgramTest):
    def test_report_of_an_inference(self):
        network, batch = small_network(self, bias=0), small_batch(self)
        with open("truth.tsv", "w", encoding="ascii") as file:
            file.writelines(f"{s + 1}\n" for s in range(25) if s % 5)
        written = set()
        for ranks, grid in ((1, "1x1"), (3, "3x1"), (4, "2x2")):
            with self.subTest(ranks=ranks):
                self.espalier("infer", network, batch, "-o", f"r{ranks}.h5", "--truth",
                              "truth.tsv", "--grid", grid, "--report", "run.json", ranks=ranks)
                with open("run.json", encoding="utf-8") as file:
                    report = json.load(file)
                self.assertEqual((COMMON_KEYS | INFER_KEYS) - set(report), set())
                self.assertEqual((report["job"], report["ranks"], report["grid"]),
                                 ("infer", ranks, grid))
                self.assertEqual((report["exit_status"], report["outcome"]), (0, "done"))
                self.assertEqual((report["samples"], report["alive"], report["categories_match"]),
                                 (25, 20, True))
                self.assertEqual(report["edges_nominal"], 25 * 240)
                self.assertLessEqual(report["edges_computed"], report["edges_nominal"])
                self.assertEqual(len(report["layers"]), 3)
                self.assertEqual(sorted(report["peak_rss_bytes"]), [str(r) for r in range(ranks)])
                self.assertEqual(report["peak_rss_bytes_max"],
                                 max(report["peak_rss_bytes"].values()))
                self.assertEqual(set(report["phases"]),
                                 {"read", "pack", "compute", "exchange", "write"})
                for phase in report["phases"].values():
                    self.assertLessEqual(phase["seconds_min"], phase["seconds_mean"])
                    self.assertLessEqual(phase["seconds_mean"], phase["seconds_max"])
                self.assertEqual(report["argv"][:2], ["espalier", "infer"])
                self.assertEqual(report["config"]["grid"], grid)
                self.assertGreater(report["bytes_read"], 0)
                self.assertGreater(report["bytes_written"], 0)
                written.add(report["bytes_written"])
                self.assertEqual(report["bytes_exchanged"] > 0, grid != "1x1")
        self.assertEqual(len(written), 1, "all ranks together write the same file")

    def test_report_of_a_failure(self):
        small_network(self)
        for ranks in (1, 3):
            self.espalier("infer", "net.h5", "nothing.h5", "-o", "r.h5", "--report", "run.json",
                          ranks=ranks, status=66)
            with open("run.json", encoding="utf-8") as file:
                report = json.load(file)
            self.assertEqual(COMMON_KEYS - set(report), set())
            self.assertEqual((report["exit_status"], report["outcome"]), (66, "failed"))
            self.assertIn("nothing.h5", report["message"])
            os.remove("run.json")

    def test_report_that_cannot_be_written(self):
        network, batch = small_network(self), small_batch(self)
        os.makedirs("folder.json")
        for path in ("no/such/run.json", "folder.json"):
            self.refused("infer", network, batch, "-o", "r.h5", "--report", path, status=73,
                         words=["--report", path], output="r.h5")

    def test_threads(self):
        network = small_network(self)
        cores = len(os.sched_getaffinity(0))
        for ranks, arguments, threads in ((1, [], cores), (2, [], max(1, cores // 2)),
                                          (2, ["--threads", 1], 1),
                                          (2, ["--threads", cores + 1], cores + 1)):
            run = self.espalier("inspect", network, "--report", "run.json", *arguments,
                                ranks=ranks)
            with open("run.json", encoding="utf-8") as file:
                self.assertEqual(json.load(file)["threads"], threads)
            self.assertEqual(f"warning: --threads {cores + 1}" in run.err, threads > cores)

    def test_logs_of_ranks(self):
        network = small_network(self)
        self.espalier("verify", network, "--log-dir", "logs/run", ranks=3)
        self.assertEqual(sorted(os.listdir("logs/run")),
                         [f"rank-{r:04}.log" for r in range(3)])

    def test_streams(self):
        network, batch = small_network(self), small_batch(self)
        run = self.espalier("infer", network, batch, "-o", "r.h5", ranks=3)
        self.assertEqual(run.out, "")
        run = self.espalier("infer", network, batch, "-o", "q.h5", "--quiet", ranks=3)
        self.assertEqual((run.out, run.err), ("", ""))


if __name__ == "__main__":
    main()
