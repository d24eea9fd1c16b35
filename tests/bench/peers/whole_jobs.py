#!/usr/bin/env python3
"""Whole jobs beside what one would write with NumPy, OpenBLAS and h5py, each on one thread:

    python3 tests/bench/peers/whole_jobs.py build/release/bin/espalier [--cases xmc,surrogate] [--labels N]
        [--samples N] [--rounds N] [--json FILE]

xmc: an output layer of many labels, 32 weights a label, to the best five labels of each of 256
samples; beside a dense product and selection on a tenth of the labels. Samples a second in the
network, files left out on both sides, and the program's memory over that of the packed weights.
surrogate: ten layers of 1024 neurons with SiLU, 95 % sparse, from an HDF5 file to an HDF5 file;
beside h5py, ten dense products and h5py. Whole commands; each begins with its output not there and
nothing left to write, for espalier syncs its output and would otherwise wait for what h5py leaves.

Works in the current folder, which needs room: 0.6 GiB for 2,800,000 labels, 16 KiB a sample of the
surrogate. Results are checked before they are timed. Debian: python3-h5py python3-numpy libopenblas-dev.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
import h5py  # noqa: E402
import numpy as np  # noqa: E402

HIDDEN, FAN_IN, BEST, SLICE = 1024, 32, 5, 10
WIDTH, LAYERS, DENSITY = 1024, 10, 0.05


def espalier(program, *arguments):
    start = time.perf_counter()
    done = subprocess.run([program, *map(str, arguments), "--threads", "1", "--quiet"], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return time.perf_counter() - start


def report():
    with open("run.json", encoding="utf-8") as file:
        return json.load(file)


def dense_batch(path):
    with h5py.File(path, "r") as file:
        shape = json.loads(file["features"].attrs["binsparse"])["binsparse"]["shape"]
        return file["features/values"][:].reshape(shape)


def weights(path, layer):
    with h5py.File(path, "r") as file:
        group = file[f"layers/{layer:06}/weight"]
        return group["pointers_to_1"][:].astype(np.int64), group["indices_1"][:], group["values"][:]


def check_labels(network, x):
    pointers, indices, values = weights(network, 0)
    with h5py.File("best.h5", "r") as file:
        for sample in (0, 1, len(x) - 1):
            outputs = np.add.reduceat(values.astype(np.float64) * x[sample, indices], pointers[:-1])
            best = np.argsort(-outputs)[:BEST]
            np.testing.assert_array_equal(file["top_index"][sample], best)
            np.testing.assert_allclose(file["top_value"][sample], outputs[best], rtol=1e-5)


def xmc(options):
    espalier(options.program, "generate", "batch", "--features", HIDDEN, "--samples", 256, "--density", 1, "--dense",
             "--seed", 2, "-o", "labels-batch.h5", "--force")
    x = dense_batch("labels-batch.h5")
    share = np.random.default_rng(1).standard_normal((options.labels // SLICE, HIDDEN), dtype=np.float32)
    found = []
    for group in (16, 1):
        network = f"labels{group}.h5"
        espalier(options.program, "generate", "xmc", "--labels", options.labels, "--hidden", HIDDEN, "--fan-in",
                 FAN_IN, "--group", group, "--seed", 1, "-o", network, "--force")
        ours, product, selection = [], [], []
        for turn in range(options.rounds):
            espalier(options.program, "infer", network, "labels-batch.h5", "-o", "best.h5", "--output", "top",
                     "--top-k", BEST, "--report", "run.json", "--force")
            if turn == 0:
                check_labels(network, x)
            run = report()
            ours.append(run["seconds"])
            start = time.perf_counter()
            outputs = x @ share.T
            middle = time.perf_counter()
            np.argpartition(-outputs, BEST, axis=1)
            product.append(SLICE * (middle - start))
            selection.append(SLICE * (time.perf_counter() - middle))
        dense = statistics.median(a + b for a, b in zip(product, selection))
        found.append({"case": "xmc", "group": group, "labels": options.labels,
                      "samples_per_second": len(x) / statistics.median(ours),
                      "times_product": statistics.median(p / o for p, o in zip(product, ours)),
                      "times_product_and_selection": dense / statistics.median(ours),
                      "memory_over_packed": run["peak_rss_bytes_max"] / run["packed_bytes_max"]})
    return found


def start_afresh(output):
    if os.path.exists(output):
        os.remove(output)
    os.sync()


def dense_surrogate(layers):
    start = time.perf_counter()
    x = dense_batch("surrogate-batch.h5")
    for weight, bias in layers:
        x = x @ weight.T
        x += bias
        if weight is not layers[-1][0]:
            x /= 1 + np.exp(-x)
    with h5py.File("dense.h5", "w") as file:
        file["output"] = x
    return time.perf_counter() - start, x


def surrogate(options):
    espalier(options.program, "generate", "random", "--layers", ",".join([str(WIDTH)] * (LAYERS + 1)), "--density",
             DENSITY, "--activation", "silu", "--last-activation", "identity", "--seed", 1, "-o", "surrogate.h5",
             "--force")
    espalier(options.program, "generate", "batch", "--features", WIDTH, "--samples", options.samples, "--density", 1,
             "--dense", "--seed", 2, "-o", "surrogate-batch.h5", "--force")
    layers = []
    for layer in range(LAYERS):
        pointers, indices, values = weights("surrogate.h5", layer)
        dense = np.zeros((WIDTH, WIDTH), np.float32)
        dense[np.repeat(np.arange(WIDTH), np.diff(pointers)), indices] = values
        with h5py.File("surrogate.h5", "r") as file:
            layers.append((dense, file[f"layers/{layer:06}/bias/values"][:]))
    ratios, files = [], []
    for turn in range(options.rounds):
        start_afresh("outputs.h5")
        wall = espalier(options.program, "infer", "surrogate.h5", "surrogate-batch.h5", "-o", "outputs.h5", "--output",
                        "full", "--report", "run.json", "--force")
        start_afresh("dense.h5")
        theirs, outputs = dense_surrogate(layers)
        if turn == 0:
            with h5py.File("outputs.h5", "r") as file:
                first = file["output/values"][:WIDTH]
            np.testing.assert_allclose(first, outputs[0], rtol=1e-3, atol=1e-4 * abs(outputs[0]).max())
        phases = report()["phases"]
        ratios.append(theirs / wall)
        files.append((phases["read"]["seconds_max"] + phases["write"]["seconds_max"]) / wall)
    return [{"case": "surrogate", "samples": options.samples, "seconds": wall,
             "times_dense": statistics.median(ratios), "share_of_files": statistics.median(files)}]


CASES = {"xmc": xmc, "surrogate": surrogate}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--labels", type=int, default=2_800_000)
    parser.add_argument("--samples", type=int, default=100_000, help="of the surrogate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    options.program = os.path.abspath(options.program)
    found = []
    for name in options.cases.split(","):
        if name not in CASES:
            parser.error(f"no case {name}; there are {', '.join(CASES)}")
        for one in CASES[name](options):
            found.append(one)
            print(", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                            for key, value in one.items()), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
