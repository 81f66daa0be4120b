"""The runs behind a table or figure: which there are, where they lie, training the rest.

A run has a directory of its own in --workdir, `<data>_<method>_<seed>` or, in a sweep,
`<data>_ibgan_beta<beta>_<seed>`. One that is there under another name with the same config is taken
as well. Finished runs are never trained again; interrupted ones go on where they stopped.
What is IB-GAN's own (`DATA`, `SETTINGS`, `make_task`) stands here too; MMVAE's is in mmvae_runs.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

import numpy as np

from ivg import rundir
from ivg.configs import color_sprites, sprites
from ivg.errors import UserError
from ivg.log import read_metrics

# name -> config file and colouring; "ibgan" is that of the released code, "dlib" of
# disentanglement_lib (U(0.5, 1) a channel)
DATA = {
    "sprites": (sprites, "ibgan"),
    "color_sprites": (color_sprites, "ibgan"),
    "color_sprites_dlib": (color_sprites, "dlib"),
}
# preset -> config fields for `apply`; the rest is the data set file's
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "smoke": {
        "batch_size": 16,
        "METHOD.network.ngf": 4,
        "METHOD.network.ndf": 4,
        "METHOD.network.width": 0.125,
        "METHOD.discriminator.width": 16,
        "log_every": 5,
        "eval_every": 10,
        "checkpoint_every": 10,
        "eval_images": 100,
        "disentanglement.metrics": "factor_vae,mig",
        "disentanglement.train_votes": 50,
        "disentanglement.eval_votes": 25,
        "disentanglement.quick_votes": 20,
    },
    "cpu": {
        "log_every": 50,
        "eval_every": 2_500,
        "checkpoint_every": 500,
        "disentanglement.train_votes": 2_000,
        "disentanglement.eval_votes": 1_000,
    },
    "paper": {"log_every": 100, "eval_every": 5_000, "checkpoint_every": 5_000},
}


class Preset(NamedTuple):
    """What a script does unless its options say otherwise."""

    num_steps: int | None  # of the game; None: the data set file's
    seeds: int  # 0, 1, ...
    data: tuple[str, ...]
    choices: tuple  # the methods of a table, the betas of a sweep


class Task(NamedTuple):
    """A run that is wanted."""

    group: str  # runs of a group differ in their seed only
    data: str
    method: str
    seed: int
    config: Mapping[str, Any]  # as plain JSON types

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.group}_{self.seed}"

    @property
    def num_steps(self) -> int:
        """All of them, those of a GAN's second stage too."""
        return self.config["num_steps"]


class Run(NamedTuple):
    """What lies in a run directory, if anything."""

    task: Task
    folder: pathlib.Path
    config: Mapping[str, Any]  # {} where there is no run
    results: Mapping[str, Any] | None  # results.json
    series: Mapping[str, tuple[np.ndarray, np.ndarray]]  # name -> steps, values
    damaged: bool = False  # results.json cannot be read


class Scores(NamedTuple):
    """What a script reports of a run."""

    words: str  # as in "has no ..."
    present: Callable[[Run], bool]  # whether there is something to report, at whatever step


# ---- what is wanted -----------------------------------------------------------------------------


def make_task(
    data: str, method: str, *, seed: int, num_steps: int, preset: str, beta: float | None = None
) -> Task:
    """A run with the data set file's hyper-parameters.

    Args:
        data: of `DATA`.
        method: any that needs no attributes.
        seed: of the run.
        num_steps: of the game; a GAN then takes as many for the regression of z.
        preset: of `SETTINGS`.
        beta: of IB-GAN instead of the file's own; named in the directory.
    """
    file, coloring = DATA[data]
    config = file.get_config(method)
    apply(config, SETTINGS[preset], method)
    config.data.coloring = coloring
    config.seed = seed
    set_length(config, method, num_steps)
    group = f"{data}_{method}"
    if beta is not None:
        config[method].beta = float(beta)
        group += f"_beta{beta:g}"
    return Task(group, data, method, seed, json.loads(config.to_json()))


def apply(config: Any, settings: Mapping[str, Any], method: str) -> None:
    """Sets fields of a ConfigDict, METHOD for the method's own section, * for any player.

    Those that a method does not have are passed over.
    """
    for field, value in settings.items():
        pattern = field.replace("METHOD", method)
        names = fnmatch.filter(rundir.flatten(config.to_dict()), pattern)
        config.update_from_flattened_dict({name: value for name in names})


def set_length(config: Any, method: str, num_steps: int) -> None:
    """Sets the number of steps; a GAN takes as many again for the regression of z."""
    config.num_steps = num_steps
    if method == "gan":
        config.gan.game_steps, config.num_steps = num_steps, 2 * num_steps


def further_seeds(tasks: Sequence[Task], workdir: pathlib.Path) -> list[Task]:
    """Tasks for the seeds beyond those of the groups that have a directory: all are reported."""
    wanted, found = {task.name for task in tasks}, []
    for task in {task.group: task for task in tasks}.values():
        for folder in workdir.glob(f"{task.group}_*"):
            number = re.fullmatch(re.escape(task.group) + r"_(\d+)", folder.name)
            if number and folder.name not in wanted:
                seed = int(number[1])
                found.append(task._replace(seed=seed, config=dict(task.config) | {"seed": seed}))
    return sorted(found, key=lambda task: (task.group, task.seed))


# ---- what is there ------------------------------------------------------------------------------


def find(tasks: Sequence[Task], workdir: pathlib.Path) -> list[Run]:
    """The run of each task: in the directory of its name, else in any with the same config."""
    there = {
        folder: rundir.read_config(folder)
        for folder in (sorted(workdir.iterdir()) if workdir.is_dir() else ())
        if (folder / "config.json").exists()
    }
    runs = []
    for task in tasks:
        folder = workdir / task.name
        alike = (f for f, config in there.items() if not differences(task.config, config))
        folder = folder if folder in there else next(alike, folder)
        runs.append(read_run(task, folder, there.get(folder, {})))
    return runs


def read_run(task: Task, folder: pathlib.Path, config: Mapping[str, Any]) -> Run:
    """A run directory's contents."""
    results, damaged = None, False
    if (folder / "results.json").exists():
        try:
            results = json.loads((folder / "results.json").read_text())
            if not isinstance(results["step"], int):
                raise ValueError("step is no number")
        except (ValueError, KeyError, TypeError):
            results, damaged = None, True
    return Run(task, folder, config, results, read_metrics(folder), damaged)


def differences(wanted: Mapping, found: Mapping) -> list[str]:
    """Fields "name: found -> wanted" in which two trainings differ.

    What only changes how long a run goes or how it is scored is passed over, and so are fields that
    one of them lacks (a newer version's).
    """
    return [line for line in rundir.difference(found, wanted) if "absent" not in line]


def finished(run: Run) -> bool:
    """Whether the wanted steps are done and scored."""
    return run.results is not None and run.results["step"] >= run.task.num_steps


def has_scores(run: Run) -> bool:
    """Whether there is a FactorVAE score to report, at whatever step."""
    return run.results is not None and "factor_vae" in run.results.get("disentanglement", {})


FACTOR_VAE = Scores("FactorVAE score", has_scores)


def problem(run: Run, scores: Scores = FACTOR_VAE) -> str | None:
    """Why a run's scores are missing or not those of the wanted step; None where all is well."""
    if finished(run):
        return None if scores.present(run) else f"results.json has no {scores.words}"
    logged = max((int(steps[-1]) for steps, _ in run.series.values() if len(steps)), default=0)
    words = f"unfinished, logged until step {logged:,} of {run.task.num_steps:,}"
    if run.damaged:
        return f"{words}; results.json is damaged"
    return words if run.results is None else f"{words}, scores of step {run.results['step']:,}"


def gather(
    args: argparse.Namespace, tasks: Sequence[Task], scores: Scores = FACTOR_VAE
) -> list[Run]:
    """Trains what is missing, here or on a cluster, unless only tables are wanted; reads all runs.

    Raises:
        UserError: no run has scores, or what `train_missing` or `launching.launch` raises.
    """
    if not args.table_only and args.launcher == "slurm":
        from experiments import launching  # which submits what this file knows

        launching.launch(args, tasks)
    elif not args.table_only:
        train_missing(tasks, args.workdir, at_once=args.runs_at_once)
    return read(args, tasks, scores)


def read(args: argparse.Namespace, tasks: Sequence[Task], scores: Scores) -> list[Run]:
    """All runs that are there, those of further seeds too.

    Raises:
        UserError: no run has scores.
    """
    runs = find([*tasks, *further_seeds(tasks, args.workdir)], args.workdir)
    if not any(map(scores.present, runs)):
        raise UserError(
            f"no run in {args.workdir} has any {scores.words} yet; "
            "leave --table_only away to train them."
        )
    return runs


# ---- training -----------------------------------------------------------------------------------


def train_missing(tasks: Sequence[Task], workdir: pathlib.Path, *, at_once: int = 1) -> None:
    """Trains what is not finished, seed by seed, so that a stop leaves all groups alike.

    Args:
        tasks: the runs that are wanted.
        workdir: where their directories are.
        at_once: so many seeds of a group are trained as one program.

    Raises:
        UserError: a directory holds another run; nothing has been trained then.
    """
    todo = unfinished(tasks, workdir)
    print(f"{len(tasks) - len(todo)} of {len(tasks)} runs are finished", flush=True)
    for i, group in enumerate(groups := batches(todo, at_once)):
        names = ", ".join(run.folder.name for run in group)
        print(f"--- {names} ({i + 1} of {len(groups)})", flush=True)
        train_group(group, workdir)


def unfinished(tasks: Sequence[Task], workdir: pathlib.Path) -> list[Run]:
    """The runs that are to be trained.

    Raises:
        UserError: a directory holds another run.
    """
    runs = find(tasks, workdir)
    for run in runs:
        changed = run.config and (
            differences(run.task.config, run.config)
            if finished(run)
            else rundir.difference(run.config, run.task.config)
        )
        if changed:
            raise UserError(
                f"{run.folder} holds a run with another config ({'; '.join(changed)}); use another "
                "--workdir, or --table_only to report what is there."
            )
    return [run for run in runs if not finished(run)]


def batches(todo: Sequence[Run], at_once: int) -> list[list[Run]]:
    """Runs that are trained as one, the first seeds of every group first."""
    by_group: dict[str, list[Run]] = {}
    for run in todo:
        by_group.setdefault(run.task.group, []).append(run)
    longest = max(map(len, by_group.values()), default=0)
    return [
        part
        for first in range(0, longest, at_once)
        for runs in by_group.values()
        if (part := runs[first : first + at_once])
    ]


def train_group(group: Sequence[Run], workdir: pathlib.Path) -> None:
    """One run through the library's front door, several as one program."""
    from ivg import compilation, devices, files, memory, runs, train

    memory.keep_memory()
    if len(group) == 1:
        runs.train_runs(group[0].task.config, group[0].folder)
        return
    devices.start_processes()
    compilation.keep_programs()
    configs, folders = [run.task.config for run in group], [run.folder for run in group]
    with files.file_errors(workdir):
        for results, folder in zip(train.train_together(configs, folders), folders, strict=True):
            runs.report(results, folder)
