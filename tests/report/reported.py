"""Tiny runs with their pages, made once a session, for the tests that open them in a browser."""

import functools
import json
import pathlib

import command
import jax
from tiny_models import filled, make_config, quick_settings

from ivg import build, devices, log, train
from ivg.configs import faces, sprites
from ivg.players import Method
from ivg.report import page


@functools.cache
def digits() -> pathlib.Path:
    """InfoVAEGAN on digits: what the end of a training leaves in a run directory."""
    workdir = command.scratch() / "report_digits"
    config = make_config("infovaegan", eval_images=40, batch_size=8)
    config["infovaegan"]["network"] = dict(
        name="mlp", width=16, generator_norm="none", encoder_norm="none"
    )
    with quick_settings():
        run = build.build(config)
        train.claim(run, [config], [workdir])
        for step in (1, 2):
            with log.Log(workdir, resume_step=step - 1) as kept:
                kept.scalars(step, {"G/adversarial": 1.0 / step, "D/wasserstein": float(step)})
        state = devices.place_state(filled(run.method), run.mesh)
        train.finish(run, config, workdir, state, 2)
    return workdir


def seen(config: dict) -> page.Seen:
    """A run of random numbers in memory."""
    with quick_settings():
        run = build.build(config)
        state = devices.place_state(filled(run.method), run.mesh)
    return page.Seen(run.method, state, run.dataset, jax.random.key(0), 3)


def plain(config: dict, **own) -> dict:
    """A config with small networks, as JSON has it."""
    config = json.loads(json.dumps(config.to_dict()))
    config[config["method"]] |= dict(network=dict(name="mlp", width=16)) | own
    return config | dict(num_steps=3, batch_size=8)


@functools.cache
def sprites_run() -> tuple[dict, page.Seen]:
    """IB-GAN on sprites: many codes with their KL, starts without labels."""
    config = plain(sprites.get_config("ibgan"), dim_z=4, dim_r=3)
    return config, seen(config)


@functools.cache
def faces_run() -> tuple[dict, page.Seen]:
    """MMVAE on rendered faces: an attribute, its draws and its plane."""
    config = plain(faces.get_config("mmvae"), dim_z=3, statistics=dict(width=8, depth=1))
    config["data"] |= dict(num_images=64)
    config["attributes"] = ["glasses"]
    return config, seen(config)


def written(name: str, config: dict, run: page.Seen) -> pathlib.Path:
    """The page of a run in memory, in a directory of its own."""
    workdir = command.scratch() / f"report_{name}"
    workdir.mkdir(exist_ok=True)
    with quick_settings():
        return page.write_page(workdir, config, run)


def without_encoder(method: Method) -> Method:
    return method._replace(encode=None, rates=None, bounds=None)
