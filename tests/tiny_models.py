"""Tiny runs with their models, for the tests of `ivg.load`; each is made once a session."""

import contextlib
import functools
import json
import pathlib
from typing import NamedTuple
from unittest import mock

import command
import jax
import numpy as np
from PIL import Image

import ivg
from ivg import build, checkpoint, devices, train
from ivg.configs import digits
from ivg.data.batches import take
from ivg.model import Model
from ivg.players import Method

METHOD, STEPS = "infovaegan_invariant", 2
NAMES = ("Hat", "Smile")
SMALL = {
    "network": dict(name="mlp", width=8),
    "dim_z": 3,
    "num_critic": 1,
    "statistics": dict(width=8, depth=1),
    "num_components": 2,
}


class Trained(NamedTuple):
    """A tiny run and what the process that trained it holds."""

    run: build.Run
    config: dict
    workdir: pathlib.Path
    state: object
    model: Model
    encode: object  # jitted once, as `Model` has its own
    generate: object


@contextlib.contextmanager
def quick_settings():
    """Compiles in half the time; whatever precision the runs set is taken back."""
    precision = jax.config.jax_default_matmul_precision
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_default_matmul_precision", precision)


def photos() -> pathlib.Path:
    """A folder of 16x16 images with two attributes."""
    folder = command.scratch() / "photos"
    if not folder.exists():
        folder.mkdir()
        rng, lines = np.random.default_rng(0), [",".join(("file", *NAMES))]
        for i in range(60):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02d}.png")
            lines.append(f"{i:02d}.png,{i % 2},{i // 2 % 2}")
        (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def make_config(name: str, **changes) -> dict:
    config = json.loads(json.dumps(digits.get_config(name).to_dict()))
    own = config[name]
    own |= {field: value for field, value in SMALL.items() if field in own}
    config |= dict(num_steps=STEPS, batch_size=8, steps_per_dispatch=1, log_every=1, eval_every=0)
    config["checkpoint_every"] = 1
    if name == "mmvae":
        config["data"] |= dict(name="images", dir=str(photos()), image_size=16, test_fraction=0.4)
        config["attributes"] = list(NAMES)
    return config | changes


def filled(method: Method):
    """A state of random numbers: nothing has to be compiled for it."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        positive = "var" in str(path[-1])
        values = rng.uniform(0.5, 1.5, leaf.shape) if positive else rng.normal(0, 0.4, leaf.shape)
        return values.astype(leaf.dtype)

    return jax.tree.map_with_path(fill, jax.eval_shape(method.init, jax.random.key(0)))


def train_it(config: dict, workdir: pathlib.Path):
    """(run, state) as `train` has them in memory when it is about to score them."""
    kept = []
    finish = mock.Mock(side_effect=lambda *args, **_: kept.extend(args) or {})
    with mock.patch.object(train, "finish", finish):
        train.train(config, workdir)
    run, _, _, state, step = kept
    assert step == config["num_steps"]
    return run, state


def start_it(config: dict, workdir: pathlib.Path):
    """(run, state) of random numbers, saved as the checkpoint of step 0."""
    (run,) = train.make_runs([config])
    train.claim(run, [config], [workdir])
    state = devices.place_state(filled(run.method), run.mesh)
    checkpoint.save(build.checkpoints(workdir), 0, state, keep=1)
    return run, state


@functools.cache
def trained(name: str, *, steps: int = STEPS, precision: str = "default") -> Trained:
    """A run of `train`, up to its scores; of 0 steps, a checkpoint of random numbers."""
    workdir = command.scratch() / f"model_{name}_{precision}_{steps}"
    config = make_config(name, precision=precision, num_steps=max(steps, 1))
    run, state = (train_it if steps else start_it)(config, workdir)
    own = (jax.jit(run.method.encode or (lambda s, x: x)), jax.jit(run.method.generate))
    return Trained(run, config, workdir, state, ivg.load(workdir), *own)


def main_run() -> Trained:
    """Classes, codes and noise; two checkpoints."""
    return trained(METHOD)


def start() -> Trained:
    """The same without training."""
    return trained(METHOD, steps=0)


def autoencoder() -> Trained:
    return trained("beta_vae", steps=0, precision="bf16")


def attributed() -> Trained:
    return trained("mmvae", steps=0)


def without_encoder() -> Trained:
    return trained("wgan_gp", steps=0)


def images(run: build.Run, n: int) -> np.ndarray:
    return take(run.dataset.test.images, np.arange(n))
