"""Programs kept on disk: where, that a second process uses them, and that no disk breaks a run."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from ivg import compilation, runs, train

# Compiles one program as a run would; prints the folder, hits, misses, files and the result.
CHILD = """
import collections, jax
from ivg import compilation
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.split("/")[-1]]))
folder = compilation.keep_programs()
result = jax.jit(lambda x: (x @ x.T).sum())(jax.numpy.ones((3, 4)))
files = [] if folder is None else [p for p in folder.iterdir() if p.name.endswith("-cache")]
print(folder is not None, counts["cache_hits"], counts["cache_misses"], len(files), result)
"""


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """JAX's settings as a user has them, with the cache directory in a temporary folder."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs") + (
        "jax_enable_compilation_cache",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def child(cache, **variables):
    """The words that CHILD prints, and what it says on stderr."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XDG_CACHE_HOME": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **variables,
    }
    if "JAX_COMPILATION_CACHE_DIR" not in variables:
        environment.pop("JAX_COMPILATION_CACHE_DIR")
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_a_second_process_compiles_nothing(tmp_path):
    (kept, hits, misses, files, result), _ = child(tmp_path)
    assert kept == "True" and hits == "0" and int(misses) > 0 and files == misses
    (kept, hits, misses, again, same), said = child(tmp_path)
    assert (kept, misses, again, same) == ("True", "0", files, result) and int(hits) == int(files)
    assert not said.strip()
    for entry in tmp_path.rglob("*-cache"):  # cut short, as a full disk leaves it
        entry.write_bytes(entry.read_bytes()[:20])
    (kept, hits, _, _, same), said = child(tmp_path)
    assert (kept, hits, same) == ("True", "0", result) and "Error reading" in said


def test_a_folder_that_cannot_be_made_costs_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    (kept, hits, misses, *_, result), said = child(blocked)
    assert (kept, hits, misses, result) == ("False", "0", "0", "36.0")
    (line,) = said.splitlines()
    assert line.startswith("note: compiled programs are not kept (") and str(blocked) in line
    assert blocked.read_text() == ""


def test_where_programs_are_kept(unset, monkeypatch):
    folder = compilation.keep_programs()
    assert folder == unset / "ivg" / "jax" / compilation.machine() and folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == compilation.SECONDS
    assert compilation.keep_programs() is None  # decided already
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert compilation.cache_directory() == pathlib.Path.home() / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert compilation.cache_directory() == pathlib.Path.home() / ".cache"


def test_other_processors_have_other_folders(monkeypatch):
    own = compilation.machine()
    assert own == compilation.machine()
    monkeypatch.setattr(compilation, "instructions", lambda: "one instruction more")
    assert compilation.machine() != own


@pytest.mark.parametrize("how", ["empty", "named", "disabled", "several processes"])
def test_jax_own_settings_decide(unset, monkeypatch, how):
    named = None
    if how == "empty":
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
        jax.config.update("jax_compilation_cache_dir", "")  # as JAX reads it
    elif how == "named":
        named = str(unset / "elsewhere")
        jax.config.update("jax_compilation_cache_dir", named)
    elif how == "several processes":
        monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    elif how == "disabled":
        jax.config.update("jax_enable_compilation_cache", False)
    assert compilation.keep_programs() is None
    assert jax.config.jax_compilation_cache_dir == named
    assert not any(unset.iterdir())


def test_training_and_reading_a_run_keep_programs(unset, monkeypatch):
    folder = unset / "ivg" / "jax" / compilation.machine()

    def stop(*_):
        assert jax.config.jax_compilation_cache_dir == str(folder)
        raise InterruptedError

    monkeypatch.setattr(train, "train", stop)
    with pytest.raises(InterruptedError):
        runs.train_runs({"num_runs": 1}, unset / "run")
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(runs.checkpoint, "latest_step", lambda _: 1)
    monkeypatch.setattr(runs.build, "check", lambda config: None)
    monkeypatch.setattr(runs.build, "build", stop)
    with pytest.raises(InterruptedError):
        runs.last_state({}, unset / "run")


def test_shrinking_removes_what_was_longest_not_used(tmp_path):
    for number in range(4):
        folder = tmp_path / f"machine{number % 2}"
        folder.mkdir(exist_ok=True)
        entry = folder / f"jit_{number}-cache"
        entry.write_bytes(b"x" * (compilation.LEAST + 1) if number else b"x")  # 0 counts as LEAST
        used = 1e9 + {0: 5, 1: 1, 2: 9, 3: 3}[number]
        os.utime(entry, (used, 1e9))
    other = tmp_path / "notes.txt"
    other.write_bytes(b"x" * 10 * compilation.LEAST)

    def left():
        return {path.name for path in tmp_path.rglob("*-cache")}

    compilation.shrink(tmp_path, 4 * compilation.LEAST + 3)
    assert len(left()) == 4
    compilation.shrink(tmp_path, 4 * compilation.LEAST)
    assert left() == {"jit_0-cache", "jit_2-cache", "jit_3-cache"}
    compilation.shrink(tmp_path, compilation.LEAST + 1)
    assert left() == {"jit_2-cache"}
    compilation.shrink(tmp_path, 0)
    assert left() == set() and other.exists()
    compilation.shrink(tmp_path / "absent", 0)
