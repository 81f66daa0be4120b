"""Runs as a user starts them: one or several seeds, evaluation and samples of what they left."""

import io
import json
import pathlib
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from ivg import (
    build,
    checkpoint,
    compilation,
    devices,
    lock,
    plots,
    rundir,
    summary,
    terminal,
    train,
)
from ivg.errors import UserError
from ivg.examples import generate, prior
from ivg.files import file_errors, replace, require_writable
from ivg.stopping import or_end


def train_runs(config: Mapping, workdir: pathlib.Path) -> None:
    """Trains `num_runs` seeds, each in a directory of its own if there are several."""
    config = json.loads(json.dumps(config))
    devices.start_processes()
    compilation.keep_programs()
    with file_errors(workdir):
        if config["num_runs"] == 1:
            check_busy(config)
            report(train.train(config, workdir), workdir)
            suggest(workdir)
        else:
            build.check_numbers(config)
            with lock.held(workdir):
                train_seeds(config, workdir)


def check_busy(config: Mapping) -> None:
    """Raises UserError where a single run would leave devices idle."""
    count = jax.device_count()
    if build.spreads_runs(config) and count > 1:
        raise UserError(
            f"parallel=runs would train this one run on one of {count} devices; use "
            f"--config.parallel=batch for it, or --config.num_runs={count} for more seeds."
        )


def train_seeds(config: Mapping, workdir: pathlib.Path) -> None:
    """Trains seeds `seed`, `seed` + 1, ..., so many at once, and sums up their scores."""
    devices.on_first(lambda: rundir.claim(workdir, config))
    results = []
    seeds = range(config["seed"], config["seed"] + config["num_runs"])
    spread = jax.device_count() if build.spreads_runs(config) else 1
    for group in groups(seeds, at_once=config["runs_at_once"], spread=spread):
        folders = [workdir / f"seed_{seed}" for seed in group]
        for seed, folder in zip(group, folders, strict=True):
            head = terminal.styled(f"seed {seed} in {folder}", "bold", sys.stdout)
            print(f"\n{head}", flush=True)
        own = [config | {"seed": seed, "num_runs": 1, "runs_at_once": 1} for seed in group]
        for result, folder in zip(train.train_together(own, folders), folders, strict=True):
            report(result, folder)
            results.append(result)
    if not devices.is_first():
        return
    found = summarise(results)
    rundir.write_json(workdir / "results.json", found)
    words = f"{len(results)} runs: mean +- standard deviation, and each"
    print("\n".join(["", terminal.styled(words, "bold", sys.stdout), *summary.seed_lines(found)]))
    print(f"\n  scores    {workdir / 'results.json'}, {workdir / 'seed_*'}")
    suggest(workdir, workdir / f"seed_{seeds[0]}")


def groups(seeds: Sequence[int], *, at_once: int, spread: int) -> Iterator[Sequence[int]]:
    """Seeds that are trained together: `at_once` of them on each of `spread` devices.

    What is left at the end still has equally many on each device, or fewer devices.
    """
    first = 0
    while first < len(seeds):
        count = min(at_once * spread, len(seeds) - first)
        count -= count % spread if count > spread else 0
        yield seeds[first : first + count]
        first += count


def summarise(results: list[dict]) -> dict:
    """Mean, sample standard deviation and every value of each number that all runs report."""
    rows = [scores(result) for result in results]
    table = {}
    for name in rows[0]:
        values = [row[name] for row in rows if name in row]
        if len(values) == len(rows):
            table[name] = {
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else 0.0,
                "values": [round(v, 4) for v in values],
            }
    return {"seeds": [r["seed"] for r in results], "scores": table}


def scores(result: Mapping) -> dict[str, float]:
    """The numbers of a run's results by dotted name; of a metric with a recipe, its mean."""
    skipped = ("seed", "step", "versions", "cost", "figures", "disentanglement", "attributes")
    skipped += ("rollbacks",)
    flat = rundir.flatten({name: value for name, value in result.items() if name not in skipped})
    for name, score in result.get("disentanglement", {}).items():
        flat[f"disentanglement.{name}"] = score["mean"]
    if "attributes" in result:
        bits = result["attributes"]["information"]
        flat |= {f"I({pair})": bits[pair]["mean"] for pair in ("c;y", "z;y", "z;c")}
        for name, swap in result["attributes"]["swap"].items():
            flat[f"swap.{name}"] = swap["accuracy"]
    flat = {name: value for name, value in flat.items() if ".counts." not in name}
    return {name: value for name, value in flat.items() if isinstance(value, int | float)}


def stored(workdir: pathlib.Path, config: Mapping | None) -> dict:
    """The run directory's config, with the safe fields of `config` where one is given."""
    own = rundir.read_config(workdir)
    if config is None:
        return own
    config = json.loads(json.dumps(config))
    changed = rundir.difference(own, config)
    if changed:
        raise UserError(
            f"{workdir} holds a run with another config ({rundir.in_words(changed)}); "
            "leave --config away to use its own."
        )
    return config


def last_state(config: Mapping, workdir: pathlib.Path):
    """(run, state, step) of a run directory's last good checkpoint."""
    if checkpoint.latest_step(build.checkpoints(workdir)) is None:
        seeds = sorted(str(path) for path in workdir.glob("seed_*"))
        if seeds:
            raise UserError(f"{workdir} holds several runs; name one of {', '.join(seeds)}.")
        raise UserError(f"{workdir} holds no checkpoint yet; train first with --mode=train.")
    try:
        build.check(config)
    except UserError as error:
        raise UserError(f"{workdir / 'config.json'}: {error}") from None
    compilation.keep_programs()
    run = build.build(config)
    with jax.set_mesh(run.mesh):
        state, step = train.restore(run, workdir, config)
    return run, state, step


def evaluate_runs(workdir: pathlib.Path, config: Mapping | None = None) -> None:
    """Scores and pictures of the last checkpoint, without training."""
    config = stored(workdir, config)
    require_writable(workdir)
    with lock.held(workdir), file_errors(workdir):
        run, state, step = last_state(config, workdir)
        report(or_end(train.finish, run, config, workdir, state, step), workdir)
    suggest(workdir)


def sample(workdir: pathlib.Path, num_samples: int, config: Mapping | None = None) -> None:
    """New images: a grid in figures/ and the images with their codes in samples.npz.

    The key is the evaluation's root of the run's seed, folded with the step: the same command gives
    the same images.
    """
    config = stored(workdir, config)
    require_writable(workdir)
    run, state, step = last_state(config, workdir)
    with jax.set_mesh(run.mesh):
        key = jax.random.fold_in(run.eval_key, step)
        codes = prior(run.method, state, key, num_samples)
        images = plots.to_uint8(generate(run.method, state, codes))
    picture = workdir / "figures" / "drawn.png"
    with file_errors(workdir):
        picture.parent.mkdir(exist_ok=True)
        plots.save(picture, plots.grid(images, max(1, round(num_samples**0.5))))
        packed = io.BytesIO()
        np.savez_compressed(packed, images=images, **codes)
        replace(workdir / "samples.npz", packed.getvalue())
    print(f"{num_samples} images of step {step}: {picture} and {workdir / 'samples.npz'}")


def report(results: Mapping, workdir: pathlib.Path) -> None:
    """Prints the scores and where everything is; nothing in a process that has no scores."""
    if not results:
        return
    what = f"step {results['step']}: {results.get('method', '')} on {results.get('data', 'data')}"
    head = terminal.styled(what, "bold", sys.stdout)
    lines = [*summary.score_lines(results), "", *summary.place_lines(results, workdir)]
    print("\n".join(["", head, *lines]), flush=True)


def suggest(workdir: pathlib.Path, run: pathlib.Path | None = None) -> None:
    """Prints what to do next with a run; of several in `workdir`, with `run` first.

    Nothing in the processes that only train.
    """
    if devices.is_first():
        print("\n".join(["", *summary.next_lines(workdir, run)]), flush=True)
