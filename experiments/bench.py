"""Every method on one data set, under the same metrics: one table, one figure, one sheet.

  python -m experiments.bench --data=sprites --methods=all --runs=3 --preset=cpu
  python -m experiments.bench --data=digits --methods=vae,infogan,jointvae --runs=2
  python -m experiments.bench --data=celeba --data_dir=CELEBA_ZIP --preset=paper
  python -m experiments.bench --data=sprites --workdir=runs/bench_cpu --table_only
  python -m experiments.bench --preset=paper --launcher=slurm --partition=gpu --hours_per_job=8

Trains what is missing, seed by seed, skips what is finished, goes on with what was interrupted and
passes over a method whose training breaks; then writes bench_DATA.json, .md and .png, and
bench_DATA_traversals.png with the best seed of each method. Presets: smoke, networks of a few units
and 10 steps; cpu, 5,000 steps of 64 images for every method (MNIST 6,500, digits 6,000) and 3
seeds, with smaller networks where a CPU needs them, which the page names; paper, the data set
file's own settings and lengths and 10 seeds, for a GPU.
"""

import argparse
import pathlib
from collections.abc import Sequence

from experiments import bench_figures, bench_page, launching, options, reporting, running
from experiments.bench_settings import DATA, MADE_HERE, PRESETS, make_task, methods_of, preset_of
from experiments.running import Run, Task
from ivg.errors import UserError


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = options.parser_of("bench", __doc__, PRESETS, known=DATA)
    parser.add_argument("--methods", default="all", help="all, or names with commas")
    parser.add_argument("--data_dir", type=pathlib.Path, help="tfds directory, zip or folder")
    args = parser.parse_args(argv)
    data = options.names("--data", args.data, DATA) if args.data is not None else ("sprites",)
    if len(data) > 1:
        raise UserError(f"--data={args.data} names {len(data)} data sets; use one at a time.")
    args.presets = {preset: preset_of(preset, data[0]) for preset in PRESETS}
    args = options.settle(args)
    known = methods_of(data[0])
    every = args.methods.strip() == "all"
    args.methods = known if every else options.names("--methods", args.methods, known)
    if args.data_dir is not None and data[0] in MADE_HERE:
        raise UserError(f"--data_dir={args.data_dir} is not needed: {data[0]} has no files.")
    if args.data_dir is not None and not args.data_dir.exists() and not args.table_only:
        raise UserError(
            f"--data_dir={args.data_dir} does not exist; name the data's folder or zip."
        )
    return args


def make_tasks(args: argparse.Namespace) -> list[Task]:
    """The runs of the table."""
    return [
        make_task(args, data, method, seed)
        for data in args.data
        for method in args.methods
        for seed in range(args.seeds)
    ]


def train(args: argparse.Namespace, tasks: Sequence[Task]) -> list[str]:
    """Trains what is missing. Returns a line for each run that could not be trained.

    Raises:
        UserError: a directory holds another run, or not a single run could be trained.
    """
    todo, failed = running.unfinished(tasks, args.workdir), []
    print(f"{len(tasks) - len(todo)} of {len(tasks)} runs are finished", flush=True)
    groups = running.batches(todo, args.runs_at_once)
    for i, group in enumerate(groups):
        names = ", ".join(f"`{run.folder.name}`" for run in group)
        print(f"--- {names} ({i + 1} of {len(groups)})", flush=True)
        try:
            running.train_group(group, args.workdir)
        except UserError as error:
            print(f"failed: {error}", flush=True)
            failed.append((names, error))
    if failed and len(failed) == len(groups) and len(todo) == len(tasks):
        raise failed[0][1]  # what is wrong with the first is wrong with all: no data, no space
    return [f"{names} broke off: {error}" for names, error in failed]


def gather(args: argparse.Namespace, tasks: Sequence[Task]) -> tuple[list[Run], list[str]]:
    """All runs that are there, and what broke off just now."""
    if args.table_only:
        failed = []
    elif args.launcher == "slurm":
        failed = launching.launch(args, tasks)
    else:
        failed = train(args, tasks)
    return running.read(args, tasks, bench_page.ANY), failed


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, reads all, writes."""
    args = parse(argv)
    runs, failed = gather(args, make_tasks(args))
    rows, data = bench_page.collect(runs), args.data[0]
    stem = f"bench_{data}"
    content = {"data": data, "rows": rows, "wanted": list(args.methods)}
    content |= reporting.frame(args, runs, "methods", bench_page.ANY)
    content["missing"] = failed + content["missing"]
    content["pictures"] = bench_figures.sheet(runs, args.out / f"{stem}_traversals.png")
    figure = bench_figures.draw(rows, data)
    reporting.write(args.out, stem, content, bench_page.markdown(content), figure)


if __name__ == "__main__":
    options.command(main)
