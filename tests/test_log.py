"""Metrics that survive a restart, TensorBoard's files, no space, versions."""

import io
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

import ivg
from ivg import log
from ivg.errors import UserError


def lines(run_dir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def events(run_dir: pathlib.Path) -> list[list[Event]]:
    """The events of every TensorBoard file, oldest file first, checksums verified."""
    files = []
    for path in sorted((run_dir / "tensorboard").iterdir()):
        data, found = path.read_bytes(), []
        while data:
            length, length_check = struct.unpack("<QI", data[:12])
            content, (check,) = data[12 : 12 + length], struct.unpack_from("<I", data, 12 + length)
            assert length_check == masked_crc32c(data[:8]) and check == masked_crc32c(content)
            found.append(Event.FromString(content))
            data = data[16 + length :]
        files.append(found)
    return files


def test_scalars(tmp_path, capfd):
    with log.Log(tmp_path / "a" / "run", resume_step=None) as writer:
        writer.scalars(10, {"D/loss": np.float32(0.1), "acc": jnp.float32(0.5), "n": 3})
        assert len(lines(tmp_path / "a" / "run")) == 1  # on disk at once
        writer.scalars(20, {"loss": float("nan"), "up": np.inf, "down": -np.inf}, prefix="G")
    first, second = lines(tmp_path / "a" / "run")
    assert first == {"step": 10, "D/loss": float(np.float32(0.1)), "acc": 0.5, "n": 3.0}
    assert second == {"step": 20, "G/loss": "nan", "G/up": "inf", "G/down": "-inf"}
    (found,) = events(tmp_path / "a" / "run")
    assert found[0].file_version == "brain.Event:2"
    shown = {v.tag: (e.step, v.simple_value) for e in found for v in e.summary.value}
    assert shown["acc"] == (10, 0.5) and shown["G/up"] == (20, np.inf)
    assert np.isnan(shown["G/loss"][1])
    assert capfd.readouterr() == ("", "")
    series = log.read_metrics(tmp_path / "a" / "run")
    assert series["acc"][0].tolist() == [10] and series["acc"][1].tolist() == [0.5]
    assert np.isnan(series["G/loss"][1]).all() and series["G/down"][1] == -np.inf


def test_cost_is_kept_from_the_metrics(tmp_path):
    """It has a file of its own, of which a resumed run keeps what a checkpoint remembers."""
    with log.Log(tmp_path, resume_step=None) as writer:
        for step in (10, 20):
            writer.scalars(step, {"loss": 1.0})
            writer.cost(step, {"steps_per_second": 2.5})
        writer.cost_report(20, {"device": "abacus", "seconds": 8, "shares": {"steps": 1.0}})
    assert all(line.keys() == {"step", "loss"} for line in lines(tmp_path))
    assert log.read_cost(tmp_path) == {"device": "abacus", "seconds": 8, "shares": {"steps": 1.0}}
    (found,) = events(tmp_path)
    shown = {v.tag: (e.step, v.simple_value) for e in found for v in e.summary.value}
    assert shown["cost/steps_per_second"] == (20, 2.5) and shown["cost/run/seconds"] == (20, 8)
    log.Log(tmp_path, resume_step=10).close()
    kept = [json.loads(line) for line in (tmp_path / "cost.jsonl").read_text().splitlines()]
    assert kept == [{"step": 10, "cost/steps_per_second": 2.5}]
    assert log.read_cost(tmp_path) is None


def test_resume_drops_what_came_after(tmp_path):
    with log.Log(tmp_path, resume_step=None) as writer:
        for step in (0, 5, 10, 15):
            writer.scalars(step, {"x": step})
    with open(tmp_path / "metrics.jsonl", "a") as f:
        f.write('{"step": 10, "x": 1')  # torn: cut off by a kill or a full disk
    with log.Log(tmp_path, resume_step=10) as writer:
        for step in (15, 20):
            writer.scalars(step, {"x": -step})
    expected = {0: 0, 5: 5, 10: 10, 15: -15, 20: -20}
    assert lines(tmp_path) == [{"step": step, "x": x} for step, x in expected.items()]
    assert [path.name for path in tmp_path.glob("metrics*")] == ["metrics.jsonl"]
    _, resumed = events(tmp_path)
    assert resumed[1].session_log.status == SessionLog.START and resumed[1].step == 11
    with log.Log(tmp_path, resume_step=None) as writer:
        writer.scalars(0, {"x": 0})
    assert lines(tmp_path) == [{"step": 0, "x": 0}]
    assert events(tmp_path)[2][1].step == 0


def test_torn_and_foreign_lines_are_passed_over(tmp_path):
    content = b'{"step": 1, "x": 2}\n{"step": 2, "x\n7\n\n{"step": 3, "x": 4}\n{"step": 5, "x": 6}'
    (tmp_path / "metrics.jsonl").write_bytes(content)
    steps, values = log.read_metrics(tmp_path)["x"]
    assert steps.tolist() == [1, 3] and values.tolist() == [2, 4]
    log.Log(tmp_path, resume_step=5).close()
    assert lines(tmp_path) == [{"step": 1, "x": 2}, {"step": 3, "x": 4}]
    assert log.read_metrics(tmp_path / "missing") == {}


def test_interrupted_truncation_changes_nothing(tmp_path, monkeypatch):
    with log.Log(tmp_path, resume_step=None) as writer:
        writer.scalars(1, {"x": 1})
        writer.scalars(2, {"x": 2})

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            log.Log(tmp_path, resume_step=1)
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_text(tmp_path, channels):
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, channels), np.uint8)
    with log.Log(tmp_path, resume_step=4) as writer:
        writer.images(7, {"samples": picture})
        writer.text("config", '{\n  "seed": 1\n}')
        with pytest.raises(ValueError, match="uint8"):
            writer.images(8, {"samples": picture / 255})
    (found,) = events(tmp_path)
    image, text = found[-2:]
    assert image.step == 7 and image.summary.value[0].tag == "samples"
    with Image.open(io.BytesIO(image.summary.value[0].image.encoded_image_string)) as shown:
        np.testing.assert_array_equal(np.asarray(shown), np.broadcast_to(picture, (8, 12, 3)))
    assert text.step == 4
    assert text.summary.value[0].tensor.string_val == [b'    {\n      "seed": 1\n    }']


def test_no_space(tmp_path, capfd):
    """A limit on the size of files makes the real write fail, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with log.Log(tmp_path, resume_step=None) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
        try:
            with pytest.raises(UserError, match="cannot write to .*make room.*same command"):
                for step in range(100):
                    writer.scalars(step, {"loss": step})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capfd.readouterr() == ("", "")
    steps = log.read_metrics(tmp_path)["loss"][0]
    assert steps.tolist() == list(range(len(steps))) and 0 < len(steps) < 100


class Player(NamedTuple):
    params: Any
    opt_state: Any = ()


class Game(NamedTuple):
    G: Player
    critic: Player
    t: Any


def test_parameter_table():
    state = Game(
        Player({"a": jnp.zeros((1024, 512)), "b": jnp.zeros(3, jnp.bfloat16)}),
        Player({"w": jax.ShapeDtypeStruct((256, 1024), jnp.float32)}),
        jnp.int32(0),
    )
    assert log.parameter_table(state).splitlines() == [
        "player  arrays  parameters   MiB",
        "--------------------------------",
        "G            2     524,291  2.00",
        "critic       1     262,144  1.00",
        "--------------------------------",
        "total        3     786,435  3.00",
    ]


def test_versions():
    found = log.versions()
    assert found["ivg"] == ivg.__version__ and found["device_count"] == 4
    assert found["jax"] == jax.__version__ and found["device"] == "cpu"
    assert {"python", "jaxlib", "flax", "optax", "orbax", "numpy"} <= set(found)
    json.dumps(found)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_versions_name_the_commit_of_our_own_checkout_only(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    package = tmp_path / "ivg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "README").write_text("")
    monkeypatch.setattr(ivg, "__file__", str(package / "__init__.py"))
    assert "commit" not in log.versions()
    git("init", "-q")
    git("add", "README")
    git("commit", "-qm", "somebody else's")
    assert "commit" not in log.versions()
    git("add", ".")
    git("commit", "-qm", "ours")
    found = log.versions()
    assert len(found["commit"]) == 40 and found["dirty"] is False
    (package / "__init__.py").write_text("changed = True\n")
    assert log.versions()["dirty"] is True
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "commit" not in log.versions()


def test_imports_are_light():
    code = (
        "import ivg.log, sys; print(sorted({'matplotlib', 'orbax', 'sklearn'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=pathlib.Path(__file__).resolve().parent.parent,
    )
    assert (found.stdout, found.stderr) == ("[]\n", "")
