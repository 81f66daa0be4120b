"""What drawing the sprites costs beside a training step: both timed in turn, in one process.

  python -m experiments.bench_rendering
  python -m experiments.bench_rendering --rounds=30 --out=experiments/results

One round draws and colours a batch of 64 sprites, then makes one IB-GAN step on images that are
there already; the share is the ratio within a round. Writes bench_rendering.json and .md; rows of
other devices that are already there are kept.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ivg import build, data, devices
from ivg.configs import color_sprites, sprites
from ivg.log import versions

CASES = {"sprites": sprites, "color_sprites": color_sprites}


def prepare(name: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """(draw a batch, make a training step): each returns when it is done."""
    config = CASES[name].get_config("ibgan").to_dict()
    source = data.load(name).train.images
    batch = config["batch_size"]
    method = build.make_method(
        "ibgan", image_shape=source.image_shape, batch_size=batch, hyper=config["ibgan"]
    )
    key = jax.random.key(0)
    numbers = jax.random.randint(key, (batch,), 0, source.count)
    draw = jax.jit(source.draw)
    xs = draw(numbers, key)[None].astype(jnp.float32) / 127.5 - 1.0
    step = jax.jit(method.step, donate_argnums=0)
    state = [jax.jit(method.init)(key)]

    def train() -> None:
        state[0], _ = step(state[0], xs, key)
        jax.block_until_ready(state[0])

    return lambda: jax.block_until_ready(draw(numbers, key)), train


def seconds(work: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, rounds: int) -> dict:
    """Medians of both times and of their ratio, over the rounds."""
    draw, train = prepare(name)
    draw(), train()
    times = [(seconds(draw), seconds(train)) for _ in range(rounds)]
    shares = sorted(d / t for d, t in times)
    return {
        "data": name,
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "draw_ms": 1e3 * statistics.median(d for d, _ in times),
        "step_ms": 1e3 * statistics.median(t for _, t in times),
        "share": statistics.median(shares),
        "share_min": shares[0],
        "share_max": shares[-1],
        "rounds": rounds,
        "versions": versions(),
    }


def table(rows: list[dict]) -> str:
    """The rows in Markdown."""
    lines = [
        "| data | device | 64 images drawn, ms | IB-GAN step, ms | share of a step (min to max) |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        share = f"{row['share']:.2%} ({row['share_min']:.2%} to {row['share_max']:.2%})"
        lines.append(
            f"| {row['data']} | {row['device']} ({row['backend']}) | {row['draw_ms']:.2f} "
            f"| {row['step_ms']:.1f} | {share} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures both data sets, writes and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("experiments/results"))
    options = parser.parse_args()
    with jax.set_mesh(devices.make_mesh(1)):
        rows = [measure(name, options.rounds) for name in CASES]
    path = options.out / "bench_rendering.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else []
    rows += [r for r in known if r["backend"] != rows[0]["backend"]]
    path.write_text(json.dumps(rows, indent=2) + "\n")
    path.with_suffix(".md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
