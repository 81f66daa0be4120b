"""The records that every data set comes in, and the options that every loader reads."""

import dataclasses
import difflib
import functools
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from ivg.data.decode import LazyImages, number, several
from ivg.errors import UserError

_CHUNK = 1024  # images drawn at once


@dataclasses.dataclass(frozen=True)
class Rendered:
    """Images drawn where they are needed, instead of being stored: uint8 [N, H, W, C].

    `source[i]` gives one of them, the same at every call; `source[:10]` and `source[[3, 5]]` give
    arrays. A training step calls `draw` itself, with a key of its own.

    Attributes:
        count: N.
        image_shape: (H, W, C).
        draw: (numbers int32 [B], key) -> uint8 [B, H, W, C], pure JAX. What the number leaves open
            (a colour) comes from the key. A function of a module, not a closure made anew for
            every data set: it is compiled once per function.
    """

    count: int
    image_shape: tuple[int, int, int]
    draw: Callable[[jax.Array, jax.Array], jax.Array]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C), as of an array of the images."""
        return (self.count, *self.image_shape)

    @property
    def dtype(self) -> np.dtype:
        """Uint8, as of an array of the images."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        if (numbers := several(index, self.count)) is None:
            return np.asarray(draw_each(self, np.array([number(index, self.count)], np.int32)))[0]
        if numbers.size and not -self.count <= numbers.min() <= numbers.max() < self.count:
            raise IndexError(f"images {numbers.min()} to {numbers.max()} of {self.count}")
        numbers = (numbers % self.count).astype(np.int32)
        return in_chunks(functools.partial(draw_each, self), numbers)


@functools.partial(jax.jit, static_argnums=0)
def draw_each(source: Rendered, numbers: jax.Array) -> jax.Array:
    """Images, each with the key of its own number: int32 [B] -> uint8 [B, H, W, C]."""

    def draw(number: jax.Array) -> jax.Array:
        return source.draw(number[None], jax.random.fold_in(jax.random.key(0), number))[0]

    return jax.vmap(draw)(numbers)


def in_chunks(draw: Callable[..., jax.Array], *rows: np.ndarray) -> np.ndarray:
    """Draws many images in chunks of a few sizes, so that little is compiled and held.

    Args:
        draw: rows of each array, [B, ...] -> uint8 [B, H, W, C], jitted; row by row.
        rows: arrays [N, ...] of the same N.

    Returns:
        uint8 [N, H, W, C].
    """
    n = len(rows[0])
    # A power of two, the last chunk filled up with zeros that are thrown away.
    size = min(_CHUNK, 1 << max(n - 1, 0).bit_length())
    chunks = []
    for start in range(0, max(n, 1), size):
        chunk = [array[start : start + size] for array in rows]
        missing = size - len(chunk[0])
        padded = [np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1)) for a in chunk]
        chunks.append(np.asarray(draw(*padded))[: len(chunk[0])])
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


class GroundTruth(NamedTuple):
    """The known factors of variation of a data set, which disentanglement metrics need.

    Attributes:
        names: of the F factors.
        sizes: how many values each has; they are numbered from 0.
        images: (factors int [N, F], seed) -> uint8 [N, H, W, C], images with these factors. The
            seed decides what the factors leave open, such as a colour that is none of them.
        nuisance: factors that vary but that the usual protocol does not score.
        determined: whether the factors decide the image, whatever the seed.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    images: Callable[[np.ndarray, int], np.ndarray]
    nuisance: tuple[str, ...] = ()
    determined: bool = True


class Factor(NamedTuple):
    """A true factor of rendered images, of which every image has a known value.

    Attributes:
        name: of the factor.
        kind: "attribute" (a binary label), "sub-attribute" (shows only where the attribute that
            owns it is present) or "nuisance".
        values: how many values a categorical factor has, numbered from 0; 0 for a continuous
            factor in [0, 1].
        owner: name of the attribute that owns a sub-attribute; otherwise "".
    """

    name: str
    kind: str
    values: int = 0
    owner: str = ""


class Split(NamedTuple):
    """The training or the test half of a data set.

    Attributes:
        images: uint8 [N, H, W, C], an array or a random-access source of uint8 [H, W, C].
        labels: int32 [N], or None where the set has no classes.
        attributes: bool [N, A], or None where the set has no attributes.
        names: what the N images are called, in the order of `images`: file names, or split and
            record number in a prepared set; () where nothing names them.
        factors: float32 [N, F], the true factors, a categorical one by its number, a sub-attribute
            also where it does not show; None where they are not known.
    """

    images: np.ndarray | LazyImages | Rendered
    labels: np.ndarray | None
    attributes: np.ndarray | None
    names: tuple[str, ...] = ()
    factors: np.ndarray | None = None


class Dataset(NamedTuple):
    """A data set; `image_shape` is (H, W, C).

    `ground_truth` draws images with any given factors, `factors` says what the columns of
    `Split.factors` are, attributes among them; each only where it is known.
    """

    name: str
    train: Split
    test: Split
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    ground_truth: GroundTruth | None = None
    factors: tuple[Factor, ...] = ()


class Pool(NamedTuple):
    """N images of which a data set takes some: what is known of them before any is decoded.

    Attributes:
        names: N, as of `Split`.
        attributes: bool [N, A].
        attribute_names: A.
        image_shape: (H, W, C).
        decode: number -> uint8 [H, W, C]; safe to call from several threads.
        check: number -> None; a UserError if the file's header shows that `decode` would fail.
    """

    names: Sequence[str]
    attributes: np.ndarray
    attribute_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    decode: Callable[[int], np.ndarray]
    check: Callable[[int], None]


class Options(NamedTuple):
    """What `ivg.data.load` was asked for, already checked.

    Attributes:
        data_dir: the directory of prepared data sets (None: TFDS_DATA_DIR, else
            ~/tensorflow_datasets), or the folder or zip of the chairs or of your images.
        image_size: side in pixels; None: digits 8, mnist and fashion_mnist 28, others 64. Resized
            bilinearly, without aliasing. The sprites and faces are 64 only.
        crop: before resizing, keep the centre: a number of pixels, "square" (the largest square),
            "none" (the whole image, its aspect ratio not kept), "infovaegan" (128) or "mmvae"
            (138; for chairs, infovaegan is 300). None: infovaegan for celeb_a, mmvae for
            celeba_glasses, 400 for chairs, square for images (and for CelebA's own files if they
            are cropped already), none for the others.
        channels: 1 (grey) or 3; None: 1 for digits, mnist, fashion_mnist, sprites, dsprites and
            chairs, 3 for the others.
        labels_file: for images, a file in CelebA's attribute format, or a CSV with a header row:
            file names first, `label` for classes, other columns attributes (1, 0, -1). None: finds
            one of `labels.KNOWN_FILES`, else takes one subfolder per class, else has no labels.
        attributes: the attributes to keep, in this order; () keeps all (of celeba_glasses:
            Eyeglasses). faces have glasses and beard.
        skip_bad_images: for images, decode everything once beforehand and leave out files that are
            not readable images, instead of stopping at the first.
        test_fraction: for images, the part that becomes the test split; for chairs, of the chairs.
            The sprites have no split: training and test images are the same. celeba_glasses has
            the thesis' own fraction.
        seed: for images and chairs, chooses that part; for celeba_glasses, the images without the
            attribute too.
        in_memory: True decodes all images into an array now, False decodes each when it is asked
            for; None ("auto") decides by `memory_limit_gb`. Sprites that are drawn are never
            stored, faces only for True.
        memory_limit_gb: size of the decoded images (N * H * W * C bytes, both splits) up to which
            "auto" makes an array, in GiB.
        coloring: of color_sprites: "ibgan" (8 levels a channel, the 512 colours a factor) or "dlib"
            (disentanglement_lib: each channel uniform on [0.5, 1]).
        num_images: of faces: how many training images; there are a quarter as many test images.
        priors: of faces: how factors are distributed, as in "glasses:0.333" (`ivg.data.faces`).
        correlations: of faces: which depend on each other, as in "glasses:hair_colour:0.8".
    """

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
    coloring: str = "ibgan"
    num_images: int = 40_000
    priors: str = ""
    correlations: str = ""


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
        UserError: `where` has no such attribute, or one is wanted twice.
    """
    for name in wanted:
        if not names:
            raise UserError(f"{where} has no attributes, so {name!r} cannot be selected.")
        if list(wanted).count(name) > 1:
            raise UserError(f"the attribute {name!r} is asked for twice: name it once.")
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


def shown(name: str, most: int = 160) -> str:
    """A name from a file as a message can hold it: short, on one line, for any terminal."""
    if len(name) > most:
        name = f"{name[: most // 2]}...{name[-most // 2 :]}"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in name
    )


def note(text: str) -> None:
    """Prints one line that the user should see and that stops nothing."""
    print(f"note: {text}", file=sys.stderr, flush=True)
