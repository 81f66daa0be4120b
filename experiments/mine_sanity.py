"""MINE where the answer is known: correlated Gaussians, and labels behind mixtures of Gaussians.

  python -m experiments.mine_sanity
  python -m experiments.mine_sanity --preset=paper

Every case is estimated by the probe that scores the methods with attributes: with the plain and
the moving-average gradient, with product samples from a second minibatch and from the same one
shuffled. Presets: smoke (seconds), cpu (small networks, a few minutes on one core), paper (the
thesis' seven layers of 512 units, Adam at 1e-4: for a GPU). Writes mine_sanity.json and .md.
"""

import argparse
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import options
from experiments.reporting import table
from ivg import rundir
from ivg.log import versions
from ivg.probes.mine import Pairs, Recipe, estimate


class Preset(NamedTuple):
    """Rows drawn for training and test, and the recipe of up to 2 and of 20 dimensions."""

    train_rows: int
    test_rows: int
    seeds: int
    narrow: Recipe
    wide: Recipe


class Mixture(NamedTuple):
    """c is N(mean, sd^2) in each of `dim` coordinates, by a label that is 1 with `prior`."""

    means: tuple[float, float]
    sds: tuple[float, float]
    prior: float
    dim: int


QUICK = Recipe(width=16, depth=2, learning_rate=5e-3, steps=100)
NARROW = Recipe(width=64, depth=2, learning_rate=2e-3, steps=1_000, check_every=200)
WIDE = Recipe(width=512, depth=1, learning_rate=3e-3, steps=1_500, check_every=300, averaging=0.998)
THESIS = Recipe(steps=20_000, check_every=500)
PRESETS = {
    "smoke": Preset(2_000, 2_000, 1, QUICK, QUICK),
    "cpu": Preset(200_000, 50_000, 1, NARROW, WIDE),
    "paper": Preset(200_000, 100_000, 5, THESIS, THESIS),
}

# dimensions and correlation; below 2 nats, where the bound can be close (McAllester and Stratos
# 2020: no estimate of I nats without about exp(I) examples)
GAUSSIANS = ((1, 0.0), (1, 0.5), (1, 0.9), (1, 0.99), (2, 0.5), (2, 0.9), (20, 0.1), (20, 0.3))
MIXTURES = {
    "prior of c in MMVAE, 1 of its 2 dimensions": Mixture((0.0, 3.0), (0.1, 1.0), 0.5, 1),
    "means 0 and 1, sd 1": Mixture((0.0, 1.0), (1.0, 1.0), 0.5, 1),
    "means 0 and 1, sd 0.5 and 2, one in five": Mixture((0.0, 1.0), (0.5, 2.0), 0.2, 1),
}
GRADIENTS = {"plain": 1.0, "moving average": 0.01}  # name -> Recipe.ema_rate
PRODUCTS = ("second", "shuffled")


def gaussians(rng: np.random.Generator, rows: int, d: int, rho: float) -> Pairs:
    """Pairs of standard normals, correlated in each of d coordinates."""
    x, noise = rng.normal(size=(2, rows, d))
    return Pairs(x, rho * x + math.sqrt(1 - rho**2) * noise)


def gaussian_nats(d: int, rho: float) -> float:
    """Their information in closed form."""
    return 0.5 * d * math.log(1 / (1 - rho**2))


def mixed(rng: np.random.Generator, rows: int, law: Mixture) -> Pairs:
    """Codes and labels."""
    y = (rng.random(rows) < law.prior).astype(int)
    mean, sd = np.array(law.means)[y][:, None], np.array(law.sds)[y][:, None]
    return Pairs(mean + sd * rng.normal(size=(rows, law.dim)), y[:, None])


def mixture_nats(law: Mixture) -> float:
    """H(c) - H(c|y) of one dimension, by the trapezoidal rule with 200 points in the smaller sd."""
    assert law.dim == 1
    reach, width = 10 * max(law.sds), min(law.sds) / 200
    c = np.arange(min(law.means) - reach, max(law.means) + reach, width)
    weights = np.array([1 - law.prior, law.prior])
    means, sds = np.array(law.means)[:, None], np.array(law.sds)[:, None]
    p = np.exp(-0.5 * ((c[None] - means) / sds) ** 2) / (sds * math.sqrt(2 * math.pi))
    ratio = np.maximum(p, 1e-300) / np.maximum(weights @ p, 1e-300)[None]
    return float(weights @ np.sum(p * np.log(ratio), axis=1) * width)


def measure(draw: Any, law: tuple, truth: float, preset: Preset, recipe: Recipe) -> dict[str, Any]:
    """Estimates of one law by every gradient and product; the same pairs for all."""
    rng = np.random.default_rng(0)
    train, test = draw(rng, preset.train_rows, *law), draw(rng, preset.test_rows, *law)
    row: dict[str, Any] = {"truth": truth}
    for gradient, rate in GRADIENTS.items():
        for product in PRODUCTS:
            chosen = recipe._replace(ema_rate=rate, product=product)
            found = [estimate(train, test, recipe=chosen, seed=s) for s in range(preset.seeds)]
            values = [result.nats for result in found]
            row[f"{gradient}, {product}"] = {
                "mean": float(np.mean(values)),
                "error": float(np.mean(values)) - truth,
                "values": values,
                "steps": [int(result.steps[-1]) for result in found],
            }
    return row


def cases(preset: Preset) -> list[dict[str, Any]]:
    """The rows of the table."""
    rows = []
    for d, rho in GAUSSIANS:
        recipe = preset.wide if d > 2 else preset.narrow
        row = measure(gaussians, (d, rho), gaussian_nats(d, rho), preset, recipe)
        rows.append({"case": f"Gaussians, d = {d}, rho = {rho:g}"} | row)
        print(line(rows[-1]), flush=True)
    for name, law in MIXTURES.items():
        row = measure(mixed, (law,), mixture_nats(law), preset, preset.narrow)
        rows.append({"case": f"label, {name}"} | row)
        print(line(rows[-1]), flush=True)
    return rows


def columns() -> list[str]:
    """Gradient and product of the estimates."""
    return [f"{gradient}, {product}" for gradient in GRADIENTS for product in PRODUCTS]


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    found = (f"{row[name]['mean']:.3f} ({row[name]['error']:+.3f})" for name in columns())
    return [row["case"], f"{row['truth']:.3f}", *found]


def line(row: dict[str, Any]) -> str:
    """A row as progress on the terminal."""
    return "  ".join(cells(row))


def report(content: dict[str, Any]) -> str:
    """The page."""
    rows, preset = content["rows"], PRESETS[content["preset"]]
    largest = max(abs(row[name]["error"]) for row in rows for name in columns())
    recipes = {"": preset.narrow, " in 20 dimensions": preset.wide}
    words = "; ".join(
        f"{r.depth} x {r.width} units, learning rate {r.learning_rate:g}, batch {r.batch_size}, at "
        f"most {r.steps:,} steps{where}"
        for where, r in list(recipes.items())[: 1 + (preset.wide != preset.narrow)]
    )
    return "\n\n".join(
        [
            "# MINE where the information is known",
            "Estimates in nats (error), by gradient and by where the product samples come from.",
            table(["case", "truth", *columns()], map(cells, rows)),
            f"Largest error: {largest:.3f} nats. {preset.train_rows:,} pairs for training, a tenth "
            f"of them for validation; {preset.test_rows:,} for the estimate; mean of "
            f"{preset.seeds} seed{'s' * (preset.seeds > 1)}. {words}.",
            f"Made by `python -m experiments.mine_sanity --preset={content['preset']}` on "
            f"{content['device']}, jax {content['versions']['jax']}.",
        ]
    )


def main(argv: Sequence[str]) -> None:
    """Measures all cases, writes and prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.mine_sanity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.error = options.wrong
    parser.add_argument("--preset", default="cpu", help=f"{', '.join(PRESETS)}; default cpu")
    parser.add_argument("--out", type=pathlib.Path, help="default experiments/results; "
                        "with --preset=smoke runs/mine_sanity_smoke")  # fmt: skip
    args = parser.parse_args(argv)
    options.one_of("--preset", args.preset, PRESETS)
    smoke = args.preset == "smoke"
    out = args.out or pathlib.Path("runs/mine_sanity_smoke" if smoke else "experiments/results")
    content = {
        "preset": args.preset,
        "unit": "nats",
        "device": jax.devices()[0].device_kind,
        "versions": versions(),
        "recipes": {k: getattr(PRESETS[args.preset], k)._asdict() for k in ("narrow", "wide")},
        "rows": cases(PRESETS[args.preset]),
    }
    out.mkdir(parents=True, exist_ok=True)
    rundir.write_json(out / "mine_sanity.json", content)
    text = report(content)
    (out / "mine_sanity.md").write_text(text + "\n")
    print(f"\n{text}\n\n  {out / 'mine_sanity.md'}\n  {out / 'mine_sanity.json'}")


if __name__ == "__main__":
    options.command(main)
