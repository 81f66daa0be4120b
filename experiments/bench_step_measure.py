"""The timing of `experiments.bench_step`: both sides of a case in turn, and what is counted."""

import argparse
import gc
import importlib.metadata
import importlib.util
import math
import os
import pathlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import bench_step_ours, bench_step_page
from experiments.bench_step_cases import BATCH, CASES, Case
from ivg import devices, rundir
from ivg.errors import UserError
from ivg.log import versions

NUM_IMAGES = 2_048  # random ones: no layer's speed depends on what it sees
PAUSE = 0.05  # seconds before a turn, in which the other side's threads fall asleep
PEAK = {"cpu": (2_048, 2), "gpu": (8_192, 20)}  # side of the matrices, products of a measurement
PEAK_ROUNDS = 3  # of them, at the start and after every case
MISSING = "PyTorch is not installed, so our step is timed alone: pip install -e '.[bench]'"

Run = Callable[[int], Mapping[str, float]]  # steps -> losses of the last one


def measure_all(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """Measures, prints and writes all cases of a command line; returns what the JSON file holds.

    Raises:
        UserError: for a precision that does not exist, and where the two sides are not the same
            work or a loss is not finite.
    """
    theirs = torch_side()
    bench_step_ours.settle(args.precision)
    if theirs is None:
        print(MISSING)
    else:
        theirs.settle(threads=args.threads, precision=args.precision)
    kind = "gpu" if devices.on_accelerator() else "cpu"
    peaks = matmul_peaks(theirs, kind, args.precision)
    content = {
        "command": command,
        "device": device_name(),
        "backend": kind,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": args.threads,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "steps": args.steps,
        "precision": args.precision,
        "versions": versions() | torch_version(),
        "matmul_peak": peaks(),
        "num_images": NUM_IMAGES,
        "rows": [],
    }
    print(bench_step_page.peak_line(content))
    for name in args.cases:
        row = measure(name, CASES[name], args, theirs, compiled=kind == "gpu")
        content["rows"].append(row)
        content["matmul_peak"] = peaks()
        print(bench_step_page.progress(row), flush=True)
    write(content, args, complete=len(args.cases) == len(CASES) and theirs is not None)
    return content


def torch_side():
    """The module `bench_step_torch`, or None where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    from experiments import bench_step_torch

    return bench_step_torch


def torch_version() -> dict[str, str]:
    """As in `ivg.log.versions`."""
    try:
        return {"torch": importlib.metadata.version("torch")}
    except importlib.metadata.PackageNotFoundError:
        return {}


def device_name() -> str:
    """The accelerator, or the processor."""
    if devices.on_accelerator():
        return versions()["device"]
    information = pathlib.Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def matmul_peaks(theirs, kind: str, precision: str) -> Callable[[], dict[str, float]]:
    """A measurement of the FLOP/s of each framework at products of square matrices, in turn.

    Every call returns the best of all calls: what else the machine does can only make it less.
    """
    makers = {"ours": bench_step_ours} | ({"torch": theirs} if theirs else {})
    once = {n: maker.matmul_peak(*PEAK[kind], precision=precision) for n, maker in makers.items()}
    best = dict.fromkeys(once, 0.0)

    def again() -> dict[str, float]:
        for _ in range(PEAK_ROUNDS):
            for name, work in once.items():
                best[name] = max(best[name], work())
        return dict(best)

    return again


def measure(
    name: str, case: Case, args: argparse.Namespace, theirs, *, compiled: bool
) -> dict[str, Any]:
    """One row: both sides (three with `compiled`) in turn, and their counts."""
    images, labels = random_images(case)
    ours = bench_step_ours.make(case, images, labels, precision=args.precision)
    sides: dict[str, Any] = {"ours": ours}
    if theirs is not None:
        sides["torch"] = theirs.make(case, images, labels, precision=args.precision)
        if compiled:
            sides["torch_compile"] = theirs.make(
                case, images, labels, precision=args.precision, compiled=True
            )
    for side in sides.values():
        same_parameters(name, ours.parameters, side.parameters)
    steps, first = {}, {}
    for side, made in sides.items():
        start = time.perf_counter()
        finite(name, side, made.run(ours.per_dispatch))
        first[side] = time.perf_counter() - start
        steps[side] = steps_of_turn(made.run, args, ours.per_dispatch)
    turns = take_turns({side: made.run for side, made in sides.items()}, steps, args.rounds)
    row = {
        "case": name,
        "words": case.words,
        "family": case.family,
        "batch_size": BATCH,
        "image_shape": list(case.image_shape),
        "steps_per_dispatch": ours.per_dispatch,
        "parameters": ours.parameters,
        "sides": {
            side: turns[side]
            | {"steps_per_turn": steps[side], "first_call_seconds": first[side]}
            | counts(made)
            for side, made in sides.items()
        },
    }
    gc.collect()
    return row | {"ratios": ratios(turns)}


def random_images(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[N, H, W, C]` and labels bool `[N, 1]`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_IMAGES, *case.image_shape), dtype=np.uint8)
    return images, rng.random((NUM_IMAGES, 1)) < 0.5


def counts(made: Any) -> dict[str, Any]:
    """FLOPs of a step, bytes at most; of ours seconds to compile and the accelerator's peak."""
    flops, memory = (getattr(made, n) for n in ("flops", "memory"))
    found = {
        "flops": flops() if callable(flops) else flops,
        "memory_bytes": memory() if callable(memory) else memory,
    }
    if isinstance(made, bench_step_ours.Ours):
        found["compile_seconds"] = made.compile_seconds
        found["device_peak_bytes"] = bench_step_ours.device_peak()
    return found


def same_parameters(name: str, ours: Mapping[str, int], theirs: Mapping[str, int]) -> None:
    """Raises UserError unless every player has as many trainable parameters on both sides."""
    if dict(ours) != dict(theirs):
        raise UserError(
            f"{name} is not the same work on both sides: trainable parameters {dict(ours)} here, "
            f"{dict(theirs)} in PyTorch; make experiments/bench_step_networks.py follow our layers."
        )


def finite(name: str, side: str, losses: Mapping[str, float]) -> None:
    """Raises UserError for a loss that is NaN or infinite."""
    bad = [loss for loss, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise UserError(f"{name}: {', '.join(bad)} of {side} is not finite after the first steps.")


def steps_of_turn(run: Run, args: argparse.Namespace, multiple: int) -> int:
    """How many steps a turn has, from the speed of a second call; a multiple of a dispatch."""
    if args.steps is not None:
        return multiple * math.ceil(args.steps / multiple)
    start = time.perf_counter()
    run(multiple)
    return multiple * max(1, round(args.seconds / (time.perf_counter() - start)))


def take_turns(
    runs: Mapping[str, Run], steps: Mapping[str, int], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Steps a second and CPU seconds a step of each side, `rounds` values each, in turn."""
    found = {side: {"steps_per_second": [], "cpu_seconds": []} for side in runs}
    for _ in range(rounds):
        for side, run in runs.items():
            time.sleep(PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            run(steps[side])
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found[side]["steps_per_second"].append(steps[side] / wall)
            found[side]["cpu_seconds"].append(cpu / steps[side])
    return found


def ratios(turns: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Our steps a second over each other side's, round by round."""
    mine = turns["ours"]["steps_per_second"]
    return {
        side: [a / b for a, b in zip(mine, values["steps_per_second"], strict=True)]
        for side, values in turns.items()
        if side != "ours"
    }


def write(content: dict[str, Any], args: argparse.Namespace, *, complete: bool) -> None:
    """Prints the page; writes it and the JSON file where there is a place for them."""
    text = bench_step_page.page(content)
    print(f"\n{text}")
    out = args.out
    if out is None and complete:
        out = pathlib.Path(f"experiments/results/bench_step_{content['backend']}.json")
    if out is None:
        print("  not written: not all cases were timed on both sides, and there is no --out")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    rundir.write_json(out, content)
    out.with_suffix(".md").write_text(text)
    print(f"  {out}\n  {out.with_suffix('.md')}")
