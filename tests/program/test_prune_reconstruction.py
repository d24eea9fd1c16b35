#!/usr/bin/env python3
# label: night
# timeout: 1800
"""How near a large pruned layer's sums come to those before, with inputs that depend on each
other: sparsegpt is as good as NumPy's, and least squares on its mask a tenth better."""
import time

import numpy as np

from pruning import write_network
from support import main
from test_prune_calibrated import PruneTest, sparse_gpt, write_batch

ROWS, COLUMNS, SAMPLES = 1024, 4096, 2048


class ReconstructionTest(PruneTest):
    def test_large_layer(self):
        random = np.random.default_rng(11)
        sources = random.standard_normal((COLUMNS // 8, SAMPLES))
        x = random.standard_normal((COLUMNS, COLUMNS // 8)) @ sources / np.sqrt(COLUMNS // 8)
        x += 0.5 * random.standard_normal((COLUMNS, SAMPLES))
        x = np.maximum(x, 0).astype(np.float32).astype(float)
        weights = random.standard_normal((ROWS, COLUMNS)).astype(np.float32) / np.float32(64)
        write_network("net.h5", [weights], "DMAT")
        write_batch("batch.h5", x.T)
        size = np.linalg.norm(weights @ x)
        for sparsity in (0.7, 0.9):
            expected = sparse_gpt(weights, x, sparsity)
            errors, seconds = {"NumPy": np.linalg.norm((weights - expected) @ x) / size}, {}
            for name, more in (("sparsegpt", []), ("updated", ["--update"])):
                start = time.monotonic()
                found = self.prune("net.h5", "--method", "sparsegpt", *more, "--calibrate",
                                   "batch.h5", "--sparsity", sparsity, ranks=2, limit=600,
                                   out=f"{name}.h5")[0]
                seconds[name] = time.monotonic() - start
                errors[name] = np.linalg.norm((weights - found) @ x) / size
                differ = np.count_nonzero((found != 0) != (expected != 0))
                self.assertLess(differ, 1e-4 * weights.size, name)
            magnitude = self.prune("net.h5", "--method", "magnitude", "--scope", "layer",
                                   "--sparsity", sparsity)[0]
            errors["magnitude"] = np.linalg.norm((weights - magnitude) @ x) / size
            print(sparsity, {name: round(error, 5) for name, error in errors.items()},
                  {name: round(spent, 1) for name, spent in seconds.items()})
            self.assertLess(abs(errors["sparsegpt"] / errors["NumPy"] - 1), 1e-3)
            self.assertLess(errors["updated"], 0.9 * errors["sparsegpt"])


if __name__ == "__main__":
    main()
