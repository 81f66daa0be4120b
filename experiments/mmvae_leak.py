"""The leak table of rendered faces: what belongs into c and is there, and what leaked.

Every true factor is predicted linearly and by boosted trees, as R^2 or accuracy: from a draw of c,
a draw of z, which are what the mutual information is of, and the mean of q(z | x), which may tell
more: a trace smaller than the posterior's noise.
Of the summary: attributes that the run learns from and what only they own (sub-attributes) belong
into c and nowhere else, all others into z and nowhere else; a beard is one of these to a run that
is told of glasses only. Scores there are shares of what can be gained above chance,
(score - chance) / (1 - chance), at least 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import mmvae_runs, reporting
from experiments.running import Run

CODES, MEANS = ("c", "z", "z_mean"), ("linear", "boosted")
HOME = ("c", "z")  # where factors belong
# summary column -> code, role of the factors, whether they belong there
QUESTIONS = {
    "attributes in c": ("c", "attribute", True),
    "sub-attributes in c": ("c", "sub-attribute", True),
    "the rest in z": ("z", "rest", True),
    "attributes in z": ("z", "attribute", False),
    "sub-attributes in z": ("z", "sub-attribute", False),
    "the rest in c": ("c", "rest", False),
    "attributes in z_mean": ("z_mean", "attribute", False),
    "sub-attributes in z_mean": ("z_mean", "sub-attribute", False),
}
NOTE = """\
Linear / boosted predictors of every true factor from one draw of c, one of z and the mean of
q(z|x), means over the seeds, on images held out; a sub-attribute on images that show its attribute.
"in": where the factor belongs."""
SUMMARY_NOTE = """\
Summary: linear / boosted share of what can be gained above chance, (score - chance) / (1 - chance),
at least 0, mean over the factors and over the seeds, +- sample standard deviation of the
boosted one over the seeds. The first three should be high (*high*), the rest low."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One entry per method and last step of the runs that have a leak table."""
    runs = [run for run in runs if mmvae_runs.attributes(run).get("leak")]
    groups = mmvae_runs.grouped(runs, lambda run: (run.task.method, run.results["step"]))
    return [entry(key, group) for key, group in groups.items()]


def entry(key: tuple, group: Sequence[Run]) -> dict[str, Any]:
    """The factors' scores over the seeds, and the summary."""
    tables = [table_of(run) for run in group]
    names = list(dict.fromkeys(row["name"] for table in tables for row in table))
    factors = [
        factor([row for table in tables for row in table if row["name"] == name]) for name in names
    ]
    return {
        "method": key[0],
        "step": key[1],
        "seeds": [run.task.seed for run in group],
        "factors": factors,
        "summary": {name: answer(tables, name) for name in QUESTIONS},
        "worst": {code: worst(factors, code) for code in HOME},
    }


def table_of(run: Run) -> list[dict[str, Any]]:
    """A run's leak table with the role that each factor has for it."""
    found = mmvae_runs.attributes(run)
    learnt = found.get("names", ())
    return [row | {"role": role(row, learnt)} for row in found["leak"]]


def role(row: Mapping[str, Any], learnt: Sequence[str]) -> str:
    """Its kind, "attribute" or "sub-attribute", if the run learns from it or its owner; "rest"."""
    whose = row.get("owner") or row["name"]
    return row["kind"] if row["kind"] != "nuisance" and whose in learnt else "rest"


def factor(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One factor over the seeds."""
    found = {name: rows[0].get(name, "") for name in ("name", "kind", "owner", "measure", "role")}
    found["belongs"] = "z" if found["role"] == "rest" else "c"
    found["chance"] = reporting.summary(mmvae_runs.number(row["chance"]) for row in rows)["mean"]
    for code in CODES:
        found[code] = {
            means: reporting.summary(
                mmvae_runs.number(row.get(code, {}).get(means)) for row in rows
            )
            for means in MEANS
        }
    return found


def share(row: Mapping[str, Any], code: str, means: str) -> float:
    """What is gained above chance, of what can be, in [0, 1]; NaN where there is no score."""
    score, chance = (mmvae_runs.number(v) for v in (row.get(code, {}).get(means), row["chance"]))
    if chance >= 1.0:
        return float("nan")  # one value only: nothing can be gained
    gained = (score - chance) / (1.0 - chance)
    return gained if np.isnan(gained) else max(gained, 0.0)


def answer(tables: Sequence[Sequence[Mapping]], question: str) -> dict[str, Any]:
    """Mean share over the factors of a role, per seed, summed up."""
    code, wanted, _ = QUESTIONS[question]
    found = {}
    for means in MEANS:
        per_seed = []
        for table in tables:
            shares = [share(row, code, means) for row in table if row["role"] == wanted]
            per_seed.append(mmvae_runs.number(reporting.summary(shares)["mean"]))
        found[means] = reporting.summary(per_seed)
    return found


def worst(factors: Sequence[Mapping[str, Any]], code: str) -> dict[str, Any] | None:
    """What leaks most into a code: the factor that does not belong there with the largest share."""
    foreign = [f for f in factors if f["belongs"] != code]
    shares = {f["name"]: share_of_mean(f, code) for f in foreign}
    good = {name: value for name, value in shares.items() if np.isfinite(value)}
    if not good:
        return None
    name = max(good, key=good.__getitem__)
    return {"factor": name, "boosted_share": good[name]}


def share_of_mean(found: Mapping[str, Any], code: str, means: str = "boosted") -> float:
    """The share that belongs to a factor's mean over the seeds."""
    return share(
        {"chance": found["chance"], code: {means: found[code][means]["mean"]}}, code, means
    )


# ---- words --------------------------------------------------------------------------------------


def pair(found: Mapping[str, Any]) -> str:
    """As in "0.10 / 0.95"."""
    return " / ".join(reporting.each([found[means]["mean"]]) for means in MEANS)


def full_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """A row per factor, c and z of every method beside each other."""
    several = len({e["method"] for e in entries}) < len(entries)
    head = ["factor", "kind", "of", "in", "measure", "chance"]
    for e in entries:
        step = f" {e['step']:,} steps" if several else ""
        head += [f"`{e['method']}`{step} {code}" for code in CODES]
    by_name: dict[str, list] = {}
    for i, e in enumerate(entries):
        for f in e["factors"]:
            by_name.setdefault(f["name"], [None] * len(entries))[i] = f
    lines = []
    for name, row in by_name.items():
        first = next(f for f in row if f)
        cells = [name, *(first[key] for key in ("kind", "owner", "belongs"))]
        cells += [first["measure"].replace("R2", "R^2"), reporting.each([first["chance"]])]
        for f in row:
            cells += [pair(f[code]) for code in CODES] if f else ["", ""]
        lines.append(cells)
    return reporting.table(head, lines)


def summary_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """A row per method, and what leaked most."""
    head = ["method", "steps", "seeds"]
    head += [f"{name} *high*" if q[2] else name for name, q in QUESTIONS.items()]
    lines = []
    for e in entries:
        cells = [f"`{e['method']}`", f"{e['step']:,}", len(e["seeds"])]
        for found in e["summary"].values():
            linear = reporting.each([found["linear"]["mean"]])
            cells.append(f"{linear} / {reporting.spread(found['boosted']) or 'nan'}")
        leaks = [
            f"{e['worst'][code]['factor']} in {code} ({e['worst'][code]['boosted_share']:.2f})"
            for code in HOME
            if e["worst"][code]
        ]
        lines.append([*cells, ", ".join(leaks)])
    return reporting.table([*head, "largest leaks"], lines)


def parts(entries: Sequence[Mapping[str, Any]], picture: str) -> list[str]:
    """The paragraphs of the page; none where no true factors are known."""
    if not entries:
        return []
    return [
        "## What should be in c and is, what leaked",
        summary_table(entries),
        SUMMARY_NOTE,
        f"![Share above chance of every factor in c and z, boosted predictors]({picture})",
        full_table(entries),
        NOTE,
    ]


# ---- picture ------------------------------------------------------------------------------------


def draw(entries: Sequence[Mapping[str, Any]]) -> Any:
    """A map of the boosted shares: a row per factor, a column per method and code."""
    from matplotlib.figure import Figure

    factors = {f["name"]: f for e in entries for f in e["factors"]}
    figure = Figure((2.6 + 0.9 * len(CODES) * len(entries), 1.4 + 0.24 * len(factors)), 150,
                    layout="constrained")  # fmt: skip
    axes = figure.add_subplot()
    columns = [(e, code) for code in CODES for e in entries]
    values = np.full((len(factors), len(columns)), np.nan)
    for j, (e, code) in enumerate(columns):
        own = {f["name"]: f for f in e["factors"]}
        for i, name in enumerate(factors):
            values[i, j] = share_of_mean(own[name], code) if name in own else np.nan
    image = axes.imshow(values, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "black" if value > 0.6 else "white"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(columns)), [f"{code}\n{e['method']}" for e, code in columns])
    axes.set_yticks(range(len(factors)), [f"{n} (in {f['belongs']})" for n, f in factors.items()])
    axes.tick_params(labelsize=7)
    for j in range(1, len(CODES)):
        axes.axvline(j * len(entries) - 0.5, color="white", linewidth=3)
    axes.set_title("share above chance, boosted predictors", fontsize=8, loc="left")
    figure.colorbar(image, ax=axes, shrink=0.6).ax.tick_params(labelsize=7)
    return figure
