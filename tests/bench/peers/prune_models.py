#!/usr/bin/env python3
"""Pruning a whole model of bfloat16, safetensors to safetensors, beside a copy of the same files:

    python3 tests/bench/peers/prune_models.py build/release/bin/espalier [--folder DIR] [--gigabytes N]
        [--files N] [--ranks N] [--rounds N] [--memory 1GiB] [--cases row,global]

Makes a model of normally distributed weights once in DIR, in layers of 4096 x 14336 and 14336 x 4096
after an embedding that is excluded; then, in turns, each after the page cache has been dropped (as
root) and all written data are on the disk:
- copy: the files, read and written by `cp`, synced;
- row: 50 % of each row by magnitude; global: 50 % of all weights.
Prints seconds, the share of the copy's rate, peak memory by rank. Checks one layer of each output and
that the embedding has the bytes it had. DIR needs room for the model twice. Debian: python3-numpy.
"""
import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import time

import numpy as np

SPARSITY = 0.5
SHAPES = ((4096, 14336), (14336, 4096))
EMBEDDING = (32000, 4096)


def write_file(path, tensors, pool, random):
    """tensors: {name: shape}; each is the pool from another place on."""
    header, end = {}, 0
    for name, shape in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + 2 * int(np.prod(shape))]}
        end = header[name]["data_offsets"][1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in tensors.values():
            left, at = int(np.prod(shape)), int(random.integers(pool.size))
            while left:
                part = pool[at:at + left]
                file.write(part)
                left, at = left - part.size, 0


def make(folder, gigabytes, files):
    model = os.path.join(folder, f"model{gigabytes}g")
    if os.path.exists(os.path.join(model, "config.json")):
        return model
    os.makedirs(model, exist_ok=True)
    random = np.random.Generator(np.random.SFC64(1))
    pool = random.standard_normal(1 << 27, dtype=np.float32) * np.float32(0.02)
    pool = (pool.view("u4") >> 16).astype("u2")
    names, left = {"embedding.weight": EMBEDDING}, gigabytes * 10**9 - 2 * int(np.prod(EMBEDDING))
    while left > 0:
        names[f"layers.{len(names) - 1}.weight"] = SHAPES[len(names) % 2]
        left -= 2 * int(np.prod(SHAPES[0]))
    each = -(-len(names) // files)
    index = {}
    for number in range(files):
        name = f"model-{number + 1:05}-of-{files:05}.safetensors"
        some = dict(list(names.items())[number * each:(number + 1) * each])
        write_file(os.path.join(model, name), some, pool, random)
        index.update(dict.fromkeys(some, name))
    with open(os.path.join(model, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"metadata": {}, "weight_map": index}, file)
    with open(os.path.join(model, "config.json"), "w", encoding="utf-8") as file:
        json.dump({"model_type": "made up"}, file)
    return model


def words(model, name):
    """The bits of a tensor."""
    with open(os.path.join(model, "model.safetensors.index.json"), encoding="utf-8") as file:
        path = os.path.join(model, json.load(file)["weight_map"][name])
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        entry = json.loads(file.read(length))[name]
    return np.memmap(path, "u2", "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))


def check(case, before, after):
    for name in ("embedding.weight", "layers.1.weight"):
        old, new = words(before, name), words(after, name)
        zero = (new & 0x7FFF) == 0
        assert np.array_equal(old[~zero], new[~zero])
        if name == "embedding.weight":
            assert np.array_equal(old, new)
        elif case == "row":
            some = np.linspace(0, len(old) - 1, 64, dtype=int)
            magnitudes = np.sort(old[some] & 0x7FFF, axis=1)
            assert (zero[some].sum(axis=1) == old.shape[1] // 2).all()
            cut = magnitudes[:, old.shape[1] // 2]
            assert all((old[row] & 0x7FFF)[zero[row]].max() <= cut[at] for at, row in enumerate(some))
        else:
            assert abs(zero.mean() - SPARSITY) < 0.01


def timed(command, out):
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w", encoding="utf-8") as file:
        file.write("3")
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    subprocess.run(["sync"], check=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--folder", default=".")
    parser.add_argument("--gigabytes", type=int, default=12)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--cases", default="row,global")
    args = parser.parse_args()
    model, out, report = make(args.folder, args.gigabytes, args.files), *(
        os.path.join(args.folder, name) for name in ("model-out", "model-out.json"))
    size = sum(entry.stat().st_size for entry in os.scandir(model))
    launch = ["mpirun", "-q", "-n", str(args.ranks)] if args.ranks > 1 else []
    shares = {case: [] for case in args.cases.split(",")}
    for _ in range(args.rounds):
        copy = timed(["cp", "-r", model, out], out)
        print(f"copy   {copy:6.1f} s {size / copy / 1e6:6.0f} MB/s, load {os.getloadavg()[0]:.1f}", flush=True)
        for case, found in shares.items():
            seconds = timed([*launch, args.program, "prune", model, "--to", "safetensors", "--method", "magnitude",
                             "--scope", case, "--sparsity", str(SPARSITY), "--exclude", "embedding",
                             "--memory-per-rank", args.memory, "--threads", "1", "-o", out, "--report", report,
                             "--quiet"], out)
            check(case, model, out)
            with open(report, encoding="utf-8") as file:
                told = json.load(file)
            peaks = [peak >> 20 for peak in told["peak_rss_bytes"].values()]
            phases = {name: round(phase["seconds_mean"], 1) for name, phase in told["phases"].items()}
            found.append(copy / seconds)
            print(f"{case:6} {seconds:6.1f} s {size / seconds / 1e6:6.0f} MB/s = {copy / seconds:.2f} of the copy, "
                  f"read {told['bytes_read'] / size:.2f} times, peak {peaks} MiB a rank, {phases}, "
                  f"load {os.getloadavg()[0]:.1f}", flush=True)
    shutil.rmtree(out)
    for case, found in shares.items():
        print(f"{case}: median {statistics.median(found):.2f} of the copy's rate")


if __name__ == "__main__":
    main()
