"""InfoVAEGAN's Table 2: FactorVAE score on sprites, three VAEs beside it.

  python -m experiments.infovaegan_table2 --workdir=runs/bench_cpu
  python -m experiments.infovaegan_table2 --preset=paper --runs_at_once=10
  python -m experiments.infovaegan_table2 --workdir=runs/bench_cpu --table_only

Trains what is missing, then writes infovaegan_table2.json, .md and .png. The runs,
`sprites_<method>_<seed>`, are those of the bench, as its settings have them. Presets: smoke, 10
steps; cpu, 5,000 steps and three seeds; paper, ten seeds, 115,200 generator steps of InfoVAEGAN
(the ten epochs of the authors' code) and 300,000 of the VAEs.
Ye & Bors, "InfoVAEGAN", ICIP 2021.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import bench_settings, ibgan_table1, options, reporting, running
from experiments.running import Preset, Run, Task

METHODS = ("infovaegan", "beta_vae", "factorvae", "jointvae")
DATA = "sprites"
# steps of the preset "paper", as in the sources that the methods follow
PAPER_LENGTH = {
    "infovaegan": 115_200,  # ten epochs of 64 in the authors' code
    "beta_vae": 300_000,
    "factorvae": 300_000,
    "jointvae": 300_000,
}
PRESETS = {
    "smoke": Preset(10, 1, (DATA,), METHODS),
    "cpu": Preset(5_000, 3, (DATA,), METHODS),
    "paper": Preset(None, 10, (DATA,), METHODS),
}
PAPER_SEEDS = 10
PAPER = {"infovaegan": 0.79, "beta_vae": 0.73, "factorvae": 0.82, "jointvae": 0.69}
NOTE = """\
FactorVAE score, disentanglement_lib's protocol, votes held out; all seeds, last checkpoint, mean +-
sample standard deviation. Only continuous codes are scored: the ten of c and the noise z stays
out in InfoVAEGAN, and so does the class d there and in JointVAE. The paper: mean of ten runs; the
numbers of the VAEs are not its own runs but quoted from JointVAE's paper, whose protocol is that of
FactorVAE's authors. Votes, networks, number of steps and whether d counts are not said. Sprites are
dSprites drawn anew; the VAEs have the settings of disentanglement_lib, JointVAE its own."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per method, last step and number of votes."""
    by_name = {run.folder.name: run for run in runs}
    rows = []
    for row in ibgan_table1.collect(runs):
        value = PAPER.get(row["method"])
        row |= {"paper": None if value is None else (value, None)}
        row["protocol"] = protocol(row, by_name[row["runs"][0]])
        rows.append(row)
    return rows


def protocol(row: Mapping[str, Any], run: Run) -> str:
    """How the runs differ from the paper's or their source's protocol, as far as is known."""
    words, method = [], row["method"]
    recipe = row["recipes"]["factor_vae"]
    if row["step"] != (steps := PAPER_LENGTH.get(method)):
        words.append(f"{row['step']:,} steps" + ("" if steps is None else f", not {steps:,}"))
    if len(row["seeds"]) != PAPER_SEEDS:
        words.append(f"{len(row['seeds'])} of {PAPER_SEEDS} seeds")
    if (recipe["train_votes"], recipe["eval_votes"]) != ibgan_table1.VOTES:
        words.append(reporting.votes(recipe))
    words += bench_settings.changes(run.task, run.config)
    return "; ".join(words) or "as far as it is known, the same"


# ---- words --------------------------------------------------------------------------------------


def main_table(rows: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> str:
    """Ours beside the paper's; a line too for what is wanted and has no scores yet."""
    head = ["method", "steps", "seeds", "FactorVAE", "each seed", "paper", "MIG"]
    nothing = {"mean": None, "std": None, "values": []}
    lines = [
        [
            f"`{row['method']}`",
            f"{row['step']:,}",
            len(row["seeds"]),
            reporting.spread(row["scores"]["factor_vae"]),
            reporting.each(row["scores"]["factor_vae"]["values"]),
            paper_words(row["method"]),
            reporting.spread(row["scores"].get("mig", nothing)),
            row["protocol"],
        ]
        for row in rows
    ]
    for method in wanted:
        if not any(row["method"] == method for row in rows):
            cells = [f"`{method}`", "", 0, "no run yet", "", paper_words(method), "", ""]
            lines.append(cells)
    return reporting.table([*head, "difference in protocol"], lines)


def paper_words(method: str) -> str:
    """The paper's number."""
    return f"{PAPER[method]:.2f}" if method in PAPER else ""


def markdown(content: Mapping[str, Any]) -> str:
    """The page."""
    parts = [
        "# InfoVAEGAN, Table 2: FactorVAE score on sprites",
        main_table(content["rows"], content["wanted"]),
        NOTE,
        "![FactorVAE scores, ours and the paper's](infovaegan_table2.png)",
        *reporting.footer(content),
    ]
    return "\n\n".join(parts) + "\n"


# ---- the command --------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = options.parser_of("infovaegan_table2", __doc__, PRESETS, known=(DATA,))
    parser.add_argument("--methods", help=f"with commas: {', '.join(METHODS)}")
    args = options.settle(parser.parse_args(argv))
    args.methods = (
        METHODS if args.methods is None else options.names("--methods", args.methods, METHODS)
    )
    return args


def make_task(args: argparse.Namespace, method: str, seed: int) -> Task:
    """A run of the bench."""
    own = argparse.Namespace(
        preset=args.preset, num_steps=args.num_steps or PAPER_LENGTH[method], data_dir=None
    )
    return bench_settings.make_task(own, DATA, method, seed)


def make_tasks(args: argparse.Namespace) -> list[Task]:
    """The runs of the table."""
    return [make_task(args, method, seed) for method in args.methods for seed in range(args.seeds)]


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = running.gather(args, make_tasks(args))
    rows = collect(runs)
    content = {"rows": rows, **reporting.frame(args, runs, "methods"), "wanted": list(args.methods)}
    reporting.write(
        args.out, "infovaegan_table2", content, markdown(content), ibgan_table1.draw(rows)
    )


if __name__ == "__main__":
    options.command(main)
