"""Files that are on disk whole or not at all, and what is said when the file system refuses.

A file is written beside its place, forced to the disk and moved there: whatever happens meanwhile,
a full disk, `kill -9` or a power cut, the place holds the old content or the new. Without forcing
it a power cut may leave the new name with nothing in it.
"""

import contextlib
import errno
import os
import pathlib
import stat
from collections.abc import Iterator

from ivg.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a disk or its server says without naming a file.
AILING = (errno.EROFS, errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ENOTCONN)


def replace(path: str | os.PathLike, content: str | bytes, *, draft: str | None = None) -> None:
    """Writes a file whole or not at all; on disk when it returns.

    Args:
        path: the file; an older one is replaced.
        content: bytes, or a text that becomes UTF-8.
        draft: name of the file beside it that is written first; by default the same with ".tmp".

    Raises:
        OSError: it could not be written; the older one is as it was, and no draft is left.
    """
    path = pathlib.Path(path)
    beside = path.with_name(draft or f"{path.name}.tmp")
    content = content.encode() if isinstance(content, str) else content
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    force(path.parent)


def force(path: str | os.PathLike) -> None:
    """Forces a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do it to a folder, and need not be asked to.
        if not (error.errno == errno.EINVAL and stat.S_ISDIR(os.fstat(descriptor).st_mode)):
            raise
    finally:
        os.close(descriptor)


def require_writable(folder: str | os.PathLike) -> None:
    """Raises UserError where no file can be made in a folder, before work is done in vain."""
    if os.access(folder, os.W_OK | os.X_OK):
        return
    # Says also whether the file system is read-only; `access` tells no more than yes or no.
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY if os.access(folder, os.X_OK) else False
    why = "it is on a read-only file system" if read_only else "permission denied"
    raise UserError(
        f"cannot write to {folder} ({why}); nothing was changed: use a copy that can be written"
    )


@contextlib.contextmanager
def file_errors(directory: str | os.PathLike) -> Iterator[None]:
    """Turns the operating system's errors about a directory's files into one sentence.

    These are: no space left; a disk that is read-only or fails; and any error that names the
    directory, what is in it or what it is in. Other errors pass.

    Raises:
        UserError: for one of them.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UserError(
                f"cannot write to {directory} ({os.strerror(error.errno)}); the last checkpoint is "
                "kept: make room, then run the same command again"
            ) from error
        named = concerned(error, directory)
        if named is None and error.errno not in AILING:
            raise
        raise UserError(
            f"cannot use {named or directory} ({error.strerror}); what was saved is kept: set that "
            "right, then run the same command again"
        ) from error


def code_of(error: BaseException | None) -> int | None:
    """The number of the file system's error that this, or what it was raised from, stands for.

    Libraries written in C++ report such an error with the system's text in an error of their own.
    """
    texts = {code: os.strerror(code) for code in (*FULL, *AILING, errno.EACCES)}
    while error is not None:
        if isinstance(error, OSError):
            return error.errno
        for code, text in texts.items():
            if text in str(error):
                return code
        error = error.__cause__ or error.__context__
    return None


def concerned(error: OSError, directory: str | os.PathLike) -> str | None:
    """The file of a directory that an error names; None where it names none of them."""
    top = pathlib.Path(os.path.abspath(directory))
    for name in (error.filename2, error.filename):  # of a move where it goes, not the draft
        if isinstance(name, str | os.PathLike):
            path = pathlib.Path(os.path.abspath(name))
            if path.is_relative_to(top) or top.is_relative_to(path):
                return str(name)
    return None
