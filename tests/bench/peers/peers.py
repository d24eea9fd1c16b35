#!/usr/bin/env python3
"""The kernels beside other libraries', on one thread:

    python3 tests/bench/peers/peers.py build/release [--cases a,b] [--columns N] [--rounds N] [--only a,b] [--json FILE]

Builds what is needed (each library may be missing), checks every library's product against double
precision first, then runs one product of each in turn, round after round, and prints the medians:
seconds of the thread, useful multiply-adds as a share of the peak measured beside them, and how many
times as long each library took as espalier. All get huge pages for what they allocate, as espalier
asks for in its jobs. Debian: libxsmm-dev libopenblas-dev libeigen3-dev
libgraphblas-dev python3-scipy python3-torch.
"""
import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
if "GLIBC_TUNABLES" not in os.environ:  # read when a process starts
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    os.execv(sys.executable, [sys.executable, *sys.argv])
import numpy as np  # noqa: E402


def unstructured(rows, cols, density):
    return lambda random: random.random((rows, cols), dtype=np.float32) < density


def skewed(rows, cols, density, sigma=0.7):
    """Row and column counts vary log-normally, as in networks that were really pruned."""
    def make(random):
        share = np.outer(random.lognormal(-sigma**2 / 2, sigma, rows), random.lognormal(-sigma**2 / 2, sigma, cols))
        return random.random((rows, cols), dtype=np.float32) < density * share
    return make


def shared(neurons):
    """The challenge's topology: 16 rows share 32 inputs."""
    def make(_):
        gap = np.subtract.outer(np.arange(neurons), np.arange(neurons)) % 64
        return (gap == 0) | (gap == 1)
    return make


CASES = {"shared": shared(1024)}
for percent in (70, 90, 95, 97):
    CASES[f"unstructured{percent}"] = unstructured(4096, 4096, 1 - percent / 100)
CASES["skewed90"] = skewed(4096, 4096, 0.1)
CASES["unstructured99"] = unstructured(16384, 16384, 0.01)
for percent in (0, 25, 30, 40, 50):
    CASES[f"dense{percent}"] = unstructured(4096, 4096, 1 - percent / 100)
for percent in (50, 70, 90, 95):
    CASES[f"llm-up{percent}"] = unstructured(14336, 4096, 1 - percent / 100)
    CASES[f"llm-down{percent}"] = unstructured(4096, 14336, 1 - percent / 100)
USUAL = [name for name in CASES if not name.startswith("llm")]
# Sparse formats that take minutes on a dense layer, or have no answer to it.
SLOW = {"scipy", "torch", "graphblas", "eigen"}


def library(build):
    subprocess.run(["cmake", "--build", build, "--target", "bench_peers"], check=True, stdout=subprocess.DEVNULL)
    path = subprocess.run(["find", os.path.abspath(build), "-name", "libbench_peers.so"], check=True,
                          capture_output=True, text=True).stdout.split()[0]
    lib = ctypes.CDLL(path)
    lib.peer_name.restype = ctypes.c_char_p
    for name in ("peer_run", "peer_peak"):
        getattr(lib, name).restype = ctypes.c_double
    lib.peer_value.restype = ctypes.c_float
    lib.peer_value.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    lib.peer_problem.restype = None
    lib.peer_problem.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                                 ctypes.c_int64, ctypes.c_void_p]
    return lib


class Native:
    """A library behind the C interface."""
    def __init__(self, lib, number):
        self.lib, self.number = lib, number

    def run(self):
        return self.lib.peer_run(self.number)

    def value(self, row, sample):
        return self.lib.peer_value(self.number, row, sample)


class InPython:
    """A product that Python calls."""
    def __init__(self, product):
        self.product, self.out = product, None

    def run(self):
        start = time.thread_time()
        self.out = self.product()
        return time.thread_time() - start

    def value(self, row, sample):
        return float(self.out[row, sample])


def python_peers(rows, pointers, indices, values, x):
    peers = {}
    shape = (rows, x.shape[0])
    try:
        from scipy.sparse import csr_matrix
        a = csr_matrix((values, indices.astype(np.int32), pointers), shape=shape)
        peers["scipy"] = InPython(lambda: a @ x)
    except ImportError:
        pass
    try:
        import torch
        torch.set_num_threads(1)
        t = torch.sparse_csr_tensor(torch.from_numpy(pointers), torch.from_numpy(indices.astype(np.int64)),
                                    torch.from_numpy(values), size=shape)
        dense = torch.from_numpy(x)
        peers["torch"] = InPython(lambda: t @ dense)
    except ImportError:
        pass
    return peers


def check(name, peer, rows, pointers, indices, values, x, random):
    for _ in range(200):
        row, sample = int(random.integers(rows)), int(random.integers(x.shape[1]))
        part = slice(pointers[row], pointers[row + 1])
        terms = values[part].astype(np.float64) * x[indices[part], sample]
        if abs(peer.value(row, sample) - terms.sum()) > 1e-5 * (np.abs(terms).sum() + 1e-3):
            sys.exit(f"{name} computes {peer.value(row, sample)} at ({row}, {sample}), right is {terms.sum()}")


def measure(lib, case, columns, rounds, only):
    random = np.random.default_rng(1)
    mask = CASES[case](random)
    rows, cols = mask.shape
    pointers = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int64)
    indices = np.nonzero(mask)[1].astype(np.uint32)
    del mask
    values = (random.random(len(indices), dtype=np.float32) - 0.5) / 8
    x = random.random((cols, columns), dtype=np.float32)
    lib.peer_problem(rows, cols, pointers.ctypes.data, indices.ctypes.data, values.ctypes.data, columns, x.ctypes.data)
    peers = {}
    while lib.peer_name(len(peers)) is not None:
        peers[lib.peer_name(len(peers)).decode()] = Native(lib, len(peers))
    peers.update(python_peers(rows, pointers, indices, values, x))
    if len(indices) > 0.35 * rows * cols or rows * cols > 4096 * 4096:
        peers = {name: peer for name, peer in peers.items() if name not in SLOW}
    if only:
        peers = {name: peer for name, peer in peers.items() if name in only}
    for name, peer in peers.items():
        peer.run()
        check(name, peer, rows, pointers, indices, values, x, random)
    seconds = {name: [] for name in peers}
    ratios = {name: [] for name in peers}
    for _ in range(rounds):
        peak = lib.peer_peak()
        for name, peer in peers.items():
            seconds[name].append(peer.run())
            ratios[name].append(len(indices) * columns / seconds[name][-1] / peak)
    return [{"case": case, "peer": name, "seconds": statistics.median(seconds[name]),
             "fma_per_second": len(indices) * columns / statistics.median(seconds[name]),
             "ratio": statistics.median(ratios[name]),
             "times_espalier": statistics.median(
                 theirs / ours for theirs, ours in zip(seconds[name], seconds["espalier"]))}
            for name in peers]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--cases", default=",".join(USUAL), help="of " + ", ".join(CASES))
    parser.add_argument("--columns", type=int, default=512, help="samples")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="these libraries beside espalier, such as libxsmm,openblas")
    parser.add_argument("--json")
    options = parser.parse_args()
    names = options.cases.split(",")
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    only = {"espalier", *options.only.split(",")} if options.only else None
    lib = library(options.build)
    found = []
    print(f"{'case':16} {'by':10} {'seconds':>10} {'of peak':>8} {'x ours':>7}")
    for case in names:
        for one in measure(lib, case, options.columns, options.rounds, only):
            found.append(one)
            print(f"{one['case']:16} {one['peer']:10} {one['seconds']:10.4f} {100 * one['ratio']:6.1f} % "
                  f"{one['times_espalier']:7.2f}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"columns": options.columns, "rounds": options.rounds, "cases": found}, file, indent=2)


if __name__ == "__main__":
    main()
