"""Two processes on one run directory: the second refuses in one sentence and changes nothing."""

import os
import platform
import signal
import time

import command
import crashing

ENDLESS = crashing.arguments(100_000)


def start(workdir):
    return command.start(*ENDLESS, f"--workdir={workdir}")


def wait(condition, *processes) -> None:
    patience = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < patience
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


def refused_by(holder, workdir, done) -> None:
    """The one sentence, which names who trains there."""
    text = command.sentence(done)
    assert text.startswith(f"{workdir} is in use by process {holder.pid} on {platform.node()}")
    assert "wait until it has ended" in text and done.stdout == ""


def first_starts(workdir):
    """Two processes start at once where there is nothing yet. Returns the one that trains."""
    both = [start(workdir), start(workdir)]
    try:
        wait(lambda: any(process.poll() is not None for process in both))
        wait(lambda: crashing.last_logged(workdir) > 0)
        loser, winner = sorted(both, key=lambda process: process.poll() is None)
        refused_by(winner, workdir, command.finish(loser))
    except BaseException:
        for process in both:
            process.kill()
        raise
    return winner


def goes_on(workdir) -> None:
    """What the killed one has left keeps nobody out."""
    saved = crashing.newest(workdir)
    more = lambda: crashing.newest(workdir) > saved  # noqa: E731
    done = command.interrupt(start(workdir), signal.SIGTERM, more)
    assert done.returncode == 128 + signal.SIGTERM
    assert f"going on from step {saved} of" in done.stdout or not saved
    assert not (workdir / "run.lock").exists()


def test_one_at_a_time(tmp_path, amount, figure):
    """Also when both come first, and after the first was killed."""
    workdir, refused = tmp_path / "run", 1
    winner = first_starts(workdir)
    for number in range(amount(0, 3)):
        crashing.kill(winner)
        winner = first_starts(tmp_path / f"run_{number}")
        workdir, refused = tmp_path / f"run_{number}", refused + 1
    try:
        os.kill(winner.pid, signal.SIGSTOP)  # what changes now, another one has changed
        os.waitpid(winner.pid, os.WUNTRACED)  # until all of its threads stand still
        before = command.contents(workdir)
        for mode in amount(["evaluate"], ["evaluate", "train"]):
            done = command.run(*ENDLESS, f"--workdir={workdir}", f"--mode={mode}")
            refused_by(winner, workdir, done)
            refused += 1
        assert command.contents(workdir) == before
    finally:
        crashing.kill(winner)
    if amount(False, True):  # otherwise the tests of kills show it
        goes_on(workdir)
    figure("crashes", "second processes on a run directory, each refused", refused)
