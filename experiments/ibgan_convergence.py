"""IB-GAN's Fig. 4: KL of each dimension of r and FactorVAE score over the training.

  python -m experiments.ibgan_convergence --preset=cpu --workdir=runs/beta
  python -m experiments.ibgan_convergence --workdir=runs/table1 --betas=0.141 --table_only

Trains what is missing (in the directory of a beta sweep nothing is trained twice), then writes
ibgan_convergence.json, .md and .png. Presets: smoke, a minute; cpu, 40,000 steps and 2 seeds, an
evening on two cores; paper, 150,000 steps and 10 seeds, for a GPU. The paper's figure: beta 0.212.
Jeon, Lee, Pyeon, Kim, "IB-GAN", AAAI 2021.
"""

import argparse
import math
from collections.abc import Sequence
from typing import Any

from experiments import ibgan_beta_sweep, options, reporting, running
from experiments.running import Preset, Run

PRESETS = {
    "smoke": Preset(20, 1, ("sprites",), (0.212,)),
    "cpu": Preset(40_000, 2, ("sprites",), (0.212,)),
    "paper": Preset(150_000, 10, ("sprites",), (0.212,)),
}
INFORMED = 0.1  # nats; a dimension of r above it is counted as in use
SCORE = "eval/factor_vae"
NOTE = f"""\
KL: of e(r_i|z) to N(0, 1) in nats, mean over 10,000 z at the last checkpoint, the dimensions in
falling order; "in use": above {INFORMED}. Curves: means over the logged steps. FactorVAE:
disentanglement_lib's protocol at the last checkpoint, every seed by itself; "on the way" are scores
with few votes (`disentanglement.quick_votes`)."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One entry per run, with its curves."""
    return [row_of(run) for run in runs if running.has_scores(run)]


def row_of(run: Run) -> dict[str, Any]:
    """What the figure says of a run."""
    kl = run.results.get("bounds", {}).get("kl", [])
    names = sorted(name for name in run.series if name.startswith("E/kl_"))
    curves = {name.removeprefix("E/kl_"): reporting.thinned(run.series[name]) for name in names}
    score = reporting.finite(run.series[SCORE]) if SCORE in run.series else ((), ())
    return {
        "run": run.folder.name,
        "data": run.task.data,
        "beta": run.config["ibgan"]["beta"],
        "seed": run.task.seed,
        "step": run.results["step"],
        "factor_vae": reporting.summary([reporting.score(run, "factor_vae")]),
        "votes": run.results["disentanglement"]["factor_vae"]["recipe"],
        "bounds": {name: reporting.bounds([run], name) for name in ("info_lower", "info_upper")},
        "kl": [float(v) if math.isfinite(v) else None for v in kl],
        "in_use": sum(v > INFORMED for v in kl),
        "kl_curves": {
            f"r{int(name)}": {"step": steps.tolist(), "kl": values.round(5).tolist()}
            for name, (steps, values) in curves.items()
        },
        "score_curve": {"step": list(map(int, score[0])), "score": list(map(float, score[1]))},
    }


def markdown(content: dict[str, Any]) -> str:
    """The page."""
    head = ["run", "beta", "step", "FactorVAE", "protocol", "I^L", "I^U", "in use"]
    lines = [
        [
            f"`{row['run']}`",
            f"{row['beta']:g}",
            f"{row['step']:,}",
            reporting.spread(row["factor_vae"]),
            reporting.votes(row["votes"]),
            *(reporting.spread(row["bounds"][name]) for name in ("info_lower", "info_upper")),
            row["in_use"],
            " ".join(f"{name} {kl:.2f}" for name, kl in falling(row)),
            ", ".join(score_words(row)),
        ]
        for row in content["rows"]
    ]
    parts = [
        "# IB-GAN, Fig. 4: KL of each dimension and score over the training",
        "![KL of each dimension of r, and FactorVAE score, over the steps](ibgan_convergence.png)",
        reporting.table([*head, "KL of each dimension", "FactorVAE on the way"], lines),
        NOTE,
        *reporting.footer(content),
    ]
    return "\n\n".join(parts) + "\n"


def falling(row: dict[str, Any]) -> list[tuple[str, float]]:
    """(name, KL at the last checkpoint) of the dimensions, the largest first."""
    pairs = [(f"r{i + 1}", kl) for i, kl in enumerate(row["kl"]) if kl is not None]
    return sorted(pairs, key=lambda pair: -pair[1])


def score_words(row: dict[str, Any], most: int = 10) -> list[str]:
    """At most so many "5,000: 0.31"."""
    pairs = list(zip(row["score_curve"]["step"], row["score_curve"]["score"], strict=True))
    every = math.ceil(len(pairs) / most) or 1
    return [f"{step:,}: {score:.2f}" for step, score in pairs[every - 1 :: every]]


def draw(rows: Sequence[dict[str, Any]]) -> Any:
    """A column per run: the dimensions' KL above, the score below."""
    from matplotlib.figure import Figure

    figure = Figure((3.8 * len(rows), 5.2), 150, layout="constrained")
    for i, row in enumerate(rows):
        above = figure.add_subplot(2, len(rows), i + 1)
        below = figure.add_subplot(2, len(rows), len(rows) + i + 1, sharex=above)
        draw_kl(above, row)
        draw_score(below, row)
        title = f"{row['data']}, beta {row['beta']:g}, seed {row['seed']}"
        above.set_title(f"{title}: KL per dimension, nats", fontsize=8, loc="left")
        below.set_title("FactorVAE score", fontsize=8, loc="left")
        below.set_xlabel("step", fontsize=8)
        for axes in (above, below):
            reporting.tidy(axes)
    return figure


def draw_kl(axes: Any, row: dict[str, Any]) -> None:
    """The dimensions, labelled in falling order of their last KL."""
    last = {
        name: curve["kl"][-1] if curve["kl"] else -math.inf
        for name, curve in row["kl_curves"].items()
    }
    for name in sorted(last, key=lambda name: -last[name]):
        curve, color = row["kl_curves"][name], f"C{(int(name[1:]) - 1) % 10}"
        axes.plot(curve["step"], curve["kl"], color=color, linewidth=1.2, label=name)
    if last:
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw_score(axes: Any, row: dict[str, Any]) -> None:
    """The score on the way and at the last checkpoint."""
    curve, last = row["score_curve"], row["factor_vae"]["mean"]
    if curve["step"]:
        axes.plot(curve["step"], curve["score"], ".-", color="0.5", label="on the way, few votes")
    if last is not None:
        label = f"last checkpoint, {reporting.votes(row['votes'])}"
        axes.plot([row["step"]], [last], "*", color="C3", markersize=9, label=label)
    if curve["step"] or last is not None:
        axes.legend(fontsize=6, loc="upper left")
    axes.set_ylim(-0.02, 1.02)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = options.parser_of("ibgan_convergence", __doc__, PRESETS)
    parser.add_argument("--betas", help="with commas; default 0.212")
    args = options.settle(parser.parse_args(argv))
    own = PRESETS[args.preset].choices
    args.betas = own if args.betas is None else options.numbers("--betas", args.betas)
    return args


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = running.gather(args, ibgan_beta_sweep.make_tasks(args))
    rows = collect(runs)
    content = {"rows": rows, **reporting.frame(args, runs, "betas")}
    reporting.write(args.out, "ibgan_convergence", content, markdown(content), draw(rows))


if __name__ == "__main__":
    options.command(main)
