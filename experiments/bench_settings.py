"""What the bench trains: data sets, methods, presets, and what a CPU needs to be smaller.

A run has the directory `<data>_<method>_<seed>` in --workdir. Presets: smoke, networks of a few
units and 10 steps; cpu, the same number of steps for every method, with the networks that a CPU
can take; paper, each data set file's own settings and lengths.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from experiments import mmvae_runs, running
from experiments.running import Preset, Task
from ivg import rundir
from ivg.configs import (
    base,
    celeba,
    chairs,
    color_sprites,
    digits,
    dsprites,
    fashion_mnist,
    mnist,
    sprites,
)

DATA = {
    "sprites": sprites,
    "color_sprites": color_sprites,
    "dsprites": dsprites,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "digits": digits,
    "chairs": chairs,
    "celeba": celeba,
}
MADE_HERE = ("sprites", "color_sprites", "digits")  # drawn, or in scikit-learn: no files to name
WITH_ATTRIBUTES = ("celeba",)
PRESETS = {
    "smoke": Preset(10, 1, ("sprites",), ()),
    "cpu": Preset(5_000, 3, ("sprites",), ()),
    "paper": Preset(None, 10, ("sprites",), ()),
}
# data -> steps of the preset cpu, where not 5,000: those of the file's GANs
CPU_STEPS = {"mnist": 6_500, "fashion_mnist": 6_500, "digits": 6_000}
# a family that is slow on a CPU at 64x64 -> what takes its place
CPU_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "infovaegan64": {"name": "infogancr64", "width": 1.0},
    "mixture64": {"name": "mixture64", "width": 0.125},
}
CPU_CHANNELS = 16  # of ibgan64 on photographs and chairs, as on sprites
SMALLEST = {int: 16, float: 0.125}  # width of the preset smoke's networks: units, or a factor


def methods_of(data: str) -> tuple[str, ...]:
    """Every method that can be trained on a data set, the autoencoders last."""
    labelled = data in WITH_ATTRIBUTES
    games = [m for m in base.METHODS if m not in (*base.AUTOENCODERS, *base.ATTRIBUTE_METHODS)]
    others = (*base.AUTOENCODERS, *(base.ATTRIBUTE_METHODS if labelled else ()))
    return (*games, *sorted(others))


def preset_of(preset: str, data: str) -> Preset:
    """The preset with a data set's steps and methods."""
    own = PRESETS[preset]
    steps = CPU_STEPS.get(data, own.num_steps) if preset == "cpu" else own.num_steps
    return own._replace(num_steps=steps, choices=methods_of(data))


def file_config(data: str, method: str) -> dict[str, Any]:
    """A data set file's own config, as plain JSON types."""
    return json.loads(DATA[data].get_config(method).to_json())


def game_steps(config: Mapping[str, Any]) -> int:
    """Steps without those that a GAN's regression of z takes."""
    return config.get("gan", {}).get("game_steps", 0) or config["num_steps"]


def make_task(args: argparse.Namespace, data: str, method: str, seed: int) -> Task:
    """A run with the preset's settings, and a schedule that fits its length.

    Args:
        args: with preset, num_steps (None: the file's own), data_dir.
        data: of `DATA`.
        method: of `methods_of(data)`.
        seed: of the run.
    """
    config = DATA[data].get_config(method)
    own, length = config[method], game_steps(config.to_dict())
    if method in base.ATTRIBUTE_METHODS:
        running.apply(config, mmvae_runs.SETTINGS[args.preset], method)
    settings = dict(running.SETTINGS[args.preset])
    settings.pop("METHOD.network.width", None)  # a perceptron's is no factor
    running.apply(config, settings, method)
    if args.preset != "paper":
        make_cheap(own)
    if args.preset == "smoke" and own.network.name != "ibgan64":  # whose sizes are set by now
        own.network.width = SMALLEST[type(own.network.get("width", 1.0))]
    config.seed = seed
    running.set_length(config, method, args.num_steps or length)
    if args.num_steps is not None:
        fit_schedules(own, args.num_steps, length)
    if args.data_dir is not None:
        config.data.dir = str(args.data_dir)
    return Task(f"{data}_{method}", data, method, seed, json.loads(config.to_json()))


def make_cheap(own: Any) -> None:
    """Networks and critic steps of a method's section that two CPU cores can take."""
    if own.network.name in CPU_NETWORKS:
        own.network = dict(CPU_NETWORKS[own.network.name])
        base.set_known(own, num_critic=1)
    if own.network.name == "ibgan64":
        own.network.ngf = min(own.network.ngf, CPU_CHANNELS)
        own.network.ndf = min(own.network.ndf, CPU_CHANNELS)


def fit_schedules(own: Any, num_steps: int, length: int) -> None:
    """Ends schedules within the run, where the file's run is longer.

    Noise that falls over the file's whole run falls over this one's; over a part, as on the sprites
    in IB-GAN's code, it is left as it is, and a short run sees the beginning of it.

    Args:
        own: the method's section.
        num_steps: of the run, without a GAN's regression.
        length: the same of the data set file.
    """
    latest = {
        "capacity_steps": num_steps,
        "beta_steps": num_steps,
        "cr_start": round(0.9 * num_steps),
        "agreement_steps": num_steps // 2,
    }
    base.set_known(own, **{n: min(own[n], last) for n, last in latest.items() if n in own})
    if "noise_steps" in own and own.noise_steps >= length:
        own.noise_steps = num_steps


def changes(task: Task, config: Mapping[str, Any]) -> list[str]:
    """What differs from the data set file's own settings but length and scoring, in words."""
    wanted = file_config(task.data, task.method)
    old, new = rundir.flatten(wanted), rundir.flatten(config)
    lines, network = [], f"{task.method}.network."
    if wanted[task.method]["network"] != config[task.method]["network"]:
        words = [describe(c[task.method]["network"]) for c in (config, wanted)]
        lines.append(f"networks {words[0]}, not {words[1]}")
    for name in sorted(old.keys() & new.keys()):
        shown = name == "batch_size" or name.startswith(f"{task.method}.")
        if shown and not name.startswith(network) and name != "gan.game_steps":
            if old[name] != new[name]:
                short = name.removeprefix(f"{task.method}.")
                lines.append(f"{short} {number(new[name])}, not {number(old[name])}")
    return lines


def describe(network: Mapping[str, Any]) -> str:
    """As in "ibgan64 (ngf 16, ndf 16)"; options in words are left out."""
    options = [f"{n} {v:g}" for n, v in network.items() if isinstance(v, int | float)]
    return network["name"] + (f" ({', '.join(options)})" if options else "")


def number(value: Any) -> str:
    """A value of a config in words."""
    return f"{value:,}" if isinstance(value, int) else str(value)
