"""Scores of how well, and from how few codes, factors can be predicted.

DCI: Eastwood & Williams (2018), "A Framework for the Quantitative Evaluation of Disentangled
Representations". SAP: Kumar et al. (2018), "Variational Inference of Disentangled Latent Concepts
from Unlabeled Observations". Explicitness: Ridgeway & Mozer (2018), "Learning Deep Disentangled
Embeddings with the F-Statistic Loss". Predictors and their settings are those of the study of
Locatello et al. (2019), from scikit-learn.

Traits of the reference that are kept: DCI's informativeness is an accuracy (higher is better); the
discrete SAP of a perfect code is about 0.25, because one line cannot part 40 ordered classes; the
logistic regression stops after 100 iterations, converged or not. Where the reference fails:
constant factors are left out of every mean, constant codes out of explicitness (0/0 there), the
second best of a single code is 0, and classes that only one of the two parts contains leave an area
under the curve undefined and are left out.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import scipy.stats

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import (
    Score,
    constant,
    finite,
    paired,
    split_pair,
    usable_seed,
    varying,
)


def dci(
    codes_train: np.ndarray,
    factors_train: np.ndarray,
    codes_test: np.ndarray,
    factors_test: np.ndarray,
    *,
    seed: int = 0,
) -> Score:
    """Disentanglement, completeness and informativeness (Eastwood & Williams, 2018, section 2).

    One classifier per factor, gradient boosting with 100 stages of one tree per class: minutes for
    factors of 40 values and 10,000 rows. Disentanglement is 1 - the entropy (base F) of a code's
    importances over factors, weighted by the code's share of all importance; completeness the same
    of a factor's importances over codes (1 for a single code that matters). To the trees a code
    that spreads over less than 1e-7 is constant; without any importance both are 0.

    Args:
        codes_train: `[N, D]`.
        factors_train: Whole numbers, `[N, F]`.
        codes_test: `[M, D]`.
        factors_test: Whole numbers, `[M, F]`.
        seed: Seed of the trees, which only break ties by it.

    Returns:
        The disentanglement in [0, 1]; details "completeness" in [0, 1], "informativeness_train" and
        "informativeness_test" (accuracies), "importance" `[D, F]`.

    Raises:
        UserError: The arrays are not of that kind, or fewer than two factors vary in training.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((4, 4)).reshape(2, -1).T  # two factors of 4 values
        >>> codes, factors = np.tile(factors, (4, 1)) * 1.0, np.tile(factors, (4, 1))
        >>> score = disentanglement.dci(codes, factors, codes, factors)
        >>> round(score.value, 3), round(score.details["completeness"], 3)
        (1.0, 1.0)
    """
    arrays = split_pair(codes_train, factors_train, codes_test, factors_test)
    codes_train, factors_train, codes_test, factors_test = arrays
    found = varying(factors_train, "DCI", 2)
    import sklearn.ensemble  # slow, like all of scikit-learn: not at every start of the program

    # One stream through all factors, as the reference's.
    rng = np.random.RandomState(usable_seed(seed))
    importance = np.zeros((codes_train.shape[1], factors_train.shape[1]))
    accuracies = np.zeros((2, len(found)))
    for i, factor in enumerate(found):
        model = sklearn.ensemble.GradientBoostingClassifier(random_state=rng)
        model.fit(codes_train, factors_train[:, factor])
        importance[:, factor] = np.abs(model.feature_importances_)
        accuracies[0, i] = np.mean(model.predict(codes_train) == factors_train[:, factor])
        accuracies[1, i] = np.mean(model.predict(codes_test) == factors_test[:, factor])
    shares = importance[:, found]
    details = {
        "completeness": finite(_concentration(shares.T), "DCI"),
        "informativeness_train": float(accuracies[0].mean()),
        "informativeness_test": float(accuracies[1].mean()),
        "importance": importance,
        "constant_factors": constant(factors_train, found),
    }
    recipe = {
        "train": len(codes_train),
        "test": len(codes_test),
        "classifier": "gradient boosting, 100 stages",
        "seed": seed,
    }
    return Score(finite(_concentration(shares), "DCI"), details, recipe)


def sap_continuous(codes: np.ndarray, factors: np.ndarray) -> Score:
    """Separated attribute predictability with the squared correlation as the predictor's score.

    Mean over factors of the gap between the best and the second best code (Kumar et al., 2018,
    section 3). A code with a variance of at most 1e-12 counts as constant, as in the reference.

    Args:
        codes: `[N, D]`.
        factors: Whole numbers, `[N, F]`.

    Returns:
        The gap in [0, 1]; details "matrix" `[D, F]`.

    Raises:
        UserError: The arrays are not of that kind, or no factor varies.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((8, 8)).reshape(2, -1).T  # two factors of 8 values
        >>> once, twice = factors * 1.0, factors[:, [0, 0, 1, 1]] * 1.0
        >>> [round(disentanglement.sap_continuous(c, factors).value, 3) for c in (once, twice)]
        [1.0, 0.0]
    """
    codes, factors = paired(codes, factors)
    found = varying(factors, "SAP")
    x, y = (a - a.mean(axis=0) for a in (codes.astype(np.float64), factors[:, found]))
    var_x, var_y = x.var(axis=0, ddof=1), y.var(axis=0, ddof=1)
    covariance = x.T @ y / (len(x) - 1)
    # The reference's bound: below it a code counts as constant.
    active = var_x > 1e-12
    matrix = np.zeros((codes.shape[1], factors.shape[1]))
    scale = np.where(active, var_x, 1)[:, np.newaxis] * var_y[np.newaxis]
    matrix[:, found] = np.where(active[:, np.newaxis], covariance**2 / scale, 0)
    details = {"matrix": matrix, "constant_factors": constant(factors, found)}
    recipe = {"rows": len(codes), "predictor": "squared correlation"}
    return Score(finite(_gap(matrix[:, found]), "SAP"), details, recipe)


def sap_discrete(
    codes_train: np.ndarray,
    factors_train: np.ndarray,
    codes_test: np.ndarray,
    factors_test: np.ndarray,
    *,
    seed: int = 0,
) -> Score:
    """Separated attribute predictability with the test accuracy of a linear classifier.

    One linear support vector classifier (C = 0.01, balanced classes) per code and factor, otherwise
    as `sap_continuous`.

    Args:
        codes_train: `[N, D]`.
        factors_train: Whole numbers, `[N, F]`.
        codes_test: `[M, D]`.
        factors_test: Whole numbers, `[M, F]`.
        seed: Seed of the solver.

    Returns:
        The gap in [0, 1]; details "matrix" of accuracies `[D, F]`.

    Raises:
        UserError: The arrays are not of that kind, or no factor varies in training.
    """
    arrays = split_pair(codes_train, factors_train, codes_test, factors_test)
    codes_train, factors_train, codes_test, factors_test = arrays
    found = varying(factors_train, "SAP")
    import sklearn.svm

    rng = np.random.RandomState(usable_seed(seed))
    matrix = np.zeros((codes_train.shape[1], factors_train.shape[1]))
    for code in range(len(matrix)):
        for factor in found:
            model = sklearn.svm.LinearSVC(C=0.01, class_weight="balanced", random_state=rng)
            with _unfinished_solver():
                model.fit(codes_train[:, [code]], factors_train[:, factor])
            predicted = model.predict(codes_test[:, [code]])
            matrix[code, factor] = np.mean(predicted == factors_test[:, factor])
    details = {"matrix": matrix, "constant_factors": constant(factors_train, found)}
    recipe = {
        "train": len(codes_train),
        "test": len(codes_test),
        "predictor": "linear SVC, C 0.01, balanced",
        "seed": seed,
    }
    return Score(finite(_gap(matrix[:, found]), "SAP"), details, recipe)


def explicitness(
    codes_train: np.ndarray,
    factors_train: np.ndarray,
    codes_test: np.ndarray,
    factors_test: np.ndarray,
) -> Score:
    """Explicitness (Ridgeway & Mozer, 2018, section 3): can a linear classifier read the factors?

    Area under the curve of "this value against all others" of a logistic regression on all codes,
    standardised by the training part; mean over values, then over factors.

    Args:
        codes_train: `[N, D]`.
        factors_train: Whole numbers, `[N, F]`.
        codes_test: `[M, D]`.
        factors_test: Whole numbers, `[M, F]`.

    Returns:
        The mean area on the test part: 1 is perfect, 0.5 chance (also if every code is constant).
        Details: "train" (the same on the training part), "per_factor", "active_dims".

    Raises:
        UserError: The arrays are not of that kind, no factor varies in training, or the test part
            has no two values of a factor.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((2, 2)).reshape(2, -1).T  # two factors of 2 values
        >>> factors = np.tile(factors, (10, 1))
        >>> disentanglement.explicitness(factors * 1.0, factors, factors * 1.0, factors).value
        1.0
    """
    arrays = split_pair(codes_train, factors_train, codes_test, factors_test)
    codes_train, factors_train, codes_test, factors_test = arrays
    found = varying(factors_train, "explicitness")
    train, test, active = _standardised(codes_train, codes_test)
    areas = np.zeros((2, len(found)))
    for i, factor in enumerate(found):
        parts = ((train, factors_train[:, factor]), (test, factors_test[:, factor]))
        areas[:, i] = _areas(*parts) if len(active) else 0.5
    if np.isnan(areas).any():
        raise UserError(
            f"{len(test)} test examples are too few for explicitness: of some factor they do not "
            "show two values known from training"
        )
    details = {
        "train": float(areas[0].mean()),
        "per_factor": areas[1],
        "active_dims": active,
        "constant_factors": constant(factors_train, found),
    }
    recipe = {
        "train": len(train),
        "test": len(test),
        "classifier": "logistic regression, L2, C 1, 100 iterations",
    }
    return Score(finite(areas[1].mean(), "explicitness"), details, recipe)


def _concentration(importance: np.ndarray) -> float:
    """Mean over rows, weighted by their sums, of 1 - entropy of the row in base of its length."""
    width = importance.shape[1]
    if importance.sum() == 0:
        importance = np.ones_like(importance)
    if width == 1:
        return 1.0
    shares = importance + 1e-11  # the reference's: a row without importance is spread evenly
    shares = shares / shares.sum(axis=1, keepdims=True)
    per_row = 1 + np.sum(shares * np.log(shares), axis=1) / np.log(width)
    return float(np.sum(per_row * importance.sum(axis=1)) / importance.sum())


def _gap(matrix: np.ndarray) -> float:
    """Mean over columns of the best minus the second best, which is 0 in a single row."""
    ranked = np.sort(np.vstack([np.zeros(matrix.shape[1]), matrix]), axis=0)
    return float(np.mean(ranked[-1] - ranked[-2]))


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns that vary in training, scaled by their training mean and deviation; their numbers."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    varies = (train != train[:1]).any(axis=0) & (deviation > 0)
    active = np.flatnonzero(varies)
    scaled = ((a[:, active] - mean[active]) / deviation[active] for a in (train, test))
    return *scaled, active


def _areas(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> list[float]:
    """Mean area under the curves on both parts, of a model of the first."""
    import sklearn.linear_model

    with _unfinished_solver():
        model = sklearn.linear_model.LogisticRegression().fit(*train)
    return [_mean_area(model.predict_proba(x), y, model.classes_) for x, y in (train, test)]


def _mean_area(probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> float:
    """Mean over classes of the area under the one-against-rest curve, from ranks; NaN if none."""
    ranks = scipy.stats.rankdata(probabilities, axis=0)
    areas = []
    for column, name in enumerate(classes):
        of_class = labels == name
        count = int(of_class.sum())
        if 0 < count < len(labels):
            wins = ranks[of_class, column].sum() - count * (count + 1) / 2
            areas.append(wins / (count * (len(labels) - count)))
    return float(np.mean(areas)) if areas else float("nan")


@contextmanager
def _unfinished_solver() -> Iterator[None]:
    """The protocol counts iterations; that a solver was not done by then is part of the score."""
    import sklearn.exceptions

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        yield
