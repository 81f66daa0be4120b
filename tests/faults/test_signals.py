"""SIGTERM, Ctrl-C and SIGHUP, wherever they come: saved and ended within ten seconds.

On one run, one after the other; at the end it is what it is without them, bit for bit.
"""

import contextlib
import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import command
import crashing
import pytest
import toy_runs
from toy_runs import toys  # noqa: F401, a fixture

from ivg import alarms

BOUND = 10.0  # seconds
SLOWED = pathlib.Path(__file__).with_name("slowed.py")
ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SHORT = {"an evaluation": ALL[:1], "compiling": ALL[1:2]}  # beside the tests at the end
PARTS = ("restoring", "compiling", "a step", "a save", "an evaluation", "the scores")
LONG = dict.fromkeys(PARTS, ALL)


def start(
    part: str, workdir: pathlib.Path, marker: pathlib.Path
) -> tuple[subprocess.Popen, Callable]:
    """The run, with one part slow if XLA can be made to hold it up, and when the part has begun."""
    arguments = [*crashing.arguments(), f"--workdir={workdir}"]
    if part == "a step":
        target = crashing.newest(workdir) + 2
        return command.start(*arguments), lambda: crashing.last_logged(workdir) >= target
    if part == "a save":
        saving = lambda: any(n.endswith(".saving") for n in crashing.leftovers(workdir))  # noqa: E731
        return command.start(*arguments), saving
    if part == "an evaluation":
        arguments.append("--config.eval_every=1")
    program = [sys.executable, str(SLOWED), part, str(marker)]
    environment = command.environment() | {"PYTHONPATH": str(command.REPOSITORY)}
    process = subprocess.Popen(
        [*command.LISTENING, *program, *arguments],
        cwd=command.REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, marker.exists


def seconds_to_end(process: subprocess.Popen, number: int, when: Callable, delay: float) -> tuple:
    """(seconds from the signal to the end, the ended process)."""
    sent = []

    def due() -> bool:
        if when():
            time.sleep(delay)
            sent.append(time.monotonic())
        return bool(sent)

    done = command.interrupt(process, number, due)
    return time.monotonic() - sent[0], done


def check(part: str, number: int, done, workdir: pathlib.Path, before: list[int]) -> None:
    """Saved what there was to save, said so in one line, left nothing open."""
    assert done.returncode == 128 + number, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("stopped ") and "the same command again" in last
    assert not (workdir / "run.lock").exists() and crashing.leftovers(workdir) == []
    step = crashing.newest(workdir)
    if part in ("restoring", "compiling", "the scores"):
        assert command.steps_saved(workdir) == before
        assert ("scores" in last) == (part == "the scores")
    else:
        assert f"stopped at step {step}, state saved" in last
        assert step == crashing.last_logged(workdir)
        # An evaluation that was cut off is what the run goes on with.
        assert step > max(before, default=0) or part == "an evaluation" and before


def test_every_signal_everywhere(tmp_path, amount, figure):
    workdir, moment = tmp_path / "run", random.Random(0)
    slowest, sent, wanted = 0.0, 0, amount(SHORT, LONG)
    for part, numbers in wanted.items():
        if part == "the scores":
            crashing.finished(workdir)
        for number in numbers:
            before, marker = command.steps_saved(workdir), tmp_path / f"{part} {number}"
            process, when = start(part, workdir, marker)
            delay = moment.uniform(0.0, 0.3 if when == marker.exists else 0.02)
            seconds, done = seconds_to_end(process, number, when, delay)
            check(part, number, done, workdir, before)
            assert seconds < BOUND, part
            slowest, sent = max(slowest, seconds), sent + 1
    if "the scores" in wanted:
        crashing.assert_like_uninterrupted(workdir)
    figure("signals", "sent, each saved and ended with its exit code", sent)
    figure("signals", "slowest end, in seconds", round(slowest, 1))


def test_a_closed_terminal(tmp_path):
    """The run is on a terminal that goes away with the reader of all that is said."""
    workdir = tmp_path / "run"
    ours, theirs = os.openpty()
    script = "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    script += "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # as if nohup had not started this
    script += "os.execv(sys.argv[1], sys.argv[1:])"
    arguments = [*crashing.arguments(10_000), f"--workdir={workdir}"]
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", script, sys.executable, "-m", "ivg.main", *arguments],
        cwd=command.REPOSITORY,
        env=command.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        os.set_blocking(ours, False)
        patience = time.monotonic() + 200
        while crashing.last_logged(workdir) < 5:
            assert time.monotonic() < patience and process.poll() is None
            with contextlib.suppress(OSError):  # read, so that it never is full
                os.read(ours, 2**16)
            time.sleep(0.01)
        os.close(ours)
        closed = time.monotonic()
        assert process.wait(timeout=60) == 128 + signal.SIGHUP
        assert time.monotonic() - closed < BOUND
    finally:
        process.kill()
    assert crashing.newest(workdir) == crashing.last_logged(workdir) >= 5


def test_nohup_and_a_reader_that_went_away(tmp_path):
    """An ignored SIGHUP stays so; nobody reads the output any more when Ctrl-C comes."""
    workdir = tmp_path / "run"
    script = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    script += "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    arguments = [*crashing.arguments(10_000), f"--workdir={workdir}"]
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", script, sys.executable, "-m", "ivg.main", *arguments],
        cwd=command.REPOSITORY,
        env=command.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for_step(5, workdir, process)
        process.send_signal(signal.SIGHUP)
        process.stdout.close()
        wait_for_step(crashing.last_logged(workdir) + 10, workdir, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 128 + signal.SIGINT
    finally:
        process.kill()
    assert crashing.newest(workdir) == crashing.last_logged(workdir) >= 15


def wait_for_step(step: int, workdir: pathlib.Path, process: subprocess.Popen) -> None:
    patience = time.monotonic() + 200
    while crashing.last_logged(workdir) < step:
        assert time.monotonic() < patience and process.poll() is None
        time.sleep(0.01)


def test_scores_that_a_signal_cut_off_come_later(toys, tmp_path, monkeypatch):  # noqa: F811
    changes = {"eval_every": 4, "num_steps": 10}
    toy_runs.train(tmp_path / "reference", **changes)
    whole, count = alarms.diversity, itertools.count(1)

    def slow(*args):
        if next(count) == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
            time.sleep(15)
        return whole(*args)

    monkeypatch.setattr(alarms, "diversity", slow)
    with pytest.raises(SystemExit) as end:
        toy_runs.train(tmp_path / "run", **changes)
    assert end.value.code == 128 + signal.SIGTERM
    assert "eval/" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    for _ in range(2):  # the second time nothing is left to do
        toy_runs.train(tmp_path / "run", **changes)
        lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("reference", "run")]
        assert lines[0] == lines[1] and lines[0].count(b"eval/") == 2
    assert toy_runs.state(tmp_path / "run") == toy_runs.state(tmp_path / "reference")
