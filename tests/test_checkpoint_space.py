"""A disk without space, and other errors of the file system, while a checkpoint is saved."""

import errno
import os
import pathlib
import resource
import shutil

import jax
import jax.numpy as jnp
import pytest

from ivg import checkpoint
from ivg.errors import UserError


def small(value: float) -> dict[str, jax.Array]:
    return {"w": jnp.full((3, 4), value)}


def folders(directory: pathlib.Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def two_checkpoints(tmp_path):
    for step in (100, 200):
        checkpoint.save(tmp_path / "two", step, small(step), keep=2)
    return tmp_path / "two"


def test_no_space_beforehand(two_checkpoints, tmp_path, monkeypatch):
    directory = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    (directory / "300.saving").mkdir()
    usage = shutil.disk_usage(directory)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError) as caught:
        checkpoint.save(directory, 300, small(300), keep=1)
    text = str(caught.value)
    for part in (str(directory), "about 1 MiB", "0 MiB are free", "of step 200, is kept", "again"):
        assert part in text
    assert folders(directory) == ["100", "200"]
    with pytest.raises(UserError, match="none was written yet"):
        checkpoint.save(tmp_path / "new", 1, small(1), keep=1)


def test_no_space_while_writing(two_checkpoints, tmp_path, capfd):
    """A limit on the size of files makes the real write fail, as a quota would."""
    directory = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    state = {"w": jax.random.normal(jax.random.key(0), (400, 500))}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match="a quota or a limit on file sizes.*200, is kept"):
            checkpoint.save(directory, 300, state, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert folders(directory) == ["100", "200"]
    assert capfd.readouterr() == ("", "")
    checkpoint.save(directory, 300, state, keep=1)
    assert folders(directory) == ["300"]


def test_other_errors_are_not_called_no_space(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "disk_usage", fail)
    with pytest.raises(UserError, match=r"of step 1 cannot be written .*\(Input/output.*none was"):
        checkpoint.save(tmp_path, 1, small(1), keep=1)
