"""Options of --launcher=slurm: how the jobs that `launching` submits are asked for."""

import argparse
from collections.abc import Mapping
from typing import Any

from ivg.errors import UserError

LAUNCHERS = ("local", "slurm")
# Options that mean nothing without a cluster, and what they are with one.
DEFAULTS: Mapping[str, Any] = {
    "runs_per_job": None,  # runs_at_once
    "partition": None,
    "account": None,
    "qos": None,
    "gpus_per_job": 1,
    "cpus_per_job": 4,
    "hours_per_job": 12.0,
    "jobs_at_once": 100,
    "slurm": (),
    "no_wait": False,
}
WARNING_SECONDS = 120  # between the signal and the end of a job's time


def add_options(parser: argparse.ArgumentParser) -> None:
    """What --launcher=slurm takes."""
    group = parser.add_argument_group("on a cluster")
    group.add_argument(
        "--launcher",
        default="local",
        help="local: in this process, one after the other; slurm: as jobs, through submitit",
    )
    group.add_argument("--runs_per_job", type=int, help="default --runs_at_once: one")
    for name in ("partition", "account", "qos"):
        group.add_argument(f"--{name}", help="of SLURM; default the cluster's own")
    group.add_argument("--gpus_per_job", type=int, help="default 1; 0: on CPUs")
    group.add_argument("--cpus_per_job", type=int, help="default 4")
    group.add_argument(
        "--hours_per_job", type=float, help="default 12; a longer run is queued again and goes on"
    )
    group.add_argument("--jobs_at_once", type=int, help="default 100; the rest waits its turn")
    group.add_argument(
        "--slurm",
        action="append",
        metavar="KEY=VALUE,...",
        help="any option of sbatch, as in --slurm=mem=32G,constraint=a100; may be repeated",
    )
    group.add_argument(
        "--no_wait", "--no-wait", action="store_true", default=None, help="submit and end"
    )


def settle(args: argparse.Namespace) -> None:
    """Checks and fills in what `add_options` added.

    Raises:
        UserError: for values that cannot be.
    """
    if args.launcher not in LAUNCHERS:
        raise UserError(f'--launcher knows no "{args.launcher}"; use {" or ".join(LAUNCHERS)}.')
    given = [name for name in DEFAULTS if getattr(args, name) is not None]
    if args.launcher == "local" and given:
        raise UserError(f"--{given[0]} is for jobs on a cluster; add --launcher=slurm.")
    for name in set(DEFAULTS) - set(given):
        setattr(args, name, DEFAULTS[name])
    args.runs_per_job = args.runs_per_job or args.runs_at_once
    if args.runs_per_job < args.runs_at_once:
        raise UserError(
            f"--runs_per_job={args.runs_per_job} is less than --runs_at_once={args.runs_at_once}; "
            "runs that are trained at once are of one job."
        )
    least = {"cpus_per_job": 1, "jobs_at_once": 1, "gpus_per_job": 0, "hours_per_job": 0.1}
    for name, value in least.items():
        if not getattr(args, name) >= value:
            raise UserError(f"--{name}={getattr(args, name):g} must be at least {value:g}.")
    args.slurm = dict(pair for text in args.slurm for pair in pairs(text))


def pairs(text: str) -> list[tuple[str, str | bool]]:
    """("exclude", "n1,n2") and ("mem", "4G") of "exclude=n1,n2,mem=4G"; "true" is a flag's value.

    Raises:
        UserError: for what does not begin with a key.
    """
    found: list[list[str]] = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals and key.strip():
            found.append([key.strip().lstrip("-"), value])
        elif found:
            found[-1][1] += f",{part}"  # of a value with commas
        else:
            raise UserError(f'--slurm="{text}" is not KEY=VALUE,..., as in --slurm=mem=32G.')
    return [(key, value == "true" or value) for key, value in found]


def parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The same as submitit's AutoExecutor has it."""
    return {
        "name": f"ivg_{args.script}",
        "timeout_min": round(60 * args.hours_per_job),
        "cpus_per_task": args.cpus_per_job,
        "gpus_per_node": args.gpus_per_job or None,
        "stderr_to_stdout": True,  # one log a job
        "slurm_partition": args.partition,
        "slurm_account": args.account,
        "slurm_qos": args.qos,
        "slurm_array_parallelism": args.jobs_at_once,
        "slurm_signal_delay_s": WARNING_SECONDS,
        "slurm_additional_parameters": args.slurm or None,
    }
