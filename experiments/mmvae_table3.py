"""MMVAE's Table 3: how often an image with the other attribute's code is seen as having it.

  python -m experiments.mmvae_table3 --preset=cpu
  python -m experiments.mmvae_table3 --preset=paper --data=celeba_glasses --data_dir=CELEBA

A test image keeps its z, its c is drawn from p(c | 1 - y); a classifier that was trained on real
images counts how many of the decoded ones it takes for 1 - y. Below 95 % of its own test images
right it is no judge, and no number is given. Writes mmvae_table3.json, .md and .png, and copies
each method's picture of swapped test images (Fig. 10), first seed; the runs and the presets are
those of mmvae_table2.
Kim, "MMVAE", thesis, 2019.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import mmvae_runs, mmvae_table2, options, reporting, running
from experiments.mmvae_runs import SWAP
from experiments.running import Run

PRESETS = mmvae_table2.PRESETS
PAPER = {"r_cvae": 94.35, "csvae": 96.50, "mmvae": 97.17}  # per cent, Eyeglasses
PAPER_CLASSIFIER = 98.46  # per cent of its original test images
NOTE = f"""\
Per cent of the test images; mean over the seeds +- sample standard deviation, last checkpoint. z is
the posterior's mean, c one draw of p(c | 1 - y) an image. Classifier: trained on training images,
its accuracy on test images; trained alike in every run. The thesis: one model each, a classifier of
{PAPER_CLASSIFIER} % whose architecture is not given."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per method, last step and attribute."""
    runs = list(filter(SWAP.present, runs))
    groups = mmvae_runs.grouped(runs, lambda run: (run.task.method, run.results["step"]))
    return [
        row_of(group, name)
        for group in groups.values()
        for name in dict.fromkeys(n for run in group for n in mmvae_runs.attributes(run)["swap"])
    ]


def row_of(group: Sequence[Run], name: str) -> dict[str, Any]:
    """What the table says of one attribute of runs that differ in their seed only."""
    group = [run for run in group if name in mmvae_runs.attributes(run)["swap"]]
    found = [mmvae_runs.attributes(run)["swap"][name] for run in group]
    task = group[0].task
    return {
        "data": task.data,
        "method": task.method,
        "step": group[0].results["step"],
        "attribute": name,
        "seeds": [run.task.seed for run in group],
        "accuracy": per_cent(entry.get("accuracy") for entry in found),
        "classifier_accuracy": per_cent(entry.get("classifier_accuracy") for entry in found),
        "refused": {
            str(run.task.seed): entry.get("reason") or "no reason is given"
            for run, entry in zip(group, found, strict=True)
            if entry.get("accuracy") is None
        },
        "paper": PAPER[task.method],
        "protocol": mmvae_runs.training_words(group),
        "runs": [run.folder.name for run in group],
    }


def per_cent(values: Any) -> dict[str, Any]:
    """Summary of fractions, in per cent."""
    return reporting.summary(100.0 * mmvae_runs.number(value) for value in values)


# ---- words --------------------------------------------------------------------------------------


def main_table(rows: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> str:
    """Ours beside the thesis'; a line too for what is wanted and has no run yet."""
    head = ["method", "steps", "attribute", "seeds", "swapped %", "each seed", "classifier %"]
    lines = [
        [
            f"`{row['method']}`",
            f"{row['step']:,}",
            row["attribute"],
            len(row["seeds"]),
            swapped(row),
            reporting.each(row["accuracy"]["values"]).replace("nan", "-"),
            reporting.spread(row["classifier_accuracy"]),
            f"{row['paper']:.2f}",
            row["protocol"],
        ]
        for row in rows
    ]
    for method in wanted:
        if not any(row["method"] == method for row in rows):
            cells = [f"`{method}`", "", "", 0, "no run yet", "", ""]
            lines.append([*cells, f"{PAPER[method]:.2f}", ""])
    return reporting.table([*head, "thesis %", "difference in protocol"], lines)


def swapped(row: Mapping[str, Any]) -> str:
    """The accuracy, and how many seeds have none."""
    found, lost = row["accuracy"], len(row["refused"])
    if found["mean"] is None:
        return "refused"
    # A refusal is no undefined value: it is counted in its own words.
    good = reporting.summary(v for v in found["values"] if v is not None)
    return reporting.spread(good) + (f" ({lost} of {len(row['seeds'])} refused)" if lost else "")


def refusals(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for every reason, with its seeds."""
    lines = []
    for row in rows:
        by_reason: dict[str, list[str]] = {}
        for seed, reason in row["refused"].items():
            by_reason.setdefault(reason, []).append(seed)
        for reason, seeds in by_reason.items():
            word = "seed" if len(seeds) == 1 else "seeds"
            where = f"`{row['method']}`, {row['attribute']}, {word} {', '.join(seeds)}"
            lines.append(f"- {where}: {reason}")
    return "\n".join(lines)


def markdown(content: Mapping[str, Any], name: str) -> str:
    """The page."""
    parts = [
        f"# MMVAE, Table 3: attribute swap, {content['data']}",
        main_table(content["rows"], content["wanted"]),
        NOTE,
    ]
    if lines := refusals(content["rows"]):
        parts += ["Refused:", lines]
    parts += [f"![Swapped attributes, ours and the thesis']({name}.png)"]
    parts += [f"![{p['label']}]({p['picture']})" for p in content["pictures"]]
    return "\n\n".join([*parts, *reporting.footer(content)]) + "\n"


# ---- pictures ------------------------------------------------------------------------------------


def copies(rows: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> list[dict[str, str]]:
    """Copies of the pictures of swapped test images, of each row's first seed."""
    made = []
    for row in rows:
        path = args.workdir / row["runs"][0] / "figures" / f"swap_{row['attribute']}.png"
        if path.exists():
            name = f"{mmvae_runs.stem(args)}_{row['method']}_{row['attribute']}.png"
            args.out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, args.out / name)
            label = f"{row['method']}, {row['attribute']}: seed {row['seeds'][0]}, "
            made.append({"picture": name, "label": label + f"step {row['step']:,}"})
    return made


def draw(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Every seed, the mean, the classifier's own accuracy and the thesis' numbers."""
    from matplotlib.figure import Figure

    figure = Figure((max(4.6, 1.6 * len(rows)), 3.6), 150, layout="constrained")
    axes = figure.add_subplot()
    for x, row in enumerate(rows):
        found, look = row["accuracy"], dict(capsize=4, markersize=5)
        good = [v for v in found["values"] if v is not None]
        axes.plot([x - 0.2] * len(good), good, ".", color="C0", alpha=0.5)
        if good:
            axes.errorbar(x - 0.07, found["mean"], found["std"] or 0.0, fmt="o", color="C0", **look)
        if (judge := row["classifier_accuracy"]["mean"]) is not None:
            axes.plot([x], [judge], "_", color="0.4", markersize=16)
        axes.plot([x + 0.15], [row["paper"]], "s", color="C1", markersize=5)
    ticks = [f"{row['method']}\n{row['attribute']}\n{row['step']:,} steps" for row in rows]
    axes.set_xticks(range(len(rows)), ticks)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_title("attributes swapped, % of test images", fontsize=9, loc="left")
    axes.plot([], [], "o", color="C0", label="ours, and each seed")
    axes.plot([], [], "_", color="0.4", markersize=10, label="the classifier on test images")
    axes.plot([], [], "s", color="C1", label="the thesis, Eyeglasses")
    figure.legend(loc="outside lower center", ncols=3, fontsize=6)
    reporting.tidy(axes)
    return figure


# ---- the command --------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = mmvae_runs.parser_of("mmvae_table3", __doc__, PRESETS)
    return mmvae_runs.settle(parser.parse_args(argv))


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = running.gather(args, mmvae_runs.make_tasks(args), SWAP)
    rows, name = collect(runs), mmvae_runs.stem(args)
    content = {"data": args.data[0], "rows": rows, "wanted": list(args.methods)}
    content |= {"paper_classifier": PAPER_CLASSIFIER, "pictures": copies(rows, args)}
    content |= reporting.frame(args, runs, "methods", SWAP)
    reporting.write(args.out, name, content, markdown(content, name), draw(rows))


if __name__ == "__main__":
    options.command(main)
