"""Frechet distance, KID, precision and recall of what a method generates, against its data.

With the original Inception weights (a file that the user names) the distance is the FID. Without
them features are those of a small classifier, trained here on what is known of the same data; such
numbers compare runs on one data set, are never called FID and never stand beside the papers'.

The reference is the training images as methods see them (after crop and resize), at most
`reference_images` of them; generated images are rounded to bytes as pictures are. Features are
computed in batches that are split over the devices.

  python -m ivg.frechet_scores real.npz fake.npz --weights=inception.npz    (arrays `images`)
"""

import argparse
import hashlib
import math
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ivg import command_line, data, devices
from ivg.data.batches import take
from ivg.errors import UserError
from ivg.metrics import feature_scores
from ivg.networks import check_classifier, inception, inception_weights
from ivg.players import Method
from ivg.probes import classifier

OFF = {"num_images": 0}  # the section of runs made before there was one
CHUNK = 32  # images on a device at once: larger batches are no faster on a CPU
DRAWN = 256  # images read or generated at once; the same on any number of devices
SHOWN = 20_000  # images that the classifier is trained on, at most
JUDGED = 2_000  # images that its accuracy is of, at most
FEW = 10  # values that a factor may have to be told apart one by one
SMALLEST = 16  # side that the classifier needs


class Extractor(NamedTuple):
    """Features of images.

    name: "fid", or "frechet_classifier"; the key in results.json.
    apply: (variables, uint8 [B, H, W, C]) -> [B, D], pure.
    variables: the network's arrays.
    about: what else results.json says of them.
    """

    name: str
    apply: Callable[[Any, jax.Array], jax.Array]
    variables: Any
    about: dict[str, Any]


class Known(NamedTuple):
    """Images uint8 [n, H, W, C] and what is known of them: bool [n, k], in words."""

    images: np.ndarray
    y: np.ndarray
    words: str


def scores(
    method: Method, state: Any, dataset: data.Dataset, key: jax.Array, options: Mapping
) -> dict[str, dict[str, Any]]:
    """What results.json holds under "fid" or "frechet_classifier"; {} where neither is wanted.

    Args:
        method, state, dataset: the trained method and its data.
        key: root of the generated images.
        options: the config's section `frechet`.

    Raises:
        UserError: weights cannot be read, or images or features are not finite.
    """
    if not options["num_images"]:
        return {}
    extractor = extractor_of(dataset, options)
    count = len(dataset.train.images)
    chosen = reference_rows(count, options["reference_images"])
    print(
        f"features of {options['num_images']:,} generated and {len(chosen):,} training images by "
        f"{extractor.about['features']}",
        flush=True,
    )
    taken = hashlib.sha256(f"{[len(chosen), *dataset.image_shape]}".encode())

    def real() -> Iterator[np.ndarray]:
        for start in range(0, len(chosen), DRAWN):
            images = take(dataset.train.images, chosen[start : start + DRAWN])
            taken.update(np.ascontiguousarray(images).tobytes())
            yield images

    reference = features(extractor, real())
    made = features(extractor, generated(method, state, key, options["num_images"]))
    about = extractor.about | {
        "reference": f"training images, cropped and resized, {len(chosen)} of {count}",
        "generated": "codes drawn as in training, images rounded to bytes",
        # Of their number, shape and bytes, in the order in which they were taken.
        "reference_sha256": taken.hexdigest(),
    }
    return {extractor.name: feature_scores.compare(reference, made) | about}


def check(dataset: data.Dataset, options: Mapping) -> None:
    """Raises UserError for what could be trained on, but not scored afterwards."""
    wanted = options["num_images"]
    if not wanted:
        return
    for name, count in (("num_images", wanted), ("reference_images", options["reference_images"])):
        if count < 10:
            raise UserError(
                f"frechet.{name}={count} is too few; use at least 10, or 0 for no score."
            )
    if options["weights"]:
        inception_weights.read(options["weights"])
    else:
        check_classifier(_enlarged(dataset.image_shape))
        known(dataset, dataset.train, 10)


def reference_rows(count: int, most: int) -> np.ndarray:
    """Numbers of the training images that are compared with: all, or so many at random."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


# --- features -------------------------------------------------------------------------------------


def features(extractor: Extractor, batches: Iterator[np.ndarray]) -> np.ndarray:
    """Features float32 [N, D] of batches of images, each split over the devices."""
    mesh = jax.sharding.get_mesh()
    mesh = devices.make_mesh() if mesh.empty else mesh
    with jax.set_mesh(mesh):
        apply = over_devices(extractor, mesh)
        variables = devices.place_state(extractor.variables, mesh)
        found, size = [], CHUNK * mesh.size
        for images in rebatched(batches, size):
            # Padded: one shape for all batches, so one compilation.
            padded = np.pad(images, ((0, size - len(images)), (0, 0), (0, 0), (0, 0)))
            found.append(np.asarray(apply(variables, padded))[: len(images)])
    return np.concatenate(found).astype(np.float32)


def rebatched(batches: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same images in batches of `size`, the last one what is left."""
    kept = None
    for images in batches:
        kept = images if kept is None else np.concatenate([kept, images])
        while len(kept) >= size:
            yield kept[:size]
            kept = kept[size:]
    if kept is not None and len(kept):
        yield kept


def over_devices(extractor: Extractor, mesh: jax.sharding.Mesh) -> Callable[..., jax.Array]:
    """`extractor.apply` as one program in which each device sees its part of the images."""
    return jax.jit(
        lambda variables, x: extractor.apply(variables, devices.constrain(x)),
        out_shardings=devices.replicated(mesh),
    )


def generated(method: Method, state: Any, key: jax.Array, count: int) -> Iterator[np.ndarray]:
    """Batches of images as bytes, `count` in all, from codes drawn as in training.

    Raises:
        UserError: a pixel is not finite.
    """

    @jax.jit
    def draw(s: Any, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = method.generate(s, method.prior(s, k, DRAWN)).astype(jnp.float32)
        images = jnp.round((jnp.clip(x, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)
        return images, jnp.all(jnp.isfinite(x))

    for number in range(math.ceil(count / DRAWN)):
        images, finite = draw(state, jax.random.fold_in(key, number))
        if not finite:
            raise UserError(
                "generated images are not finite, so no distance is theirs; "
                "--config.frechet.num_images=0 leaves it out and gives the other scores."
            )
        yield np.asarray(images)[: count - number * DRAWN]


def extractor_of(dataset: data.Dataset, options: Mapping) -> Extractor:
    """Inception where there are weights, otherwise a classifier trained on the data."""
    if options["weights"]:
        return inception_extractor(options["weights"])
    return classifier_extractor(dataset, options["classifier_steps"])


def inception_extractor(weights: str | pathlib.Path) -> Extractor:
    """The FID's features.

    Raises:
        UserError: the file does not hold the weights.
    """
    variables, digest = inception_weights.read(weights)

    def apply(variables: Any, images: jax.Array) -> jax.Array:
        return inception.features(variables, images, ("2048",))["2048"]

    about = {
        "features": "Inception-v3, its 2048 features before the classes",
        "weights_sha256": digest,
        "resize": inception.RESIZE,
    }
    return Extractor("fid", apply, variables, about)


# --- the other features ---------------------------------------------------------------------------


def classifier_extractor(dataset: data.Dataset, steps: int) -> Extractor:
    """Features of a classifier of what is known of the data; the same at every call.

    Raises:
        UserError: nothing is known of the images, or they are too small or odd.
    """
    shown, judged = (
        known(dataset, split, most)
        for split, most in ((dataset.train, SHOWN), (dataset.test, JUDGED))
    )
    varies = shown.y.any(axis=0) & ~shown.y.all(axis=0)
    judge = classifier.train_classifier(
        np.asarray(_larger(shown.images)), shown.y[:, varies], steps=steps, mirror=False
    )
    own = classifier.accuracy(judge, np.asarray(_larger(judged.images)), judged.y[:, varies])
    variables = jax.device_get((judge.params, judge.stats))

    def apply(variables: Any, images: jax.Array) -> jax.Array:
        return classifier.features(*variables, _larger(images), width=judge.width)

    about = {
        "features": f"a small classifier of {shown.words}, before its last layer; not the FID's",
        "weights_sha256": _digest(variables),
        "resize": "none" if min(dataset.image_shape[:2]) >= SMALLEST else "pixels repeated",
        "classifier_accuracy": float(np.mean(own.balanced)),
    }
    return Extractor("frechet_classifier", apply, variables, about)


def known(dataset: data.Dataset, split: data.Split, most: int) -> Known:
    """Images of a split, drawn at random if it has more, and what is known of them.

    Classes; or else true factors: each value of one that has few, whether another is above the
    middle of its range; or else attributes.

    Raises:
        UserError: nothing is known of them.
    """
    if dataset.ground_truth is not None:
        return _known_truth(dataset.ground_truth, min(most, len(split.images)))
    rows = reference_rows(len(split.images), most)
    if split.labels is not None:
        values = np.unique(dataset.train.labels)
        y, words = split.labels[rows][:, None] == values, f"{len(values)} classes"
    elif split.factors is not None:
        shows = [i for i, factor in enumerate(dataset.factors) if factor.kind != "sub-attribute"]
        columns = [_told_apart(split.factors[rows, i], dataset.factors[i].values) for i in shows]
        y, words = np.concatenate(columns, axis=1), f"{len(shows)} true factors"
    elif split.attributes is not None:
        y, words = split.attributes[rows], f"{split.attributes.shape[1]} attributes"
    else:
        raise UserError(
            f"nothing is known of the images of {dataset.name} that a classifier could learn: name "
            "Inception's weights in --config.frechet.weights, or set --config.frechet.num_images=0."
        )
    return Known(take(split.images, rows), y, words)


def _known_truth(truth: data.GroundTruth, count: int) -> Known:
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, size, count) for size in truth.sizes], axis=1)
    columns = [_told_apart(f, size) for f, size in zip(factors.T, truth.sizes, strict=True)]
    y = np.concatenate(columns, axis=1)
    return Known(truth.images(factors, 0), y, f"{len(truth.sizes)} true factors")


def _told_apart(values: np.ndarray, count: int) -> np.ndarray:
    """Bool [n, k] of a factor of so many values, numbered from 0; 0 for one in [0, 1]."""
    if 0 < count <= FEW:
        return values[:, None] == np.arange(count)
    return values[:, None] > (max(count, 2) - 1) / 2


def _enlarged(shape: Sequence[int]) -> tuple[int, int, int]:
    height, width, channels = shape
    times = math.ceil(SMALLEST / min(height, width))
    return height * times, width * times, channels


def _larger(images: np.ndarray | jax.Array) -> jax.Array:
    """Images whose pixels are repeated until the classifier can take them."""
    times = _enlarged(images.shape[1:])[0] // images.shape[1]
    if times == 1:
        return images
    return jnp.repeat(jnp.repeat(images, times, axis=1), times, axis=2)


def _digest(variables: Any) -> str:
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        total.update(f"{jax.tree_util.keystr(path)} {list(leaf.shape)}\n".encode())
        total.update(np.ascontiguousarray(leaf, "<f4").tobytes())
    return total.hexdigest()


# --- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores the images in two files; returns the exit code."""
    try:
        flags = _flags(arguments)
        extractor = inception_extractor(flags.weights)
        paths = [pathlib.Path(name) for name in (flags.real, flags.generated)]
        sets = [feature_scores.read_arrays(path, ("images",))["images"] for path in paths]
        found = [features(extractor, iter([images])) for images in map(_checked, sets, paths)]
        result = feature_scores.compare(*found, seed=flags.seed) | extractor.about
        if flags.json:
            feature_scores.write(pathlib.Path(flags.json), {extractor.name: result})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(feature_scores.table(result))
    return 0


def _checked(images: np.ndarray, path: pathlib.Path) -> np.ndarray:
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"images in {path} must be bytes, uint8 [N, H, W, 1 or 3], not {images.dtype} of shape "
            f"{list(images.shape)}"
        )
    return images


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ivg.frechet_scores",
        description="FID, KID, precision and recall of two sets of images.",
        epilog="  python -m ivg.frechet_scores photos.npz runs/mine/samples.npz --weights=W.npz\n\n"
        "python -m ivg.networks.convert_inception makes the weights from PyTorch's file.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("real", help="npz file with an array images, uint8 [N, H, W, 1 or 3]")
    parser.add_argument("generated", help="the same of generated images, such as samples.npz")
    parser.add_argument("--weights", required=True, help="Inception's, .npz or .safetensors")
    parser.add_argument("--seed", type=int, default=0, help="of the random subsets")
    parser.add_argument("--json", help="file for all scores")
    return command_line.parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
