"""Checkpoints: exact round trips, every kind of damage, kills at every point, silence."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import checkpoint, record
from ivg.errors import UserError

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


class Player(NamedTuple):
    params: Any
    stats: Any
    opt_state: Any


class Game(NamedTuple):
    G: Player
    D: Player
    t: Any
    rest: Any


def player(seed: int, tx: optax.GradientTransformation, width: int = 32) -> Player:
    """A player whose every floating-point leaf is random, moments and step counts too."""
    rng = np.random.default_rng(seed)

    def randomly(leaf):
        return jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)

    params = {"Dense_0": {"kernel": jnp.zeros((16, width)), "bias": jnp.zeros(width)}}
    state = Player(params, {}, tx.init(params))
    return jax.tree.map(randomly, state)


def game(width: int = 32) -> Game:
    adam = optax.chain(optax.clip(1.0), optax.adam(optax.linear_schedule(1e-3, 0.0, 10)))
    rest = {
        "empty": {},
        "none": None,
        "list": [jnp.int32(-7), (jnp.array(True), jnp.uint8(255))],
        "brain": jnp.array([1.7, -0.0, jnp.inf, jnp.nan], jnp.bfloat16),
        "half": jnp.array([[1e-7]], jnp.float16),
        "not a number": jnp.asarray(np.array([2143289344, -4194303], np.int32).view(np.float32)),
        "no elements": jnp.zeros((0, 3)),
        "key": jax.random.key(3),
        "rbg key": jax.random.key(4, impl="rbg"),
    }
    return Game(player(0, adam, width), player(1, optax.rmsprop(1e-2)), jnp.int32(41), rest)


def raw(leaf: jax.Array) -> np.ndarray:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def assert_identical(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert raw(x).tobytes() == raw(y).tobytes()


def small(value: float) -> dict[str, jax.Array]:
    return {"w": jnp.full((50, 40), value, jnp.float32), "t": jnp.int32(value)}


def folders(directory: pathlib.Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_round_trip_is_exact(tmp_path):
    state = game()
    checkpoint.save(tmp_path / "a" / "b", 12, state, keep=2, metadata={"config": {"seed": 3}})
    step, restored = checkpoint.restore(tmp_path / "a" / "b", checkpoint.abstract(state))
    assert step == 12
    assert_identical(restored, state)
    assert checkpoint.read_metadata(tmp_path / "a" / "b", 12) == {"config": {"seed": 3}}
    follow_up = jax.random.bits(restored.rest["key"], (3,))
    np.testing.assert_array_equal(follow_up, jax.random.bits(state.rest["key"], (3,)))


def test_four_devices(tmp_path):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    replicated = jax.sharding.NamedSharding(mesh, jax.P())
    rows = jax.sharding.NamedSharding(mesh, jax.P("batch"))
    state = {
        "rows": jax.device_put(jnp.arange(24.0).reshape(8, 3), rows),
        "same": jax.device_put(jnp.arange(5), replicated),
        "key": jax.device_put(jax.random.key(1), replicated),
    }
    checkpoint.save(tmp_path, 1, state, keep=1)
    _, restored = checkpoint.restore(tmp_path, checkpoint.abstract(state))
    assert_identical(restored, state)
    for name in state:
        assert restored[name].sharding == state[name].sharding
    # Another number of devices, and no device named at all.
    one = jax.sharding.SingleDeviceSharding(jax.devices()[2])
    for sharding in (one, None):
        wanted = jax.tree.map(
            lambda x, at=sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), state
        )
        _, restored = checkpoint.restore(tmp_path, wanted)
        assert_identical(restored, state)
        assert len(restored["rows"].devices()) == 1


def test_state_can_be_donated_after_save_and_after_restore(tmp_path):
    step = jax.jit(lambda s: jax.tree.map(lambda x: 2 * x, s), donate_argnums=0)
    state, expected = small(3), small(6)
    checkpoint.save(tmp_path, 1, state, keep=1)
    abstract = checkpoint.abstract(state)
    # On the CPU jax may copy here instead: orbax leaves a view of the buffer with the array.
    assert_identical(step(state), expected)
    _, restored = checkpoint.restore(tmp_path, abstract)
    assert_identical(step(restored), expected)
    assert restored["w"].is_deleted()


def test_keeps_the_newest(tmp_path):
    assert checkpoint.steps(tmp_path / "missing") == []
    assert checkpoint.latest_step(tmp_path) is None
    assert checkpoint.restore(tmp_path, checkpoint.abstract(small(0))) is None
    for step in (8, 9, 10, 11):
        checkpoint.save(tmp_path, step, small(step), keep=2)
    assert checkpoint.steps(tmp_path) == [10, 11]
    assert checkpoint.latest_step(tmp_path) == 11
    with pytest.raises(ValueError, match="at least 1"):
        checkpoint.save(tmp_path, 12, small(0), keep=0)


def test_same_step_is_replaced_and_later_ones_put_aside(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, small(step), keep=3)
    (tmp_path / "3" / "ivg.json").unlink()
    said = []
    assert checkpoint.restore(tmp_path, checkpoint.abstract(small(0)), warn=said.append)[0] == 2
    checkpoint.save(tmp_path, 2, small(20), keep=1)
    assert folders(tmp_path) == ["2", "3.damaged"]
    assert_identical(checkpoint.restore(tmp_path, checkpoint.abstract(small(0)))[1], small(20))


def damage(path: pathlib.Path, how: str) -> None:
    files = [file for file in path.rglob("*") if file.is_file()]
    data = max(files, key=lambda file: file.stat().st_size)
    content = bytearray(data.read_bytes())
    if how == "truncated data":
        data.write_bytes(content[: len(content) // 2])
    elif how == "flipped byte":
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif how == "no data":
        data.unlink()
    elif how == "emptied folder":
        shutil.rmtree(path)
        path.mkdir()
    elif how == "a file in place of the folder":
        shutil.rmtree(path)
        path.write_text("")
    elif how.startswith("no "):
        next(file for file in files if file.name == how[3:]).unlink()
    elif how == "torn record":
        record = path / "ivg.json"
        record.write_bytes(record.read_bytes()[:-30])
    elif how == "altered record":
        record = path / "ivg.json"
        record.write_text(record.read_text().replace("50", "60", 1))


HARM = (
    "truncated data",
    "flipped byte",
    "no data",
    "emptied folder",
    "a file in place of the folder",
    "no _METADATA",
    "no _CHECKPOINT_METADATA",
    "no manifest.ocdbt",
    "no ivg.json",
    "torn record",
    "altered record",
)


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    for step in (100, 200):
        checkpoint.save(directory, step, small(step), keep=2)
    return directory


@pytest.mark.parametrize("how", HARM)
def test_damage_is_reported_and_passed_over(two_checkpoints, tmp_path, capfd, how):
    directory = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    damage(directory / "200", how)
    abstract = checkpoint.abstract(small(0))
    step, state = checkpoint.restore(directory, abstract)
    assert step == 100
    assert_identical(state, small(100))
    out, err = capfd.readouterr()
    assert err == "" and out.count("\n") == 1
    assert "checkpoint of step 200" in out and "taking the one before, of step 100" in out
    damage(directory / "100", how)
    with pytest.raises(UserError, match="no checkpoint in .* is sound"):
        checkpoint.restore(directory, abstract, warn=lambda text: None)
    assert folders(directory) == ["100", "200"]


def test_metadata_of_a_missing_or_damaged_checkpoint(two_checkpoints, tmp_path):
    directory = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    damage(directory / "100", "altered record")
    assert checkpoint.read_metadata(directory, 200) == {}
    with pytest.raises(UserError, match="100 cannot be read: its file ivg.json was altered"):
        checkpoint.read_metadata(directory, 100)
    with pytest.raises(UserError, match="300 cannot be read: its file ivg.json is missing"):
        checkpoint.read_metadata(directory, 300)


def test_after_damage_the_repaired_run_is_what_is_kept(two_checkpoints, tmp_path):
    directory = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    damage(directory / "200", "flipped byte")
    checkpoint.save(directory, 150, small(150), keep=1)
    assert folders(directory) == ["150", "200.damaged"]
    damage(directory / "150", "no data")
    checkpoint.save(directory, 150, small(15), keep=1)  # of the same step
    checkpoint.save(directory, 200, small(200), keep=1)
    damage(directory / "200", "torn record")
    checkpoint.save(directory, 200, small(20), keep=1)
    assert folders(directory) == ["150.damaged", "200", "200.damaged", "200.damaged-2"]
    assert checkpoint.steps(directory) == [200]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"w": jnp.zeros((50, 41)), "t": jnp.int32(0)}, r"w is float32\[50,40\] there"),
        ({"w": jnp.zeros((50, 40)), "t": jnp.float32(0)}, r"t is int32\[\] there and float32\[\]"),
        ({"t": jnp.int32(0)}, "and missing here"),
        ({**small(0), "extra": jnp.zeros(2)}, r"extra is missing there and float32\[2\] here"),
    ],
)
def test_another_architecture_is_no_damage(two_checkpoints, other, named):
    said = []
    with pytest.raises(UserError, match=named):
        checkpoint.restore(two_checkpoints, checkpoint.abstract(other), warn=said.append)
    assert not said


def test_leftovers_are_cleaned_by_the_next_save(two_checkpoints, tmp_path):
    directory = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    for name in ("300.saving", "300.saving.orbax-checkpoint-tmp", "50.deleted"):
        shutil.copytree(directory / "200", directory / name)
    kept = ["0100", "100.bak", "100.damaged", "notes"]  # somebody's, and what was put aside
    for name in kept:
        (directory / name).mkdir()
    (directory / "200.deleted").write_text("")
    assert checkpoint.steps(directory) == [100, 200]
    assert checkpoint.restore(directory, checkpoint.abstract(small(0)))[0] == 200
    checkpoint.clean(directory)
    assert folders(directory) == sorted(["100", "200", *kept])
    checkpoint.save(directory, 300, small(300), keep=1)
    assert folders(directory) == sorted(["300", *kept])
    checkpoint.clean(tmp_path / "missing")


class Killed(BaseException):
    """Stands for the end of the process."""


def test_stopped_at_any_file_operation(two_checkpoints, tmp_path, monkeypatch):
    """The save of step 200 over a 200, or of 300, stopped before its n-th operation of ours."""
    abstract = checkpoint.abstract(small(0))
    for step in (200, 300):
        for stop_at in range(20):
            directory = shutil.copytree(two_checkpoints, tmp_path / f"{step}-{stop_at}")
            remaining = [stop_at]

            def stopping(function, remaining=remaining):
                def call(*args, **kwargs):
                    remaining[0] -= 1
                    if remaining[0] < 0:
                        raise Killed
                    return function(*args, **kwargs)

                return call

            with monkeypatch.context() as m:
                m.setattr(pathlib.Path, "rename", stopping(pathlib.Path.rename))
                m.setattr(shutil, "rmtree", stopping(shutil.rmtree))
                m.setattr(record, "write", stopping(record.write))
                try:
                    checkpoint.save(directory, step, small(step + 1), keep=1)
                except Killed:
                    pass
            found, state = checkpoint.restore(directory, abstract, warn=pytest.fail)
            assert found in (200, step)
            old = state["t"] == found
            assert_identical(state, small(found if old else step + 1))
            finished = remaining[0] >= 0
            if finished:
                assert not old and folders(directory) == [str(step)]
                break
            checkpoint.save(directory, 400, small(400), keep=2)
            assert len(folders(directory)) <= 2 and checkpoint.latest_step(directory) == 400
        assert finished and stop_at >= 3


WRITER = """
import sys, jax, jax.numpy as jnp
from ivg import checkpoint
state, start = {"w": jnp.zeros((512, 1024)), "t": jnp.int32(0)}, 0
found = checkpoint.restore(sys.argv[1], checkpoint.abstract(state))
if found:
    start, state = found
print("start", start, flush=True)
for step in range(start + 1, 10**6):
    state = {"w": state["w"] + 1, "t": jnp.int32(step)}
    checkpoint.save(sys.argv[1], step, state, keep=2)
    print("saved", step, flush=True)
"""


def run_python(code: str, *args: Any, **kwargs: Any) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, args)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def test_kill_9_while_saving(tmp_path):
    with run_python(WRITER, tmp_path) as process:
        assert process.stdout.readline() == "start 0\n"
        for _ in range(3):
            assert process.stdout.readline().startswith("saved")
        time.sleep(random.Random().uniform(0, 0.2))  # another moment in every run of the tests
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
    assert err == ""
    said = [int(line.split()[1]) for line in out.splitlines() if line.startswith("saved ")]
    state = {"w": jnp.zeros((512, 1024)), "t": jnp.int32(0)}
    step, found = checkpoint.restore(tmp_path, checkpoint.abstract(state), warn=pytest.fail)
    assert step >= max(said, default=3) and int(found["t"]) == step
    np.testing.assert_array_equal(found["w"], np.full((512, 1024), step, np.float32))
    checkpoint.save(tmp_path, step + 1, state, keep=2)
    assert len(folders(tmp_path)) == 2


def test_paths_must_be_unique(tmp_path):
    with pytest.raises(ValueError, match="same path"):
        checkpoint.save(tmp_path, 1, {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, keep=1)


CHATTY = """
import sys
from absl import app, logging
def main(argv):
    import jax.numpy as jnp
    from ivg import checkpoint
    assert "orbax" not in sys.modules
    logging.set_verbosity(logging.INFO)
    state = {"w": jnp.zeros(3)}
    checkpoint.save(argv[1], 1, state, keep=1)
    checkpoint.restore(argv[1], checkpoint.abstract(state))
    logging.info("ours")
app.run(main)
"""


def test_terminal_stays_quiet(tmp_path):
    with run_python(CHATTY, tmp_path) as process:
        out, err = process.communicate()
    assert out == "" and err.count("\n") == 1 and err.endswith("ours\n"), out + err
