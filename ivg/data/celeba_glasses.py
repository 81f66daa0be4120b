"""CelebA-Glasses: all images with an attribute, and twice as many without it.

The thesis takes the 13,193 images of CelebA with glasses and 26,386 others, so that H(y) = 0.918
bits, trains on 30,000 of these 39,579 and halves the rest into validation and test. Which others
and which split it does not say. Here both are drawn by a seed that belongs to the data set, not to
a run, and what the thesis halves is the test split: whoever needs a validation split takes it from
the training images.
"""

import json
import pathlib

import numpy as np

from ivg.data import batches, celeba, folder
from ivg.data.attributes import describe
from ivg.data.decode import collect, for_each
from ivg.data.records import Dataset, Options, Pool, Split, fits_in_memory, note
from ivg.errors import UserError

DEFAULT_ATTRIBUTE = "Eyeglasses"
OTHERS = 2  # images without the attribute for every one with it
TRAIN_FRACTION = 30_000 / 39_579


def load(options: Options) -> Dataset:
    """The subset of CelebA around the first of `options.attributes` (default: Eyeglasses).

    Only images of the subset are decoded. `Split.names` says which they are: file names in a folder
    or zip, split and record number in a set that tfds prepared. Published images get the thesis'
    crop of 138 pixels, already cropped ones are taken whole. `test_fraction` does not count.

    Args:
        options: as for `celeba.load`, which takes the same files; `seed` chooses the images without
            the attribute, and the split.

    Raises:
        UserError: CelebA is not there or not whole, or all or none of its images have the
            attribute.
    """
    options = options._replace(attributes=options.attributes or (DEFAULT_ATTRIBUTE,))
    pool = celeba.open_pool(options, crop="mmvae")
    chosen = choose(pool.attributes[:, 0], pool.attribute_names[0], options.seed)
    in_memory = fits_in_memory(options, len(chosen), pool.image_shape)
    if options.skip_bad_images:
        chosen = np.array(folder.without_bad(chosen.tolist(), pool.decode, pool.names), np.int64)
    elif not in_memory:  # what can be known without decoding should not wait for the training
        for_each(lambda i: pool.check(int(chosen[i])), len(chosen), title="checking images")
    train, test = (
        _take(pool, part, in_memory, title)
        for part, title in zip(
            _split(chosen, options.seed), ("training images", "test images"), strict=True
        )
    )
    dataset = Dataset(
        "celeba_glasses", train, test, pool.image_shape, attribute_names=pool.attribute_names
    )
    for line in describe(dataset):
        note(line + ".")
    return dataset


def choose(present: np.ndarray, name: str, seed: int) -> np.ndarray:
    """All images with the attribute and `OTHERS` times as many without it, as far as there are.

    Args:
        present: bool [N].
        name: of the attribute, for messages.
        seed: of the draw.

    Returns:
        Sorted int64 numbers of the chosen images.

    Raises:
        UserError: no image has the attribute, or all have it.
    """
    positives, others = np.flatnonzero(present), np.flatnonzero(~present)
    if not len(positives) or not len(others):
        which = "none" if not len(positives) else "all"
        raise UserError(
            f"{which} of the {len(present):,} images have {name!r}, so they cannot be contrasted: "
            "choose another attribute first in --config.attributes."
        )
    wanted = OTHERS * len(positives)
    if len(others) < wanted:
        note(
            f"only {len(others):,} images are without {name!r}, not {wanted:,} ({OTHERS} for each "
            "with it): all are taken."
        )
    drawn = batches.order(len(others), seed=seed, start=0, count=min(wanted, len(others)))
    return np.sort(np.concatenate([positives, others[drawn]]))


def write_subset(path: pathlib.Path, dataset: Dataset, *, seed: int = 0) -> None:
    """Stores which images the subset holds, so that it can be had again from any copy of CelebA.

    The JSON object holds `data`, `attributes` (the first one made the subset), `seed`, `train` and
    `test`; each of these two `images` (how many), `present` (how many have each attribute) and
    `names` (in the order of the split: file names, or split and record number of tfds).

    Args:
        path: the file, in the run directory.
        dataset: as `load` returned it.
        seed: `options.seed` of that.
    """

    def part(split: Split) -> dict[str, object]:
        present = split.attributes.sum(axis=0).tolist()
        return {
            "images": len(split.names),
            "present": dict(zip(dataset.attribute_names, present, strict=True)),
            "names": list(split.names),
        }

    record = {
        "data": dataset.name,
        "attributes": list(dataset.attribute_names),
        "seed": seed,
        "train": part(dataset.train),
        "test": part(dataset.test),
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _split(chosen: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The training and the test images among the chosen ones, each sorted; one of each at least."""
    n = len(chosen)
    if n < 2:
        raise UserError(f"{n} usable image is left; two are the least.")
    # The second epoch's order: the first one's random words made the draw.
    shuffled = batches.order(n, seed=seed, start=n, count=n)
    num_train = min(max(round(n * TRAIN_FRACTION), 1), n - 1)
    return chosen[np.sort(shuffled[:num_train])], chosen[np.sort(shuffled[num_train:])]


def _take(pool: Pool, numbers: np.ndarray, in_memory: bool, title: str) -> Split:
    places = numbers.tolist()
    images = collect(
        lambda i: pool.decode(places[i]),
        len(places),
        pool.image_shape,
        in_memory=in_memory,
        title=title,
    )
    names = tuple(pool.names[number] for number in places)
    return Split(images, None, pool.attributes[numbers], names)
