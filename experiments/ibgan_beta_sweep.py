"""IB-GAN's Fig. 3: bounds on the mutual information and FactorVAE score against beta.

  python -m experiments.ibgan_beta_sweep --preset=cpu --workdir=runs/beta
  python -m experiments.ibgan_beta_sweep --preset=paper --workdir=runs/beta_paper --runs_at_once=10
  python -m experiments.ibgan_beta_sweep --workdir=runs/beta --table_only

Trains what is missing, then writes ibgan_beta_sweep.json, .md and .png. As in the paper, a curve is
the median over the training steps, then the mean over the trials. Presets: smoke, a minute; cpu,
5,000 steps and 3 seeds, an evening on two cores; paper, 150,000 steps and 10 seeds, for a GPU.
Jeon, Lee, Pyeon, Kim, "IB-GAN", AAAI 2021.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments import options, reporting, running
from experiments.running import Preset, Run

BETAS = (0.0, 0.071, 0.141, 0.212, 0.35, 0.5, 0.71, 1.0)
PRESETS = {
    "smoke": Preset(20, 1, ("sprites",), (0.0, 0.212)),
    "cpu": Preset(5_000, 3, ("sprites",), BETAS),
    "paper": Preset(150_000, 10, ("sprites",), BETAS),
}
LOWER, UPPER, SCORE = "Q/info_lower", "E/info_upper", "eval/factor_vae"
NOTE = """\
I^L = E[log q(z|x) - log p(z)] and I^U = KL(e(r|z) || m(r)) in nats: the median over all logged
training steps, with instance noise and batch statistics as the training sees them, then mean +-
sample standard deviation over the seeds. "last": of the last checkpoint on 10,000 generated images,
without noise. FactorVAE: disentanglement_lib's protocol at the last checkpoint, all seeds; "on the
way" is the median of the scores with few votes that are logged during training."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per data set, last step, number of votes and beta."""
    groups: dict[tuple, list[Run]] = {}
    for run in sorted(filter(running.has_scores, runs), key=lambda run: run.task.seed):
        recipe = run.results["disentanglement"]["factor_vae"]["recipe"]
        how = recipe["train_votes"], recipe["eval_votes"]
        key = (run.task.data, run.results["step"], how, run.config["ibgan"]["beta"])
        groups.setdefault(key, []).append(run)
    return [row_of(key, groups[key]) for key in sorted(groups)]


def row_of(key: tuple, group: Sequence[Run]) -> dict[str, Any]:
    """What the figure says of one beta."""
    data, step, (train_votes, eval_votes), beta = key
    lower, upper = ([reporting.median(run.series.get(n)) for run in group] for n in (LOWER, UPPER))
    return {
        "data": data,
        "beta": beta,
        "step": step,
        "votes": {"train_votes": train_votes, "eval_votes": eval_votes},
        "seeds": [run.task.seed for run in group],
        "info_lower": reporting.summary(lower),
        "info_upper": reporting.summary(upper),
        "gap": reporting.summary(b - a for a, b in zip(lower, upper, strict=True)),
        "last": {name: reporting.bounds(group, name) for name in ("info_lower", "info_upper")},
        "factor_vae": reporting.summary(reporting.score(run, "factor_vae") for run in group),
        "factor_vae_on_the_way": reporting.summary(
            reporting.median(run.series[SCORE]) for run in group if SCORE in run.series
        ),
        "runs": [run.folder.name for run in group],
    }


def markdown(content: dict[str, Any]) -> str:
    """The page."""
    head = ["data", "beta", "steps", "seeds", "I^L", "I^U", "gap I^U - I^L", "I^L, I^U last"]
    lines = [
        [
            row["data"],
            f"{row['beta']:g}",
            f"{row['step']:,}",
            len(row["seeds"]),
            *(reporting.spread(row[name], 3) for name in ("info_lower", "info_upper", "gap")),
            ", ".join(reporting.spread(row["last"][n], 3) for n in ("info_lower", "info_upper")),
            reporting.spread(row["factor_vae"]),
            reporting.each(row["factor_vae"]["values"]),
            reporting.spread(row["factor_vae_on_the_way"]),
            reporting.votes(row["votes"]),
        ]
        for row in content["rows"]
    ]
    head += ["FactorVAE", "each seed", "on the way", "protocol"]
    parts = [
        "# IB-GAN, Fig. 3: bounds and score against beta",
        "![Bounds on the information and FactorVAE score against beta](ibgan_beta_sweep.png)",
        reporting.table(head, lines),
        NOTE,
        "The paper: 150,000 steps, 10 seeds a beta; the best scores at beta 0.071 to 0.212.",
        *reporting.footer(content),
    ]
    return "\n\n".join(parts) + "\n"


def draw(rows: Sequence[dict[str, Any]]) -> Any:
    """A row of two panels, bounds and score, for each data set and last step."""
    from matplotlib.figure import Figure

    groups: dict[str, list[dict]] = {}
    for row in rows:
        name = f"{row['data']}, {row['step']:,} steps, {reporting.votes(row['votes'])}"
        groups.setdefault(name, []).append(row)
    figure = Figure((8.4, 3.2 * len(groups)), 150, layout="constrained")
    for i, (name, own) in enumerate(groups.items()):
        axes = [figure.add_subplot(len(groups), 2, 2 * i + j + 1) for j in range(2)]
        draw_bounds(axes[0], own)
        draw_scores(axes[1], own)
        axes[0].set_title(f"{name}: nats", fontsize=8, loc="left")
        axes[1].set_title("FactorVAE score", fontsize=8, loc="left")
        for panel in axes:
            panel.set_xlabel("beta", fontsize=8)
            panel.legend(fontsize=7)
            reporting.tidy(panel)
    return figure


def curve(rows: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """[n, 3]: beta, mean, standard deviation of a summary, where it is finite."""
    found = [(row["beta"], row[name]) for row in rows if row[name]["mean"] is not None]
    return np.array([(beta, s["mean"], s["std"] or 0.0) for beta, s in found]).reshape(-1, 3)


def draw_bounds(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """I^L, I^U and the gap in between."""
    for name, label, color in (("info_upper", "$I^U$", "C1"), ("info_lower", "$I^L$", "C0")):
        beta, mean, std = curve(rows, name).T
        axes.errorbar(beta, mean, std, fmt="o-", capsize=3, markersize=4, color=color, label=label)
    both = [r for r in rows if None not in (r["info_lower"]["mean"], r["info_upper"]["mean"])]
    axes.fill_between(
        [row["beta"] for row in both],
        [row["info_lower"]["mean"] for row in both],
        [row["info_upper"]["mean"] for row in both],
        color="0.85",
        label="gap $I^U - I^L$",
    )


def draw_scores(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """The score at the last checkpoint, every seed, and the median on the way."""
    beta, mean, std = curve(rows, "factor_vae").T
    axes.errorbar(beta, mean, std, fmt="o-", capsize=3, markersize=4, color="C2",
                  label="last checkpoint")  # fmt: skip
    for row in rows:
        good = [v for v in row["factor_vae"]["values"] if v is not None]
        axes.plot([row["beta"]] * len(good), good, ".", color="C2", alpha=0.4)
    beta, mean, _ = curve(rows, "factor_vae_on_the_way").T
    axes.plot(beta, mean, "x--", color="0.5", markersize=4, label="median on the way, few votes")
    axes.set_ylim(-0.02, 1.02)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = options.parser_of("ibgan_beta_sweep", __doc__, PRESETS)
    parser.add_argument("--betas", help="with commas, as in --betas=0,0.141")
    args = options.settle(parser.parse_args(argv))
    own = PRESETS[args.preset].choices
    args.betas = own if args.betas is None else options.numbers("--betas", args.betas)
    return args


def make_tasks(args: argparse.Namespace) -> list[running.Task]:
    """The runs of a sweep."""
    return [
        running.make_task(
            data, "ibgan", seed=seed, num_steps=args.num_steps, preset=args.preset, beta=beta
        )
        for data in args.data
        for beta in args.betas
        for seed in range(args.seeds)
    ]


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = running.gather(args, make_tasks(args))
    rows = collect(runs)
    content = {"rows": rows, **reporting.frame(args, runs, "betas")}
    reporting.write(args.out, "ibgan_beta_sweep", content, markdown(content), draw(rows))


if __name__ == "__main__":
    options.command(main)
