"""How well a code predicts each true factor: what should be in it and is, and what leaked.

For every factor two predictors learn from the training rows and are scored on test rows: a linear
one (what can be read off) and gradient-boosted trees (what is there in a curved form too). Both are
lower limits: a factor that neither finds may still be there. Continuous factors are scored by
R^2 = 1 - squared error / variance on the test rows, raw: 0 is chance, and a predictor that learnt
by heart comes out below. Categorical factors and attributes are scored by accuracy, whose chance
level is the share of the value that is most frequent in training. A sub-attribute does not show
where its owner is absent, so it is predicted and scored only where the owner is present.

The cost is kept down (15 seconds for 20 factors, 8,000 rows and 64 columns on one core): at
most 8,000 training and 4,000 test rows, drawn at random; trees see the 64 columns, and no others,
that are most correlated with the factor, themselves or squared; boosting ends after 100 stages, or
when a tenth of the training rows has not improved for five.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import LARGEST, real_codes, usable_seed

MOST_TRAIN, MOST_TEST = 8_000, 4_000  # rows
FEWEST_TRAIN, FEWEST_TEST = 50, 20  # rows, below which nothing is scored
RAREST = 10  # training rows of a value, below which no predictor learns that value
COLUMNS = 64  # that the trees see
STAGES, PATIENCE, LEAVES, RATE = 100, 5, 15, 0.1  # of boosting
# Of the ridge regression, chosen by leave-one-out error; the last leave noise nothing to fit.
PENALTIES = (1.0, 10.0, 1e2, 1e3, 1e4, 1e5)
INVERSE_PENALTY, ITERATIONS = 0.1, 200  # of the logistic regression


class Target(Protocol):
    """What is asked about a factor; a data set's own records of its factors have these fields."""

    name: str
    kind: str  # "attribute", "sub-attribute" or "nuisance"
    values: int  # of a categorical factor: how many; 0 where it is continuous
    owner: str  # name of the attribute without which it does not show; "" for none


class Leakage(NamedTuple):
    """Scores of one code, and how they were measured.

    rows: one for each factor: "name", "kind", "owner", "measure" ("R2" or "accuracy"), "chance",
        "linear", "boosted" (None where the factor is constant or has too few rows), "train" and
        "test" (numbers of rows).
    recipe: every number that the protocol was run with.
    """

    rows: list[dict[str, Any]]
    recipe: dict[str, Any]


class _Part(NamedTuple):
    """Codes `[N, n]`, standardised, and one factor `[N]` of the rows that are used."""

    codes: np.ndarray
    factor: np.ndarray


def leakage(
    codes_train: np.ndarray,
    codes_test: np.ndarray,
    factors_train: np.ndarray,
    factors_test: np.ndarray,
    *,
    targets: Sequence[Target],
    seed: int = 0,
) -> Leakage:
    """Predicts every factor from one code.

    Args:
        codes_train: `[N, n]`.
        codes_test: `[M, n]`, of examples that the code's model may have seen but no row of
            `codes_train` is.
        factors_train: `[N, F]`; categorical factors and attributes by the number of their value.
        factors_test: `[M, F]`.
        targets: what the F columns are.
        seed: of the rows that are drawn and of the boosting's validation rows.

    Returns:
        A row per factor, in their order.

    Raises:
        UserError: arrays do not fit together, are not finite, or an owner is not among the factors.

    Examples:
        >>> from ivg.data import Factor
        >>> from ivg.metrics.leakage import leakage
        >>> codes = np.random.default_rng(0).normal(size=(300, 2))
        >>> factors = np.stack([codes[:, 0], np.roll(codes[:, 0], 1)], axis=1)
        >>> targets = (Factor("seen", "nuisance", 0), Factor("hidden", "nuisance", 0))
        >>> found = leakage(codes[:200], codes[200:], factors[:200], factors[200:], targets=targets)
        >>> [(row["name"], bool(row["linear"] > 0.9)) for row in found.rows]
        [('seen', True), ('hidden', False)]
    """
    codes = (real_codes(codes_train), real_codes(codes_test))
    factors = (_numbers("training", factors_train), _numbers("test", factors_test))
    seed = usable_seed(seed)
    _require_fit(codes, factors, targets)
    rng = np.random.default_rng(seed)
    kept = [_drawn(len(x), n, rng) for x, n in zip(codes, (MOST_TRAIN, MOST_TEST), strict=True)]
    codes = _standardised(*(x[rows] for x, rows in zip(codes, kept, strict=True)))
    factors = tuple(x[rows] for x, rows in zip(factors, kept, strict=True))
    names = [target.name for target in targets]
    found = []
    for number, target in enumerate(targets):
        parts = []
        for x, columns in zip(codes, factors, strict=True):
            shown = np.ones(len(x), bool)
            if target.owner:
                shown = columns[:, names.index(target.owner)] > 0.5
            parts.append(_Part(x[shown], columns[shown, number]))
        found.append(_row(target, *parts, seed=seed))
    return Leakage(found, _recipe(codes, seed))


def leak_table(codes: Mapping[str, Leakage]) -> list[dict[str, Any]]:
    """One row per factor with the scores of several codes of the same data side by side.

    Args:
        codes: name of the code -> its scores, such as "c" and "z".

    Returns:
        The rows without "linear" and "boosted", which stand under the codes' names instead.

    Raises:
        UserError: The codes were not asked for the same factors.
    """
    asked = {name: [row["name"] for row in found.rows] for name, found in codes.items()}
    if any(names != next(iter(asked.values())) for names in asked.values()):
        raise UserError(f"codes can stand side by side only with the same factors, not {asked}")
    table = []
    for rows in zip(*(found.rows for found in codes.values()), strict=True):
        scores = [{name: row[name] for name in ("linear", "boosted")} for row in rows]
        shared = {name: value for name, value in rows[0].items() if name not in scores[0]}
        table.append(shared | dict(zip(codes, scores, strict=True)))
    return table


# --- data -----------------------------------------------------------------------------------------


def _numbers(part: str, factors: np.ndarray) -> np.ndarray:
    factors = np.asarray(factors)
    if factors.dtype.kind not in "fiub":
        raise UserError(
            f"the true factors of the {part} examples must be numbers, not {factors.dtype}"
        )
    if factors.size and not np.abs(factors.astype(np.float64)).max() <= LARGEST:
        raise UserError(
            f"the true factors of the {part} examples must be finite numbers, none beyond "
            f"{LARGEST:g}"
        )
    return factors.astype(np.int64) if factors.dtype.kind == "b" else factors


def _require_fit(
    codes: tuple[np.ndarray, ...], factors: tuple[np.ndarray, ...], targets: Sequence[Target]
) -> None:
    if codes[0].shape[1] != codes[1].shape[1]:
        raise UserError(
            f"training codes have {codes[0].shape[1]} dimensions but test codes "
            f"{codes[1].shape[1]}: measure both by the same model"
        )
    for part, x, columns in zip(("training", "test"), codes, factors, strict=True):
        if columns.shape != (len(x), len(targets)):
            raise UserError(
                f"{len(x)} {part} codes and {len(targets)} factors need true factors of shape "
                f"{(len(x), len(targets))}, not {columns.shape}"
            )
    names = [target.name for target in targets]
    for target in targets:
        if target.owner and target.owner not in names:
            raise UserError(
                f'factor "{target.name}" belongs to "{target.owner}", which is not among the '
                f"factors: {', '.join(names)}"
            )


def _drawn(rows: int, most: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(rows, size=min(rows, most), replace=False))


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by the mean and the deviation of the training rows; constant columns become 0."""
    rounding = np.finfo(train.dtype).eps
    train, test = train.astype(np.float64), test.astype(np.float64)
    if not len(train):
        return train, test
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    constant = deviation <= rounding * np.abs(mean)  # moved by rounding at most
    scale = np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation))
    return (train - mean) * scale, (test - mean) * scale


def _recipe(codes: tuple[np.ndarray, ...], seed: int) -> dict[str, Any]:
    columns = min(COLUMNS, codes[0].shape[1])
    return {
        "train": len(codes[0]),
        "test": len(codes[1]),
        "dimensions": codes[0].shape[1],
        "linear": f"ridge regression, penalty of {', '.join(f'{p:g}' for p in PENALTIES)} by "
        f"leave-one-out; logistic regression, L2, C {INVERSE_PENALTY:g}",
        "boosted": f"histogram gradient boosting on the {columns} most correlated dimensions, at "
        f"most {STAGES} stages of {LEAVES} leaves, rate {RATE:g}, early stop",
        "seed": seed,
    }


# --- scores ---------------------------------------------------------------------------------------


def _row(target: Target, train: _Part, test: _Part, *, seed: int) -> dict[str, Any]:
    categorical = target.values > 0 or target.kind == "attribute"
    row = {
        "name": target.name,
        "kind": target.kind,
        "owner": target.owner,
        "measure": "accuracy" if categorical else "R2",
        "chance": 0.0,
        "linear": None,
        "boosted": None,
        "train": len(train.factor),
        "test": len(test.factor),
    }
    if len(train.factor) < FEWEST_TRAIN or len(test.factor) < FEWEST_TEST:
        return row | {"chance": None}
    if categorical:
        return row | _accuracies(train, test, seed)
    # Where the test rows do not vary, R^2 divides by 0.
    return row | (_r2s(train, test, seed) if np.ptp(test.factor) > 0 else {"chance": None})


def _r2s(train: _Part, test: _Part, seed: int) -> dict[str, float]:
    import sklearn.ensemble  # slow, like all of scikit-learn: not at every start of the program
    import sklearn.linear_model

    linear = sklearn.linear_model.RidgeCV(alphas=PENALTIES)
    boosted = sklearn.ensemble.HistGradientBoostingRegressor(**_boosting(seed))
    return {
        "linear": _r2(test.factor, linear.fit(*train).predict(test.codes)),
        "boosted": _r2(test.factor, _with_trees(boosted, train, test.codes)),
    }


def _r2(factor: np.ndarray, predicted: np.ndarray) -> float:
    factor = factor.astype(np.float64)
    return float(1 - np.mean((factor - predicted) ** 2) / np.var(factor))


def _accuracies(train: _Part, test: _Part, seed: int) -> dict[str, float | None]:
    train = train._replace(factor=np.round(train.factor).astype(int))
    truth = np.round(test.factor).astype(int)
    values, counts = np.unique(train.factor, return_counts=True)
    chance = float(np.mean(truth == values[np.argmax(counts)]))
    # Boosting sets rows of every value aside for validation; a value with hardly any counts as
    # wrong in the test rows, which nothing could have learnt.
    common = values[counts >= RAREST]
    if len(common) < 2:
        return {"chance": chance}
    rows = np.isin(train.factor, common)
    train = _Part(train.codes[rows], train.factor[rows])
    import sklearn.ensemble
    import sklearn.linear_model

    linear = sklearn.linear_model.LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)
    boosted = sklearn.ensemble.HistGradientBoostingClassifier(**_boosting(seed))
    with _unfinished_solver():
        linear.fit(*train)
    return {
        "chance": chance,
        "linear": float(np.mean(linear.predict(test.codes) == truth)),
        "boosted": float(np.mean(_with_trees(boosted, train, test.codes) == truth)),
    }


def _boosting(seed: int) -> dict[str, Any]:
    return {
        "max_iter": STAGES,
        "max_leaf_nodes": LEAVES,
        "learning_rate": RATE,
        "early_stopping": True,
        "validation_fraction": 0.1,
        "n_iter_no_change": PATIENCE,
        "random_state": seed,
    }


def _with_trees(model: Any, train: _Part, codes: np.ndarray) -> np.ndarray:
    """Predictions for `codes` by a boosted model of the columns that tell most."""
    columns = _telling(train)
    return model.fit(train.codes[:, columns], train.factor).predict(codes[:, columns])


def _telling(train: _Part) -> np.ndarray:
    """Numbers of the columns most correlated with the factor or any of a few values of it."""
    if train.codes.shape[1] <= COLUMNS:
        return np.arange(train.codes.shape[1])
    if np.issubdtype(train.factor.dtype, np.integer):
        wanted = (train.factor[:, None] == np.unique(train.factor)[None]).astype(np.float64)
    else:
        wanted = train.factor[:, None].astype(np.float64)
    wanted = _unit(wanted)
    straight, squared = (np.abs(_unit(x).T @ wanted) for x in (train.codes, train.codes**2))
    strength = np.maximum(straight, squared).max(axis=1)
    return np.sort(np.argsort(-strength, kind="stable")[:COLUMNS])


def _unit(columns: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and length 1; constant ones 0."""
    centred = columns - columns.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    return centred / np.where(length > 0, length, 1.0)


@contextmanager
def _unfinished_solver() -> Iterator[None]:
    """The recipe counts iterations; that a solver was not done by then is part of the score."""
    import sklearn.exceptions

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        yield
