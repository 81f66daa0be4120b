"""Run directories and checkpoints of strangers: names in them are looked up, never imported."""

import json
import pathlib
import pickle
import shutil
import sys
import types

import hostile
import jax
import jax.numpy as jnp
import pytest
from exported import facts, make_config, numbers

from ivg import build, checkpoint, evaluate, record, rundir, runs, trackers
from ivg.errors import UserError
from ivg.explore import explorer
from ivg.report import __main__ as report
from ivg.report import page

STATE = {"G": {"w": jnp.arange(12.0)}, "k": jnp.arange(3)}
MODULE = "evil_features"
CLASS = f"{MODULE}.Handler"
# Class names in what orbax writes, and what a stranger would put there.
ORBAX = (
    ("_CHECKPOINT_METADATA", "orbax.checkpoint.experimental.v1._src.handlers.pytree_handler."
     "PyTreeHandler", CLASS),
    ("_CHECKPOINT_METADATA", "PyTreeHandler", "__import__('os').mkdir('x')"),
    ("_CHECKPOINT_METADATA", '"custom_metadata": {}',
     f'"custom_metadata": {{"__class__": "{CLASS}"}}'),
    ("_CHECKPOINT_METADATA", '"state"', '"../../outside"'),
    ("state/_METADATA", "jax.Array", CLASS),
    ("state/_METADATA", "('G.w',)", f"(__import__('{MODULE}'),)"),
    ("state/_METADATA", '"key": "G.w"', '"key": "../../outside"'),
    ("state/_METADATA", '"custom_metadata": null',
     f'"custom_metadata": {{"module": "{MODULE}", "class": "Handler"}}'),
    ("state/_METADATA", '"key_type": 2', '"key_type": "evil_features.Handler"'),
    ("state/_METADATA", "{", "[" * 50_000),
    ("state/_sharding", "SingleDeviceSharding", CLASS),
    ("state/_sharding", "{", '{"__reduce__": ["os.mkdir", ["x"]], '),
)  # fmt: skip


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A mark, left by whoever imports the module that the files name; checked at the end."""
    mark, folder = tmp_path / "mark", tmp_path / "path"
    folder.mkdir()
    hostile.module(folder, MODULE, mark)
    monkeypatch.syspath_prepend(folder)
    yield mark
    assert not mark.exists() and MODULE not in sys.modules
    __import__(MODULE)  # the control
    assert mark.exists()
    del sys.modules[MODULE]


def saved(folder: pathlib.Path) -> pathlib.Path:
    """A checkpoint of STATE."""
    checkpoint.save(folder, 1, STATE, keep=1)
    return folder / "1"


def reseal(path: pathlib.Path, known: dict) -> None:
    """Writes a checkpoint's record anew, as somebody would who changed its files."""
    (path / record.NAME).unlink()
    record.write(path, known)


def attempt(folder: pathlib.Path) -> bool:
    """Whether a checkpoint can be loaded; what it holds is then the arrays that were saved."""
    try:
        found = checkpoint.restore(folder, checkpoint.abstract(STATE), warn=lambda _: None)
    except Exception as error:
        assert not isinstance(error, MemoryError)
        return False
    assert found is not None and set(found[1]) == {"G", "k"}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found[1]))
    return True


def test_nothing_that_a_checkpoint_names_is_imported_or_made(tmp_path, evil, figure):
    whole, tried, loaded = saved(tmp_path / "whole"), 0, 0
    for name, old, new in ORBAX:
        folder = tmp_path / f"checkpoints{tried}"
        path = pathlib.Path(shutil.copytree(whole, folder / "1"))
        text = (path / name).read_text()
        assert old in text, (name, old, text)
        known = record.read(path)
        (path / name).write_text(text.replace(old, new))
        reseal(path, known)
        loaded += attempt(folder)
        tried += 1
    # A pickle in the place of each file.
    files = [p.relative_to(whole) for p in whole.rglob("*") if p.is_file()]
    for name in files:
        folder = tmp_path / f"checkpoints{tried}"
        path = pathlib.Path(shutil.copytree(whole, folder / "1"))
        known = record.read(path)
        (path / name).write_bytes(pickle.dumps(hostile.Mark(evil)))
        if str(name) != record.NAME:
            reseal(path, known)
        loaded += attempt(folder)
        tried += 1
    assert 0 < loaded < tried  # orbax does not read all of its files
    assert not (tmp_path / "outside").exists()
    figure("security", "hostile files offered, checkpoints", tried)


def test_a_record_cannot_have_other_files_changed_or_shown(tmp_path, figure):
    """Paths in ivg.json that lead elsewhere, links in its folder, sizes beyond any disk."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    inside, tried = str(secret), 0
    for names in (
        {"../../secret.txt": [6, 0]},
        {inside: [6, 0]},
        {"/dev/zero": [0, 0]},
        {"/dev/stdin": [0, 0]},
        {"..": [0, 0]},
        {".": [0, 0]},
        {"state\x00": [0, 0]},
        {"state": [2**80, -1]},
        {"x" * 5000: [0, 0]},
        {"a": "b"},
        [],
        None,
    ):
        folder = tmp_path / f"checkpoints{tried}"
        path = saved(folder)
        known = record.read(path) | {"files": names}
        (path / record.NAME).write_text(json.dumps(record._sealed(known)))
        with pytest.raises(Exception) as error:
            checkpoint.restore(folder, checkpoint.abstract(STATE), warn=lambda _: None)
        assert "secret\n" not in str(error.value) and not isinstance(error.value, MemoryError)
        tried += 1
    # Shapes and dtypes are only compared.
    for leaf in ([[2**62], "float32"], [[-1], "float32"], [[12], CLASS], [None, None], "x"):
        folder = tmp_path / f"checkpoints{tried}"
        path = saved(folder)
        known = record.read(path)
        known["leaves"]["G.w"] = leaf
        reseal(path, known)
        assert not attempt(folder)
        tried += 1
    assert secret.read_text() == "secret"
    figure("security", "hostile files offered, records of checkpoints", tried)


def test_links_in_a_checkpoint_are_not_followed_by_what_removes(tmp_path):
    folder, outside = tmp_path / "checkpoints", tmp_path / "outside"
    path = saved(folder)
    shutil.copytree(path / "state", outside)
    before = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}

    known = record.read(path)
    shutil.rmtree(path / "state")
    (path / "state").symlink_to(outside)
    (path / "more").symlink_to(tmp_path)
    reseal(path, known)
    attempt(folder)
    checkpoint.save(folder, 2, STATE, keep=1)  # the linked one goes
    assert checkpoint.steps(folder) == [2]
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before


# ---- run directories ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> pathlib.Path:
    """A run directory of random numbers."""
    folder = tmp_path_factory.mktemp("run")
    config, known = make_config("gan"), facts("gan", (8, 8, 1))
    config["data"]["dir"] = ""
    rundir.write_json(folder / "config.json", config)
    rundir.write_facts(folder, known)
    state = numbers(jax.eval_shape(build.stored_method(config, known).init, jax.random.key(0)))
    checkpoint.save(build.checkpoints(folder), 1, state, keep=1)
    return folder


def texts(config: dict, prefix: tuple = ()) -> list[tuple]:
    """Where a config holds a text."""
    found = []
    for name, value in config.items():
        if isinstance(value, dict):
            found += texts(value, (*prefix, name))
        elif isinstance(value, str):
            found.append((*prefix, name))
    return found


def altered(config: dict, place: tuple, value: object) -> dict:
    config = json.loads(json.dumps(config))
    section = config
    for name in place[:-1]:
        section = section[name]
    section[place[-1]] = value
    return config


def test_names_in_a_config_are_looked_up_only(workdir, tmp_path, evil, amount, figure):
    """ivg.load and the explorer, with each text of config.json replaced in turn."""
    config, tried = rundir.read_config(workdir), 0
    own = tmp_path / "run"
    shutil.copytree(workdir, own)
    payloads = (CLASS, f"{MODULE}:Handler", f"__import__('{MODULE}')", f"../path/{MODULE}.py")
    for place in texts(config):
        for payload in payloads[: amount(1, len(payloads))]:
            rundir.write_json(own / "config.json", altered(config, place, payload))
            try:
                explorer.open_run(own)  # which is ivg.load, and the data
            except UserError as error:
                assert "\n" not in str(error)
            except (TypeError, ValueError, KeyError):
                assert place[0] == config["method"]  # of a network that there is not
            tried += 1
    assert tried > 15
    figure("security", "hostile files offered, config.json", tried)


@pytest.mark.parametrize("name", trackers._OPENERS)
def test_a_tracker_in_a_stranger_s_config_is_not_told(workdir, tmp_path, monkeypatch, name):
    """Exploring, reporting and scoring a run send nothing, whatever its config asks for."""
    package = types.ModuleType(name)

    def touched(what):
        raise AssertionError(f"{name}.{what} was asked for")

    package.__getattr__ = touched
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setattr(trackers, "_connected", lambda *_: touched("init"))
    own = tmp_path / "run"
    shutil.copytree(workdir, own)
    config = rundir.read_config(own) | {"tracker": name, "batch_size": 8}
    config["data"] |= {"dir": ""}
    rundir.write_json(own / "config.json", config)
    rundir.write_json(own / "tracker.json", {name: {"run_id": "x", "where": "http://127.0.0.1/x"}})
    done = []
    monkeypatch.setattr(
        evaluate, "evaluate", lambda *_, workdir, header, **__: done.append(workdir) or dict(header)
    )
    monkeypatch.setattr(page, "write_run", lambda *_, **__: done.append("page"))
    runs.evaluate_runs(own)
    assert done == [own, "page"]
    explorer.open_run(own)
    monkeypatch.setattr(checkpoint, "latest_step", lambda _: None)
    assert report.main([str(own)]) == 0
    with pytest.raises(AssertionError, match="init was asked for"):  # the control
        with trackers.opened([config], [own]):
            pass
