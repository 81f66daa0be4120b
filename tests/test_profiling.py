"""Traces of training steps: which, where, and that a run survives whatever is wrong with them."""

import contextlib
import gzip
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from ivg.profiling import Profile


@jax.jit
def work(x):
    return jnp.tanh(x) + 1.0


def drive(folder: pathlib.Path, *, asked: int, last: int, first: int = 0, length: int = 2) -> str:
    """A loop from step `first` to `last` with so many steps a call. Returns what was said."""
    said, x = [], jnp.zeros(4)
    with Profile(folder, count=asked, first=first, last=last, say=said.append) as profile:
        for step in range(first, last, length):
            if profile.due:
                x.block_until_ready()
                profile.turn()
            with profile.steps(step, min(step + length, last)):
                x = work(x)
    return "\n".join(said)


def marked(folder: pathlib.Path) -> list[int]:
    """The steps before the calls that a trace holds, of the only one that was written."""
    (path,) = folder.rglob("perfetto_trace.json.gz")
    (plane,) = path.parent.glob("*.xplane.pb")
    assert plane.stat().st_size > 0
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return sorted({int(e["args"]["step_num"]) for e in events if e.get("name") == "train"})


@pytest.mark.parametrize(
    "asked, last, length, calls, few",
    [
        (4, 100, 1, [10, 11, 12, 13], ""),  # after ten steps, so that everything is warm
        (4, 14, 2, [10, 12], ""),
        (5, 14, 2, [8, 10, 12], ""),  # whole calls, early enough for as many as were asked for
        (3, 100, 50, [50], ""),
        (50, 14, 2, [2, 4, 6, 8, 10, 12], " (only 12 were left)"),  # but never the first call
    ],
)
def test_steps_of_a_trace(tmp_path, asked, last, length, calls, few):
    said = drive(tmp_path, asked=asked, last=last, length=length)
    assert marked(tmp_path) == calls
    ends = min(calls[-1] + length, last)
    assert f"profile of steps {calls[0] + 1} to {ends}{few}: open {tmp_path}" in said
    assert "https://ui.perfetto.dev" in said and f"tensorboard --logdir={tmp_path}" in said


def test_a_resumed_run_warms_up_again(tmp_path):
    drive(tmp_path, asked=3, first=40, last=60, length=1)
    assert marked(tmp_path) == [50, 51, 52]


@pytest.mark.parametrize("last", [0, 2])
def test_nothing_to_trace(tmp_path, last):
    """Neither in a run that is over nor in one of a single call."""
    said = drive(tmp_path, asked=3, last=last)
    assert said == "no profile: there was no warm step left to trace"
    assert not list(tmp_path.iterdir())


def test_none_asked_for(tmp_path):
    assert drive(tmp_path, asked=0, last=30) == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("function", ["start_trace", "stop_trace"])
def test_a_tracer_that_fails_is_a_warning(tmp_path, monkeypatch, function):
    def broken(*_, **__):
        raise RuntimeError("no tracer here")

    with monkeypatch.context() as patch:
        patch.setattr(jax.profiler, function, broken)
        said = drive(tmp_path, asked=3, last=20)
    assert said == "warning: no profile (RuntimeError: no tracer here)"
    with contextlib.suppress(RuntimeError):  # where none was begun there is none to end
        jax.profiler.stop_trace()


def test_a_trace_ends_with_a_loop_that_fails(tmp_path):
    said = []
    for i in range(2):  # a trace left open would make the second one fail
        with (
            contextlib.suppress(ValueError),
            Profile(tmp_path / f"{i}", count=9, first=0, last=20, say=said.append) as profile,
        ):
            with profile.steps(0, 10):
                pass
            assert profile.due
            profile.turn()
            raise ValueError
    assert ["profile of steps" in text for text in said] == [True, True]
