#!/usr/bin/env python3
"""Faults in text that is imported or compared with: one clear line with file and line number, the
documented exit status at 1 and 3 ranks, no output."""
# timeout: 300
import os

from support import (ProgramTest, content, main, ring_layer, small_batch, small_network, write_lines,
                     write_triples)


class BadTextTest(ProgramTest):
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


class BadTruthTest(ProgramTest):
    def test_mismatch_keeps_the_result(self):
        network, batch = small_network(self), small_batch(self)
        self.espalier("infer", network, batch, "-o", "right.h5")
        write_lines("truth.tsv", ["1"])
        for ranks in (1, 3):
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


if __name__ == "__main__":
    main()
