#!/usr/bin/env python3
"""Pruning by what a file says of the inputs of layers, against NumPy on the same statistics: of
networks and of whole models, whose layers nobody knows the order of."""
import os

import numpy as np

import safetensors_format as st
from pruning import PruneTest, keep_largest, kept_of, write_network
from support import content, main
from test_prune_calibrated import correlated, float_keys, keep_rows, sparse_gpt_by_gram


def scores_of(weights, norms):
    keys = float_keys(np.abs(weights.astype(float)) * norms.astype(float), weights)
    return np.maximum(keys, np.float32(1e-45))


def wanda(weights, norms, sparsity, scope="row"):
    scores = scores_of(weights, norms)
    if scope == "row":
        return keep_rows(weights, scores, kept_of(weights.shape[1], sparsity))
    return keep_largest([weights], kept_of(weights.size, sparsity), [scores])[0]


class ActivationStatsTest(PruneTest):
    SHAPES = {"a": (70, 150), "b": (33, 70), "c": (12, 33)}

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(11)
        self.weights = {name: random.standard_normal(shape).astype(np.float32)
                        for name, shape in self.SHAPES.items()}
        inputs = {name: correlated(random, shape[1], 2 * shape[1])
                  for name, shape in self.SHAPES.items()}
        self.grams = {name: (x @ x.T).astype(np.float32) for name, x in inputs.items()}
        self.norms = {name: np.sqrt(np.sum(x ** 2, axis=1)).astype(np.float32)
                      for name, x in inputs.items()}
        write_network("net.h5", list(self.weights.values()), "DMAT", names=list(self.SHAPES))
        self.write_stats("norms.safetensors", norms=self.norms)
        self.write_stats("grams.safetensors", gram=self.grams)

    @staticmethod
    def write_stats(path, **kinds):
        st.write(path, {f"{name}.{kind}": st.Tensor.of("F32", values)
                        for kind, by_name in kinds.items() for name, values in by_name.items()})

    def pruned(self, *arguments, stats="norms.safetensors", **more):
        return self.prune("net.h5", *arguments, "--activation-stats", stats, **more)

    def test_wanda(self):
        for scope, ranks in (("row", 1), ("row", 3), ("layer", 2)):
            found = self.pruned("--method", "wanda", "--sparsity", 0.7, "--scope", scope,
                                ranks=ranks)
            for name, new in zip(self.SHAPES, found):
                wanted = wanda(self.weights[name], self.norms[name], 0.7, scope)
                np.testing.assert_array_equal(new, wanted, f"{name} {scope}")
        # A profile's sparsities count in each row too.
        found = self.pruned("--method", "wanda", "--profile", "list:0.5,0.9,0.2")
        for name, new, sparsity in zip(self.SHAPES, found, (0.5, 0.9, 0.2)):
            np.testing.assert_array_equal(new, wanda(self.weights[name], self.norms[name],
                                                     sparsity))
        # Norms may also come from the diagonal of a Gram matrix.
        found = self.pruned("--method", "wanda", "--sparsity", 0.7, stats="grams.safetensors")
        for name, new in zip(self.SHAPES, found):
            norms = np.sqrt(np.diag(self.grams[name]))
            np.testing.assert_array_equal(new, wanda(self.weights[name], norms, 0.7))

    def test_sparsegpt_and_update(self):
        for ranks in (1, 3):
            found = self.pruned("--method", "sparsegpt", "--sparsity", 0.6, ranks=ranks,
                                stats="grams.safetensors")
            for name, new in zip(self.SHAPES, found):
                self.assert_near(new, sparse_gpt_by_gram(self.weights[name],
                                                         self.grams[name].astype(float), 0.6))
            self.assertEqual(content("out.h5"), self.first(content("out.h5")))
        before = self.pruned("--method", "wanda", "--sparsity", 0.8, stats="grams.safetensors")
        found = self.pruned("--method", "wanda", "--sparsity", 0.8, "--update", ranks=2,
                            stats="grams.safetensors")
        for name, old, new in zip(self.SHAPES, before, found):
            np.testing.assert_array_equal(new != 0, old != 0)
            gram, whole = self.grams[name].astype(float), self.weights[name].astype(float)
            best = np.zeros_like(whole)
            for row, stays in enumerate(old != 0):
                best[row, stays] = np.linalg.lstsq(gram[np.ix_(stays, stays)],
                                                   gram[stays] @ whole[row], rcond=None)[0]
            off = [np.sqrt(np.sum((w - whole) @ gram * (w - whole))) for w in (old, new, best)]
            self.assertLess(off[1], 0.95 * off[0])
            self.assertLess(off[1], 1.001 * off[2] + 1e-3 * off[0])

    def first(self, made):
        """What the first call was given."""
        self.made = getattr(self, "made", made)
        return self.made

    def write_model(self, dtype):
        os.mkdir(dtype)
        tensors = {f"{name}.weight": st.Tensor.of(dtype, weights)
                   for name, weights in self.weights.items()}
        odd = np.array([[-0.0, 1, 1e-30]], np.float32)  # -0 passes where nothing is pruned
        st.write(f"{dtype}/model.safetensors", {"embed.weight": st.Tensor.of(dtype, odd), **tensors,
                                                "c.bias": st.Tensor.of(dtype, np.ones(12))})
        return {name: tensors[f"{name}.weight"].values().astype("f4") for name in self.weights}

    def model(self, source, out, *arguments, **more):
        self.espalier("prune", source, "--to", "safetensors", *arguments, "-o", out, "--exclude",
                      "^embed", "--force", **more)
        before = st.read(f"{source}/model.safetensors")[0]
        after = st.read(f"{out}/model.safetensors")[0]
        for name in ("embed.weight", "c.bias"):
            self.assertEqual(before[name].data, after[name].data)
        return after

    def test_models(self):
        for dtype in ("BF16", "F32"):
            weights = self.write_model(dtype)
            for scope, ranks in (("row", 3), ("layer", 2)):
                after = self.model(dtype, "out", "--method", "wanda", "--sparsity", 0.6, "--scope",
                                   scope, "--activation-stats", "norms.safetensors", ranks=ranks)
                for name, old in weights.items():
                    np.testing.assert_array_equal(after[f"{name}.weight"].values(),
                                                  wanda(old, self.norms[name], 0.6, scope))
            after = self.model(dtype, "out", "--method", "sparsegpt", "--sparsity", 0.5,
                               "--activation-stats", "grams.safetensors")
            once = content("out/model.safetensors")
            for name, old in weights.items():
                wanted = sparse_gpt_by_gram(old, self.grams[name].astype(float), 0.5)
                found = after[f"{name}.weight"].values()
                if dtype == "F32":
                    self.assert_near(found, wanted)
                else:
                    np.testing.assert_allclose(found, wanted, rtol=2 ** -7, atol=1e-4)
            self.model(dtype, "out", "--method", "sparsegpt", "--sparsity", 0.5,
                       "--activation-stats", "grams.safetensors", ranks=3)
            self.assertEqual(content("out/model.safetensors"), once)
        masked = self.model("F32", "out", "--method", "magnitude", "--sparsity", 0.8)
        updated = self.model("F32", "out", "--method", "magnitude", "--sparsity", 0.8, "--update",
                             "--activation-stats", "grams.safetensors", ranks=2)
        for name, old in self.weights.items():
            one, other = (m[f"{name}.weight"].values() for m in (masked, updated))
            np.testing.assert_array_equal(one != 0, other != 0)
            gram = self.grams[name].astype(float)
            off = [np.sqrt(np.sum((w - old) @ gram * (w - old))) for w in (one, other)]
            self.assertLess(off[1], 0.95 * off[0])

    def owl(self, weights, sparsity, outlier, spread):
        """The sparsity of each layer by the share of its weights with far more than the mean score."""
        scores = [np.abs(old.astype(float)) * self.norms[name] for name, old in weights.items()]
        shares = np.array([np.mean(score > outlier * score.mean()) for score in scores])
        self.assertEqual(len(set(shares)), len(weights))
        sizes = np.array([score.size for score in scores])
        spared = (shares - shares.min()) / (shares.max() - shares.min()) * 2 * spread
        return dict(zip(weights, sparsity - spared + np.sum(spared * sizes) / sizes.sum()))

    def test_owl(self):
        arguments = ["--method", "wanda", "--sparsity", 0.6, "--profile", "owl", "--outlier", 2,
                     "--spread", 0.1]
        sparsities = self.owl(self.weights, 0.6, 2, 0.1)
        for name, new in zip(self.weights, self.pruned(*arguments, ranks=2)):
            np.testing.assert_array_equal(
                new, wanda(self.weights[name], self.norms[name], sparsities[name]))
        weights = self.write_model("BF16")
        sparsities = self.owl(weights, 0.6, 2, 0.1)
        for ranks in (1, 3):
            after = self.model("BF16", "out", *arguments, "--activation-stats", "norms.safetensors",
                               ranks=ranks)
            for name, old in weights.items():
                np.testing.assert_array_equal(after[f"{name}.weight"].values(),
                                              wanda(old, self.norms[name], sparsities[name]))

    def test_what_is_no_use(self):
        half = ["--sparsity", 0.5, "--activation-stats"]

        def refused(*arguments, words, status=64):
            self.refused("prune", "net.h5", *arguments, "-o", "no.h5", status=status, words=words,
                         output="no.h5")
        refused("--method", "magnitude", *half, "norms.safetensors", words=["--update"])
        refused("--method", "wanda", *half, "norms.safetensors", "--calibrate", "batch.h5",
                words=["--calibrate"])
        refused("--method", "wanda", *half, "norms.safetensors", "--rounds", 2, words=["rounds"])
        refused("--method", "magnitude", *half, "grams.safetensors", "--update", "--profile", "owl",
                words=["owl", "wanda"])
        refused("--method", "sparsegpt", *half, "norms.safetensors", status=65,
                words=["norms.safetensors", "a.gram"])
        refused("--method", "wanda", *half, "none.safetensors", status=66,
                words=["none.safetensors"])
        self.write_stats("short.safetensors", norms={**self.norms, "b": self.norms["b"][:-1]})
        refused("--method", "wanda", *half, "short.safetensors", status=65,
                words=["b.norms", "[69]", "[70]"])
        self.write_stats("odd.safetensors", norms={**self.norms, "c": self.norms["c"] * np.nan})
        refused("--method", "wanda", *half, "odd.safetensors", status=65, words=["c.norms", "nan"])
        worse = {**self.grams, "b": -self.grams["b"]}
        self.write_stats("negative.safetensors", gram=worse)
        refused("--method", "sparsegpt", *half, "negative.safetensors", status=65,
                words=["layer 1", "positive definite"])


if __name__ == "__main__":
    main()
