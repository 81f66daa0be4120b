"""Run directories as a training leaves them, with numbers that a test can work out by hand."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from experiments.running import Task
from ivg import rundir
from ivg.log import Log

KL = [0.5, 2.0, 0.01]
THESIS = {"width": 512, "depth": 7}
VERSIONS = {"jax": "0.10.2", "python": "3.11.7", "device": "cpu", "device_count": 1}


def make_run(
    workdir: pathlib.Path,
    task: Task,
    score: float | None,
    *,
    step: int | None = None,
    folder: str | None = None,
    votes: tuple[int, int] = (2_000, 1_000),
    series: Sequence[Mapping[str, float]] = (),
    versions: Mapping = VERSIONS | {"commit": "0123456789", "dirty": False},
) -> pathlib.Path:
    """A run with FactorVAE `score` at `step` (the wanted one); None leaves results.json out.

    Each mapping of `series` is a line of metrics.jsonl, "step" among its numbers.
    """
    path = begin(workdir / (folder or task.name), task, series)
    if score is None:
        return path
    recipe = {"train_votes": votes[0], "eval_votes": votes[1], "seeds": [0]}
    results = header(task, step, versions) | {
        "disentanglement": {
            "factor_vae": entry(score, recipe),
            "factor_vae_ibgan": entry(score + 0.1, {"votes": 800}),
            "mig": entry(score / 2, {}),
        },
        "bounds": {"info_lower": 3.0},
    }
    if task.method == "ibgan":
        results["bounds"] |= {"info_upper": 4.5, "kl": KL}
    (path / "results.json").write_text(json.dumps(results))  # NaN as Python writes it
    (path / "figures").mkdir()
    shade = np.full((20, 30, 3), 10 * task.seed, np.uint8)
    Image.fromarray(shade).save(path / "figures" / "traversal_images.png")
    return path


def begin(path: pathlib.Path, task: Task, series: Sequence[Mapping[str, float]]) -> pathlib.Path:
    """The config and the log."""
    path.mkdir(parents=True)
    rundir.write_json(path / "config.json", task.config)
    with Log(path, resume_step=None) as log:
        for line in series:
            log.scalars(line["step"], {k: v for k, v in line.items() if k != "step"})
    return path


def header(task: Task, step: int | None, versions: Mapping) -> dict:
    return {
        "method": task.method,
        "data": task.config["data"]["name"],
        "step": task.num_steps if step is None else step,
        "seed": task.seed,
        "versions": dict(versions),
    }


def make_attribute_run(
    workdir: pathlib.Path,
    task: Task,
    bits: Mapping[str, Sequence[float]] | None,
    *,
    step: int | None = None,
    swap: Mapping[str, Mapping] | None = None,
    leak: Sequence[Mapping] | None = None,
    entropy: float = 1.0,
    recipe: Mapping = THESIS,
    series: Sequence[Mapping[str, float]] = (),
    versions: Mapping = VERSIONS | {"commit": "0123456789", "dirty": False},
) -> pathlib.Path:
    """A run of MMVAE's line; `bits` holds the estimates of each pair, None: no results.json."""
    path = begin(workdir / task.name, task, series)
    if bits is None:
        return path
    information = {pair: {"mean": None, "std": None, "values": list(v)} for pair, v in bits.items()}
    information |= {"unit": "bits", "entropy_y": entropy, "recipe": dict(recipe)}
    found = {"names": ["glasses"], "information": information, "swap": dict(swap or {})}
    found |= {"leak": list(leak)} if leak is not None else {}
    results = header(task, step, versions) | {"attributes": found, "reconstruction_mse": 0.02}
    (path / "results.json").write_text(json.dumps(results))
    return path


def leak_row(name: str, kind: str, c: tuple, z: tuple, *, measure="R2", chance=0.0) -> dict:
    """A line of the leak table; c and z are (linear, boosted)."""
    owner = "glasses" if kind == "sub-attribute" else ""
    scores = {"c": c, "z": z, "z_mean": z}
    codes = {n: dict(zip(("linear", "boosted"), v, strict=True)) for n, v in scores.items()}
    return {
        "name": name,
        "kind": kind,
        "owner": owner,
        "measure": measure,
        "chance": chance,
    } | codes


def entry(value: float, recipe: Mapping) -> dict:
    return {"mean": value, "std": None, "values": [value], "recipe": dict(recipe), "details": {}}


def cells(page: str, *starts: str) -> list[str]:
    """The cells of the first table row that begins with these cells."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()
            if line.startswith("|")]  # fmt: skip
    return next(row for row in rows if row[: len(starts)] == list(starts))


def picture(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)
