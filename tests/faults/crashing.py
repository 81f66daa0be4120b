"""What the tests of crashes and signals share: a small run, and its like that nothing interrupts.

A VAE: of all methods it takes the least time to start, and it has all that a state can have.
"""

import functools
import pathlib
import signal

import command

INTERVAL = 3  # steps between two checkpoints
STEPS = 40


def arguments(num_steps: int = STEPS) -> tuple[str, ...]:
    """Of a run of so many steps; a step takes about 10 ms, a save 50."""
    fields = {"num_steps": num_steps, "checkpoint_every": INTERVAL, "keep_checkpoints": 2}
    return (*command.LIGHT, *(f"--config.{name}={value}" for name, value in fields.items()))


@functools.cache
def reference(num_steps: int = STEPS) -> pathlib.Path:
    """The directory of such a run that was only killed once its last checkpoint was there."""
    workdir = command.scratch() / f"whole_{num_steps}"
    command.train_only(*arguments(num_steps), workdir=workdir, last=num_steps)
    return workdir


def newest(workdir: pathlib.Path) -> int:
    """Step of the newest complete checkpoint, 0 without one."""
    return max(command.steps_saved(workdir), default=0)


def last_logged(workdir: pathlib.Path) -> int:
    return max(command.logged(workdir), default=0)


def leftovers(workdir: pathlib.Path) -> list[str]:
    """Names of what saves and removals have not finished."""
    folder = workdir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [name for name in names if not name.isdigit()]


def assert_like_uninterrupted(workdir: pathlib.Path, num_steps: int = STEPS) -> None:
    """Its parameters, optimiser states and metrics, bit for bit."""
    whole = reference(num_steps)
    (step, ours), (_, theirs) = command.last_state(workdir), command.last_state(whole)
    assert step == num_steps and ours.keys() == theirs.keys()
    assert sum("opt_state" in name for name in ours) > sum("params" in name for name in ours) > 5
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name
    assert (workdir / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def finished(workdir: pathlib.Path, num_steps: int = STEPS) -> None:
    """Trains what is left of the training, without the scores."""
    command.train_only(*arguments(num_steps), workdir=workdir, last=num_steps)


def kill(process) -> None:
    """`kill -9`, whatever state it is in."""
    process.send_signal(signal.SIGKILL)
    command.finish(process)
