"""Runs that go back and on, many times, also when they are killed meanwhile (as processes)."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys

import command
import jax
import numpy as np
import pytest
import unlucky

from ivg import build, checkpoint, guard, rollbacks
from ivg.log import read_metrics

GROUP = "numbers"


def saved_states(workdir: pathlib.Path) -> dict[int, list[np.ndarray]]:
    """Every checkpoint of a run."""
    abstract = jax.eval_shape(unlucky.unlucky().init, jax.random.key(0))
    folder = build.checkpoints(workdir)
    return {
        step: [np.asarray(leaf) for leaf in
               jax.tree.leaves(checkpoint.restore(folder, abstract, step=step)[1])]
        for step in checkpoint.steps(folder)
    }  # fmt: skip


def start(workdir: pathlib.Path, steps: int) -> subprocess.Popen:
    """A process that computes as this one does."""
    script = pathlib.Path(unlucky.__file__)
    return subprocess.Popen(
        [sys.executable, str(script), str(workdir), str(steps)],
        cwd=command.REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(command.REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count(workdir: pathlib.Path) -> int:
    path = workdir / "rollbacks.json"
    return len(json.loads(path.read_text())) if path.exists() else 0


def assert_equal(workdir: pathlib.Path, reference: pathlib.Path) -> None:
    assert rollbacks.read(workdir) == rollbacks.read(reference)
    lines = [(folder / "metrics.jsonl").read_bytes() for folder in (workdir, reference)]
    assert lines[0] == lines[1]
    ours, its = saved_states(workdir), saved_states(reference)
    assert ours.keys() == its.keys() and len(ours) > 3
    for step, leaves in ours.items():
        for a, b in zip(leaves, its[step], strict=True):
            assert a.tobytes() == b.tobytes()


def test_kill_9_amid_rollbacks_equals_never_killed(tmp_path, amount, figure):
    reference, steps = tmp_path / "reference", amount(100, 200)
    unlucky.go(reference, num_steps=steps)
    total = count(reference)
    assert total >= 4
    killed, moments = 0, random.Random(8)
    workdir = tmp_path / "killed"
    # From each of these rollbacks on, a kill within the next tenth of a second.
    for target in sorted(moments.sample(range(1, total), amount(1, 4))):
        process = start(workdir, steps)
        done = command.interrupt(
            process, signal.SIGKILL, lambda t=target: count(workdir) >= t, moments.uniform(0, 0.1)
        )
        killed += done.returncode == -signal.SIGKILL
    assert killed
    done = command.finish(start(workdir, steps))
    assert done.returncode == 0, done.stderr
    assert_equal(workdir, reference)
    figure(GROUP, "kills amid rollbacks, the run ending bit for bit as without", killed)


def test_rollbacks_are_survived(tmp_path, amount, figure):
    survived = 0
    for seed in range(amount(1, 4)):
        workdir = tmp_path / str(seed)
        state, step = unlucky.go(workdir, seed=seed, num_steps=amount(60, 200))
        losses = read_metrics(workdir)["G/loss"]
        assert step == losses[0][-1] == len(losses[0]) and np.isfinite(losses[1]).all()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
        past = rollbacks.read(workdir)
        assert len({entry.failed for entry in past}) > 1
        survived += len(past)
    figure(GROUP, "rollbacks survived", survived)


@pytest.mark.parametrize("rounds", [0, 2])
def test_the_run_stops_after_the_last_rollback(tmp_path, rounds):
    doomed = unlucky.unlucky(1.0, 12)
    with pytest.raises(guard.NotFinite, match="step 13: ") as error:
        unlucky.go(tmp_path, doomed, max_rollbacks=rounds)
    assert error.value.failure.tried == len(rollbacks.read(tmp_path)) == rounds
    assert checkpoint.steps(build.checkpoints(tmp_path))[-1] == 10
