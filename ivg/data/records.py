"""The records that every data set comes in, and the options that every loader reads."""

import difflib
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ivg.data.decode import LazyImages
from ivg.errors import UserError


class Split(NamedTuple):
    """The training or the test half of a data set.

    Attributes:
        images: uint8 [N, H, W, C], an array or a random-access source of uint8 [H, W, C].
        labels: int32 [N], or None where the set has no classes.
        attributes: bool [N, A], or None where the set has no attributes.
        names: the N file names of a user's own images, in the order of `images`; otherwise ().
    """

    images: np.ndarray | LazyImages
    labels: np.ndarray | None
    attributes: np.ndarray | None
    names: tuple[str, ...] = ()


class Dataset(NamedTuple):
    """A data set; `image_shape` is (H, W, C)."""

    name: str
    train: Split
    test: Split
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()


class Options(NamedTuple):
    """What `ivg.data.load` was asked for, already checked; see there for the meaning."""

    data_dir: pathlib.Path | None = None
    image_size: int | None = None
    crop: int | str | None = None
    channels: int | None = None
    labels_file: str | None = None
    attributes: tuple[str, ...] = ()
    skip_bad_images: bool = False
    test_fraction: float = 0.1
    seed: int = 0
    in_memory: bool | None = None
    memory_limit_gb: float = 4.0


def fits_in_memory(options: Options, num_images: int, image_shape: tuple[int, int, int]) -> bool:
    """Whether the decoded uint8 images become an array: as asked for, else by their size."""
    if options.in_memory is not None:
        return options.in_memory
    return num_images * int(np.prod(image_shape)) <= options.memory_limit_gb * 2**30


def select_attributes(
    values: np.ndarray | None, names: Sequence[str], wanted: Sequence[str], where: str
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Keeps the columns `wanted` of `values` [N, A], in that order; all where none is named.

    Raises:
        UserError: `where` has no such attribute.
    """
    for name in wanted:
        if not names:
            raise UserError(f"{where} has no attributes, so {name!r} cannot be selected.")
        if name not in names:
            raise UserError(
                f"{where} has no attribute {name!r}{nearest(name, names)}; "
                f"it has: {', '.join(names)}."
            )
    if not wanted:
        return values, tuple(names)
    columns = [names.index(name) for name in wanted]
    return None if values is None else values[:, columns], tuple(wanted)


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error message, or "" where nothing is near."""
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {' or '.join(repr(match) for match in matches)}?)" if matches else ""


def note(text: str) -> None:
    """Prints one line that the user should see and that stops nothing."""
    print(f"note: {text}", file=sys.stderr, flush=True)
