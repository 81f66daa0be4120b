"""Scores and pictures of a trained state: what lands in results.json and figures/."""

import functools
import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ivg import attribute_pictures, attribute_scores, data, frechet_scores, plots, scoring
from ivg.data.batches import take
from ivg.examples import chosen, images_of, in_chunks, inputs, unit
from ivg.log import read_metrics
from ivg.metrics import clustering
from ivg.pictures import RATE_IMAGES, pictures, reconstruct
from ivg.players import Method
from ivg.rundir import write_json

KMEANS_IMAGES = 10_000  # training images that k-means is fitted on, at most


def clusters(method: Method, state, images, n: int) -> np.ndarray:
    """Cluster int [n] of the first n images: the argmax of the discrete code."""
    classify = functools.partial(_classes, method.encode, state)
    return in_chunks(classify, n, lambda i: unit(take(images, i)))["d"]


@functools.partial(jax.jit, static_argnums=0)  # out here: compiled once, not at every evaluation
def _classes(encode: Callable, state, x: jax.Array) -> dict[str, jax.Array]:
    return {"d": jnp.argmax(encode(state, x)["d"], axis=-1)}


def has_classes(method: Method, dataset: data.Dataset) -> bool:
    """Whether clusters can be compared with labels."""
    labelled = dataset.test.labels is not None and dataset.train.labels is not None
    return method.encode is not None and "d" in method.codes and labelled


def clustering_scores(method: Method, state, dataset: data.Dataset, limit: int) -> dict[str, float]:
    """Clustering of the test split; the many-to-one map is fitted on training predictions."""
    sizes = [min(len(s.images), limit) for s in (dataset.train, dataset.test)]
    train = clusters(method, state, dataset.train.images, sizes[0])
    test = clusters(method, state, dataset.test.images, sizes[1])
    return clustering.scores(
        dataset.test.labels[: sizes[1]], test, dataset.train.labels[: sizes[0]], train
    )


def has_codes(method: Method, dataset: data.Dataset) -> bool:
    """Whether k-means on the continuous codes, for want of a discrete one, can be scored."""
    labelled = dataset.test.labels is not None and dataset.train.labels is not None
    represented = method.encode is not None and bool(scoring.continuous(method))
    return labelled and represented and "d" not in method.codes


def pixels(split: data.Split, n: int) -> np.ndarray:
    """The first n images as they are stored."""
    return take(split.images, np.arange(n))


def codes(method: Method, state, split: data.Split, n: int) -> np.ndarray:
    """The means of all continuous codes of the first n images, side by side: float [n, dims]."""

    @jax.jit
    def encode(s, x):
        found = method.encode(s, x)
        names = scoring.continuous(method)
        return {"codes": jnp.concatenate([found[name] for name in names], axis=-1)}

    return in_chunks(lambda x: encode(state, x), n, lambda i: inputs(method, split, i))["codes"]


def kmeans_scores(
    dataset: data.Dataset,
    limit: int,
    num_clusters: int,
    features: Callable[[data.Split, int], np.ndarray] = pixels,
) -> dict[str, float]:
    """k-means, fitted on training images and scored on the same test images as the method.

    `features` gives what is clustered of the first n images of a split, [n, ...].
    """
    n_train = min(len(dataset.train.images), KMEANS_IMAGES)
    n_test = min(len(dataset.test.images), limit)
    train, test = features(dataset.train, n_train), features(dataset.test, n_test)
    found = clustering.kmeans(
        train, np.concatenate([train, test]), num_clusters=num_clusters, seed=0
    )
    return clustering.scores(
        dataset.test.labels[:n_test],
        found[n_train:],
        dataset.train.labels[:n_train],
        found[:n_train],
    )


def image_scores(method: Method, state, dataset: data.Dataset, key, limit: int) -> dict[str, float]:
    """Reconstruction error and the bound on log p(x), means over the test images.

    "reconstruction_mse" is per pixel and channel, images in [-1, 1]; the bound and its parts are in
    nats per image, for the method's own likelihood: those of two likelihoods do not compare.
    """
    numbers = chosen(dataset, limit)

    @jax.jit
    def score(s, x, number):
        error = jnp.mean((reconstruct(method, s, x) - images_of(x)) ** 2, axis=(1, 2, 3))
        parts = {"reconstruction_mse": error}
        if method.log_likelihood is not None:
            sample_key = jax.random.fold_in(key, number[0])
            bound = method.log_likelihood(s, x, sample_key)
            parts |= {f"log_likelihood/{name}": value for name, value in bound.items()}
        return parts

    out = in_chunks(
        lambda x, i: score(state, x, i),
        len(numbers),
        lambda i: inputs(method, dataset.test, numbers[i]),
        lambda i: i,
    )
    return {name: float(values.mean()) for name, values in out.items()}


def all_scores(
    method: Method,
    state,
    dataset: data.Dataset,
    key,
    *,
    limit: int,
    disentanglement: Mapping,
) -> dict:
    """Every score that the method and the data allow."""
    result = {}
    if scoring.has_factors(method, dataset):
        seeds = range(disentanglement["seeds"])
        result["disentanglement"] = scoring.disentanglement_scores(
            method, state, dataset, disentanglement, seeds=seeds
        )
    if method.bounds is not None:
        result["bounds"] = scoring.bounds(method, state, key)
    if has_classes(method, dataset):
        result["clustering"] = clustering_scores(method, state, dataset, limit)
        result["kmeans"] = kmeans_scores(dataset, limit, method.codes["d"].size)
    if has_codes(method, dataset):
        classes = len(np.unique(dataset.train.labels))
        of_codes = functools.partial(codes, method, state)
        result["kmeans_codes"] = kmeans_scores(dataset, limit, classes, of_codes)
    if method.rates is not None:
        result["rates"] = scoring.rates(
            method, state, inputs(method, dataset.test, chosen(dataset, RATE_IMAGES))
        )
    if method.encode is not None:
        result |= image_scores(method, state, dataset, key, limit)
    return result


def evaluate(
    method: Method,
    state,
    dataset: data.Dataset,
    key: jax.Array,
    *,
    workdir: pathlib.Path,
    limit: int,
    disentanglement: Mapping,
    attributes: Mapping,
    frechet: Mapping,
    header: Mapping[str, object],
) -> dict:
    """Scores and pictures into the run directory. Returns what results.json holds.

    Args:
        method, state, dataset: the trained method and its data.
        key: root of the evaluation's random numbers.
        workdir: results.json, figures/*.png are written there.
        limit: at most so many test images are scored.
        disentanglement: which scores of true factors, as in the config's section.
        attributes: how attributes are scored, as in the config's section `attribute_scores`.
        frechet: whether and how images are compared with the data's, as in the config's section.
        header: fields to stand first in results.json, such as the step.
    """
    score_key, picture_key, attribute_key, swap_key = jax.random.split(key, 4)
    figures = workdir / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    written = []
    drawn = pictures(method, state, dataset, picture_key)
    if method.num_attributes:
        drawn |= attribute_pictures.pictures(method, state, dataset, swap_key)
    for name, picture in drawn.items():
        written.append(figures / f"{name}.png")
        plots.save(written[-1], picture)
    if series := read_metrics(workdir):
        written.append(plots.curves(figures / "curves.png", series))
    results = dict(header) | all_scores(
        method, state, dataset, score_key, limit=limit, disentanglement=disentanglement
    )
    if method.num_attributes:
        results["attributes"], curves = attribute_scores.scores(
            method, state, dataset, attribute_key, attributes
        )
        write_json(workdir / attribute_scores.CURVES, curves)
    frechet_key = jax.random.fold_in(key, 0)  # beside the split: older scores keep their keys
    results |= frechet_scores.scores(method, state, dataset, frechet_key, frechet)
    results["figures"] = [str(path.relative_to(workdir)) for path in written]
    write_json(workdir / "results.json", results)
    return results
