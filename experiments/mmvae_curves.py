"""MMVAE's Fig. 12 and 13: mutual information over the training, of all methods.

  python -m experiments.mmvae_curves --preset=cpu
  python -m experiments.mmvae_curves --preset=cpu --methods=mmvae --table_only

Curves: estimates by networks trained afresh every `eval_every` steps, as they were logged; beside
them what MMVAE's own networks say while they play. Writes mmvae_curves.json, .md and .png; the runs
and the presets are those of mmvae_table2. Runs that still go on are shown as far as they are.
Kim, "MMVAE", thesis, 2019.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import mmvae_runs, mmvae_table2, options, reporting, running
from experiments.mmvae_runs import METHODS, PAIRS
from experiments.running import Run, Scores

PRESETS = mmvae_table2.PRESETS
EVALS = {pair: f"eval/info_{pair.replace(';', '')}" for pair in PAIRS}  # bits
PLAYERS = {pair: f"T_{pair.replace(';', '')}/info" for pair in PAIRS}  # nats
CURVES = Scores(
    "curve of information (attribute_scores.quick_steps and eval_every make them)",
    lambda run: any(name in run.series for name in EVALS.values()),
)
MARKS = (0.25, 0.5, 0.75, 1.0)  # of a run: where the table says how it stands
COLORS = dict(zip(METHODS, ("C0", "C1", "C2"), strict=True))
NOTE = """\
Bits. Estimates on the way: one each, by networks trained afresh for fewer steps than those of the
table (`attribute_scores.quick_steps`), so lower; the table's own, of the last checkpoint, is the
star. T: MMVAE's own network for the pair, its bound on training minibatches, from which its encoder
learns. The thesis, Fig. 12 and 13: curves without numbers; r-CVAE's I(z;c) jumps between epochs 100
and 200 of 1,000."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One entry per run, with its curves; methods in the thesis' order."""
    runs = list(filter(CURVES.present, runs))
    order = {method: i for i, method in enumerate(METHODS)}
    return [row_of(r) for r in sorted(runs, key=lambda r: (order[r.task.method], r.task.seed))]


def row_of(run: Run) -> dict[str, Any]:
    """What the figure says of a run, all in bits."""
    last = {}
    if mmvae_runs.INFORMATION.present(run):
        last = {pair: mmvae_runs.estimates([run], pair)["mean"] for pair in PAIRS}
    entropy = mmvae_runs.attributes(run).get("information", {}).get("entropy_y")
    return {
        "run": run.folder.name,
        "method": run.task.method,
        "seed": run.task.seed,
        "step": (run.results or {}).get("step"),
        "entropy_y": entropy,
        "last": last,
        "estimates": {pair: curve(run, name) for pair, name in EVALS.items()},
        "players": {
            pair: curve(run, name, 1 / math.log(2))
            for pair, name in PLAYERS.items()
            if name in run.series
        },
    }


def curve(run: Run, name: str, scale: float = 1.0) -> dict[str, list]:
    """A logged series times `scale`; empty where there is none."""
    steps, values = reporting.thinned(run.series.get(name, (np.arange(0), np.zeros(0))))
    return {"step": steps.tolist(), "bits": (scale * values).round(5).tolist()}


def jump(found: Mapping[str, Sequence]) -> tuple[int, int, float] | None:
    """(step, next step, change): the largest change between two estimates."""
    if len(found["step"]) < 2:
        return None
    changes = np.diff(found["bits"])
    i = int(np.argmax(np.abs(changes)))
    return found["step"][i], found["step"][i + 1], float(changes[i])


# ---- words --------------------------------------------------------------------------------------


def on_the_way(found: Mapping[str, Sequence]) -> str:
    """As in "500: 0.31, 1,000: 0.40": at each quarter of what is logged."""
    count = len(found["step"])
    picked = sorted({math.ceil(share * count) - 1 for share in MARKS if count})
    return ", ".join(f"{found['step'][i]:,}: {found['bits'][i]:.2f}" for i in picked)


def markdown(content: Mapping[str, Any], name: str) -> str:
    """The page."""
    head = ["run", "method", "seed", *(f"I({pair}) on the way" for pair in PAIRS)]
    head += ["table: I(c;y), I(z;y), I(z;c)", "largest change of I(z;c)"]
    lines = []
    for row in content["rows"]:
        cells = [f"`{row['run']}`", f"`{row['method']}`", row["seed"]]
        cells += [on_the_way(row["estimates"][pair]) for pair in PAIRS]
        cells.append(reporting.each(row["last"].values(), 3))
        change = jump(row["estimates"]["z;c"])
        cells.append("" if change is None else "{2:+.2f}, steps {0:,} to {1:,}".format(*change))
        lines.append(cells)
    parts = [
        f"# MMVAE, Fig. 12 and 13: mutual information over the training, {content['data']}",
        f"![Estimates of the mutual information over the steps]({name}.png)",
        reporting.table(head, lines),
        NOTE,
        *reporting.footer(content),
    ]
    return "\n\n".join(parts) + "\n"


# ---- picture ------------------------------------------------------------------------------------


def draw(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A panel per pair with all methods; below, if there is an MMVAE, its own networks' bounds."""
    from matplotlib.figure import Figure

    own = [row for row in rows if row["players"]]
    height = 2 if own else 1
    figure = Figure((11.0, 3.3 * height), 150, layout="constrained")
    for i, pair in enumerate(PAIRS):
        axes = figure.add_subplot(height, 3, i + 1)
        draw_estimates(axes, rows, pair)
        axes.set_title(f"I({pair}), bits: networks trained afresh", fontsize=8, loc="left")
        panels = [axes]
        if own:
            panels.append(figure.add_subplot(height, 3, 4 + i, sharex=axes))
            draw_players(panels[1], own, pair)
            panels[1].set_title(f"I({pair}), bits: MMVAE's own network", fontsize=8, loc="left")
        panels[-1].set_xlabel("step", fontsize=8)
        for panel in panels:
            reporting.tidy(panel)
    return figure


def draw_estimates(axes: Any, rows: Sequence[Mapping[str, Any]], pair: str) -> None:
    """Every seed thin, the methods' means bold, the last checkpoint's estimate as a star."""
    for method in dict.fromkeys(row["method"] for row in rows):
        own, color = [row for row in rows if row["method"] == method], COLORS[method]
        for row in own:
            found = row["estimates"][pair]
            axes.plot(found["step"], found["bits"], color=color, linewidth=0.6, alpha=0.6)
            if row["last"].get(pair) is not None and row["step"]:
                axes.plot([row["step"]], [row["last"][pair]], "*", color=color, markersize=7)
        steps, means = mean_curve([row["estimates"][pair] for row in own])
        axes.plot(steps, means, ".-", color=color, linewidth=1.6, label=method)
    entropies = [row["entropy_y"] for row in rows if row["entropy_y"] is not None]
    if pair != "z;c" and entropies:
        axes.axhline(entropies[0], color="0.5", linestyle="--", linewidth=0.8, label="H(y)")
    axes.legend(fontsize=6)


def draw_players(axes: Any, rows: Sequence[Mapping[str, Any]], pair: str) -> None:
    """The bound that MMVAE's own network gives, and the fresh ones' beside it."""
    for row in rows:
        played, found = row["players"].get(pair, {"step": [], "bits": []}), row["estimates"][pair]
        first = row is rows[0]
        axes.plot(played["step"], played["bits"], color="C3", linewidth=0.8, alpha=0.8,
                  label="T, training minibatches" if first else None)  # fmt: skip
        axes.plot(found["step"], found["bits"], ".--", color=COLORS["mmvae"], linewidth=0.8,
                  label="trained afresh, test images" if first else None)  # fmt: skip
    axes.legend(fontsize=6)


def mean_curve(curves: Sequence[Mapping[str, Sequence]]) -> tuple[list[int], list[float]]:
    """Means over the seeds at the steps that all of them have."""
    tables = [dict(zip(c["step"], c["bits"], strict=True)) for c in curves if c["step"]]
    steps = sorted(set.intersection(*map(set, tables))) if tables else []
    return steps, [float(np.mean([table[step] for table in tables])) for step in steps]


# ---- the command --------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = mmvae_runs.parser_of("mmvae_curves", __doc__, PRESETS)
    return mmvae_runs.settle(parser.parse_args(argv))


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = running.gather(args, mmvae_runs.make_tasks(args), CURVES)
    rows, name = collect(runs), mmvae_runs.stem(args)
    content = {"data": args.data[0], "rows": rows}
    content |= reporting.frame(args, runs, "methods", CURVES)
    reporting.write(args.out, name, content, markdown(content, name), draw(rows))


if __name__ == "__main__":
    options.command(main)
