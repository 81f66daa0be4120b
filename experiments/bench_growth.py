"""What a training step costs as things grow: batch, image, codes, runs, data; measured, with laws.

  python -m experiments.bench_growth
  python -m experiments.bench_growth --preset=smoke --out=runs/growth

Each series changes one number and leaves the rest alone. All programs of what grows are compiled
once, then timed in turn, round by round (there and back), in one process on one device, so that
whatever else the machine does meets all of them. Writes bench_growth.json, .md and .png: time,
floating-point operations and memory of every step, their exponents, and whether those are the
expected ones.
Presets: cpu, about four minutes on two cores; smoke, seconds.
"""

import argparse
import itertools
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

import jax
import numpy as np

from experiments import bench_growth_page, options, reporting
from ivg import build, devices, together
from ivg.configs import sprites
from ivg.dispatch import make_dispatch, make_feed, reader
from ivg.errors import UserError
from ivg.log import versions


class Setup(NamedTuple):
    """A training step, or several at once."""

    method: str
    network: Mapping[str, Any]  # changes of the sprites' network, or another one with its name
    batch_size: int = 64
    image_size: int = 32  # of a side
    dim_z: int = 10
    images: int = 1_000  # resident
    runs: int = 1


class Series(NamedTuple):
    """One number that grows."""

    grows: str  # a field of Setup
    case: str
    setup: Setup  # the rest
    values: tuple[int, ...]
    laws: Mapping[str, float]  # of "time", "flops", "memory" -> exponent
    way: str = "step"  # of WAYS


class Subject(NamedTuple):
    """Something to be timed."""

    call: Callable[[], None]  # a step of every run, done when it returns
    flops: float | None = None
    bytes: int | None = None


class Preset(NamedTuple):
    """The series, how often each value is timed and for how long."""

    series: tuple[Series, ...]
    rounds: int
    seconds: float


def laws(time: float, flops: float | None = None, memory: float | None = None) -> dict:
    """Exponents by name; None where there is nothing to expect one of."""
    given = {"time": time, "flops": flops, "memory": memory}
    return {name: law for name, law in given.items() if law is not None}


MLP = Setup("vae", {"name": "mlp", "width": 256})
DLIB = Setup("vae", {"name": "dlib64"}, image_size=64)
IBGAN = Setup("ibgan", {"ngf": 8, "ndf": 8}, image_size=64)
INFOGAN = Setup("infogan", {"name": "infogan28", "width": 0.25}, batch_size=16)
TINY = Setup("vae", {"name": "mlp", "width": 16}, batch_size=8, image_size=8, dim_z=4, images=100)
IN_TURN, AT_ONCE = "one after the other", "at once"
CPU = (
    Series("batch_size", "vae, dlib64, 64x64", DLIB, (16, 32, 64, 128, 256), laws(1, 1, 1)),
    Series("batch_size", "ibgan, 8 channels, 64x64", IBGAN, (16, 32, 64, 128), laws(1, 1, 1)),
    Series("image_size", "vae, mlp", MLP, (16, 32, 64), laws(2, 2, 2)),
    Series("image_size", "infogan, infogan28 / 4", INFOGAN, (32, 64, 128), laws(2, 2, 2)),
    Series("dim_z", "vae, dlib64, 64x64", DLIB._replace(batch_size=32), (2, 10, 50, 250),
           laws(0, 0, 0)),
    Series("runs", f"vae, mlp, {IN_TURN}", MLP, (1, 2, 4, 8), laws(1, 1, 0), "in_turn"),
    Series("runs", f"vae, mlp, {AT_ONCE}", MLP, (1, 2, 4, 8), laws(1, 1, 1)),
    Series("images", "vae, mlp, 32x32, a step", MLP, (4_000, 16_000, 64_000, 256_000),
           laws(0, 0, 1)),
    Series("images", "start-up", MLP, (4_000, 16_000, 64_000, 256_000), laws(1), "start"),
)  # fmt: skip
SMOKE = (
    Series("batch_size", "vae, mlp", TINY, (4, 8, 16), laws(1, 1, 1)),
    Series("runs", f"vae, mlp, {AT_ONCE}", TINY, (1, 2), laws(1, 1, 1)),
    Series("runs", f"vae, mlp, {IN_TURN}", TINY, (1, 2), laws(1, 1, 0), "in_turn"),
    Series("images", "start-up", TINY, (100, 1_000), laws(1), "start"),
)
PRESETS = {"cpu": Preset(CPU, 7, 0.2), "smoke": Preset(SMOKE, 2, 0.005)}


# ---- what is timed ------------------------------------------------------------------------------


class Parts(NamedTuple):
    """What every way of a setup is made of."""

    images: np.ndarray
    mesh: jax.sharding.Mesh
    phase: Any
    init: Callable


def make_parts(setup: Setup) -> Parts:
    """The method and its data: noise, because pictures are no faster."""
    side, rng = setup.image_size, np.random.default_rng(0)
    images = rng.integers(0, 256, (setup.images, side, side, 1), np.uint8)
    hyper = sprites.get_config(setup.method).to_dict()[setup.method]
    known = {} if "name" in setup.network else hyper["network"]
    sizes = {"dim_z": setup.dim_z}
    hyper |= {"network": {**known, **setup.network}} | sizes
    method = build.make_method(
        setup.method, image_shape=images.shape[1:], batch_size=setup.batch_size, hyper=hyper
    )
    return Parts(images, devices.make_mesh(1), method.phases[0], method.init)


def start(setup: Setup, known: dict) -> Subject:
    """Placing the images and making the first batch."""
    parts = make_parts(setup)
    seeds = itertools.count()  # the last orders of the images are kept: each needs a new one

    def call() -> None:
        held, feed = make_feed(
            parts.images, seed=next(seeds), batch_size=setup.batch_size, mesh=parts.mesh
        )
        jax.block_until_ready((held, feed(0, 1, parts.phase.num_batches)))

    return Subject(call)


def step(setup: Setup, known: dict) -> Subject:
    """One step, or one of each run as one program."""
    return _step(setup, make_parts(setup), known, setup.runs)


def in_turn(setup: Setup, known: dict) -> Subject:
    """One step of each run, one program after the other; in memory is one at a time."""
    parts = make_parts(setup)
    each = [_step(setup, parts, known, 1) for _ in range(setup.runs)]

    def call() -> None:
        for one in each:
            one.call()

    return Subject(call, sum(one.flops for one in each), max(one.bytes for one in each))


WAYS = {"step": step, "in_turn": in_turn, "start": start}


def _step(setup: Setup, parts: Parts, known: dict, runs: int) -> Subject:
    """A compiled step of so many runs as one; `known` holds what was compiled and drawn before."""
    feeds = [
        make_feed(parts.images, seed=seed, batch_size=setup.batch_size, mesh=parts.mesh)
        for seed in range(runs)
    ]
    key = devices.place_state(jax.random.key(0), parts.mesh)
    keys = together.join([key] * runs, parts.mesh)
    state = together.join([initial(setup, parts, key, known)] * runs, parts.mesh)
    number = devices.place_state(np.int32(0), parts.mesh)
    made = 0

    def batches() -> Any:
        nonlocal made
        made += 1
        count = parts.phase.num_batches
        found = [feed((made - 1) * count, 1, count) for _, feed in feeds]
        return found if runs > 1 else found[0]

    which = setup._replace(network=str(setup.network), runs=runs)
    if (program := known.get(which)) is None:
        one = make_dispatch(parts.phase.step, reader(parts.images))
        lowered = together.over_runs(one, runs).lower(state, feeds[0][0], batches(), number, keys)
        # Of the compiled program XLA cannot count what its library calls do.
        program = lowered.compile(), (lowered.cost_analysis() or {}).get("flops")
        known[which] = program
    compiled, flops = program

    def call() -> None:
        nonlocal state
        state, _ = compiled(state, feeds[0][0], batches(), number, keys)
        jax.block_until_ready(state)

    return Subject(call, flops, in_memory(compiled))


def initial(setup: Setup, parts: Parts, key: jax.Array, known: dict) -> Any:
    """A state that may be donated; the same for all setups of the same networks."""
    which = setup.method, str(setup.network), setup.image_size, setup.dim_z
    if which not in known:
        fast = {} if devices.on_accelerator() else {"xla_backend_optimization_level": 0}
        known[which] = jax.device_get(jax.jit(parts.init, compiler_options=fast)(key))
    return devices.place_state(jax.tree.map(np.copy, known[which]), parts.mesh)


def in_memory(compiled: Any) -> int | None:
    """Bytes of arguments, results that do not replace them and intermediate values at once."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    return found.argument_size_in_bytes + results + found.temp_size_in_bytes


# ---- timing -------------------------------------------------------------------------------------


def seconds_a_call(call: Callable[[], None], least: float) -> float:
    """Mean over as many calls as `least` seconds take."""
    begin, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < least or not count:
        call()
        count += 1
    return passed / count


def measure(
    group: Sequence[Series], rounds: int, least: float, known: dict
) -> list[dict[str, Any]]:
    """A row for each of these series: all their values in turn, `rounds` times.

    Args:
        group: the series.
        rounds: how often each value is timed.
        least: seconds of each timing.
        known: what was compiled and drawn before; is added to.
    """
    with jax.set_mesh(devices.make_mesh(1)):
        subjects = [
            WAYS[series.way](series.setup._replace(**{series.grows: value}), known)
            for series in group
            for value in series.values
        ]
        for subject in subjects:  # what a first call costs is not asked here
            subject.call()
        times = np.zeros((rounds, len(subjects)))
        for i in range(rounds):
            for j in range(len(subjects)) if i % 2 == 0 else reversed(range(len(subjects))):
                times[i, j] = 1e3 * seconds_a_call(subjects[j].call, least)
    rows, first = [], 0
    for series in group:
        own = slice(first, first + len(series.values))
        rows.append(row_of(series, subjects[own], times[:, own]))
        first = own.stop
    return rows


def row_of(series: Series, subjects: Sequence[Subject], times: np.ndarray) -> dict[str, Any]:
    """What was measured of one series; `times` in milliseconds, [rounds, values]."""
    measured = {
        "time": times,
        "flops": np.array([[s.flops or np.nan for s in subjects]]),
        "memory": np.array([[s.bytes or np.nan for s in subjects]]) / 2**20,  # MiB
    }
    good = [name for name in series.laws if np.isfinite(measured[name]).all()]
    row = {
        "grows": series.grows,
        "case": series.case,
        "setup": series.setup._replace(network=dict(series.setup.network))._asdict(),
        "values": list(series.values),
        "measured": {name: measured[name].T.tolist() for name in good},
        "laws": dict(series.laws),
    }
    return row | {"found": bench_growth_page.found(row)}


# ---- the command --------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench_growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.error = options.wrong
    parser.add_argument("--preset", default="cpu", help=f"{', '.join(PRESETS)}; default cpu")
    parser.add_argument("--rounds", type=int, help="timings of each value")
    parser.add_argument("--seconds", type=float, help="of each timing")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("experiments/results"))
    args = parser.parse_args(argv)
    options.one_of("--preset", args.preset, PRESETS)
    preset = PRESETS[args.preset]
    args.rounds = preset.rounds if args.rounds is None else args.rounds
    args.seconds = preset.seconds if args.seconds is None else args.seconds
    if args.rounds < 1 or not args.seconds > 0:
        raise UserError("--rounds must be at least 1 and --seconds above 0.")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out={args.out} is a file; name a directory.")
    return args


def main(argv: Sequence[str]) -> None:
    """Measures, then writes."""
    args = parse(argv)
    rows, known = [], {}
    series = PRESETS[args.preset].series
    for grows in dict.fromkeys(one.grows for one in series):
        group = [one for one in series if one.grows == grows]
        rows += measure(group, args.rounds, args.seconds, known)
        print(*map(bench_growth_page.line, rows[-len(group) :]), sep="\n", flush=True)
    content = {
        "rows": rows,
        "preset": args.preset,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "cores": os.cpu_count(),
        "versions": versions(),
    }
    text, figure = bench_growth_page.markdown(content), bench_growth_page.draw(rows)
    reporting.write(args.out, "bench_growth", content, text, figure)


if __name__ == "__main__":
    options.command(main)
