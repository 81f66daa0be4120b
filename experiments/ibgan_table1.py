"""IB-GAN's Table 1: FactorVAE score of three GANs and four VAEs on sprites and coloured sprites.

  python -m experiments.ibgan_table1 --preset=cpu --workdir=runs/table1
  python -m experiments.ibgan_table1 --preset=paper --workdir=runs/table1_paper --runs_at_once=10
  python -m experiments.ibgan_table1 --workdir=runs/table1 --table_only

Trains what is missing, then writes ibgan_table1.json, .md and .png and the traversals of IB-GAN's
best and worst seed. Presets: smoke, some steps, a few minutes; cpu, 5,000 steps of the paper's
schedule and 3 seeds, a night on two cores; paper, 150,000 steps (autoencoders 300,000, as in
disentanglement_lib) and 10 seeds, for a GPU. --methods=gan,infogan,ibgan leaves the VAEs out.
Jeon, Lee, Pyeon, Kim, "IB-GAN", AAAI 2021.
"""

import argparse
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from experiments import options, reporting, running
from experiments.running import Preset, Run
from ivg import plots
from ivg.metrics.disentanglement import ALL

VAES = ("vae", "beta_vae", "factorvae", "beta_tcvae")
METHODS = ("gan", "infogan", "ibgan", *VAES)
PRESETS = {
    "smoke": Preset(20, 1, ("sprites",), METHODS),
    "cpu": Preset(5_000, 3, ("sprites", "color_sprites"), METHODS),
    "paper": Preset(150_000, 10, ("sprites", "color_sprites"), METHODS),
}
PAPER_STEPS, PAPER_SEEDS = 150_000, 10
VAE_STEPS = 300_000  # disentanglement_lib's
# (data, method): mean and standard deviation over the paper's 10 seeds
PAPER = {
    ("sprites", "gan"): (0.40, 0.05),
    ("sprites", "infogan"): (0.61, 0.03),
    ("sprites", "ibgan"): (0.80, 0.07),
    ("sprites", "vae"): (0.61, 0.04),
    ("sprites", "beta_vae"): (0.69, 0.09),
    ("sprites", "factorvae"): (0.81, 0.07),
    ("sprites", "beta_tcvae"): (0.79, 0.06),
    ("color_sprites", "gan"): (0.35, 0.04),
    ("color_sprites", "infogan"): (0.55, 0.08),
    ("color_sprites", "ibgan"): (0.79, 0.05),
    ("color_sprites", "vae"): (0.59, 0.06),
    ("color_sprites", "beta_vae"): (0.74, 0.06),
    ("color_sprites", "factorvae"): (0.82, 0.06),
    ("color_sprites", "beta_tcvae"): (0.80, 0.07),
}
# step: IB-GAN's score in a log that lies in the authors' repository, Color-dSprites, one seed
AUTHORS_LOG = {5_000: 0.27, 20_000: 0.46, 40_000: 0.53, 45_000: 0.61, 50_000: 0.57}
VOTES = (10_000, 5_000)  # disentanglement_lib's
NOTE = """\
FactorVAE: disentanglement_lib's protocol, votes held out. `ibgan` preset: the released evaluator's,
800 votes of 200 images, scored on the same votes; a dimension with a variance below 0.05 is dead,
and on coloured sprites colour is a sixth factor. Ours: all seeds, last checkpoint, mean +- sample
standard deviation. The paper: mean of 10 seeds on dSprites; which of the two protocols and which
checkpoint it took is not said (its code prints the best one). Sprites are dSprites drawn anew.
GAN: a network of the reconstructor's kind is fitted to z on generated images after the game; the
paper does not say how a GAN is scored. InfoGAN: ten normal codes, scored by Q's means. Steps: those
of the paper's curves; the code's README gives 500,000 for IB-GAN on Color-dSprites. VAE, beta-VAE,
FactorVAE, beta-TCVAE: networks, optimisers and 300,000 steps of disentanglement_lib, which the
paper says that it follows; the weights are those of the config, as it does not say which it took
(the study sweeps six for each), nor for how many steps."""
EARLY = """\
IB-GAN early on. The authors' log: one seed, their evaluator. "few votes": logged during training
(`disentanglement.quick_votes`); the others: at the last checkpoint."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per data set, method, last step and number of votes."""
    groups: dict[tuple, list[Run]] = {}
    for run in sorted(filter(running.has_scores, runs), key=lambda run: run.task.seed):
        recipe = run.results["disentanglement"]["factor_vae"]["recipe"]
        how = recipe["train_votes"], recipe["eval_votes"]
        game = run.config.get("gan", {}).get("game_steps", 0)
        key = (run.task.data, run.task.method, run.results["step"], game, how)
        groups.setdefault(key, []).append(run)
    order = [f"{run.task.data}:{run.task.method}" for run in runs]
    keys = sorted(groups, key=lambda key: (order.index(f"{key[0]}:{key[1]}"), key[2:]))
    return [row_of(groups[key]) for key in keys]


def row_of(group: Sequence[Run]) -> dict[str, Any]:
    """What the table says of runs that differ in their seed only."""
    task, results = group[0].task, group[0].results
    scores = {
        metric: reporting.summary(reporting.score(run, metric) for run in group)
        for metric in sorted(
            {name for run in group for name in run.results["disentanglement"]},
            key=lambda name: (ALL.index(name) if name in ALL else len(ALL), name),
        )
    }
    row = {
        "data": task.data,
        "method": task.method,
        "step": results["step"],
        "game_steps": group[0].config.get("gan", {}).get("game_steps", 0) or results["step"],
        "seeds": [run.task.seed for run in group],
        "scores": scores,
        "recipes": {
            name: entry.get("recipe") for name, entry in results["disentanglement"].items()
        },
        "bounds": {name: reporting.bounds(group, name) for name in ("info_lower", "info_upper")},
        "paper": PAPER.get((task.data, task.method)),
        "runs": [run.folder.name for run in group],
    }
    return row | {"protocol": protocol(row)}


def own_steps(method: str) -> int:
    """Steps of the paper, or of the study that it follows."""
    return VAE_STEPS if method in VAES else PAPER_STEPS


def protocol(row: dict[str, Any]) -> str:
    """How the protocol differs from the paper's and disentanglement_lib's, as far as is known."""
    words, recipe = [], row["recipes"]["factor_vae"]
    if row["game_steps"] != (steps := own_steps(row["method"])):
        words.append(f"{row['game_steps']:,} steps, not {steps:,}")
    if len(row["seeds"]) != PAPER_SEEDS:
        words.append(f"{len(row['seeds'])} of {PAPER_SEEDS} seeds")
    if (recipe["train_votes"], recipe["eval_votes"]) != VOTES:
        words.append(f"{reporting.votes(recipe)}, not {VOTES[0]:,} + {VOTES[1]:,}")
    return "; ".join(words) or "as far as it is known, the same"


def early_curve(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """IB-GAN's scores at the first 50,000 steps, the authors' log beside ours."""
    runs = [run for run in runs if run.task.method == "ibgan" and running.has_scores(run)]
    seen: dict[tuple[int, str], list[float]] = {}
    last: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        for step, value in zip(*run.series.get("eval/factor_vae", ((), ())), strict=True):
            seen.setdefault((int(step), run.task.data), []).append(value)
        last.setdefault((run.results["step"], run.task.data), []).append(run)
    steps = sorted({step for step, _ in seen | last if step <= max(AUTHORS_LOG)} | set(AUTHORS_LOG))
    names = list(dict.fromkeys(run.task.data for run in runs))
    rows = []
    for step in steps:
        row: dict[str, Any] = {"step": step, "authors": AUTHORS_LOG.get(step), "ours": {}}
        for name in names:
            entry = {}
            if values := seen.get((step, name)):
                entry["factor_vae_few_votes"] = reporting.summary(values)
            if group := last.get((step, name)):
                for metric in ("factor_vae", "factor_vae_ibgan"):
                    entry[metric] = reporting.summary(reporting.score(r, metric) for r in group)
            row["ours"] |= {name: entry} if entry else {}
        rows.append(row)
    return rows


# ---- words --------------------------------------------------------------------------------------


def paper_words(data: str, method: str) -> str:
    """The paper's number."""
    mean, std = PAPER.get((data, method), (None, None))
    return "" if mean is None else f"{mean:.2f} +- {std:.2f}"


def main_table(rows: Sequence[dict[str, Any]], wanted: Sequence[tuple[str, str]]) -> str:
    """Ours beside the paper's; a line too for what is wanted and has no scores yet."""
    head = ["data", "method", "steps", "seeds"]
    head += ["FactorVAE", "each seed", "`ibgan` preset", "each seed"]
    lines = []
    for row in rows:
        steps = f"{row['game_steps']:,}"
        if row["step"] > row["game_steps"]:
            steps += f" + {row['step'] - row['game_steps']:,}"
        cells = [row["data"], f"`{row['method']}`", steps, len(row["seeds"])]
        for metric in ("factor_vae", "factor_vae_ibgan"):
            found = row["scores"].get(metric, {"mean": None, "std": None, "values": []})
            cells += [reporting.spread(found), reporting.each(found["values"])]
        lines.append([*cells, paper_words(row["data"], row["method"]), row["protocol"]])
    for data, method in wanted:
        if not any((row["data"], row["method"]) == (data, method) for row in rows):
            cells = [data, f"`{method}`", "", 0, "no run yet", "", "", ""]
            lines.append([*cells, paper_words(data, method), ""])
    return reporting.table([*head, "paper", "difference in protocol"], lines)


def other_table(rows: Sequence[dict[str, Any]]) -> str:
    """The other metrics and the bounds on the information."""
    shown = ("factor_vae", "factor_vae_ibgan")
    metrics = list(dict.fromkeys(m for row in rows for m in row["scores"] if m not in shown))
    nothing = {"mean": None, "std": None, "values": []}
    lines = [
        [row["data"], f"`{row['method']}`", f"{row['step']:,}"]
        + [reporting.spread(row["scores"].get(m, nothing)) for m in metrics]
        + [reporting.spread(row["bounds"][name]) for name in ("info_lower", "info_upper")]
        for row in rows
    ]
    return reporting.table(["data", "method", "step", *metrics, "I^L nats", "I^U nats"], lines)


def early_table(rows: Sequence[dict[str, Any]]) -> str:
    """The early curve; scores of the last checkpoint where a run ends there."""
    names = list(dict.fromkeys(name for row in rows for name in row["ours"]))
    lines = []
    for row in rows:
        cells = [f"{row['step']:,}", "" if row["authors"] is None else f"{row['authors']:.2f}"]
        for name in names:
            entry, parts = row["ours"].get(name, {}), []
            if "factor_vae_few_votes" in entry:
                parts.append(f"{reporting.spread(entry['factor_vae_few_votes'])} (few votes)")
            if "factor_vae" in entry:
                parts.append(reporting.spread(entry["factor_vae"]))
            if entry.get("factor_vae_ibgan", {}).get("mean") is not None:
                parts.append(f"`ibgan` preset {reporting.spread(entry['factor_vae_ibgan'])}")
            cells.append("; ".join(parts))
        lines.append(cells)
    return reporting.table(["step", "authors' log, Color-dSprites", *names], lines)


def markdown(content: dict[str, Any]) -> str:
    """The page."""
    parts = [
        "# IB-GAN, Table 1: FactorVAE score",
        main_table(content["rows"], content["wanted"]),
        NOTE,
        "Other scores of the same checkpoints, mean +- sample standard deviation:",
        other_table(content["rows"]),
    ]
    if any(row["ours"] for row in content["early"]):
        parts += [EARLY, early_table(content["early"])]
    distinct = {t["label"]: t["picture"] for t in reversed(content["traversals"])}
    parts += [f"![{label}]({picture})" for label, picture in reversed(distinct.items())]
    parts += reporting.footer(content)
    return "\n\n".join(parts) + "\n"


# ---- pictures -----------------------------------------------------------------------------------


def traversals(runs: Sequence[Run], out: pathlib.Path) -> list[dict[str, str]]:
    """Labelled copies of the traversals of IB-GAN's best and worst seed of each data set."""
    made = []
    for data in dict.fromkeys(run.task.data for run in runs):
        scored = [
            run
            for run in runs
            if (run.task.data, run.task.method) == (data, "ibgan")
            and running.has_scores(run)
            and math.isfinite(reporting.score(run, "factor_vae"))
        ]
        step = max((run.results["step"] for run in scored), default=0)
        scored = [run for run in scored if run.results["step"] == step]  # like with like
        scored.sort(key=lambda run: reporting.score(run, "factor_vae"))
        for which, i in (("best", -1), ("worst", 0)):
            if not scored:
                continue
            run = scored[i]
            rank = f"{which} of {len(scored)} seeds" if len(scored) > 1 else "the only seed"
            label = (
                f"IB-GAN on {data}, {rank}: seed {run.task.seed}, step {step:,}, "
                f"FactorVAE {reporting.score(run, 'factor_vae'):.2f}"
            )
            middle = "" if data == "sprites" else f"_{data}"
            name = f"ibgan_traversal{middle}_{which}.png"
            if (path := run.folder / "figures" / "traversal_images.png").exists():
                with Image.open(path, formats=("PNG",)) as image:
                    picture = np.asarray(image.convert("RGB"))
                plots.save(out / name, reporting.labelled(picture, label))
                made.append({"picture": name, "label": label, "run": run.folder.name})
    return made


def draw(rows: Sequence[dict[str, Any]]) -> Any:
    """Every seed's score, the mean +- standard deviation, and the paper's beside it."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["data"] for row in rows))
    most = max([sum(row["data"] == name for row in rows) for name in names], default=0)
    width = max(4.2, 1.1 * most)
    figure = Figure((width * len(names), 3.4), 150, layout="constrained")
    for i, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), i + 1)
        own = [row for row in rows if row["data"] == name]
        for x, row in enumerate(own):
            draw_row(axes, x, row)
        steps = [f"{row['method']}\n{row['game_steps']:,} steps" for row in own]
        axes.set_xticks(range(len(own)), steps)
        axes.set(xlim=(-0.6, len(own) - 0.4), ylim=(-0.02, 1.02))
        axes.set_title(f"{name}: FactorVAE", fontsize=9, loc="left")
        axes.plot([], [], "o", color="C0", label="ours, last checkpoint, and each seed")
        if any(row["paper"] for row in own):
            axes.plot([], [], "s", color="C1", label="the paper, 10 seeds")
        axes.legend(fontsize=7, loc="upper left")
        reporting.tidy(axes)
    return figure


def draw_row(axes: Any, x: float, row: dict[str, Any]) -> None:
    """One method."""
    found, look = row["scores"]["factor_vae"], dict(capsize=4, markersize=5)
    good = [v for v in found["values"] if v is not None]
    axes.plot([x - 0.2] * len(good), good, ".", color="C0", alpha=0.5)
    if good:
        axes.errorbar(x - 0.07, found["mean"], found["std"] or 0.0, fmt="o", color="C0", **look)
    if row["paper"]:
        axes.errorbar(x + 0.15, *row["paper"], fmt="s", color="C1", **look)


# ---- the command --------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = options.parser_of("ibgan_table1", __doc__, PRESETS)
    parser.add_argument("--methods", help=f"with commas: {', '.join(METHODS)}")
    args = options.settle(parser.parse_args(argv))
    own = PRESETS[args.preset].choices
    args.methods = (
        own if args.methods is None else options.names("--methods", args.methods, METHODS)
    )
    return args


def make_tasks(args: argparse.Namespace) -> list[running.Task]:
    """The runs of the table."""

    def steps(method: str) -> int:
        """An autoencoder of the preset "paper" has twice the steps of the game."""
        twice = args.preset == "paper" and method in VAES
        return args.num_steps * (VAE_STEPS // PAPER_STEPS if twice else 1)

    return [
        running.make_task(data, method, seed=seed, num_steps=steps(method), preset=args.preset)
        for data in args.data
        for method in args.methods
        for seed in range(args.seeds)
    ]


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = running.gather(args, make_tasks(args))
    rows = collect(runs)
    content = {"rows": rows, **reporting.frame(args, runs, "methods")}
    content["wanted"] = [(data, method) for data in args.data for method in args.methods]
    content |= {"early": early_curve(runs), "traversals": traversals(runs, args.out)}
    reporting.write(args.out, "ibgan_table1", content, markdown(content), draw(rows))


if __name__ == "__main__":
    options.command(main)
