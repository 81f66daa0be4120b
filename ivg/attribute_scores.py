"""Whether attributes are where they belong: information in bits, swaps, and known true factors.

The measurements of Kim's MMVAE thesis (2019), Tables 2 and 3, and beyond it the check that rendered
faces allow: which true factor can be read from c, and which from z.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ivg import data
from ivg.data.batches import take
from ivg.errors import UserError
from ivg.examples import in_chunks, inputs, labels, unit
from ivg.metrics import leakage
from ivg.networks import check_classifier
from ivg.players import Method
from ivg.probes import classifier, mine

CURVES = "information_curves.json"
PAIRS = (("c", "y"), ("z", "y"), ("z", "c"))
QUICK_IMAGES = 5_000  # of each split, on the way


class Latents(NamedTuple):
    """What a split's images are to the method, one row per image."""

    sampled: dict[str, np.ndarray]  # one draw each of "c" [N, 2k] and "z" [N, dim_z], and "y"
    means: dict[str, np.ndarray]  # the posteriors' means of "c" and "z"


def latents(method: Method, state, split: data.Split, key: jax.Array, limit: int) -> Latents:
    """Codes of the first images of a split, `limit` at most."""
    n = min(len(split.images), limit)

    @jax.jit
    def encode(s, x, numbers):
        drawn = method.posterior(s, x, jax.random.fold_in(key, numbers[0]))
        means = method.encode(s, x)
        return {f"drawn/{k}": v for k, v in drawn.items()} | {f"mean/{k}": means[k] for k in means}

    rows = in_chunks(
        lambda x, i: encode(state, x, i), n, lambda i: inputs(method, split, i), lambda i: i
    )
    return Latents(
        {name: rows[f"drawn/{name}"] for name in ("c", "z")} | {"y": labels(split, np.arange(n))},
        {name: rows[f"mean/{name}"] for name in ("c", "z")},
    )


def recipe(options: Mapping, steps: int) -> mine.Recipe:
    """The fresh networks of the config's section `attribute_scores`."""
    return mine.Recipe(
        width=options["mine_width"],
        depth=options["mine_depth"],
        learning_rate=options["mine_learning_rate"],
        batch_size=options["mine_batch_size"],
        steps=steps,
    )


def information(train: Latents, test: Latents, options: Mapping) -> tuple[dict, dict]:
    """I(c; y), I(z; y) and I(z; c) in bits with their curves, by `estimates` fresh networks each.

    H(y), the ceiling of the first two, is that of the test labels, all attributes jointly.
    """
    own = recipe(options, options["mine_steps"])
    result: dict[str, Any] = {"unit": "bits", "entropy_y": joint_entropy(test.sampled["y"])}
    curves = {}
    for pair in PAIRS:
        name = ";".join(pair)
        found = [
            mine.estimate(
                [train.sampled[part] for part in pair],
                [test.sampled[part] for part in pair],
                recipe=own,
                seed=seed,
            )
            for seed in range(options["estimates"])
        ]
        result[name] = mine.summary(found)
        curves[name] = [bits(one) for one in found]
    rows = {"train_rows": len(train.sampled["y"]), "test_rows": len(test.sampled["y"])}
    return result | {"recipe": own._asdict() | rows, "curves": CURVES}, curves


def bits(estimate: mine.Estimate) -> dict[str, list]:
    """The curves of an estimate as plain lists, in bits."""
    return {
        "step": [int(step) for step in estimate.steps],
        "train": [float(v) / math.log(2) for v in estimate.train],
        "validation": [float(v) / math.log(2) for v in estimate.validation],
    }


def joint_entropy(y: np.ndarray) -> float:
    """Entropy in bits of rows of binary labels [N, k], as often as each combination occurs."""
    _, counts = np.unique(y, axis=0, return_counts=True)
    p = counts / counts.sum()
    return float((p * np.log2(1.0 / p)).sum())


def quick_information(
    method: Method, state, dataset: data.Dataset, key: jax.Array, options: Mapping
) -> dict[str, float]:
    """One estimate each, with few images and `quick_steps` steps, to be watched during training.

    Returns:
        "info_cy", "info_zy", "info_zc", bits.
    """
    splits = [
        latents(method, state, split, jax.random.fold_in(key, i), QUICK_IMAGES)
        for i, split in enumerate((dataset.train, dataset.test))
    ]
    own = recipe(options, options["quick_steps"])
    values = {}
    for a, b in PAIRS:
        one = mine.estimate(*([s.sampled[a], s.sampled[b]] for s in splits), recipe=own, seed=0)
        values[f"info_{a}{b}"] = one.nats / math.log(2)
    return values


def check(dataset: data.Dataset, limit: int) -> None:
    """Raises UserError for data that could be trained on, but not scored afterwards.

    Args:
        dataset: with attributes.
        limit: so many images of each split are scored.
    """
    check_classifier(dataset.image_shape)
    for split, values in (("training", dataset.train), ("test", dataset.test)):
        shown = values.attributes[:limit]
        for name, column in zip(dataset.attribute_names, shown.T, strict=True):
            if column.all() or not column.any():
                raise UserError(
                    f"the first {len(column)} {split} images are all alike in {name}; raise "
                    "--config.attribute_scores.max_images."
                )


def swapped(
    method: Method, state, dataset: data.Dataset, attribute: int, key: jax.Array, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Test images decoded with one attribute turned to its other value.

    z and the other attributes' codes are the posteriors' means; this attribute's code is one draw
    from p(c | 1 - y).

    Returns:
        Images [n, H, W, C] in [-1, 1] and the attributes that they are to show, bool [n, k].
    """

    @jax.jit
    def swap(s, x, numbers):
        y = x.y.at[:, attribute].set(1.0 - x.y[:, attribute])
        codes = method.encode(s, x)
        c = method.attribute_prior(jax.random.fold_in(key, numbers[0]), y)
        size = c.shape[-1] // method.num_attributes
        own = np.arange(c.shape[-1]) // size == attribute
        codes["c"] = jax.numpy.where(own[None], c, codes["c"])
        return {"x": method.generate(s, codes), "y": y}

    out = in_chunks(
        lambda x, i: swap(state, jax.tree.map(jax.numpy.asarray, x), i),
        n,
        lambda i: inputs(method, dataset.test, i),
        lambda i: i,
    )
    return out["x"], out["y"] > 0.5


def swap_scores(
    method: Method, state, dataset: data.Dataset, key: jax.Array, options: Mapping
) -> dict[str, dict]:
    """Attribute-swap accuracy by attribute name, judged by a classifier that saw real images only.

    No accuracy is reported by a judge that is itself right on less than 95 % of the test images.
    """
    limit = options["max_images"]
    n_train, n_test = (min(len(s.images), limit) for s in (dataset.train, dataset.test))
    judge = classifier.train_classifier(
        take(dataset.train.images, np.arange(n_train)),
        dataset.train.attributes[:n_train],
        steps=options["classifier_steps"],
    )
    real = unit(take(dataset.test.images, np.arange(n_test)))
    own = classifier.accuracy(judge, real, dataset.test.attributes[:n_test])
    result = {}
    for i, name in enumerate(dataset.attribute_names):
        x_g, wanted = swapped(method, state, dataset, i, jax.random.fold_in(key, i), n_test)
        swap = classifier.swap_accuracy(judge, x_g, wanted, own=own)[i]
        result[name] = swap._asdict()
    return result


def leak(train: Latents, test: Latents, dataset: data.Dataset) -> list[dict]:
    """How well c and z, each alone, predict every true factor of the test images: a row each.

    "c" and "z" are the draws that the mutual information is of. "c_mean" and "z_mean" are the
    posteriors' means, which can tell more: a trace that is smaller than the posterior's noise.
    """
    factors = (
        dataset.train.factors[: len(train.means["c"])],
        dataset.test.factors[: len(test.means["c"])],
    )
    codes = {name: (train.sampled[name], test.sampled[name]) for name in ("c", "z")}
    codes |= {f"{name}_mean": (train.means[name], test.means[name]) for name in ("c", "z")}
    return leakage.leak_table(
        {
            name: leakage.leakage(*pair, *factors, targets=dataset.factors)
            for name, pair in codes.items()
        }
    )


def scores(
    method: Method, state, dataset: data.Dataset, key: jax.Array, options: Mapping
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What results.json holds under "attributes", and the curves of the information estimates.

    Args:
        method, state, dataset: the trained method and its data.
        key: root of the draws from the posteriors and from p(c | y).
        options: the config's section `attribute_scores`.
    """
    train_key, test_key, swap_key = jax.random.split(key, 3)
    limit = options["max_images"]
    train = latents(method, state, dataset.train, train_key, limit)
    test = latents(method, state, dataset.test, test_key, limit)
    found, curves = information(train, test, options)
    result = {
        "names": list(dataset.attribute_names),
        "information": found,
        "swap": swap_scores(method, state, dataset, swap_key, options),
    }
    if dataset.factors and options["leak"] != "none":
        result["leak"] = leak(train, test, dataset)
    return result, curves
