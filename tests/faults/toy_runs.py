"""Whole runs in this process that take a second: what the command line calls, on a toy method.

Everything but the method is real: the config, the digits, the loop, the log, the checkpoints, the
scores, the pictures and the page. And the disks that they are made on.
"""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import build, checkpoint, data, runs
from ivg.configs import digits
from ivg.players import Code, Method, Phase, Player, descend, player

NOBODY = 65534
SHAPE = (8, 8, 1)
STEPS, EVERY = 8, 2


class Toy(NamedTuple):
    G: Player


@functools.cache
def toy() -> Method:
    """Follows the mean image, with noise."""
    tx = optax.adam(1e-2)

    def init(key):
        return Toy(player(jax.random.normal(key, SHAPE), {}, tx))

    def step(s, xs, key):
        noise = 0.1 * jax.random.normal(key, SHAPE)
        loss, grads = jax.value_and_grad(
            lambda w: jnp.mean((w + noise - jnp.mean(xs, axis=(0, 1))) ** 2)
        )(s.G.params)
        return Toy(descend(s.G, grads, tx)), {"G/loss": loss}

    return Method(
        init=init,
        phases=(Phase(step, 1),),
        encode=None,
        generate=lambda s, codes: jnp.tanh(s.G.params)[None] + codes["z"][:, :1, None, None],
        prior=lambda state, key, n: {"z": jax.random.normal(key, (n, 2))},
        codes={"z": Code("noise", 2)},
    )


@pytest.fixture
def toys(monkeypatch):
    """Within it every method is the toy."""
    jax.config.update("jax_disable_most_optimizations", True)
    monkeypatch.setattr(build, "make_method", lambda *args, **options: toy())
    monkeypatch.setattr(data, "load", functools.cache(data.load))
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def config(**changes) -> dict:
    """Of the digits, with a checkpoint after every second of eight steps."""
    made = json.loads(json.dumps(digits.get_config("vae").to_dict()))
    made |= {"num_steps": STEPS, "batch_size": 8, "log_every": 1, "eval_every": 0}
    return made | {"checkpoint_every": EVERY, "keep_checkpoints": 2, "eval_images": 20} | changes


def let_in(folder: pathlib.Path) -> None:
    """Lets other users into a folder of pytest, which makes it for nobody else."""
    for above in (folder, *folder.parents):
        if "pytest-of-" in str(above) or above.is_relative_to(folder.parent.parent):
            above.chmod(above.stat().st_mode | 0o055)


def config_data() -> None:
    """Reads the images, which another user may not be able to do; within `toys` once for all."""
    build.load_data(config())


def train(workdir: pathlib.Path, **changes) -> None:
    runs.train_runs(config(**changes), workdir)


@functools.cache
def _finished() -> dict[str, bytes]:
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(_scratch()))
        train(folder / "run")
        return contents(folder / "run")


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    import tempfile

    folder = tempfile.mkdtemp(prefix="ivg_toys_")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def finished(workdir: pathlib.Path) -> pathlib.Path:
    """A copy of a run that ended without a fault; within `toys` only."""
    for name, content in _finished().items():
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).write_bytes(content)
    return workdir


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def state(workdir: pathlib.Path) -> tuple[int, list[bytes]]:
    """Step and arrays of the newest sound checkpoint."""
    abstract = jax.eval_shape(toy().init, jax.random.key(0))
    found = checkpoint.restore(build.checkpoints(workdir), abstract, warn=lambda text: None)
    assert found is not None
    return found[0], [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(found[1])]


def assert_as_if_nothing_happened(workdir: pathlib.Path, reference: pathlib.Path) -> None:
    """State, metrics and scores, bit for bit; and nothing half written is left."""
    assert state(workdir) == state(reference)
    names = ("metrics.jsonl", "data.json", "config.json", "figures/samples.png")
    for name in names:
        assert (workdir / name).read_bytes() == (reference / name).read_bytes(), name
    ours, theirs = (json.loads((d / "results.json").read_text()) for d in (workdir, reference))
    assert ours.keys() == theirs.keys() and ours["step"] == theirs["step"] == STEPS
    assert (workdir / "report.html").stat().st_size > 10_000
    left = [path.name for path in workdir.rglob("*")]
    assert not [name for name in left if name.endswith((".tmp", ".saving", ".deleted"))], left


# ---- disks --------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk(folder: pathlib.Path, size: int, options: str = "") -> Iterator[pathlib.Path]:
    """A file system of so many bytes; skips the test where none can be made."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(folder)],
        capture_output=True,
    )
    if done.returncode:
        pytest.skip("needs to mount a small tmpfs: run it as root, or under `unshare -rm`")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: pathlib.Path, options: str) -> None:
    """Changes a disk: "size=1000000", "ro", "rw"."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def fill(folder: pathlib.Path, free: int = 0) -> None:
    """Takes all space of a disk but `free` bytes."""
    with contextlib.suppress(OSError), open(folder / "ballast", "wb", buffering=0) as file:
        room = shutil.disk_usage(folder).free - free
        while room > 0:
            room -= file.write(bytes(min(room, 2**20)))


def make_room(folder: pathlib.Path) -> None:
    (folder / "ballast").unlink(missing_ok=True)
    remount(folder, "size=8000000")


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Within it this process may do what a user without rights may."""
    if os.geteuid() != 0:
        yield
        return
    for folder in pathlib.Path(jax.__file__).resolve().parents:
        if folder.stat().st_mode & 0o005 != 0o005:
            pytest.skip(f"no other user can read this Python environment ({folder})")
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
