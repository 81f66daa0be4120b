"""Several seeds as one (`vmap`) against one after the other: training steps a second, one process.

  python -m experiments.bench_runs
  python -m experiments.bench_runs --runs=10 --cases sprites:ibgan --out=experiments/results

Both ways are compiled, then timed in turn, round by round, so that whatever else the machine does
meets both; the ratio is taken within a round. `--config.runs_at_once` is what it decides. Steps a
second count every run: 4 runs that make 10 steps each in a second are 40. Writes bench_runs.json
and .md; rows of other devices that are already there are kept.
"""

import argparse
import importlib
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from ivg import build, devices, together
from ivg.dispatch import make_dispatch, make_feed, reader
from ivg.log import versions

CASES = ("digits:infovaegan", "digits:infovaegan_invariant", "mnist:infovaegan", "sprites:ibgan")
NOTE = (
    "Median over the rounds, smallest and largest in brackets: the range shows what else the "
    "machine did. Ratio: together / one after the other, above 1 where `runs_at_once` pays. First "
    "call: compiling and one dispatch; one after the other, every run of `num_runs` compiles again."
)


def training_images(config: dict):
    """What the steps read; noise where data would be downloaded: the speed is the same."""
    if config["data"]["name"] == "mnist":
        return np.random.default_rng(0).integers(0, 256, (10_000, 28, 28, 1), np.uint8)
    return build.load_data(config).train.images


def make_ways(config: dict, runs: int) -> dict[str, Callable[[], None]]:
    """{"alone": ..., "together": ...}: one dispatch of every run, done when it returns."""
    images, mesh = training_images(config), devices.make_mesh()
    method = build.make_method(
        config["method"],
        image_shape=images.shape[1:],
        batch_size=config["batch_size"],
        hyper=config[config["method"]],
    )
    phase, steps = method.phases[-1], steps_per_dispatch(config)
    feeds = [
        make_feed(images, seed=seed, batch_size=config["batch_size"], mesh=mesh)
        for seed in range(runs)
    ]
    held = feeds[0][0]
    keys = [devices.place_state(jax.random.key(seed), mesh) for seed in range(runs)]
    init = jax.jit(method.init, out_shardings=devices.replicated(mesh))
    one = make_dispatch(phase.step, reader(images))
    several, all_keys = together.over_runs(one, runs), together.join(keys, mesh)
    states = [init(key) for key in keys]
    stacked = together.join(states, mesh)
    number = devices.place_state(np.int32(0), mesh)
    done = {"alone": 0, "together": 0}  # dispatches

    def batches(way: str) -> list[jax.Array]:
        first = done[way] * steps * phase.num_batches
        done[way] += 1
        return [feed(first, steps, phase.num_batches) for _, feed in feeds]

    def alone() -> None:
        for i, batch in enumerate(batches("alone")):
            states[i], _ = one(states[i], held, batch, number, keys[i])
        jax.block_until_ready(states)

    def as_one() -> None:
        nonlocal stacked
        own = batches("together")
        stacked, _ = several(stacked, held, own if runs > 1 else own[0], number, all_keys)
        jax.block_until_ready(stacked)

    return {"alone": alone, "together": as_one}


def steps_per_dispatch(config: dict) -> int:
    """As the training loop has it."""
    return config["steps_per_dispatch"] or (20 if devices.on_accelerator() else 1)


def speed(call: Callable[[], None], seconds: float, steps: int) -> float:
    """Steps a second over at least `seconds`, each call being so many steps."""
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        call()
        count += steps
    return count / passed


def measure(case: str, *, runs: int, rounds: int, seconds: float) -> dict:
    """One row: both ways, side by side."""
    name, method = case.split(":")
    config = importlib.import_module(f"ivg.configs.{name}").get_config(method).to_dict()
    with jax.set_mesh(devices.make_mesh()):
        ways, first = make_ways(config, runs), {}
        for way, call in ways.items():
            start = time.perf_counter()
            call()
            first[way] = time.perf_counter() - start
            call()
        steps = runs * steps_per_dispatch(config)
        speeds = {way: [] for way in ways}
        for i in range(rounds):
            for way in list(ways) if i % 2 == 0 else reversed(ways):
                speeds[way].append(speed(ways[way], seconds, steps))
    pairs = zip(speeds["together"], speeds["alone"], strict=True)
    return {
        "case": case,
        "network": config[config["method"]]["network"]["name"],
        "runs": runs,
        "batch_size": config["batch_size"],
        "steps_per_dispatch": steps_per_dispatch(config),
        "steps_per_second": speeds,
        "ratio": [a / b for a, b in pairs],
        "first_call_seconds": first,
        "cores": os.cpu_count(),
        "versions": versions(),
    }


def spread(values: list[float]) -> str:
    """Median, smallest, largest."""
    return f"{statistics.median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def markdown(rows: list[dict]) -> str:
    """The table."""
    lines = [
        "| case | network | device | runs | alone steps/s | together steps/s | ratio "
        "| first call s, alone / together | jax |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        speeds, first, made_with = (
            row[k] for k in ("steps_per_second", "first_call_seconds", "versions")
        )
        lines.append(
            f"| {row['case']} | {row['network']} | {made_with['device']} x "
            f"{made_with['device_count']}, {row['cores']} cores | {row['runs']} "
            f"| {spread(speeds['alone'])} | {spread(speeds['together'])} | {spread(row['ratio'])} "
            f"| {first['alone']:.1f} / {first['together']:.1f} | {made_with['jax']} |"
        )
    return "\n".join([*lines, "", NOTE, ""])


def which(row: dict) -> tuple:
    """What a row is of: a new one replaces the old one of the same."""
    return row["case"], row["runs"], row["versions"]["device"], row["versions"]["device_count"]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, help="DATA:METHOD")
    parser.add_argument("--runs", type=int, default=4, help="seeds trained at once")
    parser.add_argument("--rounds", type=int, default=6, help="timings of each way")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each timing")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("experiments/results"))
    options = parser.parse_args()
    path = options.out / "bench_runs.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    for case in options.cases:
        row = measure(case, runs=options.runs, rounds=options.rounds, seconds=options.seconds)
        print(f"{case}: together / alone {spread(row['ratio'])}", flush=True)
        rows = [old for old in rows if which(old) != which(row)] + [row]
    rows.sort(key=which)
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n")
    (options.out / "bench_runs.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
