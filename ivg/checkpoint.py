"""Training states on disk: every orbax call of `ivg`.

A run's checkpoint folder holds one subfolder per step, named by the number: an orbax checkpoint
with our record in it, `ivg.json`. A state is stored flat, as `{path of the leaf: array}`: its
structure (NamedTuples, optax states, empty dicts) comes back from the caller's `abstract_state`,
so nothing about Python classes is written. The record holds every leaf's shape and dtype, which
tell another architecture from damage, and every file's size and CRC-32, because orbax overlooks
flipped bytes. The files are compared before orbax sees them: it reports a bad one in many pages.

What holds at any moment, even after `kill -9`: a numbered folder is complete (it is written under
another name and renamed), and no older checkpoint goes before the new one is complete. Only one run
may save into a folder; others may read it meanwhile.
"""

import contextlib
import errno
import json
import logging
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import absl.logging
import jax
import numpy as np
from jax.experimental import multihost_utils

from ivg.errors import UserError

# `12` is a checkpoint; `12.replaced` the older one of that step while the newer takes its place.
_CHECKPOINT = re.compile(r"(\d+)(\.replaced)?")
_LEFTOVER = re.compile(r"\d+\.(?!replaced$).+")
_RECORD = "ivg.json"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FILES_OVERHEAD = 2**20  # bytes of orbax's and our own descriptions, generously


class _Damaged(Exception):
    """The checkpoint cannot be used; the message says why, as a clause."""


def abstract(state: Any) -> Any:
    """Shapes, dtypes and shardings of a state: what `restore` needs to know of it."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def steps(directory: str | os.PathLike) -> list[int]:
    """Steps of the checkpoints in a folder, ascending; whether they are sound is not looked at."""
    return sorted({step for step, _ in _checkpoints(pathlib.Path(directory))})


def latest_step(directory: str | os.PathLike) -> int | None:
    """Step of the newest checkpoint, or None where there is none."""
    return max(steps(directory), default=None)


def clean(directory: str | os.PathLike) -> None:
    """Removes what interrupted saves and deletions left; only for the run that saves here."""
    directory = pathlib.Path(directory)
    if directory.is_dir():
        for path in directory.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                shutil.rmtree(path)


def save(
    directory: str | os.PathLike,
    step: int,
    state: Any,
    *,
    keep: int,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Saves `state`; complete on disk when it returns, after which the newest `keep` remain.

    Checkpoints of later steps are removed too: they are those that `restore` found damaged and
    passed over. A checkpoint of the same step is replaced.

    Args:
      directory: the run's checkpoint folder; created where missing.
      step: number of finished training steps.
      state: a tree of jax.Arrays (typed PRNG keys too) on any number of devices; it is only read.
      keep: how many checkpoints remain, at least 1.
      metadata: anything that JSON can hold, see `read_metadata`.

    Raises:
      UserError: no space left; all earlier checkpoints are still there.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}")
    from orbax.checkpoint import v1 as ocp  # up to a second, and not every mode saves

    context = ocp.Context()
    context.array.saving.use_compression = (
        False  # floats hardly shrink: 0.25 s, not 0.7 s, a 100 MiB
    )
    directory = pathlib.Path(directory).resolve()
    target, saving = directory / str(step), directory / f"{step}.saving"
    leaves = _named_leaves(state)
    needed = _FILES_OVERHEAD + sum(leaf.nbytes for leaf in leaves.values())
    described = {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in leaves.items()}
    try:
        _on_one_process(_prepare, directory, needed)
        with _quiet(), context:
            ocp.save(saving, _not_empty(leaves))
        _on_one_process(_commit, saving, target, {"leaves": described, "metadata": metadata or {}})
    except Exception as error:
        if not _is_no_space(error):
            raise
        with contextlib.suppress(OSError):
            clean(directory)
        raise UserError(_no_space_message(directory, step, needed)) from error
    _on_one_process(_retain, directory, step, keep)


def restore(
    directory: str | os.PathLike,
    abstract_state: Any,
    *,
    step: int | None = None,
    warn: Callable[[str], None] = print,
) -> tuple[int, Any] | None:
    """Loads the newest sound checkpoint, bit for bit, onto the devices that `abstract_state` names.

    Args:
      directory: the run's checkpoint folder.
      abstract_state: tree of jax.ShapeDtypeStruct as made by `abstract`; a leaf without a sharding
        goes to the first device.
      step: only this step's checkpoint; None for the newest.
      warn: called with one sentence for every damaged checkpoint that is passed over.

    Returns:
      `(step, state)`, or None where there is no checkpoint.

    Raises:
      UserError: every checkpoint (or that of `step`) is damaged, or the newest sound one is of
        another architecture.
    """
    directory = pathlib.Path(directory).resolve()
    found = [entry for entry in _checkpoints(directory) if step in (None, entry[0])]
    for (number, path), older in zip(found, [*found[1:], None], strict=False):
        try:
            return number, _load(path, abstract_state)
        except _Damaged as error:
            if not path.exists():  # removed meanwhile by the run that saves here: look again
                return restore(directory, abstract_state, step=step, warn=warn)
            if older is None and step is not None:
                raise UserError(
                    f"the checkpoint of step {step} in {directory} is damaged ({error}); there "
                    f"are those of steps {', '.join(map(str, steps(directory)))}"
                ) from error
            if older is None:
                raise UserError(
                    f"no checkpoint in {directory} is sound (the last one tried, of step {number}: "
                    f"{error}); put back a copy of one, or delete that folder to start from step 0"
                ) from error
            warn(
                f"the checkpoint of step {number} in {directory} is damaged ({error}); "
                f"taking the one before, of step {older[0]}"
            )
    return None


def read_metadata(directory: str | os.PathLike, step: int) -> dict[str, Any]:
    """What `save` was given as `metadata` at this step.

    Raises:
      UserError: the checkpoint is missing or damaged.
    """
    directory = pathlib.Path(directory).resolve()
    path = dict(reversed(_checkpoints(directory))).get(step, directory / str(step))
    try:
        return _read_record(path)["metadata"]
    except _Damaged as error:
        raise UserError(f"the checkpoint {path} cannot be read: {error}") from error


# ---- the arrays ---------------------------------------------------------------------------------


def _load(path: pathlib.Path, abstract_state: Any) -> Any:
    from orbax.checkpoint import v1 as ocp

    record = _read_record(path)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or device)
        for name, leaf in _named_leaves(abstract_state).items()
    }
    _check_architecture(path, record["leaves"], wanted)
    _check_files(path, record["files"])
    with _quiet():
        arrays = ocp.load(path, _not_empty(wanted))
    leaves = []
    for name, leaf in wanted.items():
        array = arrays[name] if name in arrays else np.zeros(leaf.shape, leaf.dtype)
        # orbax gives typed keys an equivalent sharding, for which jit would compile once more
        leaves.append(jax.device_put(array, leaf.sharding))
    return jax.tree.unflatten(jax.tree.structure(abstract_state), leaves)


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by path, such as `G.opt_state.0.mu.Dense_0.kernel`, in the order of the tree."""
    leaves = jax.tree.leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    if len(named) != len(leaves):
        raise ValueError("two leaves of the state have the same path: a key with a dot in it?")
    return named


def _not_empty(leaves: dict[str, Any]) -> dict[str, Any]:
    """Leaves with at least one element: orbax refuses the others, of which the record tells all."""
    return {name: leaf for name, leaf in leaves.items() if leaf.size}


def _check_architecture(
    path: pathlib.Path, described: dict[str, list], wanted: dict[str, Any]
) -> None:
    for name in [*wanted, *described]:
        there = _type_text(*described[name]) if name in described else "missing"
        here = _type_text(wanted[name].shape, wanted[name].dtype) if name in wanted else "missing"
        if there != here:
            raise UserError(
                f"the checkpoint of step {path.name} in {path.parent} is of another architecture: "
                f"{name} is {there} there and {here} here; use the configuration that it was "
                "trained with, or another --workdir"
            )


def _type_text(shape: Sequence[int], dtype: Any) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"


# ---- the record ---------------------------------------------------------------------------------


def _write_record(path: pathlib.Path, record: dict[str, Any]) -> None:
    files = {
        str(file.relative_to(path)): [file.stat().st_size, _checksum(file)]
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    with open(path / _RECORD, "w", encoding="utf-8") as f:
        json.dump(_sealed(record | {"files": files}), f)
        f.flush()
        os.fsync(f.fileno())


def _read_record(path: pathlib.Path) -> dict[str, Any]:
    try:
        record = json.loads((path / _RECORD).read_text(encoding="utf-8"))
        seal = record.pop("crc32")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _Damaged(f"its file {_RECORD} is missing") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _Damaged(f"its file {_RECORD} cannot be read") from error
    if _sealed(record)["crc32"] != seal:
        raise _Damaged(f"its file {_RECORD} was altered")
    return record


def _sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with a checksum of itself, so that a damaged record is not taken at its word."""
    text = json.dumps(record, sort_keys=True)
    return json.loads(text) | {"crc32": zlib.crc32(text.encode())}


def _check_files(path: pathlib.Path, files: dict[str, list[int]]) -> None:
    for name, (size, checksum) in files.items():
        try:
            if (path / name).stat().st_size != size:
                raise _Damaged(f"its file {name} is truncated or has grown")
            if _checksum(path / name) != checksum:
                raise _Damaged(f"bytes of its file {name} were altered")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _Damaged(f"its file {name} is missing") from error


def _checksum(file: pathlib.Path) -> int:
    checksum = 0
    with open(file, "rb") as f:
        while block := f.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


# ---- the folder ---------------------------------------------------------------------------------


def _checkpoints(directory: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    """Newest first; of two with the same step the replacing one first."""
    if not directory.is_dir():
        return []
    matches = [(_CHECKPOINT.fullmatch(path.name), path) for path in directory.iterdir()]
    found = [(int(match[1]), match[2] is None, path) for match, path in matches if match]
    return [(step, path) for step, _, path in sorted(found, reverse=True)]


def _prepare(directory: pathlib.Path, needed: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    clean(directory)
    if shutil.disk_usage(directory).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def _commit(saving: pathlib.Path, target: pathlib.Path, record: dict[str, Any]) -> None:
    _write_record(saving, record)
    if target.exists():
        replaced = target.with_name(f"{target.name}.replaced")
        if replaced.exists():
            _remove(replaced)
        target.rename(replaced)
    saving.rename(target)


def _retain(directory: pathlib.Path, step: int, keep: int) -> None:
    """Removes all but the newest `keep` up to `step`, oldest first."""
    found = _checkpoints(directory)
    kept = [path for number, path in found if number <= step and path.name == str(number)][:keep]
    for _, path in reversed(found):
        if path not in kept:
            _remove(path)


def _remove(path: pathlib.Path) -> None:
    """Removes a checkpoint so that it is never seen half removed."""
    shutil.rmtree(path.rename(path.with_name(f"{path.name}.deleted")))


def _on_one_process(action: Callable[..., None], *args: Any) -> None:
    if jax.process_index() == 0:
        action(*args)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"ivg.checkpoint.{action.__name__}")


# ---- trouble ------------------------------------------------------------------------------------


def _is_no_space(error: BaseException | None) -> bool:
    """True where the error, or one that it was raised from, says that the disk or quota is full.

    tensorstore reports such errors as ValueError with the system's text.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            return True
        if any(os.strerror(code) in str(error) for code in _NO_SPACE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _no_space_message(directory: pathlib.Path, step: int, needed: int) -> str:
    free = shutil.disk_usage(directory).free
    last = max((s for s in steps(directory) if s <= step), default=None)  # later ones are damaged
    cause = (
        f"{free / 2**20:.0f} MiB are free"
        if free < needed
        else "a quota or a limit on file sizes stands in the way"
    )
    kept = "none was written yet" if last is None else f"the last good one, of step {last}, is kept"
    return (
        f"no space left in {directory}: a checkpoint needs about {needed / 2**20:.0f} MiB and "
        f"{cause}; {kept}: make room, then run the same command again"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences orbax's log: what the user must know is said by this module's own sentences."""
    logger = absl.logging.get_absl_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
