"""Two processes of two devices each, as on two machines: real ones, joined by gloo on the CPU."""

import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import command
import jax
import numpy as np
import pytest

from ivg import build, checkpoint, devices, train
from ivg.configs import digits

METHOD = "beta_tcvae"  # its loss is one of the whole batch: no mean of what the devices have
FIELDS = {"batch_size": 8, "steps_per_dispatch": 1, "log_every": 1, "eval_every": 0}
FIELDS |= {"checkpoint_every": 5, "eval_images": 20, "keep_checkpoints": 2}
HEARTBEAT = 4  # seconds
LOST = "was lost; the same command again, with any number of processes, goes on from the last"
# gloo adds up in another order than the devices of one process: 1e-7 after ten steps of Adam.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def config_of(num_steps: int) -> dict:
    """What `arguments` say."""
    config = digits.get_config(METHOD).to_dict() | FIELDS | {"num_steps": num_steps}
    config[METHOD] |= {"dim_z": 4}
    config[METHOD]["network"]["width"] = 8
    return json.loads(json.dumps(config))


def arguments(num_steps: int, workdir: pathlib.Path) -> list[str]:
    own = {f"{METHOD}.dim_z": 4, f"{METHOD}.network.width": 8}
    fields = FIELDS | own | {"num_steps": num_steps}
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    return [f"--config=configs/digits.py:{METHOD}", *flags, f"--workdir={workdir}"]


@pytest.fixture
def unscored(monkeypatch):
    monkeypatch.setattr(train, "finish", lambda run, config, workdir, state, step: {"step": step})


def here(num_steps: int, workdir: pathlib.Path, num_devices: int = 4) -> None:
    """Trains in this process."""
    with pytest.MonkeyPatch.context() as patch:
        mesh = devices.make_mesh(num_devices)
        patch.setattr(devices, "make_mesh", lambda: mesh)
        train.train(config_of(num_steps), workdir)


def start_two(num_steps: int, workdir: pathlib.Path) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    joined = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    joined += [f"--heartbeat_seconds={HEARTBEAT}"]
    return [
        command.start(*arguments(num_steps, workdir), *joined, f"--process_id={i}", devices=2)
        for i in range(2)
    ]


def signalled(processes, target: int, number: int, workdir: pathlib.Path, after: int) -> list:
    """What is left of both, once one got a signal when step `after` was logged."""
    ended = {}
    logged = lambda: any(step >= after for step in command.logged(workdir))  # noqa: E731
    try:
        ended[target] = command.interrupt(processes[target], number, logged)
        ended[1 - target] = command.finish(processes[1 - target])
    finally:
        for process in processes:
            process.kill()
    return [ended[0], ended[1]]


def said(text: str) -> str:
    """Without gloo's own lines, which its threads write in pieces, one into another's."""
    pieces = r"\[Gloo\] Rank |is connected to|peer ranks\.|Expected number of .* ranks is :"
    return re.sub(rf"({pieces}|[\d\s])+", "", text) if "[Gloo]" in text else text


def state_of(workdir: pathlib.Path):
    """(step, leaves) of the last checkpoint."""
    abstract = jax.eval_shape(build.build(config_of(1)).method.init, jax.random.key(0))
    step, state = checkpoint.restore(build.checkpoints(workdir), abstract)
    return step, [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_close(a: pathlib.Path, b: pathlib.Path) -> None:
    (step, ours), (other_step, theirs) = state_of(a), state_of(b)
    assert step == other_step
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, **CLOSE)


def test_two_processes_go_on_as_one_would(tmp_path, unscored):
    """Five steps of one process with four devices, then ten of two with two each."""
    whole, handed_on = tmp_path / "whole", tmp_path / "handed_on"
    here(5, whole)
    shutil.copytree(whole, handed_on)
    here(15, whole)
    first, second = [command.finish(process) for process in start_two(15, handed_on)]
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "going on from step 5 of 15" in first.stdout and "results.json" in first.stdout
    assert said(second.stdout) == said(second.stderr) == ""
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "handed_on"}
    assert command.logged(handed_on) == list(range(1, 16))
    assert json.loads((handed_on / "results.json").read_text())["step"] == 15
    assert checkpoint.steps(build.checkpoints(handed_on)) == [10, 15]
    assert_close(handed_on, whole)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> tuple[pathlib.Path, int]:
    """(run directory, step) of two processes that SIGTERM at the second one has ended."""
    workdir = tmp_path_factory.mktemp("processes") / "run"
    first, second = signalled(start_two(10_000, workdir), 1, signal.SIGTERM, workdir, after=6)
    assert first.returncode == second.returncode == 128 + signal.SIGTERM, first.stderr
    step = command.logged(workdir)[-1]
    assert f"stopped at step {step}, state saved" in first.stdout
    assert checkpoint.latest_step(build.checkpoints(workdir)) == step
    return workdir, step


def test_one_process_goes_on_where_sigterm_ended_two(stopped, tmp_path, unscored, capsys):
    workdir, step = stopped
    for count in (1, 4):
        here(step + 3, shutil.copytree(workdir, tmp_path / f"{count}"), num_devices=count)
        assert f"going on from step {step} of {step + 3}" in capsys.readouterr().out
    assert_close(tmp_path / "1", tmp_path / "4")


def test_the_death_of_one_ends_the_other_and_less_go_on(stopped, tmp_path, unscored, capsys):
    source, step = stopped
    workdir = shutil.copytree(source, tmp_path / "run")
    first, second = signalled(start_two(10_000, workdir), 1, signal.SIGKILL, workdir, step + 6)
    assert second.returncode == -signal.SIGKILL
    assert first.returncode in (-signal.SIGABRT, 1)  # JAX's runtime aborts, or a transfer fails
    assert LOST in first.stderr.strip().splitlines()[-1]
    saved = checkpoint.latest_step(build.checkpoints(workdir))
    assert saved > step
    here(saved + 2, workdir, num_devices=1)
    assert f"going on from step {saved}" in capsys.readouterr().out
