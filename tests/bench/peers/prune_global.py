#!/usr/bin/env python3
"""Global magnitude pruning of a large MLP, espalier file to file beside NumPy and SciPy in memory:

    python3 tests/bench/peers/prune_global.py build/release/bin/espalier [--folder DIR] [--output DIR]
        [--ranks N] [--rounds N] [--width N] [--memory 512MiB] [--no-peer]

Makes a network of 8 dense layers (411 M weights without --width) once in DIR, then in turns
- the peer: numpy.partition over all magnitudes, scipy.sparse.csr_matrix of what stays, on arrays that
  are in memory already (reading them is not counted);
- espalier prune from the file, which is in the page cache, to a new file, synced and read back.
Prints seconds, million weights a second, peak memory (of espalier by rank), and checks that both keep
the same number of weights. Debian: python3-numpy python3-scipy python3-h5py.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import time

import h5py
import numpy as np
import scipy.sparse as sp

SPARSITY = 0.9


def make(program, folder, width):
    network = os.path.join(folder, f"mlp{width}.h5")
    if not os.path.exists(network):
        random = np.random.Generator(np.random.SFC64(1))
        widths = [1024] + [width] * 7 + [10]
        names = [os.path.join(folder, f"layer{k}.npy") for k in range(len(widths) - 1)]
        for name, inputs, outputs in zip(names, widths, widths[1:]):
            np.save(name, random.standard_normal((outputs, inputs), dtype=np.float32) * np.float32(0.02))
        subprocess.run([program, "import", "--from", "npy", "--model", *names, "-o", network, "--quiet"], check=True)
        for name in names:
            os.remove(name)
    with open(network, "rb") as file:  # into the page cache
        while file.read(1 << 24):
            pass
    return network


def run_peer(network):
    with h5py.File(network) as file:
        layers = [file[f"layers/{name}/weight/values"][:].reshape(
            json.loads(file[f"layers/{name}/weight"].attrs["binsparse"])["binsparse"]["shape"])
            for name in file["layers"]]
    start = time.perf_counter()
    magnitudes = np.abs(np.concatenate([layer.ravel() for layer in layers]))
    kept = magnitudes.size - int(np.floor(SPARSITY * magnitudes.size + 0.5))
    cut = np.partition(magnitudes, magnitudes.size - kept)[magnitudes.size - kept]
    del magnitudes
    pruned = [sp.csr_matrix(np.where(np.abs(layer) >= cut, layer, 0)) for layer in layers]
    return time.perf_counter() - start, sum(layer.size for layer in layers), sum(layer.nnz for layer in pruned)


def run_espalier(program, network, args):
    out, report = (os.path.join(args.output, name) for name in ("pruned.h5", "pruned.json"))
    if os.path.exists(out):
        os.remove(out)
    launch = ["mpirun", "-q", "-n", str(args.ranks)] if args.ranks > 1 else []
    subprocess.run([*launch, program, "prune", network, "--method", "magnitude", "--sparsity", str(SPARSITY),
                    "--memory-per-rank", args.memory, "--threads", "1", "-o", out, "--report", report, "--quiet"],
                   check=True)
    with open(report) as file:
        found = json.load(file)
    os.remove(out)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--folder", default=".")
    parser.add_argument("--output")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--no-peer", action="store_true")
    args = parser.parse_args()
    args.output = args.output or args.folder
    network = make(args.program, args.folder, args.width)
    ours, peers = [], []
    for _ in range(args.rounds):
        found = run_espalier(args.program, network, args)
        ours.append(found["seconds"])
        rate = found["weights_total"] / found["seconds"] / 1e6
        peaks = [peak >> 20 for peak in found["peak_rss_bytes"].values()]
        phases = {name: round(phase["seconds_mean"], 2) for name, phase in found["phases"].items()}
        print(f"espalier {found['seconds']:6.2f} s {rate:7.1f} M/s, peak {peaks} MiB a rank, {phases}, "
              f"load {os.getloadavg()[0]:.1f}", flush=True)
        if not args.no_peer:
            seconds, total, kept = run_peer(network)
            peers.append(seconds)
            # Equal magnitudes at the cut all stay there.
            assert 0 <= kept - found["weights_kept"] < 100, (kept, found["weights_kept"])
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            print(f"numpy    {seconds:6.2f} s {total / seconds / 1e6:7.1f} M/s, peak {peak} MiB, "
                  f"load {os.getloadavg()[0]:.1f}", flush=True)
    if peers:
        print(f"median: espalier {statistics.median(ours):.2f} s, numpy {statistics.median(peers):.2f} s: "
              f"{statistics.median(peers) / statistics.median(ours):.1f} times as fast")


if __name__ == "__main__":
    main()
