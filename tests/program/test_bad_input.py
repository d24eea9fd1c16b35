#!/usr/bin/env python3
"""Bad input: one clear line, the documented exit status at 1 and 3 ranks, no output."""
# timeout: 420
import os
import shutil

import h5py

from support import (ProgramTest, content, main, ring_layer, small_batch, small_network,
                     write_lines, write_triples)

RANKS = (1, 3)


class BadInputTest(ProgramTest):
    def refused(self, *arguments, status, words, output=None, **more):
        """The job ends with `status`, says all `words` in its line, and makes no output."""
        for ranks in RANKS:
            with self.subTest(ranks=ranks, arguments=arguments):
                line = self.espalier(*arguments, ranks=ranks, status=status, **more).complaint()
                for word in words:
                    self.assertIn(word, line)
                if output:
                    self.assertFalse(os.path.exists(output), output)


class BadTextTest(BadInputTest):
    """Faults in GraphChallenge TSV, here always in line 3 of the second layer."""

    def refused_layer(self, line, words, status=65):
        os.makedirs("tsv", exist_ok=True)
        for layer in (1, 2):
            write_triples(f"tsv/n40-l{layer}.tsv", ring_layer(40, layer))
        with open("tsv/n40-l2.tsv", encoding="ascii") as file:
            lines = file.read().splitlines()
        lines[2] = line
        write_lines("tsv/n40-l2.tsv", lines)
        self.refused("import", "--from", "graphchallenge", "--weights", "tsv", "--neurons", 40,
                     "--layers", 2, "--bias", "-0.3", "-o", "net.h5", status=status,
                     words=["n40-l2.tsv", "3", *words], output="net.h5")

    def test_truncated_line(self):
        self.refused_layer("3\t4", [])
        self.refused_layer("3\t4\t", [])

    def test_word_for_a_number(self):
        self.refused_layer("3\tfour\t0.5", ["four"])
        self.refused_layer("3\t4\thalf", ["half"])
        self.refused_layer("3\t4\t0.5x", ["0.5x"])

    def test_something_after_the_value(self):
        self.refused_layer("3\t4\t0.5\t6", [])

    def test_index_zero(self):
        self.refused_layer("0\t4\t0.5", ["0", "1"])
        self.refused_layer("3\t0\t0.5", ["0", "1"])

    def test_index_beyond_the_neurons(self):
        self.refused_layer("41\t4\t0.5", ["41", "40"])
        self.refused_layer("3\t99999999999999999999\t0.5", ["40"])
        self.refused_layer("3\t-4\t0.5", ["-4", "40"])

    def test_value_that_is_not_finite(self):
        self.refused_layer("3\t4\tnan", ["nan"])
        self.refused_layer("3\t4\tinf", ["inf"])

    def test_the_same_pair_twice(self):
        # Line 1 of a ring is input 1 to output 1.
        self.refused_layer("1\t1\t0.5", ["1"])

    def test_last_line_cut_off(self):
        os.makedirs("tsv")
        write_triples("tsv/n40-l1.tsv", ring_layer(40, 1))
        size = os.path.getsize("tsv/n40-l1.tsv")
        os.truncate("tsv/n40-l1.tsv", size - len("0.5\n"))
        self.refused("import", "--from", "graphchallenge", "--weights", "tsv", "--neurons", 40,
                     "--layers", 1, "--bias", "-0.3", "-o", "net.h5", status=65,
                     words=["n40-l1.tsv", "80"], output="net.h5")

    def test_missing_layer_file(self):
        os.makedirs("tsv")
        write_triples("tsv/n40-l1.tsv", ring_layer(40, 1))
        self.refused("import", "--from", "graphchallenge", "--weights", "tsv", "--neurons", 40,
                     "--layers", 2, "--bias", "-0.3", "-o", "net.h5", status=66,
                     words=["n40-l2.tsv"], output="net.h5")

    def test_missing_folder(self):
        self.refused("import", "--from", "graphchallenge", "--weights", "nowhere", "--neurons",
                     1024, "--layers", 2, "-o", "net.h5", status=66, words=["nowhere"],
                     output="net.h5")

    def test_features_beyond_the_neurons(self):
        write_lines("f.tsv", ["1\t1\t1", "2\t41\t1"])
        self.refused("import", "--from", "graphchallenge", "--features", "f.tsv", "--neurons", 40,
                     "-o", "b.h5", status=65, words=["f.tsv", "2", "41", "40"], output="b.h5")

    def test_binary_file_for_text(self):
        network = small_network(self)
        self.refused("import", "--from", "graphchallenge", "--features", network, "--neurons", 40,
                     "-o", "b.h5", status=65, words=[network], output="b.h5")

    def test_no_bias_known(self):
        self.refused("import", "--from", "graphchallenge", "--weights", ".", "--neurons", 40,
                     "--layers", 1, "-o", "net.h5", status=64, words=["--bias", "1024"],
                     output="net.h5")


class BadTruthTest(BadInputTest):
    def test_mismatch_keeps_the_result(self):
        network, batch = small_network(self), small_batch(self)
        self.espalier("infer", network, batch, "-o", "right.h5")
        write_lines("truth.tsv", ["1"])
        for ranks in RANKS:
            line = self.espalier("infer", network, batch, "-o", f"r{ranks}.h5", "--truth",
                                 "truth.tsv", "--report", "run.json", ranks=ranks,
                                 status=65).complaint()
            self.assertIn("truth.tsv", line)
            self.assertEqual(content(f"r{ranks}.h5"), content("right.h5"))

    def test_faults_in_the_truth(self):
        network, batch = small_network(self), small_batch(self)
        for line, words in (("0", ["0"]), ("26", ["26", "25"]), ("one", ["one"]), ("1 2", [])):
            write_lines("truth.tsv", ["3", line])
            self.refused("infer", network, batch, "-o", "r.h5", "--truth", "truth.tsv", status=65,
                         words=["truth.tsv", "2", *words], output="r.h5")
        self.refused("infer", network, batch, "-o", "r.h5", "--truth", "no.tsv", status=66,
                     words=["no.tsv"], output="r.h5")


class BadFileTest(BadInputTest):
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

        def one_more(file):
            kept = list(file["categories"]) + [24]
            del file["categories"]
            file["categories"] = kept
        refused_edit(one_more, "/categories")

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


class OutputInPlaceTest(BadInputTest):
    """What stands in the output's place is never lost."""

    def setUp(self):
        super().setUp()
        self.network = small_network(self)
        self.batch = small_batch(self)

    def test_something_else_in_place(self):
        for what in (lambda: write_lines("r.h5", ["precious"]),
                     lambda: shutil.copy(self.batch, "r.h5")):
            what()
            before = content("r.h5")
            self.refused("infer", self.network, self.batch, "-o", "r.h5", status=73,
                         words=["r.h5", "--force"])
            self.assertEqual(content("r.h5"), before)

    def test_another_run_in_place(self):
        self.espalier("infer", self.network, self.batch, "-o", "r.h5", "--output", "top")
        before = content("r.h5")
        self.refused("infer", self.network, self.batch, "-o", "r.h5", status=73, words=["r.h5"])
        self.assertEqual(content("r.h5"), before)
        for ranks in RANKS:
            self.espalier("infer", self.network, self.batch, "-o", "r.h5", "--force", ranks=ranks)
        self.assertNotEqual(content("r.h5"), before)

    def test_the_same_job_again_does_nothing(self):
        jobs = [["infer", self.network, self.batch, "-o", "again.h5"],
                ["import", "--from", "graphchallenge", "--features", "batch.h5.tsv", "--neurons",
                 "40", "-o", "again.h5"],
                ["generate", "radixnet", "--neurons", "64", "--layers", "2", "-o", "again.h5"]]
        for job in jobs:
            self.espalier(*job, "--force")
            before = os.stat("again.h5")
            for ranks in RANKS:
                self.espalier(*job, ranks=ranks)
            after = os.stat("again.h5")
            self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))

    def test_output_in_a_missing_folder(self):
        self.refused("infer", self.network, self.batch, "-o", "no/such/r.h5", status=73,
                     words=["no/such"])

    def test_output_is_a_folder(self):
        os.makedirs("r.h5")
        for arguments in ([], ["--force"]):
            self.refused("infer", self.network, self.batch, "-o", "r.h5", *arguments, status=73,
                         words=["r.h5"])


if __name__ == "__main__":
    main()
