"""The lock of a run directory, in this process and in its children."""

import contextlib
import errno
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from ivg import devices, lock, rundir, stopping
from ivg.errors import UserError

HOLD = """
import os, pathlib, subprocess, sys, time
from ivg import lock
try:
    with lock.held(*map(pathlib.Path, sys.argv[1:])):
        if (copy := os.fork()) == 0:
            sys.exit()  # a copy of the process that leaves the block in order
        os.waitpid(copy, 0)
        subprocess.Popen(["sleep", "100"], close_fds=False)
        if os.fork():
            print("held", flush=True)
        time.sleep(100)
finally:
    os._exit(0)  # without what libraries do at exit, which may wait for threads that a copy lacks
"""


@contextlib.contextmanager
def another(*workdirs: pathlib.Path) -> Iterator[subprocess.Popen]:
    """A process that has the locks of these directories, with children that outlive it."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLD, *map(str, workdirs)],
        stdout=subprocess.PIPE,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def can_be_had(workdir: pathlib.Path) -> bool:
    try:
        with lock.held(workdir):
            return True
    except UserError:
        return False


def test_it_is_held_and_let_go_of(tmp_path):
    workdir = tmp_path / "a" / "run"
    for _ in range(2):
        with lock.held(workdir):
            found = json.loads((workdir / "run.lock").read_text())
            assert found["process"] == os.getpid() and found["host"] == platform.node()
            with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on .*, since"):
                with lock.held(workdir):
                    pass
            assert json.loads((workdir / "run.lock").read_text()) == found
        assert list(workdir.iterdir()) == []
    with pytest.raises(ValueError), lock.held(workdir):
        raise ValueError
    assert list(workdir.iterdir()) == []


def test_a_killed_process_does_not_leave_it_behind(tmp_path):
    """Neither do its children: a program that it started, and a copy of itself."""
    first, second = tmp_path / "1", tmp_path / "2"
    with another(first, second) as process:
        with pytest.raises(UserError) as refusal, lock.held(tmp_path / "3", second):
            pass
        assert not can_be_had(first)
        process.kill()
        process.wait()
        assert (second / "run.lock").exists()
        rundir.claim(second, {"seed": 0})  # what is left is nobody else's file
        with lock.held(first, second):
            assert json.loads((second / "run.lock").read_text())["process"] == os.getpid()
    assert str(refusal.value).startswith(f"{second} is in use by process {process.pid} on ")
    assert "wait until it has ended, or use another --workdir" in str(refusal.value)
    assert list((tmp_path / "3").iterdir()) == []  # let go of, as not all could be had


def test_the_name_changes_hands_while_it_is_opened(tmp_path, monkeypatch):
    """Its last owner removes the file between our opening and our locking of it."""
    opened, removed = lock._opened, []

    def late(path):
        descriptor = opened(path)
        if not removed:
            removed.append(path.unlink())
        return descriptor

    monkeypatch.setattr(lock, "_opened", late)
    with lock.held(tmp_path):
        assert removed and (tmp_path / "run.lock").exists()
        assert not can_be_had(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"process": "x", "host": 1}', "\0" * 2000])
def test_what_the_file_says_is_not_trusted(tmp_path, text):
    with lock.held(tmp_path):
        (tmp_path / "run.lock").write_text(text)
        with pytest.raises(UserError, match="is in use by another process: only one"):
            with lock.held(tmp_path):
                pass


def test_another_machine(tmp_path):
    with lock.held(tmp_path):
        who = {"process": 7, "host": "far\x1b[31m", "since": "noon"}
        (tmp_path / "run.lock").write_text(json.dumps(who))
        with pytest.raises(UserError) as refusal, lock.held(tmp_path):
            pass
    text = str(refusal.value)
    assert r"process 7 on far\x1b[31m, since noon:" in text
    assert f"(if that machine is lost for good, delete {tmp_path / 'run.lock'})" in text


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").symlink_to(tmp_path / "mine")
    with lock.held(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def none(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with lock.held(tmp_path), lock.held(tmp_path):
        pass
    assert "note: the file system has no locks for files; see to it" in capsys.readouterr().out
    monkeypatch.setattr(lock, "fcntl", None)
    with lock.held(tmp_path):
        pass
    assert "note: this system has no locks for files" in capsys.readouterr().out


def test_what_cannot_be_written_needs_no_lock(tmp_path):
    (tmp_path / "file").write_text("mine")
    with lock.held(tmp_path / "file", tmp_path / "file" / "run"):
        pass  # `rundir.claim` says what is wrong
    assert (tmp_path / "file").read_text() == "mine"


def test_only_the_first_of_several_processes_takes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "on_first", lambda action: None)
    with lock.held(tmp_path), lock.held(tmp_path):
        assert list(tmp_path.iterdir()) == []


# ---- signals ------------------------------------------------------------------------------------


def test_what_takes_long_is_left_when_a_signal_comes():
    def long(number):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(number)

    with stopping.catch_signals() as stop:
        assert stopping.apart(stop, max, 1, 2) == 2
        with pytest.raises(ZeroDivisionError):
            stopping.apart(stop, lambda: 1 / 0)
        begun = time.monotonic()
        assert stopping.apart(stop, long, 1.0) is None
        assert time.monotonic() - begun < 1.0
        assert stop and stop.signal == signal.SIGTERM and stop.code == 143
        assert stopping.apart(stop, max, 1, 2) is None  # nothing long is begun any more
        signal.raise_signal(signal.SIGHUP)
        assert stop.code == 143
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    for thread in threading.enumerate():
        if thread.name == "ivg apart":
            thread.join()
    stop.leave()  # nothing keeps the process


def test_an_ignored_hangup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.catch_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def hangups_heard():
    """As on a terminal; tests that were started by nohup do not hear them."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_scores_are_given_up_in_one_line(capsys, hangups_heard):
    with pytest.raises(SystemExit) as leaving:
        stopping.or_end(signal.raise_signal, signal.SIGHUP)
    assert leaving.value.code == 129
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("stopped before the scores were complete; the same command again")
    assert stopping.or_end(max, 1, 2) == 2
