#!/usr/bin/env python3
"""What is asked before and after a job: plan, preflight, report, scaling."""
import html.parser
import json
import os
import xml.etree.ElementTree

from support import ESPALIER, MPIRUN, NOBODY, ProgramTest, main, small_batch, small_network


class Page(html.parser.HTMLParser):
    """Which elements a page has, and that all are closed and none leads elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        assert not {"href", "src"} & {name for name, _ in attrs}, attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


class PlanTest(ProgramTest):
    def plan(self, *options, **more):
        return json.loads(self.espalier("plan", *options, "--json", **more).out)

    def test_it_foretells_what_a_run_reports(self):
        self.espalier("generate", "random", "--layers", "300,400,400,200", "--density", "0.05",
                      "--seed", 1, "-o", "net.h5")
        self.espalier("generate", "batch", "--features", 300, "--samples", 640, "--density", "0.5",
                      "--seed", 1, "-o", "batch.h5")
        for ranks, grid in ((1, "1x1"), (2, "2x1"), (4, "2x2"), (3, "3x1")):
            with self.subTest(grid=grid):
                plan = self.plan("net.h5", "--samples", 640, "--ranks", ranks, "--grid", grid,
                                 "--memory-per-rank", "1GiB", "--threads", 1)
                self.espalier("infer", "net.h5", "batch.h5", "-o", "r.h5", "--force", "--grid",
                              grid, "--memory-per-rank", "1GiB", "--threads", 1, "--report",
                              "run.json", ranks=ranks)
                with open("run.json", encoding="utf-8") as file:
                    run = json.load(file)
                self.assertEqual(plan["grid"], run["grid"])
                self.assertEqual(plan["edges_nominal"], run["edges_nominal"])
                self.assertEqual(plan["messages"], run["messages"])
                self.assertAlmostEqual(plan["bytes_exchanged"], run["bytes_exchanged"],
                                       delta=0.1 * run["bytes_exchanged"])
                self.assertLess(run["peak_rss_bytes_max"], plan["bytes_per_rank"]["total"] * 1.5)
                self.assertGreater(plan["seconds"]["total"], 0)

    def test_it_plans_for_ranks_that_are_not_there(self):
        small_network(self)
        plan = self.plan("net.h5", "--samples", 10**9, "--ranks", 4096, "--memory-per-rank",
                         "128MiB", "--rate", "1e9")
        self.assertEqual(plan["grid"], "1x4096")
        self.assertAlmostEqual(plan["seconds"]["compute"], 3 * 80 * 1e9 / 1e9 / 4096)
        table = self.espalier("plan", "net.h5", "--samples", 100, "--ranks", 2).out
        for word in ("grid", "1x2", "memory of a rank", "waves", "time"):
            self.assertIn(word, table)
        self.refused("plan", "net.h5", "--samples", 100, "--ranks", 2, "--memory-per-rank", "1MiB",
                     status=69, words=["does not fit"])
        for wrong in (["--samples", 0, "--ranks", 1], ["--samples", 1], ["--samples", 1, "--ranks",
                      0], ["--samples", 1, "--ranks", 1, "--rate", 0],
                      ["--samples", 1, "--ranks", 4, "--grid", "3x1"]):
            self.espalier("plan", "net.h5", *wrong, status=64)


class PreflightTest(ProgramTest):
    def test_findings(self):
        for ranks in (1, 2, 3):
            run = self.espalier("preflight", "--bytes", "100KiB", "--json", ranks=ranks)
            findings = {one["subject"]: one for one in json.loads(run.out)["findings"]}
            self.assertEqual(findings["ranks"]["figures"]["ranks"], ranks)
            self.assertEqual(findings["file locking"]["finding"], "good")
            self.assertEqual(findings["parallel HDF5"]["figures"]["bytes"], ranks * 100 * 1024)
            self.assertGreater(findings["compute"]["figures"]["fma_per_second_min"], 1e8)
            self.assertNotIn("FAULT", {one["finding"] for one in findings.values()})
            self.assertEqual(os.listdir("."), [])
        page = self.espalier("preflight", "--bytes", "1KiB", ranks=2).out
        self.assertLess(len(page.splitlines()), 25)
        self.assertIn("MPI bandwidth", page)

    def test_places_that_are_not_fit(self):
        os.mkdir("closed", 0o555)
        for folder, words in (("nowhere", "nowhere"), ("closed", "closed")):
            run = self.espalier("preflight", "--folder", folder, "--bytes", "1KiB", status=71,
                                before=NOBODY if folder == "closed" else ())
            self.assertIn("not fit", run.complaint())
            self.assertIn("FAULT", run.out)
            self.assertIn(words, run.out)


class ReportTest(ProgramTest):
    def setUp(self):
        super().setUp()
        small_network(self)
        small_batch(self)

    def run_of(self, ranks, *options, name=None):
        name = name or f"ranks-{ranks}.json"
        self.espalier("infer", "net.h5", "batch.h5", "-o", "r.h5", "--force", "--report", name,
                      *options, ranks=ranks)
        return name

    def test_page(self):
        runs = [self.run_of(ranks) for ranks in (1, 2)]
        self.espalier("prune", "net.h5", "--method", "magnitude", "--keep", 100, "-o", "p.h5",
                      "--report", "prune.json")
        self.espalier("report", *runs, "prune.json", "-o", "page.html", ranks=2)
        with open("page.html", encoding="utf-8") as file:
            text = file.read()
        page = Page(text)
        self.assertEqual(page.open, [])
        self.assertGreaterEqual(page.seen.count("svg"), 4)
        for word in ("ranks-1", "ranks-2", "prune", "Speed over ranks", "Sparsity by layer"):
            self.assertIn(word, text)
        self.espalier("report", *runs, "-o", "plot.svg")
        self.assertIn("svg", xml.etree.ElementTree.parse("plot.svg").getroot().tag)
        self.refused("report", runs[0], "-o", "one.svg", status=65, words=["two numbers of ranks"],
                     output="one.svg")

    def test_reports_of_anybody(self):
        hostile = {"job": "<script>alert(1)</script>", "phases": {"read": 3, "compute": {
            "seconds_mean": -1e308}}, "layers": [7, {"name": "\"><b>", "seconds": 1e308}],
                   "ranks": "many", "edges_per_second": [1], "config": 5, "seconds": None}
        with open("<a>.json", "w", encoding="utf-8") as file:
            json.dump(hostile, file)
        self.espalier("report", "<a>.json", "-o", "page.html")
        with open("page.html", encoding="utf-8") as file:
            page = Page(file.read())
        self.assertEqual(page.open, [])
        self.assertNotIn("script", page.seen)
        self.assertNotIn("b", page.seen)
        for name, said, status in (("list.json", "[]", 65), ("text.json", "{\"job\": ", 65),
                                   ("other.json", "{}", 65), ("nothing.json", None, 66)):
            if said is not None:
                with open(name, "w", encoding="utf-8") as file:
                    file.write(said)
            self.refused("report", name, "-o", "none.html", status=status, words=[name],
                         output="none.html")

    def test_scaling(self):
        run = self.run_command([ESPALIER, "scaling", "--ranks", "1,2,3", "--repeat", "2", "--",
                                "infer", "net.h5", "batch.h5", "--threads", "1"],
                               env={"PATH": f"{os.path.dirname(MPIRUN)}:{os.environ['PATH']}"})
        self.assertEqual(run.status, 0, run.err)
        rows = [line.split() for line in run.out.splitlines()]
        self.assertEqual([row[:3] for row in rows[1:]],
                         [["strong", "1", "25"], ["strong", "2", "25"], ["strong", "3", "25"],
                          ["weak", "1", "9"], ["weak", "3", "25"]])
        self.assertEqual([row[5] for row in rows[1:] if row[1] == "1"], ["100%", "100%"])
        self.assertEqual(sorted(os.listdir("scaling")),
                         ["scaling.html", "scaling.svg", *[f"strong-{n}.json" for n in (1, 2, 3)],
                          "weak-1.json", "weak-3.json"])
        xml.etree.ElementTree.parse("scaling/scaling.svg")
        for wrong in (["--", "infer"], ["--ranks", "1,x", "--", "infer"], ["--ranks", "1", "--",
                      "prune"], ["--ranks", "1", "--", "infer", "-o", "x"], ["--rank", "1"]):
            run = self.run_command([ESPALIER, "scaling", *wrong])
            self.assertEqual((run.status, len(run.err.splitlines())), (64, 1), run.err)


if __name__ == "__main__":
    main()
