"""The training steps that `experiments.bench_step` times: a config of ours each, at batch 64."""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

BATCH = 64


class Case(NamedTuple):
    """One training step.

    Attributes:
        config: module of `configs`.
        method: its suffix.
        image_shape: (H, W, C).
        words: what it is, for the reader.
        family: "vae" or "gan"; each has its aim on a CPU.
        changes: of the config's method section.
    """

    config: str
    method: str
    image_shape: tuple[int, int, int]
    words: str
    family: str
    changes: Mapping[str, Any] = {}


# Each name's aim on a CPU, as a ratio to PyTorch.
AIMS = {"vae": 1.3, "gan": 1.0}

CASES = {
    "ibgan_sprites": Case("sprites", "ibgan", (64, 64, 1), "z 16, r 10, ngf = ndf = 16", "gan"),
    "ibgan_celeba": Case(
        "celeba", "ibgan", (64, 64, 3), "z 64, r 15, ngf = ndf = 64, trunk shared", "gan"
    ),
    "factorvae": Case(
        "sprites",
        "factorvae",
        (64, 64, 1),
        "dlib64; two minibatches, as in algorithm 2",
        "vae",
        {"permuted": "second"},
    ),
    "beta_vae": Case("sprites", "beta_vae", (64, 64, 1), "dlib64", "vae"),
    "beta_tcvae": Case("sprites", "beta_tcvae", (64, 64, 1), "dlib64", "vae"),
    "jointvae": Case("mnist", "jointvae", (32, 32, 1), "its MNIST networks", "vae"),
    "infovaegan_mnist": Case(
        "mnist",
        "infovaegan",
        (28, 28, 1),
        "WGAN-GP, 5 critic steps; infogan28, half width",
        "gan",
        {"num_critic": 5},
    ),
    "mmvae": Case(
        "faces", "mmvae", (64, 64, 3), "mmvae64, quarter width; three MINE networks", "vae"
    ),
}


def config_of(case: Case, *, precision: str = "default") -> dict[str, Any]:
    """The resolved config of a case as plain dicts."""
    config = importlib.import_module(f"ivg.configs.{case.config}").get_config(case.method)
    config.batch_size = BATCH
    config.precision = precision
    config[case.method].update(case.changes)
    return config.to_dict()
