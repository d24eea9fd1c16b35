#!/usr/bin/env python3
"""bench measures what it is asked to, and says so in JSON; how fast the machine is, no test asks."""
import json

from support import ProgramTest, main, small_network


class BenchTest(ProgramTest):
    def test_json(self):
        out = self.espalier("bench", "--cases", "shared,unstructured97,gc1024x120-first1200,pack",
                            "--json",
                            "--threads", 2, "--report", "run.json").out
        found = json.loads(out)
        self.assertEqual(found["threads"], 2)
        self.assertGreaterEqual(found["fma_peak_per_second"], 1e8)
        self.assertEqual(set(found["bandwidth"]), {"l1", "l2", "l3", "memory"})
        self.assertTrue(all(rate > 1e7 for rate in found["bandwidth"].values()))
        cases = {case["name"]: case for case in found["cases"]}
        self.assertEqual(set(cases), {"shared", "unstructured97", "gc1024x120-first1200", "pack"})
        for name, case in cases.items():
            rate = case["weights_per_second" if name == "pack" else "fma_per_second"]
            self.assertGreater(case["seconds"], 0)
            self.assertGreater(rate, 0)
            self.assertGreater(case["limit"], 0)
            self.assertGreater(case["ratio"], 0)
        self.assertEqual(cases["shared"]["threads"], 1)
        self.assertEqual(cases["shared"]["blocks"], "shared 100%")
        # Only rows that share no inputs load an activation for each multiply-add.
        self.assertEqual([name for name, case in cases.items() if "ratio_to_loads" in case],
                         ["unstructured97"])
        self.assertGreater(cases["unstructured97"]["ratio_to_loads"], 0)
        # 1,200 samples through 120 layers of 32,768 weights
        case = cases["gc1024x120-first1200"]
        self.assertAlmostEqual(case["fma_per_second"] * case["seconds"] / (1200 * 120 * 32768), 1)
        with open("run.json", encoding="utf-8") as file:
            self.assertEqual(json.load(file)["cases"], found["cases"])

    def test_own_network(self):
        network = small_network(self, layers=3, bias=-0.25)
        self.espalier("generate", "batch", "--features", 40, "--samples", 100, "--density", 0.5,
                      "-o", "batch.h5")
        found = self.espalier("bench", "--cases", "gc1024x120", "--network", network, "--batch",
                              "batch.h5").out
        self.assertRegex(found, r"gc1024x120 +\d+ +0\.\d+")
        self.espalier("generate", "batch", "--features", 41, "--samples", 9, "--density", 0.5, "-o",
                      "wide.h5")
        failed = self.espalier("bench", "--cases", "gc1024x120", "--network", network, "--batch",
                               "wide.h5", status=65)
        self.assertIn("41 features a sample", failed.err)

    def test_wrong_use(self):
        self.assertIn("there is no case 'fast'; the cases are gc1024x120,",
                      self.espalier("bench", "--cases", "fast", status=64).err)
        self.assertIn("given together", self.espalier("bench", "--network", "x", status=64).err)
        self.assertIn("one process", self.espalier("bench", ranks=3, status=64).err)
        self.assertIn("would measure 2 cases",
                      self.espalier("bench", "--cases", "shared,pack", "--dry-run").err)


if __name__ == "__main__":
    main()
