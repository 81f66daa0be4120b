"""InfoVAEGAN's Table 1, our part: clustering accuracy over seeds, from finished run directories.

  python -m ivg.main --config=configs/mnist.py --config.num_runs=4 --workdir=runs/mnist
  python -m experiments.infovaegan_clustering runs/mnist/seed_* --out=experiments/results

Runs are grouped by data set, method and number of steps; every number is that of the last
checkpoint. Writes infovaegan_clustering.json and .md (the table, ours beside the paper's).
"""

import argparse
import json
import pathlib
import statistics
from collections.abc import Iterable

PAPER = {
    ("mnist", "InfoVAEGAN (paper, 4 runs)"): (95.42, 96.15),
    ("mnist", "InfoGAN (quoted by the paper)"): (93.35, None),
    ("mnist", "JointVAE (quoted by the paper, 4 runs)"): (71.53, 87.32),
}
PROTOCOL = (
    "Ours: one-to-one accuracy (Hungarian matching) of argmax q(d | x) on the test split, last "
    "checkpoint, all seeds, mean +- sample standard deviation; k-means on the same images, fitted "
    "on (at most 10,000) training images. The paper does not state its matching."
)


def read(folders: Iterable[pathlib.Path]) -> list[dict]:
    """results.json of each run directory that has one."""
    files = [folder / "results.json" for folder in folders]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def summarise(results: list[dict]) -> list[dict]:
    """One row per data set, method and number of steps."""
    groups: dict[tuple, list[dict]] = {}
    for result in results:
        if "clustering" in result:
            key = (result["data"], result["method"], result["step"])
            groups.setdefault(key, []).append(result)
    rows = []
    for (data, method, step), runs in sorted(groups.items()):
        runs.sort(key=lambda r: r["seed"])
        accuracy = [r["clustering"]["accuracy_one_to_one"] for r in runs]
        rows.append(
            {
                "data": data,
                "method": method,
                "steps": step,
                "seeds": [r["seed"] for r in runs],
                "accuracy": accuracy,
                "mean": statistics.fmean(accuracy),
                "std": statistics.stdev(accuracy) if len(accuracy) > 1 else None,
                "best": max(accuracy),
                "nmi": statistics.fmean(r["clustering"]["nmi"] for r in runs),
                "kmeans": statistics.fmean(r["kmeans"]["accuracy_one_to_one"] for r in runs),
                "reconstruction_mse": statistics.fmean(r["reconstruction_mse"] for r in runs),
                "bound": statistics.fmean(r["log_likelihood/bound"] for r in runs),
                "versions": runs[0]["versions"],
                "commits": sorted({r["versions"].get("commit", "unknown") for r in runs}),
            }
        )
    return rows


def markdown(rows: list[dict]) -> str:
    """The table."""
    lines = [
        "| data | method | steps | mean % | best % | each seed % | k-means % | NMI | commit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = "" if row["std"] is None else f" +- {100 * row['std']:.2f}"
        each = " ".join(f"{100 * a:.2f}" for a in row["accuracy"])
        commits = " ".join(commit[:7] for commit in row["commits"])
        lines.append(
            f"| {row['data']} | `{row['method']}` | {row['steps']:,} "
            f"| {100 * row['mean']:.2f}{spread} | {100 * row['best']:.2f} | {each} "
            f"| {100 * row['kmeans']:.2f} | {row['nmi']:.3f} | {commits} |"
        )
    for (data, name), (mean, best) in PAPER.items():
        if any(row["data"] == data for row in rows):
            lines.append(f"| {data} | {name} | | {mean} | {best or ''} | | | | |")
    return "\n".join([*lines, "", PROTOCOL, ""])


def main() -> None:
    """Reads, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path, help="run directories")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("experiments/results"))
    options = parser.parse_args()
    rows = summarise(read(options.runs))
    if not rows:
        parser.error("none of these directories holds a results.json with clustering scores")
    options.out.mkdir(parents=True, exist_ok=True)
    table = markdown(rows)
    (options.out / "infovaegan_clustering.json").write_text(json.dumps(rows, indent=2) + "\n")
    (options.out / "infovaegan_clustering.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
