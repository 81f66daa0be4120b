"""Several metrics over several seeds, as plain JSON types.

From a `Representation` every seed draws 10,000 examples to fit on and 5,000 to test on, the counts
of the study of Locatello et al. (2019), and all metrics of arrays share them; the protocols with
groups draw their own. Of fixed `Rows` the metrics without a test part use every row, so that seeds
change nothing; the others split the rows anew with every seed.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ivg.errors import UserError
from ivg.metrics.disentanglement import information, interventional, predictors, votes
from ivg.metrics.disentanglement.checks import Score, positive, usable_seed
from ivg.metrics.disentanglement.sampling import examples, stream
from ivg.metrics.disentanglement.sources import Representation, Rows, Source, scored

# Factors drawn together for the metrics of arrays, as the study does: it settles their order.
DRAWN_TOGETHER = 16
# What costs seconds, the encoder aside.
FAST = (
    "factor_vae",
    "factor_vae_ibgan",
    "beta_vae",
    "mig",
    "sap_continuous",
    "modularity",
    "irs",
)
# DCI alone takes many minutes with factors of 40 values.
ALL = (*FAST, "sap_discrete", "explicitness", "dci")
# Scores of the same run that get an entry of their own, by their name in the details.
ALSO = {
    "dci": {
        "dci_completeness": "completeness",
        "dci_informativeness": "informativeness_test",
        "dci_informativeness_train": "informativeness_train",
    },
}


def evaluate(
    source: Source,
    *,
    metrics: Sequence[str] = FAST,
    seeds: Sequence[int] = (0,),
    num_train: int = 10_000,
    num_test: int = 5_000,
    batch_size: int = 64,
    num_variance: int = 10_000,
    threshold: float = 0.05,
    num_votes_ibgan: int = 800,
    batch_size_ibgan: int = 200,
    num_bins: int = 20,
    quantile: float = 0.99,
) -> dict[str, dict[str, Any]]:
    """Scores of a representation with their spread over seeds and their recipe.

    Args:
        source: A `Representation`, or `from_arrays(codes, factors)`.
        metrics: Names from `ALL`; "dci" gives entries for completeness and informativeness too.
        seeds: One run of the whole protocol each.
        num_train: Votes, points and examples that are fitted on.
        num_test: Those that are scored on.
        batch_size: Examples per vote, pairs per point.
        num_variance: Examples for the variance over all data (FactorVAE's).
        threshold: Of the standard deviation (`factor_vae`) or variance (`factor_vae_ibgan`) of an
            active dimension.
        num_votes_ibgan: Votes of the preset.
        batch_size_ibgan: Examples per vote of the preset.
        num_bins: Equal-width bins per code (MIG, modularity) or factor (IRS).
        quantile: IRS's.

    Returns:
        Metric -> {"mean", "std" (n - 1; None for a single seed), "values", "recipe", "details" of
        the first seed}. A metric that is not defined on these data, such as modularity with one
        factor, has mean None, no values and a "reason".

    Raises:
        UserError: A name is unknown, or no metric is defined.

    Examples:
        >>> from ivg.metrics import disentanglement
        >>> factors = np.indices((8, 8)).reshape(2, -1).T  # two factors of 8 values
        >>> source = disentanglement.from_arrays(factors * 1.0, factors, names=("x", "y"))
        >>> found = disentanglement.evaluate(source, metrics=("mig", "irs"), seeds=(0, 1))
        >>> {name: (round(score["mean"], 3), score["std"]) for name, score in found.items()}
        {'mig': (1.0, 0.0), 'irs': (1.0, 0.0)}
    """
    metrics, seeds = _checked(metrics, seeds)
    positive(num_train=num_train, num_test=num_test)
    shared = {"batch_size": batch_size}
    factor = shared | {"num_variance": num_variance, "threshold": threshold}
    ibgan = {"num_votes": num_votes_ibgan, "batch_size": batch_size_ibgan}
    options = {
        "factor_vae": factor | {"num_train": num_train, "num_eval": num_test},
        "factor_vae_ibgan": factor | ibgan,
        "beta_vae": shared | {"num_train": num_train, "num_eval": num_test},
        "mig": {"num_bins": num_bins},
        "modularity": {"num_bins": num_bins},
        "irs": {"num_bins": num_bins, "quantile": quantile},
    }
    runs, reasons = _runs(source, metrics, seeds, (num_train, num_test), options)
    return _summaries(runs, reasons, seeds)


_GROUPS: dict[str, Callable[..., Score]] = {
    "factor_vae": votes.factor_vae,
    "factor_vae_ibgan": votes.factor_vae_ibgan,
    "beta_vae": votes.beta_vae,
}
_ARRAYS: dict[str, Callable[..., Score]] = {
    "mig": information.mig,
    "sap_continuous": predictors.sap_continuous,
    "modularity": information.modularity,
    "irs": interventional.irs,
}
_SPLITS: dict[str, Callable[..., Score]] = {
    "sap_discrete": predictors.sap_discrete,
    "explicitness": predictors.explicitness,
    "dci": predictors.dci,
}


def _checked(
    metrics: Sequence[str], seeds: Sequence[int]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    metrics = tuple(dict.fromkeys([metrics] if isinstance(metrics, str) else metrics))
    unknown = [name for name in metrics if name not in ALL]
    if unknown or not metrics:
        raise UserError(
            f"unknown metric {', '.join(unknown) or '(none named)'}: choose from {', '.join(ALL)}"
        )
    seeds = tuple(usable_seed(seed) for seed in seeds)
    if not seeds:
        raise UserError("give at least one seed")
    return metrics, seeds


def _runs(
    source: Source,
    metrics: Sequence[str],
    seeds: Sequence[int],
    counts: tuple[int, int],
    options: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, list[Score]], dict[str, UserError]]:
    """Every metric's scores over the seeds, and why those without are not defined."""
    runs: dict[str, list[Score]] = {name: [] for name in metrics}
    reasons: dict[str, UserError] = {}
    for seed in seeds:
        data = _data(source, metrics, *counts, seed)
        for name in metrics:
            if name not in reasons:
                try:
                    runs[name].append(_run(name, source, data, seed, options.get(name, {})))
                except UserError as error:
                    reasons[name] = error
    if len(reasons) == len(metrics):
        raise reasons[metrics[0]]
    return runs, reasons


def _data(
    source: Source, metrics: Sequence[str], num_train: int, num_test: int, seed: int
) -> dict[str, tuple[np.ndarray, ...]]:
    """The arrays "all" and "split" that this seed's metrics of arrays share."""
    numbers, data = stream(seed), {}
    wanted = scored(source)
    needs_split = any(name in _SPLITS for name in metrics)
    if needs_split or any(name in _ARRAYS for name in metrics):
        codes, factors = examples(source, num_train, numbers, batch_size=DRAWN_TOGETHER)
        data["all"] = codes, factors[:, wanted]
    if needs_split and isinstance(source, Representation):
        codes, factors = examples(source, num_test, numbers, batch_size=DRAWN_TOGETHER)
        data["split"] = (*data["all"], codes, factors[:, wanted])
    elif needs_split:
        data["split"] = _split_rows(source, wanted, num_train, num_test, numbers.factors)
    return data


def _split_rows(
    source: Rows, wanted: np.ndarray, num_train: int, num_test: int, rng: np.random.RandomState
) -> tuple[np.ndarray, ...]:
    """Two thirds of the rows to fit on and the rest to test on, at most as many as asked for."""
    order = rng.permutation(len(source.codes))
    test, train = np.split(order, [min(num_test, len(order) // 3)])
    parts = train[:num_train], test
    return tuple(a for rows in parts for a in (source.codes[rows], source.factors[rows][:, wanted]))


def _run(
    name: str, source: Source, data: Mapping[str, tuple], seed: int, options: Mapping[str, Any]
) -> Score:
    if name in _GROUPS:
        return _GROUPS[name](source, seed=seed, **options)
    fixed = isinstance(source, Rows)
    if name in _ARRAYS:
        score = _ARRAYS[name](*data["all"], **options)
        words = "every fixed row, whatever the seed" if fixed else "random examples"
    else:
        randomness = {} if name == "explicitness" else {"seed": seed}
        score = _SPLITS[name](*data["split"], **randomness)
        words = "fixed rows, split anew by each seed" if fixed else "random examples"
    return score._replace(recipe=score.recipe | {"seed": seed, "source": words})


def _summaries(
    runs: Mapping[str, list[Score]], reasons: Mapping[str, UserError], seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    result = {}
    for name, scores in runs.items():
        also = ALSO.get(name, {})
        if name in reasons:
            undefined = {"mean": None, "std": None, "values": [], "recipe": {"seeds": list(seeds)}}
            for entry in (name, *also):
                result[entry] = undefined | {"reason": str(reasons[name])}
            continue
        recipe = {k: v for k, v in scores[0].recipe.items() if k != "seed"} | {"seeds": list(seeds)}
        details = {k: v for k, v in scores[0].details.items() if k not in also.values()}
        result[name] = _summary([s.value for s in scores], recipe) | {"details": plain(details)}
        for entry, key in also.items():
            result[entry] = _summary([s.details[key] for s in scores], recipe)
    return result


def _summary(values: list[float], recipe: dict[str, Any]) -> dict[str, Any]:
    # Exact sums: the spread of equal values is 0, not a rounding error.
    std = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": statistics.fmean(values),
        "std": std,
        "values": values,
        "recipe": plain(recipe),
    }


def plain(value: Any) -> Any:
    """The value with arrays, tuples and NumPy numbers as JSON types."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
