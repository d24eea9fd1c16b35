#!/usr/bin/env python3
"""Files are what io/FORMAT.md says: its examples run as they stand, h5dump reads the files, and what
others write by the same page is taken."""
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import zlib

import h5py
import numpy
import scipy.sparse

from support import ProgramTest, content, main, small_batch, small_network

FORMAT = pathlib.Path(__file__).resolve().parents[2] / "io" / "FORMAT.md"


def examples():
    """The blocks of Python on the page."""
    blocks = re.findall(r"(?:^    .*\n)+", FORMAT.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks
            if block.startswith("    import ")]


def descriptor(kind, shape, stored, types):
    return json.dumps({"binsparse": {"version": "0.1", "format": kind, "shape": shape,
                                     "number_of_stored_values": stored, "data_types": types}})


class FormatsTest(ProgramTest):
    def test_examples_on_the_page(self):
        # The examples are about a layer of 1024 x 1024 with at least four blocks of indices.
        self.espalier("generate", "random", "--layers", "1024,1024", "--density", 0.2, "--seed", 1,
                      "-o", "net.h5")
        read, check = examples()
        x = numpy.ones(1024, dtype="f4")
        found = {"x": x}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(read, found)
        found["f"].close()
        self.assertEqual(found["m"].shape, (1024, 1024))
        self.assertGreater(found["m"].nnz, 4 * 65536 / 2)
        found = {}
        exec(check, found)
        found["f"].close()
        # The example does check: it fails on other content.
        shutil.copy("net.h5", "kept.h5")
        with h5py.File("net.h5", "r+") as file:
            data = file["/layers/000000/weight/indices_1"]
            data[3 * 65536 // data.dtype.itemsize] += 1
        found = {}
        with self.assertRaises(AssertionError):
            exec(check, found)
        found["f"].close()
        self.refused("verify", "net.h5", status=65, words=["/layers/000000/weight/indices_1"])
        self.espalier("verify", "kept.h5")

    def test_every_block_and_the_digest_of_every_kind(self):
        network, batch = small_network(self), small_batch(self)
        self.espalier("infer", network, batch, "-o", "result.h5", "--output", "full", ranks=3)
        for path in (network, batch, "result.h5"):
            with self.subTest(path=path), h5py.File(path) as file:
                datasets = {}
                file.visititems(lambda name, item, found=datasets: found.update(
                    {"/" + name: item}) if isinstance(item, h5py.Dataset) else None)
                table = datasets.pop("/espalier/checksums")[:]
                expected = []
                for name in sorted(datasets):
                    data = datasets[name][()].tobytes()
                    expected += [zlib.crc32(data[at:at + 65536])
                                 for at in range(0, len(data), 65536)]
                self.assertEqual(table.tolist(), expected)
                self.assertEqual(len(file.attrs["digest"]), 64)
                origin = json.loads(file.attrs["espalier"])
                self.assertEqual(sorted(origin), ["format", "inputs", "job", "job_digest", "kind",
                                                  "options", "version"])

    @staticmethod
    def foreign_network(path, **options):
        """Two layers as another program may write them: wide types, no attributes, chunks."""
        random = numpy.random.default_rng(3)
        weights = [scipy.sparse.random(30, 40, 0.3, "csr", random_state=random),
                   scipy.sparse.random(10, 30, 0.3, "csr", random_state=random)]
        with h5py.File(path, "w") as file:
            for id, weight in enumerate(weights):
                weight.data = numpy.round(weight.data * 8) / 8 + 0.125
                group = file.create_group(f"/layers/{id:06}/weight")
                types = {"pointers_to_1": "int64", "indices_1": "int64", "values": "float64"}
                group.attrs["binsparse"] = descriptor("CSR", weight.shape, weight.nnz, types)
                for name, data in [("pointers_to_1", weight.indptr.astype("i8")),
                                   ("indices_1", weight.indices.astype("i8")),
                                   ("values", weight.data)]:
                    group.create_dataset(name, data=data, **options)
            # A big-endian bias of whole numbers, and a text of fixed length.
            bias = file.create_group("/layers/000001/bias")
            bias.attrs["binsparse"] = numpy.bytes_(json.dumps(json.loads(
                descriptor("DVEC", [10], 10, {"values": "int32"}))["binsparse"]))
            bias.create_dataset("values", data=numpy.arange(10, dtype=">i4"))
            file["/layers/000001"].attrs["activation"] = numpy.bytes_("relu")
        return weights

    def test_networks_and_batches_of_others(self):
        for name, options in {"plain": {}, "packed": {"chunks": (7,), "compression": 4}}.items():
            weights = self.foreign_network(f"{name}.h5", **options)
            features = numpy.round(numpy.random.default_rng(4).random((6, 40)) * 4) / 4
            with h5py.File(f"{name}-batch.h5", "w") as file:
                group = file.create_group("features")
                group.attrs["binsparse"] = descriptor("DMATR", features.shape, features.size,
                                                      {"values": "float64"})
                group.create_dataset("values", data=features)
                file.create_dataset("sample_id", data=numpy.array([b"one", b"two", b"three", b"4",
                                                                   b"five", b"six"]))
            expected = numpy.maximum(weights[1] @ (weights[0] @ features.T)
                                     + numpy.arange(10)[:, None], 0).T
            for ranks in (1, 3):
                with self.subTest(name=name, ranks=ranks):
                    self.espalier("infer", f"{name}.h5", f"{name}-batch.h5", "-o",
                                  f"{name}{ranks}-result.h5", "--output", "full", ranks=ranks)
                    with h5py.File(f"{name}{ranks}-result.h5") as file:
                        group = file["output"]
                        shape = json.loads(group.attrs["binsparse"])["binsparse"]["shape"]
                        found = scipy.sparse.csr_matrix(
                            (group["values"][:], group["indices_1"][:].astype("i8"),
                             group["pointers_to_1"][:].astype("i8")), shape)
                        numpy.testing.assert_array_equal(found.toarray(),
                                                         expected.astype("f4"))
                        self.assertEqual(file["sample_id"][2], b"three")
            self.assertEqual(content(f"{name}1-result.h5"), content(f"{name}3-result.h5"))

    def test_compressed_files_differ_in_bytes_only(self):
        for flags in ([], ["--compress"]):
            self.espalier("generate", "random", "--layers", "300,300,10", "--density", 0.2,
                          "--seed", 2, *flags, "-o", f"net{len(flags)}.h5", ranks=2)
        self.assertLess(os.path.getsize("net1.h5"), os.path.getsize("net0.h5"))
        with h5py.File("net0.h5") as plain, h5py.File("net1.h5") as packed:
            self.assertEqual(plain.attrs["digest"], packed.attrs["digest"])
            for name in ("values", "indices_1", "pointers_to_1"):
                name = f"/layers/000000/weight/{name}"
                self.assertEqual(plain[name][:].tobytes(), packed[name][:].tobytes())
                self.assertIsNone(plain[name].compression)
                self.assertEqual(packed[name].compression, "gzip")
        self.espalier("verify", "net1.h5", ranks=3)

    def test_h5dump_reads_every_kind(self):
        network, batch = small_network(self), small_batch(self)
        self.espalier("infer", network, batch, "-o", "result.h5", "--top-k", 2)
        for path, group in ((network, "/layers/000000/weight"), (batch, "/features"),
                            ("result.h5", "/")):
            dumped = self.run_command(["h5dump", "-g", group, path])
            self.assertEqual((dumped.status, dumped.err), (0, ""))
            self.assertIn("DATASET", dumped.out)


if __name__ == "__main__":
    main()
