"""The bench's rows and its page, from run directories."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import bench_paper, reporting
from experiments.bench_paper import CLUSTERS, FACTOR_VAE
from experiments.bench_settings import changes, file_config, game_steps
from experiments.running import Run, Scores
from ivg.metrics.disentanglement import ALL

CODES = "kmeans_codes.accuracy_one_to_one"
ERROR = "reconstruction_mse"
BOUND = "log_likelihood/bound"
# What seeds are ranked by, the first that a run has; from the best to the worst.
RANKED_BY = (
    (FACTOR_VAE, "FactorVAE", 1),
    (CLUSTERS, "accuracy of clusters", 1),
    (CODES, "accuracy of k-means on codes", 1),
    (ERROR, "reconstruction error", -1),
)
VOTES = (10_000, 5_000)  # disentanglement_lib's
ANY = Scores("scores", lambda run: run.results is not None)
NOTE = """\
Ours: all seeds, last checkpoint, mean +- sample standard deviation. Difference in protocol: from
the data set file's own settings and length, which are those of the papers or their codes where they
say them (`--preset=paper`), from the number of seeds of the paper whose number stands beside, and
from disentanglement_lib's votes. Minutes: wall time of a run's training on a machine that may have
done other things too; no comparison of speed."""
NOTES = {
    "factors": """\
FactorVAE: disentanglement_lib's protocol, votes held out; `factor_vae_ibgan`: IB-GAN's evaluator.
Scored are the means of all continuous codes. Sprites are dSprites drawn anew; the papers' numbers
are on dSprites. IB-GAN: its Table 1, 150,000 steps, autoencoders with disentanglement_lib's
settings (300,000 steps). InfoVAEGAN: its table on dSprites, which quotes the other methods' scores.
InfoGAN-CR: 322,560 steps in its code; ModelCentrality chooses among seeds without labels.""",
    "classes": """\
Clusters: the argmax of the class code of the test images, matched one to one with the labels;
k-means: on the means of the continuous codes, for methods without a class code, or on pixels. The
papers do not say how they match. Numbers are per cent.""",
    "images": """\
Reconstruction: mean squared error per pixel and channel of test images in [-1, 1]. Bound: on log
p(x), nats per image, with the likelihood that is named: `bernoulli` of pixels in [0, 1], `gaussian`
of unit variance, unless said, on [-1, 1]; only like ones compare. I^L, I^U: bounds on the
information between codes and generated images, nats.""",
    "frechet": """\
Frechet distance of generated images from the training images, KID (x 1000), precision and recall;
`fid`: Inception's features, `classifier`: those of a small classifier of the same data, which give
no FID and compare within this page only. Counts, hashes and resize method: results.json of each
run.""",
    "no frechet": """\
Frechet distance: left out, these runs were not asked for it (`--config.frechet.num_images`).""",
}
# Features, and what stands for them in a title.
FRECHET = {"fid": "fid", "frechet_classifier": "classifier"}


# ---- rows ---------------------------------------------------------------------------------------


def collect(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per method, last step and number of votes, in the order of the runs."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        if ANY.present(run):
            recipe = factor_recipe(run)
            how = (recipe.get("train_votes"), recipe.get("eval_votes"))
            key = (run.task.method, run.results["step"], game_steps(run.config), how)
            groups.setdefault(key, []).append(run)
    order = list(dict.fromkeys(run.task.method for run in runs))
    keys = sorted(groups, key=lambda key: (order.index(key[0]), key[1:3], str(key[3])))
    return [row_of(sorted(groups[key], key=lambda run: run.task.seed)) for key in keys]


def factor_recipe(run: Run) -> Mapping[str, Any]:
    """How the FactorVAE score was made; {} where there is none."""
    found = run.results.get("disentanglement", {}).get("factor_vae", {})
    return found.get("recipe") or {}


def scores_of(run: Run) -> dict[str, float]:
    """Every number of results.json by its dotted name."""
    from ivg import runs  # with JAX, which --help and a mistyped option do not need

    return runs.scores(run.results)


def row_of(group: Sequence[Run]) -> dict[str, Any]:
    """What the page says of runs that differ in their seed only."""
    task, results = group[0].task, group[0].results
    found = [scores_of(run) for run in group]
    names = list(dict.fromkeys(name for scores in found for name in scores))
    minutes = [seconds / 60 for r in group if (seconds := reporting.training_seconds(r.folder))]
    row = {
        "data": task.data,
        "method": task.method,
        "step": results["step"],
        "batch_size": group[0].config["batch_size"],
        "game_steps": min(game_steps(group[0].config), results["step"]),
        "seeds": [run.task.seed for run in group],
        "scores": {n: reporting.summary(s.get(n, math.nan) for s in found) for n in names},
        "recipes": {
            name: entry.get("recipe") for name, entry in results.get("disentanglement", {}).items()
        },
        "likelihood": likelihood(group[0], names),
        "minutes": reporting.summary(minutes),
        "published": [p._asdict() for p in bench_paper.of(task.data, task.method)],
        "runs": [run.folder.name for run in group],
    }
    return row | {"protocol": protocol(row, group[0])}


def likelihood(run: Run, names: Sequence[str]) -> str | None:
    """p(x | codes) of the bound on log p(x), where there is one."""
    if BOUND not in names:
        return None
    own = run.config[run.task.method]
    std = f", std {own['image_std']:g}" if own.get("image_std", 1.0) != 1.0 else ""
    return own.get("likelihood", "gaussian") + std


def protocol(row: Mapping[str, Any], run: Run) -> str:
    """How training and scoring differ from the data set file's and the papers'."""
    words, steps = [], game_steps(file_config(run.task.data, run.task.method))
    if row["game_steps"] != steps:
        words.append(f"{row['game_steps']:,} steps, not {steps:,}")
    words += changes(run.task, run.config)
    wanted = {p["seeds"] for p in row["published"] if p["seeds"]}
    if wanted and len(row["seeds"]) != max(wanted):
        words.append(f"{len(row['seeds'])} of {max(wanted)} seeds")
    recipe = factor_recipe(run)
    if recipe and (recipe["train_votes"], recipe["eval_votes"]) != VOTES:
        words.append(f"{reporting.votes(recipe)}, not {VOTES[0]:,} + {VOTES[1]:,}")
    return "; ".join(words) or "as far as it is known, the same"


def best(runs: Sequence[Run]) -> tuple[Run, str, float | None]:
    """The best of a method's runs, the score that says so and its value (None: no score)."""
    found = [(run, scores_of(run)) for run in runs]
    for key, words, sign in RANKED_BY:
        own = [(sign * s[key], run) for run, s in found if math.isfinite(s.get(key, math.nan))]
        if own:
            value, run = max(own, key=lambda pair: pair[0])
            return run, words, sign * value
    return runs[0], "", None


# ---- words --------------------------------------------------------------------------------------


def steps_words(row: Mapping[str, Any]) -> str:
    """As in "5,000 + 5,000", where a GAN's z is regressed afterwards."""
    more = row["step"] - row["game_steps"]
    return f"{row['game_steps']:,}" + (f" + {more:,}" if more > 0 else "")


def has(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether any row has a score."""
    return any(key in row["scores"] for row in rows)


def cell(row: Mapping[str, Any], key: str, *, digits: int = 2, factor: float = 1.0) -> str:
    """Mean +- standard deviation of a score."""
    return reporting.spread(scaled(row["scores"].get(key), factor), digits)


def scaled(found: Mapping[str, Any] | None, factor: float) -> dict[str, Any]:
    """A summary times a number; an empty one for None."""
    if found is None:
        return {"mean": None, "std": None, "values": []}
    one = {n: None if found[n] is None else factor * found[n] for n in ("mean", "std")}
    return one | {"values": [None if v is None else factor * v for v in found["values"]]}


def headlines(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, float, int]]:
    """(title, score, factor, digits) of the main table's scores, each with its seeds beside it."""
    known = [
        ("FactorVAE", FACTOR_VAE, 1.0, 2),
        ("clusters %", CLUSTERS, 100.0, 2),
        ("k-means on codes %", CODES, 100.0, 2),
        ("reconstruction", ERROR, 1.0, 4),
    ]
    found = [column for column in known[:3] if has(rows, column[1])]
    return found or known[3:]


def main_table(rows: Sequence[Mapping[str, Any]], wanted: Sequence[str], data: str) -> str:
    """Every method's main scores beside the papers'; a line too for what has no run yet."""
    columns = headlines(rows)
    head = ["method", "steps", "seeds"]
    for title, *_ in columns:
        head += [title, "each seed"]
    head += ["minutes", "papers", "difference in protocol"]
    lines = []
    for row in rows:
        cells = [f"`{row['method']}`", steps_words(row), len(row["seeds"])]
        for _, key, factor, digits in columns:
            values = scaled(row["scores"].get(key), factor)["values"]
            cells += [cell(row, key, digits=digits, factor=factor), reporting.each(values, digits)]
        minutes = "" if row["minutes"]["mean"] is None else f"{row['minutes']['mean']:.1f}"
        lines.append([*cells, minutes, papers(data, row["method"]), row["protocol"]])
    for method in wanted:
        if all(row["method"] != method for row in rows):
            blank = ["no run yet", *[""] * (2 * len(columns))]
            lines.append([f"`{method}`", "", 0, *blank, papers(data, method), ""])
    return reporting.table(head, lines)


def papers(data: str, method: str) -> str:
    """All published numbers of a method."""
    return "; ".join(p.words() for p in bench_paper.of(data, method))


def factor_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The other disentanglement metrics."""
    names = {n.split(".")[1] for row in rows for n in row["scores"] if n.startswith("disentangle")}
    names = sorted(names - {"factor_vae"}, key=lambda n: ALL.index(n) if n in ALL else len(ALL))
    return reporting.table(
        ["method", *names],
        [
            [f"`{row['method']}`", *(cell(row, f"disentanglement.{name}") for name in names)]
            for row in rows
        ],
    )


def class_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The other clustering scores, per cent."""
    keys = [
        f"{part}.{name}"
        for part in ("clustering", "kmeans_codes", "kmeans")
        for name in ("accuracy_one_to_one", "accuracy_many_to_one", "nmi", "ari")
    ]
    keys = [key for key in keys if key not in (CLUSTERS, CODES) and has(rows, key)]
    titles = [key.replace("kmeans.", "pixels.").replace("accuracy_", "") for key in keys]
    return reporting.table(
        ["method", *titles],
        [[f"`{row['method']}`", *(cell(row, key, factor=100.0) for key in keys)] for row in rows],
    )


def image_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Reconstruction, the bound on log p(x) and those on the codes' information."""
    extra = [key for key in ("I(c;y)", "I(z;y)", "I(z;c)") if has(rows, key)]
    head = ["method", "reconstruction", "bound on log p(x)", "likelihood", "I^L nats", "I^U nats"]
    lines = [
        [
            f"`{row['method']}`",
            cell(row, ERROR, digits=4),
            cell(row, BOUND),
            row["likelihood"] or "",
            *(cell(row, f"bounds.{name}") for name in ("info_lower", "info_upper")),
            *(cell(row, key) for key in extra),
        ]
        for row in rows
    ]
    return reporting.table([*head, *(f"{key} bits" for key in extra)], lines)


def frechet_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Distances of generated images, of every kind of features that a run has; "" without any."""
    parts = [("distance", "distance", 1.0, 2), ("kid_mean", "KID x 1000", 1000.0, 2)]
    parts += [(name, f"{name} %", 100.0, 1) for name in ("precision", "recall")]
    columns = [
        (f"{name}.{part}", f"{words} {title}", factor, digits)
        for name, words in FRECHET.items()
        for part, title, factor, digits in parts
        if has(rows, f"{name}.{part}")
    ]
    if not columns:
        return ""
    lines = [
        [f"`{row['method']}`"]
        + [cell(row, key, digits=digits, factor=factor) for key, _, factor, digits in columns]
        for row in rows
    ]
    return reporting.table(["method", *(title for _, title, *_ in columns)], lines)


def markdown(content: Mapping[str, Any]) -> str:
    """The page."""
    rows, data = content["rows"], content["data"]
    stem = f"bench_{data}"
    batches = " or ".join(str(n) for n in sorted({row["batch_size"] for row in rows}))
    parts = [
        f"# Every method on {data}",
        main_table(rows, content["wanted"], data),
        f"Batches of {batches} images.",
        NOTE,
    ]
    if has(rows, FACTOR_VAE):
        parts += [NOTES["factors"], "Other scores of the true factors:", factor_table(rows)]
    if has(rows, CLUSTERS) or has(rows, CODES):
        parts += [NOTES["classes"], "Other scores of the clusters:", class_table(rows)]
    parts += ["Images and information:", image_table(rows), NOTES["images"]]
    distances = frechet_table(rows)
    parts += [distances, NOTES["frechet"]] if distances else [NOTES["no frechet"]]
    parts += [f"![Scores of every method]({stem}.png)"]
    if content["pictures"]:
        parts += [f"![The best seed of every method]({stem}_traversals.png)"]
    return "\n\n".join([*parts, *reporting.footer(content)]) + "\n"
