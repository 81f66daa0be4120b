"""Whether attributes are where they belong: information in bits, swaps, and known true factors.

The measurements of Kim's MMVAE thesis (2019), Tables 2 and 3, and beyond it the check that rendered
faces allow: which true factor can be read from c, and which from z.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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
ENOUGH_ROWS, MOST_DRAWS = 20_000, 20  # draws for networks to be trained on; of one image


class Latents(NamedTuple):
    """What a split's images are to the method.

    sampled: draws of "c" [R, 2k] and "z" [R, dim_z], and "y" [R, k]: `draws` sets of the N images,
        one after the other.
    means: the posteriors' means of "c" and "z", a row per image.
    draws: R / N.
    """

    sampled: dict[str, np.ndarray]
    means: dict[str, np.ndarray]
    draws: int = 1


def latents(
    method: Method, state, split: data.Split, key: jax.Array, limit: int, *, rows: int = 0
) -> Latents:
    """Codes of the first images of a split, `limit` at most.

    Args:
        method, state, split: whose codes, of what.
        key: of the draws.
        limit: so many images at most.
        rows: so many draws at least; 0 for one draw of each image. The thesis takes one of each of
            its 30,000 training images. Of few images several are needed, or networks learn the
            posterior's noise by heart and find nothing.
    """
    n = min(len(split.images), limit)
    draws = min(max(1, math.ceil(rows / n)), MOST_DRAWS)
    encode = functools.partial(_draws_and_means, method.posterior, method.encode, draws, state, key)
    found = in_chunks(encode, n, lambda i: inputs(method, split, i), lambda i: i)
    sampled = {
        name: np.swapaxes(found[f"drawn/{name}"], 0, 1).reshape(draws * n, -1)
        for name in ("c", "z")
    }
    sampled["y"] = np.tile(labels(split, np.arange(n)), (draws, 1))
    return Latents(sampled, {name: found[f"mean/{name}"] for name in ("c", "z")}, draws)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))  # compiled once, not at every evaluation
def _draws_and_means(
    posterior: Callable, encode: Callable, draws: int, state, key: jax.Array, x, numbers: jax.Array
) -> dict[str, jax.Array]:
    """{"drawn/c": [B, draws, n], "mean/c": [B, n]} and so on, of the images with these numbers."""
    keys = jax.random.split(jax.random.fold_in(key, numbers[0]), draws)
    # Not a loop on the device: the encoder is compiled once, and a CPU is slow at convolutions
    # inside of loops.
    sets = [posterior(state, x, one) for one in keys]
    drawn = {f"drawn/{k}": jnp.stack([one[k] for one in sets], axis=1) for k in sets[0]}
    return drawn | {f"mean/{name}": v for name, v in encode(state, x).items()}


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
        found = [estimate(train, test, pair, own, seed) for seed in range(options["estimates"])]
        result[name] = mine.summary(found)
        curves[name] = [bits(one) for one in found]
    used = {"draws": train.draws, "train_rows": len(train.sampled["y"])}
    used |= {"test_rows": len(test.sampled["y"])}
    return result | {"recipe": own._asdict() | used, "curves": CURVES}, curves


def estimate(
    train: Latents, test: Latents, pair: tuple[str, str], own: mine.Recipe, seed: int
) -> mine.Estimate:
    """One estimate of the information of a pair of codes."""
    pairs = ([split.sampled[part] for part in pair] for split in (train, test))
    return mine.estimate(*pairs, recipe=own, seed=seed, draws=train.draws)


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
    train_key, test_key = jax.random.split(key)
    train = latents(method, state, dataset.train, train_key, QUICK_IMAGES, rows=ENOUGH_ROWS)
    test = latents(method, state, dataset.test, test_key, QUICK_IMAGES)
    own = recipe(options, options["quick_steps"])
    values = {}
    for a, b in PAIRS:
        one = estimate(train, test, (a, b), own, seed=0)
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
        codes["c"] = jnp.where(own[None], c, codes["c"])
        return {"x": method.generate(s, codes), "y": y}

    out = in_chunks(
        lambda x, i: swap(state, jax.tree.map(jnp.asarray, x), i),
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
    n = len(factors[0])  # the first draw of each
    codes = {name: (train.sampled[name][:n], test.sampled[name]) for name in ("c", "z")}
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
    train = latents(method, state, dataset.train, train_key, limit, rows=ENOUGH_ROWS)
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
