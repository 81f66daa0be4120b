"""Scores and pictures of a trained state: what lands in results.json and figures/."""

import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ivg import data, plots, scoring
from ivg.data.batches import take
from ivg.log import read_metrics
from ivg.metrics import clustering
from ivg.players import Codes, Method
from ivg.rundir import write_json

CHUNK = 500  # images per device call
KMEANS_IMAGES = 10_000  # training images that k-means is fitted on, at most


def unit(images: np.ndarray) -> np.ndarray:
    """uint8 images as float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1.0


def in_chunks(f: Callable, n: int, *arrays: Callable[[np.ndarray], np.ndarray]) -> dict:
    """Applies f to chunks of one fixed size (compiled once) and joins its dict of [B, ...] arrays.

    Each of `arrays` maps an index array to its rows; the last chunk is padded with row 0.
    """
    size, parts = min(CHUNK, n), []
    for start in range(0, n, size):
        index = np.arange(start, start + size)
        rows = index < n
        out = jax.device_get(f(*(a(np.where(rows, index, 0)) for a in arrays)))
        parts.append({name: values[rows] for name, values in out.items()})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def clusters(method: Method, state, images, n: int) -> np.ndarray:
    """Cluster int [n] of the first n images: the argmax of the discrete code."""
    encode = jax.jit(lambda s, x: {"d": jnp.argmax(method.encode(s, x)["d"], axis=-1)})
    return in_chunks(lambda x: encode(state, x), n, lambda i: unit(take(images, i)))["d"]


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


def kmeans_scores(dataset: data.Dataset, limit: int, num_clusters: int) -> dict[str, float]:
    """k-means on pixels, fitted on training images and scored on the same test images."""
    n_train = min(len(dataset.train.images), KMEANS_IMAGES)
    n_test = min(len(dataset.test.images), limit)
    train = take(dataset.train.images, np.arange(n_train))
    test = take(dataset.test.images, np.arange(n_test))
    found = clustering.kmeans(
        train, np.concatenate([train, test]), num_clusters=num_clusters, seed=0
    )
    return clustering.scores(
        dataset.test.labels[:n_test],
        found[n_train:],
        dataset.train.labels[:n_train],
        found[:n_train],
    )


def reconstruct(method: Method, state, x: jax.Array) -> jax.Array:
    """Images [B, H, W, C] from the codes that are inferred from x, z included."""
    return method.generate(state, method.encode(state, x))


def image_scores(method: Method, state, dataset: data.Dataset, key, limit: int) -> dict[str, float]:
    """Reconstruction error and the bound on log p(x), means over the test images.

    "reconstruction_mse" is per pixel and channel, images in [-1, 1]; the bound and its parts are in
    nats per image for a Gaussian of unit variance on the same scale.
    """
    n = min(len(dataset.test.images), limit)

    @jax.jit
    def score(s, x, number):
        error = jnp.mean((reconstruct(method, s, x) - x) ** 2, axis=(1, 2, 3))
        parts = {"reconstruction_mse": error}
        if method.log_likelihood is not None:
            sample_key = jax.random.fold_in(key, number[0])
            bound = method.log_likelihood(s, x, sample_key)
            parts |= {f"log_likelihood/{name}": value for name, value in bound.items()}
        return parts

    out = in_chunks(
        lambda x, i: score(state, x, i),
        n,
        lambda i: unit(take(dataset.test.images, i)),
        lambda i: i,
    )
    return {name: float(values.mean()) for name, values in out.items()}


def all_scores(
    method: Method, state, dataset: data.Dataset, key, limit: int, disentanglement: Mapping
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
    if method.encode is not None:
        result |= image_scores(method, state, dataset, key, limit)
    return result


def middle(method: Method, state, key: jax.Array, n: int) -> Codes:
    """The middle of every code, n times: continuous codes and noise at 0, one class drawn."""
    codes = method.prior(state, key, 1)
    return {
        name: jnp.repeat(code if method.codes[name].kind == "categorical" else 0 * code, n, axis=0)
        for name, code in codes.items()
    }


def class_traversal(method: Method, state, key, code: str, axis: int, values: np.ndarray):
    """Images [K, len(values), H, W, C]: a row per class, one code moving, all else at 0."""
    num_classes, columns = method.codes["d"].size, len(values)
    codes = middle(method, state, key, num_classes * columns)
    codes["d"] = jnp.repeat(jnp.eye(num_classes), columns, axis=0)
    codes[code] = codes[code].at[:, axis].set(jnp.tile(jnp.asarray(values), num_classes))
    x_g = method.generate(state, codes)
    return np.asarray(x_g).reshape(num_classes, columns, *x_g.shape[1:])


def code_traversal(method: Method, state, base: Codes, columns: int, order=None):
    """Images [codes, columns, H, W, C] and labels: a row per continuous code, moving alone.

    Args:
        method, state: what generates.
        base: codes, one of each, of which one at a time is moved from its low to its high end.
        columns: steps of the way.
        order: numbers [dims] of the dimensions of the only continuous code, and values to print
            beside them; None keeps the order and prints nothing.
    """
    base = {name: jnp.repeat(code[:1], columns, axis=0) for name, code in base.items()}
    rows, labels = [], []
    for name in scoring.continuous(method):
        code = method.codes[name]
        values = jnp.linspace(code.low, code.high, columns)
        for axis in range(code.size) if order is None else np.argsort(-np.asarray(order)):
            codes = base | {name: base[name].at[:, axis].set(values)}
            rows.append(np.asarray(method.generate(state, codes)))
            amount = "" if order is None else f" {order[axis]:.2f}"
            labels.append(f"{name}{axis + 1}{amount}")
    return np.stack(rows), labels


def interpolate(method: Method, state, x: np.ndarray, columns: int) -> np.ndarray:
    """Images [B/2, columns, H, W, C] between the codes of x[0::2] and those of x[1::2]."""
    codes = method.encode(state, jnp.asarray(x))
    weights = jnp.linspace(0.0, 1.0, columns)
    rows = []
    for i in range(0, len(x) - 1, 2):
        mixed = {
            name: jnp.outer(1 - weights, v[i]) + jnp.outer(weights, v[i + 1])
            for name, v in codes.items()
        }
        rows.append(np.asarray(method.generate(state, mixed)))
    return np.stack(rows)


def sample_picture(method: Method, state, key, n: int = 100, columns: int = 10) -> np.ndarray:
    """A grid uint8 [H, W, C] of n images from the prior."""
    x_g = method.generate(state, method.prior(state, key, n))
    return plots.grid(np.asarray(x_g), columns)


def kl_per_code(method: Method, state, key) -> list[float] | None:
    """KL per dimension of the code in nats, where the method knows it."""
    return scoring.bounds(method, state, key, 1_000).get("kl") if method.bounds else None


def traversal_picture(method: Method, state, key, columns: int = 10) -> np.ndarray:
    """Every continuous code moving alone, all else at 0; ordered by KL where that is known."""
    kl = kl_per_code(method, state, key)
    rows, names = code_traversal(method, state, middle(method, state, key, 1), columns, kl)
    ends = {(method.codes[n].low, method.codes[n].high) for n in scoring.continuous(method)}
    title = "each row moves one code, all else at 0" + (", by KL in nats" if kl else "")
    labels = [f"{v:+.1f}" for v in np.linspace(*ends.pop(), columns)] if len(ends) == 1 else ()
    return plots.traversal(rows, row_labels=names, column_labels=labels, title=title)


def traversal_of_images(
    method: Method, state, dataset: data.Dataset, key, columns: int = 10, images: int = 3
) -> np.ndarray:
    """The same from the codes of test images, one block after the other, as in IB-GAN's Fig. 1."""
    kl = kl_per_code(method, state, key)
    chosen = np.random.default_rng(0).choice(len(dataset.test.images), images, replace=False)
    codes = method.encode(state, unit(take(dataset.test.images, chosen)))
    blocks = []
    for i in range(images):
        base = {name: code[i : i + 1] for name, code in codes.items()}
        rows, names = code_traversal(method, state, base, columns, kl)
        blocks.append(rows)
    return plots.traversal(
        np.concatenate(blocks, axis=1),
        row_labels=names,
        column_labels=(),
        title=f"the codes of {images} test images, one moving alone from low to high",
    )


def pictures(method: Method, state, dataset: data.Dataset, key) -> dict[str, np.ndarray]:
    """All pictures by file name, uint8 [H, W, C]."""
    sample_key, traversal_key = jax.random.split(key)
    result = {"samples": sample_picture(method, state, sample_key)}
    continuous = [(n, c) for n, c in method.codes.items() if c.kind == "continuous"]
    if "d" in method.codes:
        classes = [f"d={i}" for i in range(method.codes["d"].size)]
        for name, code in continuous:
            values = np.linspace(code.low, code.high, 10)
            labels = [f"{v:+.1f}" for v in values]
            for axis in range(min(code.size, 4)):
                rows = class_traversal(method, state, traversal_key, name, axis, values)
                title = f"rows: class d, columns: {name}{axis + 1}; all else at 0"
                result[f"traversal_d_{name}{axis + 1}"] = plots.traversal(
                    rows, row_labels=classes, column_labels=labels, title=title
                )
    if continuous:
        result["traversal_codes"] = traversal_picture(method, state, traversal_key)
        if scoring.has_factors(method, dataset):
            result["traversal_images"] = traversal_of_images(method, state, dataset, traversal_key)
    if method.encode is not None:
        n = min(40, len(dataset.test.images) // 2 * 2)
        x = unit(take(dataset.test.images, np.arange(n)))
        x_hat = np.asarray(reconstruct(method, state, x))
        result["reconstructions"] = plots.reconstructions(x, x_hat)
        ends = x[: min(20, n)]
        middle = interpolate(method, state, ends, 10)
        result["interpolations"] = plots.interpolation(middle, ends[0::2], ends[1::2])
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
    header: Mapping[str, object],
) -> dict:
    """Scores and pictures into the run directory. Returns what results.json holds.

    Args:
        method, state, dataset: the trained method and its data.
        key: root of the evaluation's random numbers.
        workdir: results.json, figures/*.png are written there.
        limit: at most so many test images are scored.
        disentanglement: which scores of true factors, as in the config's section.
        header: fields to stand first in results.json, such as the step.
    """
    score_key, picture_key = jax.random.split(key)
    figures = workdir / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    written = []
    for name, picture in pictures(method, state, dataset, picture_key).items():
        written.append(figures / f"{name}.png")
        plots.save(written[-1], picture)
    if series := read_metrics(workdir):
        written.append(plots.curves(figures / "curves.png", series))
    results = dict(header) | all_scores(
        method, state, dataset, score_key, limit, disentanglement
    )
    results["figures"] = [str(path.relative_to(workdir)) for path in written]
    write_json(workdir / "results.json", results)
    return results
