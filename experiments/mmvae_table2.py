"""MMVAE's Table 2: I(c;y), I(z;y), I(z;c) of r-CVAE, CSVAE and MMVAE; on faces, what leaked.

  python -m experiments.mmvae_table2 --preset=cpu
  python -m experiments.mmvae_table2 --preset=paper --data=celeba_glasses --data_dir=CELEBA
  python -m experiments.mmvae_table2 --preset=cpu --table_only

Trains what is missing, then writes mmvae_table2.json, .md, .png and, on rendered faces, whose true
factors are known, mmvae_table2_leak.png; another data set's name is part of those. Presets: smoke,
some steps, minutes; cpu, 3,000 steps of narrow networks and 3 seeds, a night on two cores; paper,
the thesis' networks and 1,000 epochs, for a GPU. mmvae_table3, mmvae_weights and mmvae_curves read
the same runs.
Kim, "MMVAE", thesis, 2019.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import mmvae_leak, mmvae_runs, options, reporting, running
from experiments.mmvae_runs import INFORMATION, METHODS, PAIRS, PAPER_BITS, PAPER_ENTROPY
from experiments.running import Preset, Run

PRESETS = {
    "smoke": Preset(20, 1, ("faces",), METHODS),
    "cpu": Preset(3_000, 3, ("faces",), METHODS),
    "paper": Preset(312_500, 3, ("faces",), METHODS),
}
ENOUGH = 0.95  # of H(y) that c should hold
NOTE = f"""\
Bits; estimates by MINE: networks trained afresh on the codes of training images, the bound on those
of test images. Ours: mean over the seeds of each seed's mean estimate, +- sample standard deviation
over the seeds, and the one over the estimates within a seed (root mean square). The thesis: mean +-
standard deviation of 5 estimates of one model, H(y) = {PAPER_ENTROPY}. MINE is a lower bound: an
estimate near or below 0 says that its networks found nothing. How the thesis trained them, its
batch and which images without glasses it drew are not known."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per method, last step and recipe of the estimates."""
    runs = list(filter(INFORMATION.present, runs))
    groups = mmvae_runs.grouped(
        runs, lambda run: (run.task.method, run.results["step"], mmvae_runs.measured_with(run))
    )
    return [row_of(group) for group in groups.values()]


def row_of(group: Sequence[Run]) -> dict[str, Any]:
    """What the table says of runs that differ in their seed only."""
    task, found = group[0].task, mmvae_runs.information(group)
    held, entropy = found["pairs"]["c;y"]["mean"], found["entropy_y"]
    return {
        "data": task.data,
        "method": task.method,
        "step": group[0].results["step"],
        "seeds": [run.task.seed for run in group],
        "entropy_y": entropy,
        "share_of_entropy": held / entropy if held is not None and entropy else None,
        "bits": found["pairs"],
        "recipe": found["recipe"],
        "reconstruction_mse": reporting.summary(
            mmvae_runs.number(run.results.get("reconstruction_mse")) for run in group
        ),
        "paper": PAPER_BITS[task.method],
        "protocol": mmvae_runs.protocol(group),
        "runs": [run.folder.name for run in group],
    }


def order(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The thesis' three findings, held against the means over our seeds.

    Where a method has several rows, the one with the most steps counts; a finding whose numbers
    are not all there has "holds": None.
    """
    best = {row["method"]: row for row in sorted(rows, key=lambda row: row["step"])}

    def means(pair: str) -> dict[str, float | None]:
        return {m: best[m]["bits"][pair]["mean"] if m in best else None for m in METHODS}

    falling, lowest = means("z;c"), means("z;y")
    share = {m: best[m]["share_of_entropy"] if m in best else None for m in METHODS}

    def finding(words: str, numbers: Mapping[str, float | None], holds: Any) -> dict[str, Any]:
        known = None not in numbers.values()
        return {
            "finding": words,
            "numbers": dict(numbers),
            "holds": bool(holds(numbers)) if known else None,
        }

    return [
        finding(
            f"I(c;y) is at least {ENOUGH:g} H(y) for all",
            share,
            lambda n: min(n.values()) >= ENOUGH,
        ),
        finding(
            "I(z;c) falls from r-CVAE to CSVAE to MMVAE",
            falling,
            lambda n: n["r_cvae"] > n["csvae"] > n["mmvae"],
        ),
        finding(
            "I(z;y) is lowest for MMVAE",
            lowest,
            lambda n: n["mmvae"] < min(n["r_cvae"], n["csvae"]),
        ),
    ]


# ---- words --------------------------------------------------------------------------------------


def main_table(rows: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> str:
    """Ours beside the thesis'; a line too for what is wanted and has no estimates yet."""
    head = ["method", "steps", "seeds", "H(y)", "I(c;y) / H(y)"]
    for pair in PAIRS:
        head += [f"I({pair})", "thesis"]
    lines = []
    for row in rows:
        share, entropy = row["share_of_entropy"], row["entropy_y"]
        cells = [f"`{row['method']}`", f"{row['step']:,}", len(row["seeds"])]
        cells.append("" if entropy is None else f"{entropy:.3f}")
        cells.append("" if share is None else f"{share:.2f}")
        for pair in PAIRS:
            cells += [mmvae_runs.bits(row["bits"][pair]), paper_cell(row["method"], pair)]
        lines.append([*cells, row["protocol"]])
    for method in wanted:
        if not any(row["method"] == method for row in rows):
            cells = [f"`{method}`", "", 0, "", ""]
            for pair in PAIRS:
                cells += ["no run yet", paper_cell(method, pair)]
            lines.append([*cells, ""])
    return reporting.table([*head, "difference in protocol"], lines)


def paper_cell(method: str, pair: str) -> str:
    """The thesis' number."""
    return mmvae_runs.paper_words(PAPER_BITS[method][pair])


def seeds_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each seed's mean, and the reconstruction."""
    lines = [
        [f"`{row['method']}`", f"{row['step']:,}", " ".join(map(str, row["seeds"]))]
        + [reporting.each(row["bits"][pair]["values"], 3) for pair in PAIRS]
        + [reporting.spread(row["reconstruction_mse"], 4)]
        for row in rows
    ]
    head = ["method", "steps", "seeds", *(f"I({pair})" for pair in PAIRS)]
    return reporting.table([*head, "reconstruction error"], lines)


def order_table(findings: Sequence[Mapping[str, Any]]) -> str:
    """Whether the thesis' order holds."""
    words = {True: "holds", False: "does not hold", None: "not known yet"}
    lines = [
        [
            f["finding"],
            words[f["holds"]],
            ", ".join(f"{m} {'-' if v is None else f'{v:.3f}'}" for m, v in f["numbers"].items()),
        ]
        for f in findings
    ]
    return reporting.table(["the thesis' finding", "here", "numbers"], lines)


def markdown(content: Mapping[str, Any], name: str) -> str:
    """The page."""
    data = content["data"]
    parts = [
        f"# MMVAE, Table 2: mutual information in bits, {data}",
        main_table(content["rows"], content["wanted"]),
        NOTE,
        order_table(content["order"]),
        "Each seed's mean estimate, and the mean squared error of a pixel in [-1, 1]:",
        seeds_table(content["rows"]),
        f"![Mutual information of each method, ours and the thesis']({name}.png)",
        *mmvae_leak.parts(content["leak"], f"{name}_leak.png"),
        *reporting.footer(content),
    ]
    return "\n\n".join(parts) + "\n"


# ---- picture ------------------------------------------------------------------------------------


def draw(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A panel per pair: every seed, the mean, H(y), and the thesis' numbers beside."""
    from matplotlib.figure import Figure

    figure = Figure((10.5, 3.4), 150, layout="constrained")
    for i, pair in enumerate(PAIRS):
        axes = figure.add_subplot(1, 3, i + 1)
        for x, row in enumerate(rows):
            draw_row(axes, x, row, pair)
        names = [f"{row['method']}\n{row['step']:,} steps" for row in rows]
        axes.set_xticks(range(len(rows)), names)
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.set_title(f"I({pair}), bits", fontsize=9, loc="left")
        axes.plot([], [], "o", color="C0", label="ours, and each seed")
        axes.plot([], [], "s", color="C1", label="the thesis, CelebA-Glasses")
        if pair != "z;c" and rows[0]["entropy_y"] is not None:
            axes.axhline(rows[0]["entropy_y"], color="0.5", linestyle="--", label="H(y), ours")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(fontsize=6)
        reporting.tidy(axes)
    return figure


def draw_row(axes: Any, x: float, row: Mapping[str, Any], pair: str) -> None:
    """One method."""
    found, look = row["bits"][pair], dict(capsize=4, markersize=5)
    good = [v for v in found["values"] if v is not None]
    axes.plot([x - 0.2] * len(good), good, ".", color="C0", alpha=0.5)
    if good:
        spread = found["std"] if found["std"] is not None else found["std_estimates"]
        axes.errorbar(x - 0.07, found["mean"], spread or 0.0, fmt="o", color="C0", **look)
    axes.errorbar(x + 0.15, *row["paper"][pair], fmt="s", color="C1", **look)


# ---- the command --------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = mmvae_runs.parser_of("mmvae_table2", __doc__, PRESETS)
    return mmvae_runs.settle(parser.parse_args(argv))


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = running.gather(args, mmvae_runs.make_tasks(args), INFORMATION)
    rows, leak, name = collect(runs), mmvae_leak.collect(runs), mmvae_runs.stem(args)
    content = {"data": args.data[0], "rows": rows, "order": order(rows), "leak": leak}
    content |= {"wanted": list(args.methods)}
    content |= reporting.frame(args, runs, "methods", INFORMATION)
    if leak:
        reporting.save_figure(args.out / f"{name}_leak.png", mmvae_leak.draw(leak))
    reporting.write(args.out, name, content, markdown(content, name), draw(rows))


if __name__ == "__main__":
    options.command(main)
