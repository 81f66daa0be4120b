"""Training states on disk: every orbax call of `ivg`.

A run's checkpoint folder holds one subfolder per step, named by the number: an orbax checkpoint
with our record in it, `ivg.json` (`ivg.record`). A state is stored flat, as `{path of the leaf:
array}`: its structure (NamedTuples, optax states, empty dicts) comes back from the caller's
`abstract_state`, so nothing about Python classes is written. The record holds the step, the run's
config and every leaf's shape and dtype, which tell another run or architecture from damage, and
every file's size and CRC-32, because orbax overlooks flipped bytes. The files are compared before
orbax sees them: it reports a bad one in many pages.

What holds at any moment, even after `kill -9` or a power cut: a numbered folder is complete (it is
written under another name, forced to the disk and renamed), and no older checkpoint goes before the
new one is. Only what `save` itself wrote and has to replace, or no longer needs, is ever removed: a
damaged checkpoint is put aside as `12.damaged`, and one that cannot be read just now stops the run.
Only one run may save into a folder; others may read it meanwhile.
"""

import contextlib
import errno
import itertools
import logging
import os
import pathlib
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import absl.logging
import jax
import numpy as np
from jax.experimental import multihost_utils

from ivg import files, record, rundir
from ivg.errors import UserError

# `12` is a checkpoint; `12.replaced` the older one of that step while the newer takes its place.
_CHECKPOINT = re.compile(r"(0|[1-9]\d*)(\.replaced)?")
# What only a save writes or is about to remove; `12.bak` is somebody's.
_LEFTOVER = re.compile(r"\d+\.saving(\.orbax.*)?|\d+(\.replaced)?\.deleted")
_FILES_OVERHEAD = 2**20  # bytes of orbax's and our own descriptions, generously


def abstract(state: Any) -> Any:
    """Shapes, dtypes and shardings of a state: what `restore` needs to know of it."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def steps(directory: str | os.PathLike) -> list[int]:
    """Steps of the checkpoints in a folder, ascending; whether they are sound is not looked at.

    Raises:
      UserError: the folder is there and cannot be read.
    """
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
                _erase(path)


def save(
    directory: str | os.PathLike,
    step: int,
    state: Any,
    *,
    keep: int,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Saves `state`; complete on disk when it returns, after which the newest `keep` remain.

    Checkpoints of later steps, which are those that `restore` found damaged and passed over, become
    `12.damaged` and stay. A checkpoint of the same step is replaced; a damaged one stays likewise.

    Args:
      directory: the run's checkpoint folder; created where missing.
      step: number of finished training steps.
      state: a tree of jax.Arrays (typed PRNG keys too) on any number of devices; it is only read.
      keep: how many checkpoints remain, at least 1.
      metadata: anything that JSON can hold, see `read_metadata`. `restore` compares "config".

    Raises:
      UserError: no space left, or the file system refuses; all earlier checkpoints are still there.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}")
    from orbax.checkpoint import v1 as ocp  # up to a second, and not every mode saves

    context = ocp.Context()
    context.array.saving.use_compression = (
        False  # floats hardly shrink: 0.25 s, not 0.7 s, a 100 MiB
    )
    directory = pathlib.Path(directory).absolute()
    target, saving = directory / str(step), directory / f"{step}.saving"
    leaves = _named_leaves(state)
    needed = _FILES_OVERHEAD + sum(leaf.nbytes for leaf in leaves.values())
    described = {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in leaves.items()}
    content = {"step": step, "leaves": described, "metadata": metadata or {}}
    try:
        _on_one_process(_prepare, directory, needed)
        with _quiet(), context:
            ocp.save(saving, _not_empty(leaves))
        _on_one_process(_commit, saving, target, content)
        _on_one_process(_retain, directory, step, keep)
    except Exception as error:
        code = files.code_of(error)
        if code is None:
            raise
        with contextlib.suppress(OSError):
            clean(directory)
        raise UserError(_refused(directory, step, needed, code)) from error


def restore(
    directory: str | os.PathLike,
    abstract_state: Any,
    *,
    step: int | None = None,
    config: Mapping[str, Any] | None = None,
    warn: Callable[[str], None] = print,
) -> tuple[int, Any] | None:
    """Loads the newest sound checkpoint, bit for bit, onto the devices that `abstract_state` names.

    Args:
      directory: the run's checkpoint folder.
      abstract_state: tree of jax.ShapeDtypeStruct as made by `abstract`; a leaf without a sharding
        goes to the first device.
      step: only this step's checkpoint; None for the newest.
      config: the run's. A checkpoint whose own differs in more than is safe is another run's: what
        a config computes is always the same, so one of the same config is as good as the run's own.
      warn: called with one sentence for every damaged checkpoint that is passed over.

    Returns:
      `(step, state)`, or None where there is no checkpoint.

    Raises:
      UserError: every checkpoint (or that of `step`) is damaged; the newest sound one is of another
        run or architecture; or one cannot be read just now, which is not taken for damage.
    """
    directory = pathlib.Path(directory).absolute()
    found = [entry for entry in _checkpoints(directory) if step in (None, entry[0])]
    for (number, path), older in zip(found, [*found[1:], None], strict=False):
        try:
            return number, _load(path, number, abstract_state, config)
        except OSError as error:
            raise UserError(
                f"the checkpoint of step {number} in {directory} cannot be read ({error.strerror}: "
                f"{error.filename}) and may be sound: set that right, then run the same command "
                "again; or move that checkpoint away, to take the one before"
            ) from error
        except record.Damaged as error:
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
                f"taking the one before, of step {older[0]}; training keeps it as {number}.damaged"
            )
    return None


def read_metadata(directory: str | os.PathLike, step: int) -> dict[str, Any]:
    """What `save` was given as `metadata` at this step.

    Raises:
      UserError: the checkpoint is missing or damaged.
    """
    directory = pathlib.Path(directory).absolute()
    path = dict(reversed(_checkpoints(directory))).get(step, directory / str(step))
    try:
        return record.read(path)["metadata"]
    except (record.Damaged, OSError) as error:
        raise UserError(f"the checkpoint {path} cannot be read: {error}") from error


# ---- the arrays ---------------------------------------------------------------------------------


def _load(path: pathlib.Path, step: int, abstract_state: Any, config: Mapping | None) -> Any:
    from orbax.checkpoint import v1 as ocp

    found = record.read(path)
    if found.get("step", step) != step:
        raise record.Damaged(f"it is that of step {found['step']} under another name")
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or device)
        for name, leaf in _named_leaves(abstract_state).items()
    }
    _check_run(path, found["metadata"], config)
    _check_architecture(path, found["leaves"], wanted)
    record.check(path, found)
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


def _check_run(path: pathlib.Path, metadata: Any, config: Mapping | None) -> None:
    theirs = metadata.get("config") if isinstance(metadata, dict) else None
    if config is None or theirs is None:  # saved before there was one
        return
    if changed := rundir.contradictions(theirs, config):
        raise UserError(
            f"the checkpoint of step {path.name} in {path.parent} is of another run "
            f"({rundir.in_words(changed)}); move it away, or put config.json right"
        )


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


# ---- the folder ---------------------------------------------------------------------------------


def _checkpoints(directory: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    """Newest first; of two with the same step the replacing one first."""
    try:
        paths = list(directory.iterdir())
    except OSError as error:
        # A link to a disk that is not there must not look like a run without checkpoints.
        if isinstance(error, FileNotFoundError) and not os.path.islink(directory):
            return []
        raise UserError(
            f"the checkpoints in {directory} cannot be read ({error.strerror}); set that right, "
            "then run the same command again"
        ) from error
    matches = [(_CHECKPOINT.fullmatch(path.name), path) for path in paths]
    found = [(int(match[1]), match[2] is None, path) for match, path in matches if match]
    return [(step, path) for step, _, path in sorted(found, reverse=True)]


def _prepare(directory: pathlib.Path, needed: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    clean(directory)
    if shutil.disk_usage(directory).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def _commit(saving: pathlib.Path, target: pathlib.Path, content: dict[str, Any]) -> None:
    record.write(saving, content)
    if os.path.lexists(target):
        replaced = target.with_name(f"{target.name}.replaced")
        if not record.is_sound(target):
            _put_aside(target)
        else:
            if os.path.lexists(replaced):
                _remove(replaced)
            target.rename(replaced)
    saving.rename(target)
    files.force(target.parent)  # before anything older goes


def _retain(directory: pathlib.Path, step: int, keep: int) -> None:
    """Removes all but the newest `keep` up to `step`, oldest first; puts later ones aside."""
    found = _checkpoints(directory)
    kept = [path for number, path in found if number <= step and path.name == str(number)][:keep]
    for number, path in reversed(found):
        if number > step:
            _put_aside(path)
        elif path not in kept:
            _remove(path)


def _put_aside(path: pathlib.Path) -> None:
    """Renames a damaged checkpoint: out of the way, for whoever wants to look at it."""
    name = f"{path.name.partition('.')[0]}.damaged"
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    path.rename(next(p for p in map(path.with_name, names) if not os.path.lexists(p)))


def _remove(path: pathlib.Path) -> None:
    """Removes a checkpoint so that it is never seen half removed."""
    _erase(path.rename(path.with_name(f"{path.name}.deleted")))


def _erase(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:  # of a link only the link
        path.unlink()


def _on_one_process(action: Callable[..., None], *args: Any) -> None:
    if jax.process_index() == 0:
        action(*args)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"ivg.checkpoint.{action.__name__}")


# ---- trouble ------------------------------------------------------------------------------------


def _refused(directory: pathlib.Path, step: int, needed: int, code: int) -> str:
    """What is said where a checkpoint could not be saved."""
    last = None
    with contextlib.suppress(UserError):  # whatever keeps it from being written may hide the others
        last = max((s for s in steps(directory) if s <= step), default=None)
    kept = "none was written yet" if last is None else f"the last good one, of step {last}, is kept"
    if code not in files.FULL:
        return (
            f"the checkpoint of step {step} cannot be written to {directory} "
            f"({os.strerror(code)}); {kept}: set that right, then run the same command again"
        )
    free = shutil.disk_usage(directory).free
    cause = (
        f"{free / 2**20:.0f} MiB are free"
        if free < needed
        else "a quota or a limit on file sizes stands in the way"
    )
    return (
        f"no space left in {directory}: a checkpoint needs about {needed / 2**20:.0f} MiB and "
        f"{cause}; {kept}: make room, then run the same command again"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences orbax's log: what the user must know is said by this module's own sentences.

    Where one of its threads failed, the others go on for a moment and complain that what they use
    is gone. They are waited for; those of tensorstore, which Python does not know, may be later.
    """
    logger, hook, before = absl.logging.get_absl_logger(), sys.unraisablehook, threading.enumerate()
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    late = "Event loop is closed"  # all that is passed over; after a failure from here on
    sys.unraisablehook = lambda it: None if late in str(it.exc_value) else hook(it)
    try:
        yield
        sys.unraisablehook = hook
    except Exception:
        deadline = time.monotonic() + 10.0
        for thread in set(threading.enumerate()) - set(before):
            thread.join(max(deadline - time.monotonic(), 0.0))
        raise
    finally:
        logger.setLevel(level)
