"""Many runs on a SLURM cluster, through submitit: --launcher=slurm of the tables and the bench.

What is missing becomes jobs, an array with one job a run (or --runs_per_job of them), which are
waited for; the page is then made from the run directories as ever. WORKDIR/slurm holds the jobs'
logs and jobs.json, the runs of every job that may still be queued or running: the same command
again submits none of those twice. A job that is about to be cut short (submitit's signal, SIGUSR2,
two minutes before the time is up, or when it is preempted) saves its state and is queued again.
"""

import argparse
import collections
import contextlib
import fcntl
import json
import os
import pathlib
import platform
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from experiments import launch_options, running
from experiments.running import Run, Task
from ivg import rundir
from ivg.errors import UserError

REQUEUES = 1_000  # each goes on from where the last one stopped
KILL_WAIT = 30  # seconds that SLURM leaves between SIGTERM and SIGKILL, unless its admin says else
REPORT_SECONDS = 600  # between two lines about the same states


# ---- what a job does ----------------------------------------------------------------------------


class Work(NamedTuple):
    """Runs of one job; callable, and with `checkpoint`, which submitit asks what to queue again."""

    tasks: tuple[Task, ...]
    workdir: pathlib.Path
    at_once: int

    def __call__(self) -> None:
        """Trains what is not finished, one after the other, past those that break.

        Raises:
            UserError: what broke, after all others have been trained.
        """
        failed = []
        print(f"process {os.getpid()} on {platform.node()}", flush=True)
        with requeued_once_saved():
            todo = running.unfinished(self.tasks, self.workdir)
            for part in running.batches(todo, self.at_once):
                names = ", ".join(run.folder.name for run in part)
                print(f"--- {names}", flush=True)
                try:
                    running.train_group(part, self.workdir)
                except UserError as error:
                    failed.append(f"{names}: {error}")
                except Exception as error:
                    traceback.print_exc()
                    words = " ".join(str(error).split())
                    failed.append(f"{names}: {type(error).__name__}: {words}")
        if failed:
            raise UserError(" ".join(failed))

    def checkpoint(self) -> Any:
        """The same again: a run goes on from its own directory."""
        return submitit().helpers.DelayedSubmission(self)


@contextlib.contextmanager
def requeued_once_saved() -> Iterator[None]:
    """Within it, submitit's signal has the training save its state before the job is queued again.

    submitit's own handler ends the process where it stands. SIGTERM alone (a job that was
    cancelled; on some clusters preemption announces itself so) saves the state too, as everywhere;
    the job then waits a little for submitit's signal or its end, because SLURM does not queue a job
    again that leaves by itself.
    """
    from ivg.stopping import Stop

    number = getattr(signal, f"SIG{submitit().JobEnvironment.USR_SIG}")
    requeue, noticed = signal.getsignal(number), []

    def notice(number, frame):
        stop = signal.getsignal(signal.SIGTERM)
        if isinstance(stop, Stop):
            noticed.append(stop)
            stop(signal.SIGTERM, frame)  # the loop saves and leaves
        else:
            requeue(number, frame)

    signal.signal(number, notice)
    try:
        yield
    except SystemExit as leaving:
        if leaving.code == 128 + signal.SIGTERM:
            if not noticed:
                time.sleep(KILL_WAIT)
            else:
                try:
                    requeue(number, None)
                except SystemExit as last:  # submitit may look for a code of its own
                    noticed[0].code = last.code
                    raise
        raise
    finally:
        signal.signal(number, requeue)


# ---- submitting ---------------------------------------------------------------------------------


def launch(
    args: argparse.Namespace,
    tasks: Sequence[Task],
    *,
    cluster: str = "slurm",
    poll_seconds: float = 5.0,
) -> list[str]:
    """Submits what is neither finished nor in a job already, and waits for all of it.

    Args:
        args: of `options.settle`.
        tasks: the runs that are wanted.
        cluster: submitit's name of where the jobs run: slurm, or local for processes here.
        poll_seconds: between two looks at the jobs.

    Returns:
        A line for each job that broke off.

    Raises:
        UserError: a directory holds another run, there is no SLURM, or every run broke off.
        SystemExit: after the submission with --no_wait (0), after Ctrl-C (130).
    """
    folder = args.workdir.absolute() / "slurm"
    todo = running.unfinished(tasks, args.workdir)
    print(f"{len(tasks) - len(todo)} of {len(tasks)} runs are finished", flush=True)
    if not todo:
        return []
    submitit()
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder):
        jobs = submitted_before(todo, folder, cluster)
        held = {name for names, _ in jobs for name in names}
        rest = [run for run in todo if run.task.name not in held]
        if held:
            print(f"{len(todo) - len(rest)} are queued or running: {states(jobs)}", flush=True)
        jobs += submit(args, rest, folder, cluster) if rest else []
    if args.no_wait:
        print("not waiting; the same command later waits for the jobs and writes the page")
        sys.exit(0)
    failed = wait(jobs, tasks, args.workdir, poll_seconds)
    if failed and len(failed) == len(jobs) and len(todo) == len(tasks):
        raise UserError(failed[0])  # what is wrong with the first is wrong with all
    return failed


@contextlib.contextmanager
def one_at_a_time(folder: pathlib.Path) -> Iterator[None]:
    """Keeps two commands of one --workdir from submitting the same runs."""
    with open(folder / "lock", "w") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def submitit() -> ModuleType:
    """The library; only who submits, or is a job, needs it."""
    try:
        import submitit
        import submitit.helpers
    except ImportError:
        raise UserError(
            "--launcher=slurm needs submitit, which is not installed; "
            "pip install -e '.[cluster]' and try again."
        ) from None
    return submitit


def submitted_before(todo: Sequence[Run], folder: pathlib.Path, cluster: str) -> list[tuple]:
    """(names, job) of the jobs in jobs.json that have not ended and hold one of these runs."""
    known = folder / "jobs.json"
    wanted = {run.task.name for run in todo}
    found = []
    for number, names in (json.loads(known.read_text()) if known.exists() else {}).items():
        job = {"slurm": submitit().SlurmJob, "local": submitit().LocalJob}[cluster](folder, number)
        if wanted & set(names) and not job.done():
            found.append((names, job))
            if job.state.upper().startswith(("UNKNOWN", "PREEMPTED")):
                print(
                    f"warning: job {number} ({', '.join(names)}) is {job.state} to SLURM; if it is "
                    f"gone for good, take it out of {known} and type the command again",
                    flush=True,
                )
    return found


def submit(
    args: argparse.Namespace, todo: Sequence[Run], folder: pathlib.Path, cluster: str
) -> list[tuple]:
    """(names, job) of new jobs for these runs, written down in jobs.json.

    Raises:
        UserError: there is no SLURM here, or it refuses the jobs.
    """
    executor = make_executor(args, folder, cluster)
    workdir = args.workdir.absolute()
    parts = packed(running.batches(todo, args.runs_at_once), args.runs_per_job)
    works = [Work(tuple(run.task for run in part), workdir, args.runs_at_once) for part in parts]
    try:
        jobs = executor.submit_array(works)
    except (RuntimeError, OSError) as error:  # what submitit makes of sbatch's complaint
        lines = [line for line in str(error).splitlines() if "sbatch: error" in line]
        raise UserError(
            f"SLURM refused the jobs ({' '.join(lines or str(error).split())}); change "
            "--partition, --account, --qos, --gpus_per_job, --hours_per_job or --slurm."
        ) from None
    found = [([t.name for t in w.tasks], job) for w, job in zip(works, jobs, strict=True)]
    known = folder / "jobs.json"
    before = json.loads(known.read_text()) if known.exists() else {}
    new = {name for names, _ in found for name in names}
    before = {number: names for number, names in before.items() if not new & set(names)}
    rundir.write_json(known, before | {job.job_id: names for names, job in found})
    print(f"submitted {len(todo)} runs, jobs: {len(jobs)}; logs in {folder}", flush=True)
    return found


def make_executor(args: argparse.Namespace, folder: pathlib.Path, cluster: str) -> Any:
    """An executor of submitit with the options' parameters."""
    try:
        executor = submitit().AutoExecutor(
            folder, cluster=cluster, **{f"{cluster}_max_num_timeout": REQUEUES}
        )
    except RuntimeError:
        raise UserError(
            "--launcher=slurm finds no SLURM here (no srun); type the command on a login node of "
            "the cluster, or leave --launcher away."
        ) from None
    executor.update_parameters(**launch_options.parameters(args))
    return executor


def packed(parts: Sequence[list[Run]], runs_per_job: int) -> list[list[Run]]:
    """Parts that are trained as one, joined to jobs of at most so many runs."""
    jobs: list[list[Run]] = []
    for part in parts:
        if jobs and len(jobs[-1]) + len(part) <= runs_per_job:
            jobs[-1] = [*jobs[-1], *part]
        else:
            jobs.append(list(part))
    return jobs


# ---- waiting ------------------------------------------------------------------------------------


def wait(
    jobs: Sequence[tuple], tasks: Sequence[Task], workdir: pathlib.Path, poll_seconds: float
) -> list[str]:
    """Waits for jobs; their states are printed when they change, and every ten minutes.

    Returns a line for each job that left a run unfinished.

    Raises:
        SystemExit: after Ctrl-C (130); the jobs go on.
    """
    failed, open_jobs, said, at = [], list(jobs), "", -float("inf")
    try:
        while open_jobs:
            ended = [entry for entry in open_jobs if entry[1].done()]
            failed += [line for entry in ended if (line := broken(*entry, tasks, workdir))]
            open_jobs = [entry for entry in open_jobs if entry not in ended]
            now = states(open_jobs)
            if now != said or time.monotonic() - at > REPORT_SECONDS:
                print(f"jobs: {now or 'all have ended'}", flush=True)
                said, at = now, time.monotonic()
            if open_jobs:
                time.sleep(poll_seconds)
    except KeyboardInterrupt:
        print("no longer waiting; the jobs go on. The same command again waits for them; scancel "
              f"{' '.join(job.job_id for _, job in open_jobs)} ends them")  # fmt: skip
        sys.exit(128 + signal.SIGINT)
    return failed


def states(jobs: Sequence[tuple]) -> str:
    """As in "3 PENDING, 2 RUNNING"."""
    counts = collections.Counter(job.state for _, job in jobs)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def broken(
    names: Sequence[str], job: Any, tasks: Sequence[Task], workdir: pathlib.Path
) -> str | None:
    """A line for the page if the job that has ended left a run unfinished; None if not."""
    own = [task for task in tasks if task.name in names]
    left = [run for run in running.find(own, workdir) if not running.finished(run)]
    if not left:
        return None
    line = f"{', '.join(f'`{run.task.name}`' for run in left)} broke off: {reason(job)}"
    print(f"failed: {line} (log: {job.paths.stdout})", flush=True)
    return line


def reason(job: Any) -> str:
    """Why a job that has ended broke off: the last line of its error, or what SLURM says."""
    if not job.paths.result_pickle.exists():
        return f"job {job.job_id} ended without a word, state {job.state}"
    lines = str(job.exception() or "").split("-" * 22)
    if len(lines) < 2:
        return f"job {job.job_id} ended, but not with the wanted steps and scores"
    return lines[1].strip().splitlines()[-1].removeprefix("ivg.errors.UserError: ")
