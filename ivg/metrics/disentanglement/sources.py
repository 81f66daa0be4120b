"""Where a protocol that samples gets its codes: an encoder with known factors, or fixed arrays.

FactorVAE's and beta-VAE's scores ask for images that share a factor: a `Representation` makes them.
`Rows` are what a user has instead, arrays of codes and factors.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import paired, positive, real_codes, varying

# Examples encoded at once: many votes together, so that an encoder's batches are full.
ROWS_AT_ONCE = 50_000
# Codes that `remembered` keeps, at most, in rows of its table.
LARGEST_TABLE = 5_000_000


class Representation(NamedTuple):
    """Codes of images with given factors.

    Attributes:
        sizes: How many values each factor has, `[F]`.
        represent: (factors int64 `[N, F]`, random numbers) -> codes `[N, D]`; the random numbers
            are for what is not a factor, such as a colour.
        names: Names of the factors; may be left out.
        nuisance: Those among the names that are drawn but not scored, except by `factor_vae_ibgan`.
    """

    sizes: tuple[int, ...]
    represent: Callable[[np.ndarray, np.random.RandomState], np.ndarray]
    names: tuple[str, ...] = ()
    nuisance: tuple[str, ...] = ()


class Rows(NamedTuple):
    """Codes and factors of the same examples; `from_arrays` makes and checks them.

    Attributes:
        codes: `[N, D]`, float32 or float64.
        factors: int64 `[N, F]`.
        names: Names of the factors; may be left out.
    """

    codes: np.ndarray
    factors: np.ndarray
    names: tuple[str, ...] = ()


Source = Representation | Rows


def from_arrays(codes: np.ndarray, factors: np.ndarray, names: Sequence[str] = ()) -> Rows:
    """A source of rows from a user's arrays.

    Args:
        codes: `[N, D]`.
        factors: Whole numbers, `[N, F]`.
        names: Names of the factors, `[F]`, or none.

    Raises:
        UserError: The arrays are not of that kind or no factor varies.
    """
    codes, factors = paired(codes, factors)
    varying(factors, "scoring a representation")
    return Rows(codes, factors, _names(names, factors.shape[1]))


def from_encoder(
    encode: Callable[[np.ndarray], np.ndarray],
    images: Callable[[np.ndarray, int], np.ndarray],
    sizes: Sequence[int],
    names: Sequence[str] = (),
    *,
    nuisance: Sequence[str] = (),
    batch_size: int = 1000,
) -> Representation:
    """A representation that draws images and encodes them in batches.

    Args:
        encode: uint8 images `[batch_size, H, W, C]` -> codes `[batch_size, D]`. Every call has this
            one shape (the last batch is filled up), so a jitted function is compiled once.
        images: (factors int64 `[batch_size, F]`, seed) -> uint8 images `[batch_size, H, W, C]`.
        sizes: How many values each factor has, `[F]`.
        names: Names of the factors, `[F]`, or none.
        nuisance: Those among the names that are drawn but not scored.
        batch_size: Images per call.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> def images(factors, seed):  # the value of a factor is the brightness of its pixel
        ...     return np.uint8(25 * factors).reshape(-1, 1, 2, 1)
        >>> def encode(x):
        ...     return x.reshape(-1, 2) / 255.0
        >>> source = disentanglement.from_encoder(encode, images, sizes=(10, 10), batch_size=100)
        >>> few = dict(num_train=50, num_eval=50, num_variance=100)
        >>> disentanglement.factor_vae(source, **few).value
        1.0
    """
    positive(batch_size=batch_size)

    def represent(factors: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        codes = []
        for start in range(0, len(factors), batch_size):
            rows = np.minimum(np.arange(start, start + batch_size), len(factors) - 1)
            seed = rng.randint(2**31 - 1)
            codes.append(np.asarray(encode(images(factors[rows], seed))))
            if codes[-1].shape[:1] != (batch_size,):
                raise UserError(
                    f"the encoder gave codes of shape {codes[-1].shape} for {batch_size} images: "
                    "it must give one row each"
                )
        return np.concatenate(codes)[: len(factors)]

    return Representation(tuple(sizes), represent, tuple(names), tuple(nuisance))


def remembered(source: Representation) -> Representation:
    """The same representation, encoding no combination of factors twice.

    The full protocols ask for millions of images, dSprites has 737,280. Only for images that their
    factors determine: with random nuisance every combination would keep its first draw.

    Args:
        source: A representation with at most 5,000,000 combinations of factors.

    Returns:
        A representation that keeps what it has encoded as long as it lives.

    Raises:
        UserError: There are more combinations.
    """
    _require_sizes(source)
    count = int(np.prod(source.sizes, dtype=np.float64))
    if count > LARGEST_TABLE:
        raise UserError(
            f"{count} combinations of factors are too many to remember their codes: score the "
            "source itself"
        )
    known = np.zeros(count, bool)
    table: list[np.ndarray] = []

    def represent(factors: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        wanted = np.ravel_multi_index(tuple(factors.T), source.sizes)
        new = np.unique(wanted[~known[wanted]])
        for start in range(0, len(new), ROWS_AT_ONCE):
            some = new[start : start + ROWS_AT_ONCE]
            codes = encoded(source, np.stack(np.unravel_index(some, source.sizes), axis=1), rng)
            if not table:
                table.append(np.zeros((count, codes.shape[1]), codes.dtype))
            table[0][some] = codes
            known[some] = True
        return table[0][wanted]

    return source._replace(represent=represent)


def scored(source: Source, *, with_nuisance: bool = False) -> np.ndarray:
    """Numbers of the factors that a protocol scores: those that vary and are no nuisance.

    Raises:
        UserError: The source's names, sizes and nuisance do not belong together, or none is left.
    """
    if not isinstance(source, Rows | Representation):
        raise UserError(
            f"a protocol that samples needs a source, such as from_arrays(codes, factors), not "
            f"{type(source).__name__}"
        )
    if isinstance(source, Rows):
        return varying(source.factors, "scoring a representation")
    names = _names(source.names, len(source.sizes))
    _require_sizes(source)
    unknown = set(source.nuisance) - set(names)
    if unknown:
        raise UserError(f"the nuisance factors {sorted(unknown)} are not among the names {names}")
    wanted = [
        i
        for i, size in enumerate(source.sizes)
        if size > 1 and (with_nuisance or not names or names[i] not in source.nuisance)
    ]
    if not wanted:
        raise UserError("scoring a representation needs a factor that varies; this one has none")
    return np.array(wanted)


def factor_names(source: Source, factors: Sequence[int]) -> list[str]:
    """Names of the factors with these numbers."""
    return [source.names[i] if source.names else f"factor {i}" for i in factors]


def encoded(source: Representation, factors: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Codes `[N, D]` of examples with these factors, checked.

    Raises:
        UserError: The representation does not give one row of finite numbers for each of them.
    """
    codes = real_codes(source.represent(factors, rng))
    if len(codes) != len(factors):
        raise UserError(
            f"the representation gave {len(codes)} codes for {len(factors)} examples: it must "
            "give one row each"
        )
    return codes


def _require_sizes(source: Representation) -> None:
    positive(**{f"the size of factor {i}": size for i, size in enumerate(source.sizes)})


def _names(names: Sequence[str], count: int) -> tuple[str, ...]:
    if len(names) not in (0, count):
        raise UserError(f"{len(names)} names and {count} factors: give one name per factor")
    return tuple(str(name) for name in names)
