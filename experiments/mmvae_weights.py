"""MMVAE's Fig. 11: mutual information against beta, the weight of I(z;y), and gamma, of I(z;c).

  python -m experiments.mmvae_weights --preset=cpu
  python -m experiments.mmvae_weights --preset=cpu --values=0,1,4
  python -m experiments.mmvae_weights --preset=cpu --table_only

One weight takes the values in turn while the other stays 1. Trains what is missing, then writes
mmvae_weights.json, .md and .png; a run of mmvae_table2 with the same weights is taken from the same
--workdir. Presets as there, with one seed; --data and --data_dir as there.
Kim, "MMVAE", thesis, 2019.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import mmvae_runs, options, reporting, running
from experiments.mmvae_runs import INFORMATION, PAIRS
from experiments.running import Preset, Run

PRESETS = {
    "smoke": Preset(20, 1, ("faces",), (0.0, 1.0)),
    "cpu": Preset(3_000, 1, ("faces",), (0.0, 0.5, 1.0, 2.0)),
    "paper": Preset(312_500, 1, ("faces",), (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)),
}
SWEEPS = {"weight_zy": "beta, weight of I(z;y)", "weight_zc": "gamma, weight of I(z;c)"}
COLORS = {"c;y": "C2", "z;y": "C0", "z;c": "C1"}
NOTE = """\
Bits; estimates and deviations as in mmvae_table2. Swapped: as in mmvae_table3, mean over the
attributes. Reconstruction error: mean squared error of a pixel in [-1, 1], test images. The thesis
gives its Fig. 11 as curves without numbers; it takes (beta, gamma) = (1, 1) and says that values
above 1 hurt the images."""


def make_tasks(args: argparse.Namespace) -> list[running.Task]:
    """The runs of both sweeps, (1, 1) once."""
    weights = [(value, 1.0) for value in args.values] + [(1.0, value) for value in args.values]
    return [
        mmvae_runs.make_task(args, data, "mmvae", seed, weights=pair)
        for data in args.data
        for pair in dict.fromkeys(weights)
        for seed in range(args.seeds)
    ]


def weights_of(run: Run) -> tuple[float, float]:
    """(weight_zy, weight_zc)."""
    own = run.config["mmvae"]
    return own["weight_zy"], own["weight_zc"]


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per last step, recipe of the estimates and pair of weights."""
    runs = list(filter(INFORMATION.present, runs))
    groups = mmvae_runs.grouped(
        runs,
        lambda run: (
            run.task.method,
            run.results["step"],
            mmvae_runs.measured_with(run),
            *weights_of(run),
        ),
    )
    return [row_of(group) for group in groups.values()]


def row_of(group: Sequence[Run]) -> dict[str, Any]:
    """What the figure says of one pair of weights."""
    found = mmvae_runs.information(group)
    weight_zy, weight_zc = weights_of(group[0])
    return {
        "data": group[0].task.data,
        "step": group[0].results["step"],
        "weight_zy": weight_zy,
        "weight_zc": weight_zc,
        "seeds": [run.task.seed for run in group],
        "entropy_y": found["entropy_y"],
        "bits": found["pairs"],
        "recipe": found["recipe"],
        "swap": reporting.summary(map(swap, group)),
        "reconstruction_mse": reporting.summary(
            mmvae_runs.number(run.results.get("reconstruction_mse")) for run in group
        ),
        "protocol": mmvae_runs.protocol(group),
        "runs": [run.folder.name for run in group],
    }


def swap(run: Run) -> float:
    """Per cent of swapped attributes; NaN where the classifier is no judge."""
    found = mmvae_runs.attributes(run).get("swap") or {}
    mean = reporting.summary(mmvae_runs.number(e.get("accuracy")) for e in found.values())["mean"]
    return 100.0 * mmvae_runs.number(mean)


def markdown(content: Mapping[str, Any], name: str) -> str:
    """The page."""
    head = ["beta", "gamma", "steps", "seeds", "H(y)", *(f"I({pair})" for pair in PAIRS)]
    head += ["swapped %", "reconstruction error", "difference in protocol"]
    lines = [
        [
            f"{row['weight_zy']:g}",
            f"{row['weight_zc']:g}",
            f"{row['step']:,}",
            len(row["seeds"]),
            reporting.each([row["entropy_y"]], 3),
            *(mmvae_runs.bits(row["bits"][pair]) for pair in PAIRS),
            reporting.spread(row["swap"]),
            reporting.spread(row["reconstruction_mse"], 4),
            row["protocol"],
        ]
        for row in content["rows"]
    ]
    parts = [
        f"# MMVAE, Fig. 11: mutual information against beta and gamma, {content['data']}",
        f"![Mutual information against the two weights]({name}.png)",
        reporting.table(head, lines),
        NOTE,
        *reporting.footer(content),
    ]
    return "\n\n".join(parts) + "\n"


def sweep(rows: Sequence[Mapping[str, Any]], weight: str) -> list[Mapping[str, Any]]:
    """The rows in which only this weight is not 1, in rising order."""
    (other,) = set(SWEEPS) - {weight}
    return sorted((r for r in rows if r[other] == 1.0), key=lambda r: r[weight])


def draw(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A panel per weight, a row of panels per last step and recipe."""
    from matplotlib.figure import Figure

    groups: dict[str, list[Mapping]] = {}
    for row in rows:
        groups.setdefault(f"{row['step']:,} steps; {row['recipe']}", []).append(row)
    figure = Figure((8.8, 3.4 * len(groups)), 150, layout="constrained")
    for i, own in enumerate(groups.values()):
        for j, (weight, label) in enumerate(SWEEPS.items()):
            axes = figure.add_subplot(len(groups), 2, 2 * i + j + 1)
            draw_sweep(axes, sweep(own, weight), weight)
            words = f"{own[0]['data']}, {own[0]['step']:,} steps: bits, the other weight 1"
            axes.set_title(words, fontsize=8, loc="left")
            axes.set_xlabel(label, fontsize=8)
            reporting.tidy(axes)
    lines, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels), fontsize=7)
    return figure


def draw_sweep(axes: Any, rows: Sequence[Mapping[str, Any]], weight: str) -> None:
    """The three estimates against one weight, every seed, and H(y)."""
    for pair in PAIRS:
        known = [row for row in rows if row["bits"][pair]["mean"] is not None]
        found = [row["bits"][pair] for row in known]
        spread = [f["std"] if f["std"] is not None else f["std_estimates"] or 0.0 for f in found]
        at, means = [row[weight] for row in known], [f["mean"] for f in found]
        look = dict(capsize=3, markersize=4, color=COLORS[pair], label=f"I({pair})")
        axes.errorbar(at, means, spread, fmt="o-", **look)
        for x, f in zip(at, found, strict=True):
            good = [v for v in f["values"] if v is not None]
            axes.plot([x] * len(good), good, ".", color=COLORS[pair], alpha=0.4)
    if rows and rows[0]["entropy_y"] is not None:
        axes.axhline(rows[0]["entropy_y"], color="0.5", linestyle="--", label="H(y)")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = mmvae_runs.parser_of("mmvae_weights", __doc__, PRESETS, methods=False)
    parser.add_argument("--values", help="of each weight, with commas, as in --values=0,1,4")
    args = mmvae_runs.settle(parser.parse_args(argv))
    own = args.presets[args.preset].choices
    args.values = own if args.values is None else options.numbers("--values", args.values)
    return args


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = running.gather(args, make_tasks(args), INFORMATION)
    rows, name = collect(runs), mmvae_runs.stem(args)
    content = {"data": args.data[0], "rows": rows}
    content |= reporting.frame(args, runs, "values", INFORMATION)
    reporting.write(args.out, name, content, markdown(content, name), draw(rows))


if __name__ == "__main__":
    options.command(main)
