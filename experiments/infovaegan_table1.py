"""InfoVAEGAN's Table 1: clustering accuracy without labels on MNIST, and on other images.

  python -m experiments.infovaegan_table1 --data_dir=TFDS
  python -m experiments.infovaegan_table1 --data=digits
  python -m experiments.infovaegan_table1 --preset=paper --data_dir=TFDS --runs_at_once=4
  python -m experiments.infovaegan_table1 --table_only
  python -m experiments.infovaegan_table1 --folders runs/mnist_four runs/digits_four

Trains what is missing, then writes infovaegan_table1.json, .md and .png (without MNIST the data
sets' names are added). --folders reports given run directories, whatever they were trained with.
Presets: smoke, 20 steps on the digits; cpu, five to fifteen minutes a run on one core, three seeds;
paper, the lengths of the papers, as far as they give them, and four seeds, for a GPU.
Ye & Bors, "InfoVAEGAN", ICIP 2021.
"""

import argparse
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import infovaegan_runs, options, reporting
from experiments.infovaegan_runs import CLUSTERING, MATCHED, METHODS, NAMES
from experiments.running import Preset, Run

PRESETS = {
    "smoke": Preset(None, 1, ("digits",), METHODS),
    "cpu": Preset(None, 3, ("mnist",), METHODS),
    "paper": Preset(None, 4, ("mnist",), METHODS),
}
PAPER_SEEDS = 4
# method -> mean and best of four runs in per cent on MNIST; InfoGAN's one number is quoted there
PAPER = {"infovaegan": (95.42, 96.15), "jointvae": (71.53, 87.32), "infogan": (93.35, None)}
# What Table 1 quotes of methods that are not here: number of clusters, per cent
QUOTED = {
    "SubGAN": (20, 90.81),
    "GMVAE, K = 30": (30, 89.27),
    "GMVAE, K = 16": (16, 87.82),
    "AAE": (16, 90.45),
    "CatGAN": (30, 95.73),
    "DEC": (10, 84.30),
    "PixelGAN": (30, 94.73),
}
# method -> steps and batch of its own paper or released code, where they are given
LENGTH = {"jointvae": (94_000, 64), "infogan": (5_000, 128), "mixture_vae": (46_900, 128)}
NETWORK = {
    "jointvae": ("jointvae", 1.0),
    "infogan": ("infogan28", 1.0),
    "mixture_vae": ("mlp", 500),
}
NOTE = """\
Per cent of the test images (10,000 of MNIST, 360 of the digits) whose cluster is that of their
class, clusters and classes matched one to one (Hungarian method); last checkpoint, all seeds, mean
+- sample standard deviation, and the best seed. A cluster is the argmax of q(d | x), or, of a
method without classes, k-means on the means of its continuous codes, fitted on at most 10,000
training images, as is k-means on pixels. The paper does not say how it matches clusters with
classes, nor its networks for MNIST, its steps or its weights. The invariant variant is ours: see
the README."""
QUOTED_NOTE = """\
What the paper's Table 1 quotes of other methods. Where there are more clusters than classes, a
cluster can only take its most frequent class, which is the easier measure; what each of the quoted
papers took was not looked up."""


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per data set, method, last step, settings and way to assign clusters."""
    groups: dict[tuple, list[Run]] = {}
    for run in sorted(filter(CLUSTERING.present, runs), key=lambda run: run.task.seed):
        how = infovaegan_runs.assignment(run)
        settings = [run.config[run.task.method], run.config["batch_size"]]
        recipe = json.dumps(settings, sort_keys=True)
        key = (run.task.data, run.task.method, run.results["step"], how, recipe)
        groups.setdefault(key, []).append(run)
    known = [*infovaegan_runs.DATA, *sorted({key[0] for key in groups})]
    methods = [*METHODS, *sorted({key[1] for key in groups})]
    order = sorted(groups, key=lambda k: (known.index(k[0]), methods.index(k[1]), *k[2:]))
    return [row_of(groups[key]) for key in order]


def row_of(group: Sequence[Run]) -> dict[str, Any]:
    """What the table says of runs that differ in their seed only."""
    task, results = group[0].task, [run.results for run in group]
    found = [infovaegan_runs.clusters(run) for run in group]
    accuracy = per_cent(scores[MATCHED] for scores in found)
    good = [value for value in accuracy["values"] if value is not None]
    row = {
        "data": task.data,
        "method": task.method,
        "step": results[0]["step"],
        "batch_size": group[0].config["batch_size"],
        "network": group[0].config[task.method]["network"],
        "assignment": infovaegan_runs.assignment(group[0]),
        "seeds": [run.task.seed for run in group],
        "accuracy": accuracy | {"best": max(good, default=None)},
        "many_to_one": per_cent(scores["accuracy_many_to_one"] for scores in found),
        "nmi": reporting.summary(scores["nmi"] for scores in found),
        "ari": reporting.summary(scores["ari"] for scores in found),
        "paper": PAPER.get(task.method) if task.data == "mnist" else None,
        "runs": [run.folder.name for run in group],
    }
    row["kmeans"] = per_cent(r["kmeans"][MATCHED] for r in results if r.get("kmeans"))
    for name in ("reconstruction_mse", "log_likelihood/bound"):
        row[name] = reporting.summary(r[name] for r in results if name in r)
    return row | {"protocol": protocol(row)}


def per_cent(fractions: Any) -> dict[str, Any]:
    """Summary of fractions, in per cent."""
    return reporting.summary(100.0 * value for value in fractions)


def protocol(row: Mapping[str, Any]) -> str:
    """How the training differs from the method's own paper, as far as that is known."""
    method, words = row["method"], []
    if row["data"] != "mnist":
        words.append(f"{row['data']}, not MNIST")
    steps, batch = row["step"], row["batch_size"]
    text = f"{steps:,} steps of {batch}"
    if method not in LENGTH:
        words.append(f"{text}; the paper's are not known" if method in PAPER else text)
    elif (steps, batch) != LENGTH[method]:
        words.append(f"{text}, not {LENGTH[method][0]:,} of {LENGTH[method][1]}")
    own = (row["network"]["name"], row["network"].get("width", 1.0))
    if method in NETWORK and own != NETWORK[method]:
        words.append(f"network {own[0]} of width {own[1]:g}, not its own")
    if method == "infovaegan":
        words.append(f"network {own[0]}, not given in the paper")
    if method in PAPER and len(row["seeds"]) != PAPER_SEEDS:
        words.append(f"{len(row['seeds'])} of {PAPER_SEEDS} seeds")
    return "; ".join(words) or "as far as it is known, the same"


# ---- words --------------------------------------------------------------------------------------


def main_table(rows: Sequence[Mapping[str, Any]], wanted: Sequence[tuple[str, str]]) -> str:
    """Ours beside the paper's; a line too for what is wanted and has no scores yet."""
    head = ["data", "method", "steps", "seeds", "clusters", "accuracy %", "best %", "each seed %"]
    head += ["paper: mean, best %", "k-means on pixels %", "NMI", "ARI"]
    lines = []
    for row in rows:
        accuracy = row["accuracy"]
        best = accuracy["best"]
        lines.append(
            [
                row["data"],
                f"`{row['method']}`",
                f"{row['step']:,}",
                len(row["seeds"]),
                row["assignment"],
                reporting.spread(accuracy),
                "" if best is None else f"{best:.2f}",
                reporting.each(accuracy["values"]),
                paper_words(row["data"], row["method"]),
                reporting.spread(row["kmeans"]),
                *(reporting.spread(row[name], 3) for name in ("nmi", "ari")),
                row["protocol"],
            ]
        )
    for data, method in wanted:
        if not any((row["data"], row["method"]) == (data, method) for row in rows):
            cells = [data, f"`{method}`", "", 0, "", "no run yet", "", ""]
            lines.append([*cells, paper_words(data, method), "", "", "", ""])
    return reporting.table([*head, "difference in protocol"], lines)


def paper_words(data: str, method: str) -> str:
    """The paper's numbers."""
    mean, best = PAPER.get(method, (None, None))
    if data != "mnist" or mean is None:
        return ""
    return f"{mean:.2f}" if best is None else f"{mean:.2f}, {best:.2f}"


def other_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What else the runs say of themselves."""
    head = ["data", "method", "steps", "many to one %", "squared error", "bound on log p(x)"]
    lines = [
        [
            row["data"],
            f"`{row['method']}`",
            f"{row['step']:,}",
            reporting.spread(row["many_to_one"]),
            reporting.spread(row["reconstruction_mse"], 4),
            reporting.spread(row["log_likelihood/bound"], 1),
        ]
        for row in rows
    ]
    return reporting.table(head, lines)


def quoted_table() -> str:
    """The paper's other rows."""
    lines = [[name, number, f"{value:.2f}"] for name, (number, value) in QUOTED.items()]
    return reporting.table(["method", "clusters", "accuracy %"], lines)


OTHER = """\
The same checkpoints: accuracy where each cluster takes its most frequent class among training
images; mean squared error of a reconstruction per pixel, images in [-1, 1]; the bound in nats, of
whatever likelihood the method has (InfoVAEGAN's: Gaussian, unit variance), so that it compares
seeds and not methods."""


def markdown(content: Mapping[str, Any], name: str) -> str:
    """The page."""
    parts = [
        "# InfoVAEGAN, Table 1: clustering accuracy",
        main_table(content["rows"], content["wanted"]),
        NOTE,
        OTHER,
        other_table(content["rows"]),
    ]
    if any(row["data"] == "mnist" for row in content["rows"]):
        parts += [QUOTED_NOTE, quoted_table()]
    parts += [f"![Clustering accuracy, ours and the paper's]({name}.png)"]
    return "\n\n".join([*parts, *reporting.footer(content)]) + "\n"


# ---- the picture --------------------------------------------------------------------------------


def draw(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Every seed, the mean +- standard deviation, k-means on pixels, the paper's beside it."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["data"] for row in rows))
    most = max(sum(row["data"] == name for row in rows) for name in names)
    figure = Figure((max(5.6, 1.25 * most + 0.6), 3.5 * len(names)), 150, layout="constrained")
    legend: dict[str, Any] = {}
    for i, name in enumerate(names):
        axes = figure.add_subplot(len(names), 1, i + 1)
        own = [row for row in rows if row["data"] == name]
        for x, row in enumerate(own):
            draw_row(axes, x, row)
        ticks = [NAMES.get(r["method"], r["method"]).replace(", ", "\n") for r in own]
        ticks = [f"{t}\n{r['step']:,} steps" for t, r in zip(ticks, own, strict=True)]
        axes.set_xticks(range(len(own)), ticks)
        axes.set(xlim=(-0.6, len(own) - 0.4), ylim=(0, 102))
        axes.set_title(f"{name}: clustering accuracy, %", fontsize=9, loc="left")
        axes.plot([], [], "o", color="C0", label="ours, last checkpoint, and each seed")
        if pixels := [v for row in own for v in row["kmeans"]["values"]]:
            mean = sum(pixels) / len(pixels)
            axes.axhline(mean, color="0.5", linestyle=":", label="k-means on pixels")
        if any(row["paper"] for row in own):
            axes.plot([], [], "s", color="C1", label="as the paper has it: mean and best")
        lines, labels = axes.get_legend_handles_labels()
        legend |= dict(zip(labels, lines, strict=True))
        reporting.tidy(axes)
        axes.tick_params(labelsize=7)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3, fontsize=6)
    return figure


def draw_row(axes: Any, x: float, row: Mapping[str, Any]) -> None:
    """One method."""
    found, look = row["accuracy"], dict(capsize=4, markersize=5)
    good = [v for v in found["values"] if v is not None]
    axes.plot([x - 0.2] * len(good), good, ".", color="C0", alpha=0.5)
    if good:
        axes.errorbar(x - 0.07, found["mean"], found["std"] or 0.0, fmt="o", color="C0", **look)
    for value in row["paper"] or ():
        if value is not None:
            axes.plot([x + 0.15], [value], "s", color="C1", markersize=5)


# ---- the command --------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = infovaegan_runs.parser_of("infovaegan_table1", __doc__, PRESETS)
    return infovaegan_runs.settle(parser.parse_args(argv))


def stem(data: Sequence[str]) -> str:
    """The name of what is written: the data sets' names are added where MNIST is not among them."""
    return "_".join(["infovaegan_table1", *(() if "mnist" in data else data)])


def shown(folder: pathlib.Path) -> str:
    """A run directory in a command, without places outside of the checkout."""
    if not folder.is_absolute():
        return str(folder)
    return "/".join(folder.parts[-2 if folder.name.startswith("seed_") else -1 :])


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs = infovaegan_runs.gather(args, CLUSTERING)
    rows = collect(runs)
    content = {"rows": rows, "quoted": {name: list(v) for name, v in QUOTED.items()}}
    content |= reporting.frame(args, runs, "methods", CLUSTERING)
    if args.folders:
        names = map(shown, args.folders)
        content["command"] = " ".join([f"python -m experiments.{args.script} --folders", *names])
        content["preset"] = "none, the runs' own settings"
        content["wanted"], data = [], list(dict.fromkeys(row["data"] for row in rows))
    else:
        content["wanted"] = [(data, method) for data in args.data for method in args.methods]
        data = args.data
    name = stem(data)
    reporting.write(args.out, name, content, markdown(content, name), draw(rows))


if __name__ == "__main__":
    options.command(main)
