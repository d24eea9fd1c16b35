#!/usr/bin/env python3
"""Damaged, foreign and contradictory HDF5 files: one clear line that names the place, the documented
exit status at 1 and 3 ranks, no output."""
# timeout: 600
import os
import shutil

import h5py

from support import ProgramTest, main, small_batch, small_network, write_lines


class BadFileTest(ProgramTest):
    """Damaged and foreign files, for every job that reads one."""

    def setUp(self):
        super().setUp()
        self.network = small_network(self)
        self.batch = small_batch(self)

    def refused_everywhere(self, path, status, words):
        for job in ("inspect", "verify"):
            self.refused(job, path, status=status, words=words)
        self.refused("infer", path, self.batch, "-o", "r.h5", status=status, words=words,
                     output="r.h5")
        self.refused("infer", self.network, path, "-o", "r.h5", status=status, words=words,
                     output="r.h5")

    def test_no_such_file(self):
        self.refused_everywhere("nothing.h5", 66, ["nothing.h5"])

    def test_folder_for_a_file(self):
        os.makedirs("folder.h5")
        self.refused_everywhere("folder.h5", 66, ["folder.h5", "folder"])

    def test_text_for_hdf5(self):
        self.refused_everywhere(write_lines("text.h5", ["1\t2\t3"] * 1000), 65,
                                ["text.h5", "HDF5"])

    def test_empty_file(self):
        self.refused_everywhere(write_lines("empty.h5", []), 65, ["empty.h5"])

    def test_truncated(self):
        for keep in (0.99, 0.5, 0.02):
            shutil.copy(self.network, "cut.h5")
            os.truncate("cut.h5", int(os.path.getsize("cut.h5") * keep))
            self.refused("inspect", "cut.h5", status=65, words=["cut.h5"])
            self.refused("verify", "cut.h5", status=65, words=["cut.h5"])
            self.refused("infer", "cut.h5", self.batch, "-o", "r.h5", status=65, words=["cut.h5"],
                         output="r.h5")

    def flip(self, path, dataset, at=0):
        """One flipped bit in the middle of a dataset's raw data."""
        with h5py.File(path, "r") as file:
            offset = file[dataset].id.get_offset()
        with open(path, "r+b") as file:
            file.seek(offset + at)
            byte = file.read(1)[0]
            file.seek(offset + at)
            file.write(bytes([byte ^ 4]))

    def test_flipped_bit_in_a_network(self):
        for dataset in ("indices_1", "values", "pointers_to_1"):
            shutil.copy(self.network, "bad.h5")
            self.flip("bad.h5", f"layers/000001/weight/{dataset}")
            words = ["bad.h5", f"/layers/000001/weight/{dataset}"]
            self.refused("verify", "bad.h5", status=65, words=words)
            self.refused("infer", "bad.h5", self.batch, "-o", "r.h5", status=65, words=words,
                         output="r.h5")

    def test_flipped_bit_in_a_batch(self):
        shutil.copy(self.batch, "bad.h5")
        self.flip("bad.h5", "features/indices_1")
        self.refused("verify", "bad.h5", status=65, words=["bad.h5", "/features/indices_1"])
        self.refused("infer", self.network, "bad.h5", "-o", "r.h5", status=65,
                     words=["bad.h5", "/features/indices_1"], output="r.h5")

    def test_flipped_bit_in_a_result(self):
        self.espalier("infer", self.network, self.batch, "-o", "r.h5", "--output", "top")
        self.flip("r.h5", "alive", 3)
        self.refused("verify", "r.h5", status=65, words=["r.h5", "/alive"])

    def test_flipped_bit_in_the_checksums(self):
        self.flip(self.network, "espalier/checksums")
        self.refused("verify", self.network, status=65, words=[self.network])

    def test_other_widths(self):
        other = small_batch(self, "other.h5", neurons=41)
        self.refused("infer", self.network, other, "-o", "r.h5", status=65,
                     words=[self.network, other, "40", "41"], output="r.h5")

    def test_one_kind_for_another(self):
        self.refused("infer", self.batch, self.network, "-o", "r.h5", status=65,
                     words=[self.batch, "batch", "network"], output="r.h5")
        self.refused("infer", self.network, self.network, "-o", "r.h5", status=65,
                     words=[self.network, "network", "batch"], output="r.h5")

    def test_foreign_hdf5(self):
        with h5py.File("other.h5", "w") as file:
            file["weather/wind"] = [1, 2, 3]
        self.refused_everywhere("other.h5", 65, ["other.h5", "/weather"])

    def edited(self, edit, original=None):
        """A file without checksums, changed by `edit`: only ranges and order can tell."""
        original = original or self.network
        with h5py.File(original, "r") as old, h5py.File("edited.h5", "w") as new:
            for name in old:
                if name != "espalier":
                    old.copy(name, new)
            edit(new)
        return "edited.h5"

    def refused_edit(self, dataset, values, words):
        def edit(file):
            file[f"layers/000001/weight/{dataset}"][:len(values)] = values
        path = self.edited(edit)
        words = [path, "/layers/000001/weight", *words]
        self.refused("verify", path, status=65, words=words)
        self.refused("infer", path, self.batch, "-o", "r.h5", status=65, words=words,
                     output="r.h5")

    def test_faults_without_checksums(self):
        self.assertIn("no checksums", self.espalier("verify", self.edited(lambda file: None)).out)
        self.refused_edit("indices_1", [45], ["45", "40"])
        self.refused_edit("indices_1", [2, 1], ["row 0"])
        self.refused_edit("indices_1", [2, 2], ["row 0"])
        self.refused_edit("pointers_to_1", [0, 90, 2], [])
        self.refused_edit("pointers_to_1", [1], [])

    def test_results_that_contradict_themselves(self):
        self.espalier("infer", small_network(self, "positive.h5", bias=0.25), self.batch, "-o",
                      "r.h5", "--output", "full", "--top-k", 3)

        def refused_edit(edit, *words):
            path = self.edited(edit, "r.h5")
            self.refused("verify", path, status=65, words=[path, *words])

        def set_value(dataset, place, value):
            def edit(file):
                file[dataset][place] = value
            return edit

        self.assertIn("no checksums",
                      self.espalier("verify", self.edited(lambda file: None, "r.h5")).out)
        refused_edit(set_value("alive", 7, 0), "sample 7", "/alive", "/categories")
        refused_edit(set_value("alive", 5, 1), "sample 5", "/alive")
        refused_edit(set_value("categories", 3, 2), "/categories")
        refused_edit(set_value("categories", 19, 30), "/alive", "sample 24")
        refused_edit(set_value("top_index", (6, 0), 40), "sample 6", "/top_index", "40")
        refused_edit(set_value("top_index", (6, 1), -1), "sample 6", "-1")
        refused_edit(set_value("top_value", (6, 2), 99), "sample 6", "order")

        def kill_sample_24(file):
            file["alive"][24] = 0
            kept = file["categories"][:-1]
            del file["categories"]
            file["categories"] = kept
        refused_edit(kill_sample_24, "sample 24", "/output", "/alive")

        def one_more(sample):
            def edit(file):
                listed = list(file["categories"]) + [sample]
                del file["categories"]
                file["categories"] = listed
            return edit
        refused_edit(one_more(24), "/categories")
        refused_edit(one_more(25), "/categories", "21")

    def test_widths_that_do_not_follow(self):
        def edit(file):
            group = file["layers/000001/weight"]
            text = group.attrs["binsparse"].replace("[40, 40]", "[40, 41]")
            group.attrs["binsparse"] = text.replace("[40,40]", "[40,41]")
        path = self.edited(edit)
        for job in (["inspect", path], ["verify", path], ["infer", path, self.batch, "-o", "r.h5"]):
            self.refused(*job, status=65, words=[path, "41", "40"], output="r.h5")

    def test_dataset_shorter_than_described(self):
        def edit(file):
            del file["layers/000001/weight/indices_1"]
            file["layers/000001/weight/indices_1"] = [1, 2, 3]
        path = self.edited(edit)
        self.refused("verify", path, status=65, words=[path, "indices_1", "3", "80"])


if __name__ == "__main__":
    main()
