"""Scores from groups of examples that share one factor: FactorVAE's and beta-VAE's.

Kim & Mnih (2018), "Disentangling by Factorising"; Higgins et al. (2017), "beta-VAE: Learning Basic
Visual Concepts with a Constrained Variational Framework". The defaults are the protocol of the
study of Locatello et al. (2019), as its library disentanglement_lib has it; `factor_vae_ibgan` is
that of Jeon et al. (2021), "IB-GAN: Disentangled Representation Learning with Information
Bottleneck GANs".

Departures from the library: the number of active dimensions is counted (there it is the length of
the mask); votes are kept by the number of the dimension (there by its place among the active ones);
the threshold is on the standard deviation, as there, but called so; factors of a single value are
never shared. Kept: the library's beta-VAE takes mean absolute differences and a multinomial
regression, and is near 1 for half-disentangled codes too; a dimension that won no training vote
stands for the first factor.
"""

import warnings
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import Score, at_least, bounds, finite, positive
from ivg.metrics.disentanglement.sampling import (
    Stream,
    examples,
    in_words,
    shared_by_all,
    shared_by_pairs,
    stream,
)
from ivg.metrics.disentanglement.sources import Source, factor_names, scored


def factor_vae(
    source: Source,
    *,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
    num_variance: int = 10_000,
    threshold: float = 0.05,
    categorical: Collection[int] = (),
    seed: int = 0,
) -> Score:
    """FactorVAE's score with held-out votes (Kim & Mnih, 2018, section 4; disentanglement_lib).

    A vote holds one factor fixed in a batch and names the dimension whose variance, relative to its
    variance over all data, is smallest. Each dimension stands for the factor it was named for most
    often; the score is the accuracy of that map on other votes.

    Args:
        source: Where codes come from.
        num_train: Votes that the map is made of.
        num_eval: Votes that it is scored on.
        batch_size: Examples per vote.
        num_variance: Examples for the variance over all data.
        threshold: Dimensions of a smaller standard deviation are not active.
        categorical: Dimensions that hold a class number: the probability that two examples differ
            takes the place of their variance.
        seed: Seed of everything drawn.

    Returns:
        The accuracy; 0 if no dimension is active. Details: "train" (accuracy on the training
        votes), "active_dims", "num_active", "votes" `[F, D]` of training, "factors" (their names).

    Raises:
        UserError: Fewer than two factors vary, or the source cannot hold one of them fixed.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((8, 8)).reshape(2, -1).T  # two factors of 8 values
        >>> source = disentanglement.from_arrays(factors[:, [1, 0]] * 1.0, factors)
        >>> disentanglement.factor_vae(source, num_train=50, num_eval=50, num_variance=64).value
        1.0
    """
    positive(num_train=num_train, num_eval=num_eval)
    at_least(2, batch_size=batch_size, num_variance=num_variance)  # a variance is of two
    bounds(threshold=threshold)
    numbers = stream(seed)
    factors = _at_least_two(scored(source), "FactorVAE's score")
    scale = _scale(source, num_variance, categorical, numbers)
    scale = scale.active_where(np.sqrt(scale.variances) >= threshold)
    train, held_out = (
        _votes(source, _choices(factors, count, numbers), factors, batch_size, scale, numbers)
        for count in (num_train, num_eval)
    )
    details = {"votes": train, "train": _accuracy(train, train)}
    recipe = {"train_votes": num_train, "eval_votes": num_eval, "examples_per_vote": batch_size}
    recipe |= {"variance_examples": scale.examples, "active_if": f"std >= {threshold:g}"}
    recipe |= {"seed": seed, "source": in_words(source)}
    value = finite(_accuracy(train, held_out), "FactorVAE's score")
    return Score(value, details | _active(source, factors, scale), recipe)


def factor_vae_ibgan(
    source: Source,
    *,
    num_votes: int = 800,
    batch_size: int = 200,
    num_variance: int = 10_000,
    threshold: float = 0.05,
    categorical: Collection[int] = (),
    seed: int = 0,
) -> Score:
    """FactorVAE's score as IB-GAN's evaluation has it: fitted and scored on the same votes.

    Apart from that, against `factor_vae`: 800 votes, evenly divided among the factors, of 200
    examples; a dimension has collapsed if its *variance* is below the threshold; nuisance factors
    (colour) are scored too.

    Args:
        source: Where codes come from.
        num_votes: Votes.
        batch_size: Examples per vote.
        num_variance: Examples for the variance over all data.
        threshold: Dimensions of a smaller variance have collapsed.
        categorical: Dimensions that hold a class number, as in `factor_vae`.
        seed: Seed of everything drawn.

    Returns:
        The accuracy; 0 if all dimensions have collapsed. Details as `factor_vae`, without "train".

    Raises:
        UserError: Fewer than two factors vary, or the source cannot hold one of them fixed.
    """
    positive(num_votes=num_votes)
    at_least(2, batch_size=batch_size, num_variance=num_variance)
    bounds(threshold=threshold)
    numbers = stream(seed)
    factors = _at_least_two(scored(source, with_nuisance=True), "FactorVAE's score")
    scale = _scale(source, num_variance, categorical, numbers)
    scale = scale.active_where(scale.variances >= threshold)
    which = factors[np.arange(num_votes) % len(factors)]
    votes = _votes(source, which, factors, batch_size, scale, numbers)
    recipe = {"votes": num_votes, "held_out_votes": 0, "examples_per_vote": batch_size}
    recipe |= {"variance_examples": scale.examples, "active_if": f"variance >= {threshold:g}"}
    recipe |= {"seed": seed, "source": in_words(source)}
    value = finite(_accuracy(votes, votes), "FactorVAE's score")
    return Score(value, {"votes": votes} | _active(source, factors, scale), recipe)


def beta_vae(
    source: Source,
    *,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
    seed: int = 0,
) -> Score:
    """beta-VAE's score: which factor do pairs of examples share (Higgins et al., 2017, sec. 3)?

    A point is the mean over pairs of |difference of their codes|, the pairs of a point sharing one
    factor, each with a value of its own; a multinomial logistic regression names the factor.

    Args:
        source: Where codes come from.
        num_train: Points to fit on.
        num_eval: Points to score on.
        batch_size: Pairs per point.
        seed: Seed of everything drawn.

    Returns:
        The accuracy on the held-out points. Details: "train" (the same in training), "factors".

    Raises:
        UserError: Fewer than two factors vary, or the source cannot hold one of them fixed.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((8, 8)).reshape(2, -1).T  # two factors of 8 values
        >>> source = disentanglement.from_arrays(factors[:, [1, 0]] * 1.0, factors)
        >>> disentanglement.beta_vae(source, num_train=50, num_eval=50).value
        1.0
    """
    positive(num_train=num_train, num_eval=num_eval, batch_size=batch_size)
    factors = _at_least_two(scored(source), "beta-VAE's score")
    numbers = stream(seed)

    def point(codes: np.ndarray) -> np.ndarray:
        return np.abs(codes[:, :batch_size] - codes[:, batch_size:]).mean(axis=1)

    sets = []
    for count in (num_train, num_eval):
        which = _choices(factors, count, numbers)
        labels, points = shared_by_pairs(source, which, batch_size, numbers, point)
        sets.append((points.astype(np.float64), labels))
    if len(np.unique(sets[0][1])) < 2:
        raise UserError(f"{num_train} points for beta-VAE's score are too few: give more")
    train, held_out = _regression(*sets)
    recipe = {
        "train_points": num_train,
        "eval_points": num_eval,
        "pairs_per_point": batch_size,
        "classifier": "multinomial logistic regression",
        "seed": seed,
        "source": in_words(source),
    }
    details = {"train": train, "factors": factor_names(source, factors)}
    return Score(finite(held_out, "beta-VAE's score"), details, recipe)


def _regression(
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float]:
    """Accuracy in training and on held-out points."""
    import sklearn.exceptions
    import sklearn.linear_model  # slow, like all of scikit-learn: not at every start of the program

    model = sklearn.linear_model.LogisticRegression()
    with warnings.catch_warnings():  # the protocol counts iterations, finished or not
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        model.fit(*train)
    return float(model.score(*train)), float(model.score(*held_out))


def _at_least_two(factors: np.ndarray, metric: str) -> np.ndarray:
    if len(factors) < 2:
        raise UserError(f"{metric} needs 2 factors that vary; these data have {len(factors)}")
    return factors


def _choices(factors: np.ndarray, count: int, numbers: Stream) -> Iterator[int]:
    """One factor at a time: each is drawn before its group, as the reference does."""
    return (factors[numbers.factors.randint(len(factors))] for _ in range(count))


def _variances(codes: np.ndarray, categorical: Collection[int]) -> np.ndarray:
    """Variances (n - 1) over the examples of each group, `[G, L, D]` -> `[G, D]`.

    In a categorical dimension: the share of pairs of different examples that disagree.
    """
    variances = codes.var(axis=1, ddof=1, dtype=np.float64)
    for dim in categorical:
        if dim not in range(codes.shape[2]):
            raise UserError(f"there is no dimension {dim} to be categorical among {codes.shape[2]}")
        classes = codes[:, :, dim]
        same = sum(np.mean(classes == c, axis=1) ** 2 for c in np.unique(classes))
        variances[:, dim] = (1 - same) * codes.shape[1] / (codes.shape[1] - 1)
    return variances


class _Scale(NamedTuple):
    """What variances are measured against: over all data `[D]`, and which dimensions take part."""

    variances: np.ndarray
    active: np.ndarray
    categorical: tuple[int, ...]
    examples: int

    def active_where(self, wide: np.ndarray) -> "_Scale":
        # Also with a threshold of 0: a dead dimension's relative variance is 0/0.
        return self._replace(active=np.flatnonzero(wide & (self.variances > 0)))


def _scale(source: Source, count: int, categorical: Collection[int], numbers: Stream) -> _Scale:
    codes = examples(source, count, numbers, batch_size=count)[0]
    variances = _variances(codes[np.newaxis], categorical)[0]
    return _Scale(variances, np.arange(len(variances)), tuple(categorical), len(codes))


def _active(source: Source, factors: np.ndarray, scale: _Scale) -> dict[str, Any]:
    return {
        "active_dims": scale.active,
        "num_active": len(scale.active),
        "factors": factor_names(source, factors),
    }


def _votes(
    source: Source,
    which: Iterable[int],
    factors: np.ndarray,
    batch_size: int,
    scale: _Scale,
    numbers: Stream,
) -> np.ndarray:
    """Votes `[F, D]`: how often a factor was fixed and a dimension varied least."""
    active = scale.active
    table = np.zeros((len(factors), len(scale.variances)), np.int64)
    if not len(active):
        return table

    def least_varying(codes: np.ndarray) -> np.ndarray:
        relative = _variances(codes, scale.categorical)[:, active] / scale.variances[active]
        return active[np.argmin(relative, axis=1)]

    fixed, dims = shared_by_all(source, which, batch_size, numbers, least_varying)
    np.add.at(table, (np.searchsorted(factors, fixed), dims), 1)
    return table


def _accuracy(train: np.ndarray, votes: np.ndarray) -> float:
    """Share of votes for a dimension's most frequent factor in training; 0 without votes."""
    total = votes.sum()
    if not total:
        return 0.0
    return float(votes[np.argmax(train, axis=0), np.arange(votes.shape[1])].sum() / total)
