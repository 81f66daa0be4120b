"""Choosing among trained models without labels: UDR and ModelCentrality.

Both trust a model that the others agree with: disentangled models are alike up to the order and the
sign of their codes, entangled ones are entangled each in its own way. Both only rank; their values
are comparable within one set of models.

UDR: Duan et al., "Unsupervised Model Selection for Variational Disentangled Representation
Learning", ICLR 2020. ModelCentrality: Lin et al., "InfoGAN-CR and ModelCentrality: Self-supervised
Model Training and Selection for Disentangling GANs", ICML 2020.

The papers compare models of one class: UDR those that differ in the seed alone (its variant A2A
all seeds and hyper-parameters of a method), ModelCentrality the runs of one method.

Departures: UDR pools the dimensions of both models, as its equation does (the released code takes
the mean over each model's dimensions first, which is the same where both have equally many). The
votes of ModelCentrality are scored by a map made of other votes (the released code scores the votes
that the map is made of, 1,000 of them; fewer would then look better than they are), and a dimension
needs a standard deviation of 0.05 to take part, as in `disentanglement.factor_vae`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import LARGEST, bounds, real_codes, real_table

MEASURES = ("spearman", "lasso")
LASSO_ALPHA = 0.1  # of the released code
ACTIVE_STD = 0.05  # smaller standard deviations are negligible where codes have a unit prior


class Udr(NamedTuple):
    """UDR of n models.

    Attributes:
        scores: `[n]`, medians of the rows of `pairs` without the diagonal.
        pairs: `[n, n]`, UDR_ij of model i compared with model j, 0 to 1; NaN on the diagonal.
        informative: for each model the numbers of its informative dimensions.
    """

    scores: np.ndarray
    pairs: np.ndarray
    informative: list[np.ndarray]


class Centrality(NamedTuple):
    """ModelCentrality of n models.

    Attributes:
        scores: `[n]`.
        order: int `[n]`, models from the best to the worst; ties in the order given.
    """

    scores: np.ndarray
    order: np.ndarray


def udr(
    codes: Sequence[np.ndarray],
    kls: Sequence[np.ndarray | None] | None,
    *,
    method: str = "spearman",
    kl_threshold: float = 0.01,
) -> Udr:
    """Unsupervised disentanglement ranking (Duan et al., 2020, section 4).

    A dimension of a VAE is informative if its mean KL from the prior is above the threshold. The
    paper has VAEs only: where no KL is known (GANs), a dimension is informative here if its
    standard deviation over the images is at least `ACTIVE_STD`. A constant dimension never is. A
    model without informative dimension (a collapsed one) has no relation to any other, score 0.

    Args:
        codes: of each model, `[N, D_i]`, of the same N images in the same order.
        kls: of each model the mean KL of every dimension in nats, `[D_i]`, or None; None for all.
        method: "spearman" (correlations) or "lasso" (weights that predict the codes of i from those
            of j; alpha 0.1, so equal codes give 0.9, not 1).
        kl_threshold: nats.

    Raises:
        UserError: Fewer than two models, arrays that do not belong together or are not finite, an
            unknown method.

    Examples:
        The same codes in another order and with another sign agree perfectly, noise does not:

        >>> from ivg.metrics import selection
        >>> rng = np.random.default_rng(0)
        >>> codes = rng.normal(size=(500, 3))
        >>> ranked = selection.udr([codes, -codes[:, [2, 0, 1]], rng.normal(size=(500, 3))], None)
        >>> bool(ranked.pairs[0, 1] > 0.8), bool(ranked.pairs[0, 2] < 0.2)
        (True, True)
    """
    if method not in MEASURES:
        raise UserError(f'there is no relation "{method}"; use {" or ".join(MEASURES)}')
    bounds(kl_threshold=kl_threshold)
    codes = _same_images(codes)
    kls = [None] * len(codes) if kls is None else kls
    if len(kls) != len(codes):
        raise UserError(f"{len(kls)} KLs and {len(codes)} models: give one (or None) per model")
    kept = [_informative(c, kl, kl_threshold) for c, kl in zip(codes, kls, strict=True)]
    tables = [_standardised(c[:, k], method) for c, k in zip(codes, kept, strict=True)]
    pairs = np.full((len(codes), len(codes)), np.nan)
    for i, ours in enumerate(tables):
        for j, theirs in enumerate(tables):
            if i != j:
                pairs[i, j] = agreement(_relation(ours, theirs, method))
    scores = np.nanmedian(pairs, axis=1)
    return Udr(scores, pairs, kept)


def agreement(relation: np.ndarray) -> float:
    """UDR_ij of a relation between two models' informative dimensions (the paper's equation).

    1/(d_a + d_b) [sum_b r_b^2 / sum_a R(a, b) + sum_a r_a^2 / sum_b R(a, b)], where r_b is the
    largest R of column b and r_a that of row a: 1 where every dimension has one partner, to which
    it is related perfectly, and no relation to another.

    Args:
        relation: R, not negative, `[d_a, d_b]`; either may be 0.

    Returns:
        From 0 to 1 for R up to 1; a dimension without any relation adds 0.

    Raises:
        UserError: The relation is no such table.

    Examples:
        >>> from ivg.metrics import selection
        >>> selection.agreement(np.eye(3)), round(selection.agreement(np.ones((2, 2))), 3)
        (1.0, 0.5)
    """
    relation = real_table("relations", relation)
    if relation.ndim != 2 or (relation < 0).any():
        raise UserError(
            f"a relation must be a table [d_a, d_b], none below 0; its shape is {relation.shape}"
        )
    if 0 in relation.shape:
        return 0.0
    parts = [_peaked(relation, axis) for axis in (0, 1)]
    return float(np.concatenate(parts).mean())


def _peaked(relation: np.ndarray, axis: int) -> np.ndarray:
    total = relation.sum(axis=axis)
    return np.divide(relation.max(axis=axis) ** 2, total, out=np.zeros_like(total), where=total > 0)


def _relation(ours: np.ndarray, theirs: np.ndarray, method: str) -> np.ndarray:
    """R `[d_i, d_j]` of standardised codes (of standardised ranks for Spearman's correlation)."""
    if 0 in (ours.shape[1], theirs.shape[1]):
        return np.zeros((ours.shape[1], theirs.shape[1]))
    if method == "spearman":
        return np.minimum(np.abs(ours.T @ theirs) / len(ours), 1.0)
    import sklearn.linear_model  # slow, like all of scikit-learn: not at every start of the program

    model = sklearn.linear_model.Lasso(alpha=LASSO_ALPHA)
    return np.abs(np.atleast_2d(model.fit(theirs, ours).coef_)).reshape(ours.shape[1], -1)


def _standardised(codes: np.ndarray, method: str) -> np.ndarray:
    values = scipy.stats.rankdata(codes, axis=0) if method == "spearman" else codes
    return (values - values.mean(axis=0)) / values.std(axis=0)


def _informative(codes: np.ndarray, kl: np.ndarray | None, threshold: float) -> np.ndarray:
    spread = codes.std(axis=0)
    if kl is None:
        return np.flatnonzero(spread >= ACTIVE_STD)
    kl = np.asarray(kl)
    if kl.shape != (codes.shape[1],):
        raise UserError(f"KLs of shape {kl.shape} for {codes.shape[1]} dimensions: give one each")
    if kl.dtype.kind not in "fiu" or np.isnan(kl).any():
        raise UserError("KLs must be numbers, and no NaN: look for the model whose training failed")
    # Not the standard deviation alone: rounding leaves that of a constant column above 0, and that
    # of the smallest scales is 0.
    return np.flatnonzero((kl > threshold) & (np.ptp(codes, axis=0) > 0) & (spread > 0))


def _same_images(codes: Sequence[np.ndarray]) -> list[np.ndarray]:
    if len(codes) < 2:
        raise UserError(f"{len(codes)} models cannot be compared: give at least two")
    codes = [real_codes(c).astype(np.float64) for c in codes]
    counts = sorted({len(c) for c in codes})
    if len(counts) > 1 or counts[0] < 2:
        raise UserError(
            f"models must be given codes of the same images, at least two, not of {counts} images"
        )
    return codes


def factor_agreement(
    codes: np.ndarray, fixed: np.ndarray, variances: np.ndarray, *, threshold: float = ACTIVE_STD
) -> float:
    """FactorVAE's score of an encoder, the codes of another model's generator being the factors.

    Each group of images shares the value of one factor; it votes for the dimension whose variance,
    relative to that over all images, is smallest. A dimension stands for the factor it was voted
    for most often in one half of the groups; the accuracy is that on the other half, and the mean
    of both ways round (Lin et al., 2020, section 4, with the departures above).

    Args:
        codes: of the encoder, groups of images, `[V, L, D]`.
        fixed: which factor each group shares, int `[V]`; the factors come in turn, so that both
            halves have all of them.
        variances: of each dimension over images that share nothing, `[D]`.
        threshold: Dimensions of a smaller standard deviation take no part.

    Returns:
        The accuracy; 0 where no dimension takes part.

    Raises:
        UserError: Fewer than two groups per factor, or of a single image; another number of
            `fixed` or of `variances`; values that are not finite, or negative.
    """
    codes, fixed, variances = np.asarray(codes), np.asarray(fixed), np.asarray(variances)
    if codes.ndim != 3 or len(codes) < 2 or codes.shape[1] < 2 or fixed.shape != codes.shape[:1]:
        raise UserError(
            "votes need at least two groups of at least two images, and the factor that each "
            f"shares, not codes of shape {codes.shape} and factors of shape {fixed.shape}"
        )
    _require_votes(codes, fixed, variances)
    bounds(threshold=threshold)
    factors = int(fixed.max()) + 1
    if len(fixed) < 2 * factors:
        raise UserError(f"{len(fixed)} votes are too few for {factors} factors: give two for each")
    active = np.flatnonzero((np.sqrt(variances) >= threshold) & (variances > 0))
    if not len(active):
        return 0.0
    within = codes[:, :, active].var(axis=1, ddof=1, dtype=np.float64)
    dims = np.argmin(within / variances[active], axis=1)
    # Every other round of factors, not every other group: these would differ in their factors.
    half = np.arange(len(fixed)) // factors % 2
    table = np.zeros((2, factors, len(active)), np.int64)
    np.add.at(table, (half, fixed, dims), 1)
    right = sum(_hits(table[1 - side], table[side]) for side in (0, 1))
    return float(right / len(fixed))


def _require_votes(codes: np.ndarray, fixed: np.ndarray, variances: np.ndarray) -> None:
    real_codes(codes.reshape(-1, codes.shape[2]))
    if fixed.dtype.kind not in "iu" or fixed.min() < 0:
        raise UserError("the factor that a group shares must be given by its number, from 0 on")
    if variances.shape != codes.shape[2:]:
        raise UserError(
            f"variances of shape {variances.shape} for {codes.shape[2]} dimensions: give one each"
        )
    if (real_table("variances", variances, LARGEST**2) < 0).any():
        raise UserError("variances must not be below 0")


def _hits(train: np.ndarray, votes: np.ndarray) -> int:
    """How many votes `[F, D]` are for the factor that their dimension stands for in training."""
    return int(votes[np.argmax(train, axis=0), np.arange(votes.shape[1])].sum())


def model_centrality(scores: np.ndarray) -> Centrality:
    """ModelCentrality from all pairs' scores (Lin et al., 2020, section 4).

    s_i is the mean over the other models j of (B_ij + B_ji) / 2; the largest is the medoid.

    Args:
        scores: B `[n, n]`; B_ij is FactorVAE's score of the encoder of j on images of the generator
            of i, whose codes are the factors. The diagonal is not used.

    Raises:
        UserError: Not a square table of at least two models, or not finite beside the diagonal.

    Examples:
        >>> from ivg.metrics import selection
        >>> found = selection.model_centrality([[0, 0.5, 0.3], [0.9, 0, 0.3], [0.1, 0.5, 0]])
        >>> found.scores.round(2).tolist(), found.order.tolist()
        ([0.45, 0.55, 0.3], [1, 0, 2])
    """
    scores = np.asarray(scores)
    n = len(scores) if scores.ndim else 1
    if n < 2 or scores.shape != (n, n):
        raise UserError(f"scores of all pairs of at least two models make no {scores.shape} table")
    others = ~np.eye(n, dtype=bool)
    try:
        real_table("scores of pairs", scores[others])
    except UserError as error:
        raise UserError(f"{error}: score every pair of two models") from None
    scores = scores.astype(np.float64)
    both = np.where(others, (scores + scores.T) / 2, 0.0)
    mean = both.sum(axis=1) / (n - 1)
    return Centrality(mean, np.argsort(-mean, kind="stable"))
