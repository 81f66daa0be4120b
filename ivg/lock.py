"""One process at a time trains or scores in a run directory.

The operating system holds the lock for the open file `run.lock` and lets go of it however the
process ends: what is left of a killed one, or of a machine that lost its power, keeps nobody out.
What the file says is for people only. A run that ends removes it.
"""

import contextlib
import json
import os
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Any

from ivg import devices, rundir
from ivg.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Neither a link that leads elsewhere nor a pipe that waits for its other end.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LONGEST = 1_000  # characters of the file that are read


@contextlib.contextmanager
def held(*workdirs: pathlib.Path) -> Iterator[None]:
    """Within it, no other process trains or scores in these directories.

    Of several processes that train together the first has the lock for all of them. Where no lock
    can be had a note says so, and the run goes on without; where nothing can be written at all,
    what comes next says that better.

    Args:
        *workdirs: run directories; made where they are missing.

    Raises:
        UserError: another process has one of them, in every process; nothing is changed then.
    """
    with contextlib.ExitStack() as stack:

        def take() -> None:
            for workdir in workdirs:
                stack.enter_context(_held(workdir / rundir.LOCK))

        devices.on_first(take)
        yield


@contextlib.contextmanager
def _held(path: pathlib.Path) -> Iterator[None]:
    descriptor = _taken(path)
    if descriptor is None:
        yield
        return
    kept = [descriptor]
    _closed_in_children(kept)
    with contextlib.suppress(OSError):  # no space: a lock without its text
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(_ourselves()).encode() + b"\n")
    try:
        yield
    finally:
        if kept:  # not so in a child
            with contextlib.suppress(OSError):
                if _is_at(kept[0], path):  # first removed, then let go of: see `_taken`
                    path.unlink()
            os.close(kept.pop())


def _taken(path: pathlib.Path) -> int | None:
    """A descriptor of the file, locked; None where it cannot be opened or locked at all.

    Raises:
        UserError: another process has the lock.
    """
    if fcntl is None:
        _say_unlocked(path, "this system")
        return None
    while (descriptor := _opened(path)) is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = _refusal(path, descriptor)
            os.close(descriptor)
            raise UserError(text) from None
        except OSError:
            os.close(descriptor)
            _say_unlocked(path, "the file system")
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its last owner removed it meanwhile: another one may be locked now
    return None


def _opened(path: pathlib.Path) -> int | None:
    """A descriptor that programs started later do not inherit."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # the second: somebody else's file
        with contextlib.suppress(OSError):
            return os.open(path, flags | _FLAGS, 0o666)
    return None


def _is_at(descriptor: int, path: pathlib.Path) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _closed_in_children(kept: list[int]) -> None:
    """Closes these descriptors in processes forked from now on, which would share the lock."""

    def close() -> None:
        while kept:
            os.close(kept.pop())

    os.register_at_fork(after_in_child=close)


def _ourselves() -> dict[str, Any]:
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return {"process": os.getpid(), "host": platform.node(), "since": since}


def _refusal(path: pathlib.Path, descriptor: int) -> str:
    """One sentence: who has the lock, and what to do."""
    who, remedy = "another process", ""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(os.pread(descriptor, _LONGEST, 0))
        host, since = (ascii(str(found[name]))[1:-1] for name in ("host", "since"))
        who = f"process {int(found['process'])} on {host}, since {since}"
        if host != platform.node():
            remedy = f" (if that machine is lost for good, delete {path})"
    return (
        f"{path.parent} is in use by {who}: only one at a time trains or scores there; wait until "
        f"it has ended{remedy}, or use another --workdir."
    )


def _say_unlocked(path: pathlib.Path, what: str) -> None:
    print(
        f"note: {what} has no locks for files; see to it yourself that no other process trains in "
        f"{path.parent}."
    )
