"""The runs, what they say of each other's images, and the rows that come of it."""

import json
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from ivg import data, rundir, runs
from ivg.data.batches import take
from ivg.errors import UserError
from ivg.examples import chosen, in_chunks, unit
from ivg.metrics import selection
from ivg.players import Method
from ivg.scoring import continuous

GROUPS = ("all", "method", "settings")
FEWEST = 3  # two runs are compared with each other only, and tie
IMAGES_PER_VOTE = 64
VARIANCE_IMAGES = 1_000  # for the variance that votes are measured against
TRUTH = "factor_vae"  # the true score that rankings are compared with


class Functions(NamedTuple):
    """A method's functions, compiled; runs that differ in the seed alone share them.

    encode: (state, images in [-1, 1]) -> {"codes": [B, D]} and, where the method knows them, the
        KLs of the codes from their prior, {"rates": [B, D]}, nats.
    generate: (state, codes by name) -> images in [-1, 1].
    draw: (state, key, n) -> codes from the prior.
    sizes: of the continuous codes by name.
    """

    encode: Callable
    generate: Callable
    draw: Callable
    sizes: Mapping[str, int]


class Candidate(NamedTuple):
    """A trained run."""

    folder: pathlib.Path
    config: Mapping[str, Any]
    step: int
    state: Any
    functions: Functions


def rank(
    folders: Sequence[pathlib.Path],
    *,
    images: int = 2_000,
    votes: int = 80,
    group: str = "all",
    relation: str = "spearman",
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Ranks runs by UDR and by ModelCentrality.

    Args:
        folders: run directories, three or more, of one data set.
        images: test images for UDR (all, where there are fewer).
        votes: groups of 64 generated images for each pair of runs, at least two for each code.
            They may be few: a run's centrality is a mean over 2 (n - 1) pairs.
        group: among which runs UDR compares: "all", of a "method", or of the same "settings".
        relation: of UDR, "spearman" or "lasso".
        seed: of the codes that are drawn.
        report: takes lines about the progress.

    Returns:
        As JSON: "runs", the rows, best UDR first, with "folder", "method", "seed", "step", "udr",
        "udr_rank", "informative" (dimensions), "centrality", "centrality_rank" and "scores" (means
        of the disentanglement scores in results.json, if it is of this step); "pairs", the tables
        behind both in the order of "folders"; "correlation", Spearman's rank correlation of each
        with the true FactorVAE score, None where fewer than three runs have one; "recipe".

    Raises:
        UserError: The runs cannot be compared; says which and why.
    """
    start = time.monotonic()
    configs = check(folders, group, images, votes)
    candidates, dataset, mesh = load(configs, report)
    with jax.set_mesh(mesh):
        found = encoded(candidates, dataset, images)
        compared = compare(candidates, found, group, relation)
        table = pairwise(candidates, dataset, votes, jax.random.key(seed), report)
    rows = judged(candidates, compared, selection.model_centrality(table))
    recipe = {"data": dataset.name, "images": len(found[0][0]), "group": group}
    recipe |= {"relation": relation, "kl_threshold": 0.01, "votes": votes}
    recipe |= {"images_per_vote": IMAGES_PER_VOTE, "variance_images": VARIANCE_IMAGES, "seed": seed}
    return {
        "runs": sorted(rows, key=lambda r: r["udr_rank"]),
        "correlation": {name: correlation(rows, name) for name in ("udr", "centrality")},
        "folders": [str(c.folder) for c in candidates],
        "pairs": {"udr": _listed(compared.pairs), "centrality": _listed(table)},
        "recipe": recipe,
        "seconds": round(time.monotonic() - start, 1),
    }


# ---- the runs -----------------------------------------------------------------------------------


def check(
    folders: Sequence[pathlib.Path], group: str, images: int, votes: int
) -> dict[pathlib.Path, dict]:
    """The configs of run directories that can be compared, before anything is loaded.

    The arguments are those of `rank`.

    Raises:
        UserError: there are too few, one is there twice, they are of different data, or another
            argument is none that `rank` takes.
    """
    if group not in GROUPS:
        raise UserError(f'there is no group "{group}"; use {", ".join(GROUPS)}.')
    if images < 2 or votes < 1:
        raise UserError(f"images={images} and votes={votes} must be at least 2 and 1.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a run is named twice, and would agree with itself; name each run once.")
    if len(folders) < FEWEST:
        raise UserError(
            f"{len(folders)} run(s) cannot be ranked: each is judged by what the others say, which "
            f"takes {FEWEST} or more; name more run directories."
        )
    configs = {folder: rundir.read_config(folder) for folder in folders}
    first, *others = configs
    for other in others:
        parts = [{k: configs[f][k] for k in ("data", "attributes")} for f in (first, other)]
        if changed := rundir.difference(*parts):
            raise UserError(
                f"{first} and {other} were trained on different data ({'; '.join(changed)}); rank "
                "runs of one data set only."
            )
    for members in grouped(configs.values(), group).values():
        if len(members) < FEWEST:
            few = f"only {len(members) - 1}" if len(members) > 1 else "no"
            raise UserError(
                f"{folders[members[0]]} has {few} other runs of its {group} to be compared with, "
                f"and needs {FEWEST - 1}; name more of them or use --group=all."
            )
    return configs


def grouped(configs: Iterable[Mapping], group: str) -> dict[str, list[int]]:
    """Numbers of the runs that UDR compares with each other, by what they share."""
    groups: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        key = {"all": "", "method": config["method"], "settings": settings(config)}[group]
        groups.setdefault(key, []).append(i)
    return groups


def settings(config: Mapping) -> str:
    """What a run computes apart from its seed, as a text to compare."""
    flat = rundir.flatten(config)
    kept = {k: v for k, v in flat.items() if k not in rundir.SAFE and k != "seed"}
    return json.dumps(kept | {"num_steps": config["num_steps"]}, sort_keys=True)


def load(
    configs: Mapping[pathlib.Path, Mapping], report: Callable[[str], None]
) -> tuple[list[Candidate], data.Dataset, jax.sharding.Mesh]:
    """The runs with the states of their last checkpoints, their data set and the devices."""
    candidates, compiled = [], {}
    for folder, config in configs.items():
        run, state, step = runs.last_state(config, folder)
        method = run.method.at(step)
        check_method(folder, config["method"], method)
        key = settings(config)
        if key not in compiled:
            compiled[key] = functions(method)
        candidates.append(Candidate(folder, config, step, state, compiled[key]))
        report(f"{folder}: {config['method']}, seed {config['seed']}, step {step}")
    return candidates, run.dataset, run.mesh


def check_method(folder: pathlib.Path, name: str, method: Method) -> None:
    """Raises UserError for a method without what both comparisons need."""
    if method.num_attributes:
        raise UserError(
            f"{folder}: {name} infers codes from images and their attributes together; leave it "
            "out, runs are ranked by what they infer from images alone."
        )
    if method.encode is None:
        raise UserError(f"{folder}: {name} infers no codes from images at this step; leave it out.")
    size = sum(method.codes[code].size for code in continuous(method))
    if size < 2:
        raise UserError(
            f"{folder}: {name} has {size} continuous codes, and runs are ranked by at least two; "
            "leave it out."
        )


def functions(method: Method) -> Functions:
    """A method's functions for the continuous codes side by side, compiled."""
    names = continuous(method)

    def encode(s, x):
        codes = method.encode(s, x)
        found = {"codes": jnp.concatenate([codes[name] for name in names], axis=-1)}
        if method.rates is not None:
            found["rates"] = method.rates(s, x)
        return found

    return Functions(
        encode=jax.jit(encode),
        generate=jax.jit(method.generate),
        draw=jax.jit(method.prior, static_argnums=2),
        sizes={name: method.codes[name].size for name in names},
    )


# ---- the comparisons ----------------------------------------------------------------------------


def encoded(
    candidates: Sequence[Candidate], dataset: data.Dataset, limit: int
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """For each run the codes `[N, D]` of the same test images and their mean KLs `[D]`, or None."""
    numbers = chosen(dataset, limit)
    found = []
    for c in candidates:
        # The images are read anew for each run: all of them at once may not fit into memory.
        out = in_chunks(
            lambda x, c=c: c.functions.encode(c.state, x),
            len(numbers),
            lambda i: unit(take(dataset.test.images, numbers[i])),
        )
        if not np.isfinite(out["codes"]).all():
            raise UserError(f"{c.folder} gives codes that are not finite numbers; leave it out.")
        kl = out["rates"].mean(axis=0) if "rates" in out else None
        found.append((out["codes"], kl))
    return found


def compare(
    candidates: Sequence[Candidate],
    found: Sequence[tuple[np.ndarray, np.ndarray | None]],
    group: str,
    relation: str,
) -> selection.Udr:
    """UDR within each group; pairs of different groups are NaN."""
    n = len(candidates)
    scores, pairs, informative = np.zeros(n), np.full((n, n), np.nan), [np.empty(0, int)] * n
    for members in grouped([c.config for c in candidates], group).values():
        codes, kls = zip(*(found[i] for i in members), strict=True)
        part = selection.udr(codes, kls, method=relation)
        scores[members] = part.scores
        pairs[np.ix_(members, members)] = part.pairs
        for i, dims in zip(members, part.informative, strict=True):
            informative[i] = dims
    return selection.Udr(scores, pairs, informative)


def pairwise(
    candidates: Sequence[Candidate],
    dataset: data.Dataset,
    votes: int,
    key: jax.Array,
    report: Callable[[str], None],
) -> np.ndarray:
    """B `[n, n]` of `selection.model_centrality`; its diagonal, which is not used, is NaN."""
    n = len(candidates)
    table = np.full((n, n), np.nan)
    for i, source in enumerate(candidates):
        start = time.monotonic()
        others = {str(j): c for j, c in enumerate(candidates) if j != i}
        codes, fixed = factors(source, votes, jax.random.fold_in(key, i))

        def look(rows, source=source, others=others):
            x = source.functions.generate(source.state, rows)
            return {j: c.functions.encode(c.state, x)["codes"] for j, c in others.items()}

        size = len(fixed) * IMAGES_PER_VOTE + VARIANCE_IMAGES
        seen = in_chunks(
            look, size, lambda rows, codes=codes: {k: v[rows] for k, v in codes.items()}
        )
        for j, found in seen.items():
            table[i, int(j)] = score(source, candidates[int(j)], found, fixed)
        spent = (time.monotonic() - start) / (n - 1)
        report(
            f"images of {source.folder} ({i + 1} of {n}): {spent:.1f} s for each of {n - 1} runs"
        )
    return table


def score(source: Candidate, other: Candidate, codes: np.ndarray, fixed: np.ndarray) -> float:
    """FactorVAE's score of one encoder on one generator's images: groups first, then the rest."""
    if not np.isfinite(codes).all():
        raise UserError(
            f"{other.folder} gives codes that are not finite for images of {source.folder}; leave "
            "out the one that has diverged."
        )
    groups = codes[:-VARIANCE_IMAGES].reshape(len(fixed), IMAGES_PER_VOTE, -1)
    variances = codes[-VARIANCE_IMAGES:].var(axis=0, ddof=1, dtype=np.float64)
    return selection.factor_agreement(groups, fixed, variances)


def factors(
    source: Candidate, votes: int, key: jax.Array
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Codes of a run's prior by name, `[votes * 64 + 1000, ...]`, and the factors fixed `[votes]`.

    Each 64 codes share the value of one dimension, all else is as drawn; the dimensions take turns.
    There are more votes where two for each dimension are more.
    """
    sizes = source.functions.sizes
    dims = [(name, axis) for name, size in sizes.items() for axis in range(size)]
    fixed = np.arange(max(votes, 2 * len(dims))) % len(dims)
    size = len(fixed) * IMAGES_PER_VOTE + VARIANCE_IMAGES
    codes = jax.device_get(source.functions.draw(source.state, key, size))
    codes = {name: np.array(values) for name, values in codes.items()}
    for vote, number in enumerate(fixed):
        name, axis = dims[number]
        first = vote * IMAGES_PER_VOTE
        codes[name][first : first + IMAGES_PER_VOTE, axis] = codes[name][first, axis]
    return codes, fixed


# ---- the results --------------------------------------------------------------------------------


def judged(
    candidates: Sequence[Candidate], udr: selection.Udr, centrality: selection.Centrality
) -> list[dict[str, Any]]:
    """A row for each run, in the order given."""
    rows = [
        {
            "folder": str(c.folder),
            "method": c.config["method"],
            "seed": c.config["seed"],
            "step": c.step,
            "udr": float(udr.scores[i]),
            "informative": len(udr.informative[i]),
            "centrality": float(centrality.scores[i]),
            "scores": known(c.folder, c.step),
        }
        for i, c in enumerate(candidates)
    ]
    for name in ("udr", "centrality"):
        places = scipy.stats.rankdata([-r[name] for r in rows], method="min")
        rows = [r | {f"{name}_rank": int(p)} for r, p in zip(rows, places, strict=True)]
    return rows


def known(folder: pathlib.Path, step: int) -> dict[str, float | None]:
    """Disentanglement scores that results.json has of this step, means by name; {} without any."""
    try:
        results = json.loads((folder / "results.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    if results.get("step") != step:
        return {}
    return {name: entry["mean"] for name, entry in results.get("disentanglement", {}).items()}


def correlation(rows: Sequence[Mapping], name: str) -> float | None:
    """Spearman's correlation with the true score; None for fewer than three runs or one value."""
    pairs = [(r[name], r["scores"][TRUTH]) for r in rows if r["scores"].get(TRUTH) is not None]
    if len(pairs) < FEWEST or any(len(set(values)) < 2 for values in zip(*pairs, strict=True)):
        return None
    return float(scipy.stats.spearmanr(*zip(*pairs, strict=True)).statistic)


def _listed(table: np.ndarray) -> list[list[float | None]]:
    return [[float(v) if np.isfinite(v) else None for v in values] for values in table]
