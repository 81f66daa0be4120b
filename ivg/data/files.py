"""What lies in a folder or a zip, and its bytes: nothing is unpacked, nothing written."""

import os
import pathlib
import re
import stat
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, NoReturn

from ivg.data.records import shown
from ivg.errors import UserError

MAX_BYTES = 2**28  # of one file: an uncompressed image of 8192 x 8192 pixels and its alpha

_IGNORED_NAMES = ("thumbs.db", "desktop.ini", "__macosx")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of others no bound is kept while unpacking
_ENCRYPTED = 1  # the flag of a zip's member


class Files(NamedTuple):
    """What lies in a folder or zip.

    Attributes:
        root: the folder or the zip.
        paths: sorted, from the root, with forward slashes.
        refused: path -> why its name cannot be used, also sorted; these are not in `paths`.
        size: path -> bytes, without reading them.
        read: path -> its content; may be called from several threads.

    `size` and `read` refuse by a UserError what is too large, encrypted or no regular file. They
    raise an OSError, or, of a damaged zip, anything; `reason` has words for it.
    """

    root: pathlib.Path
    paths: tuple[str, ...]
    refused: Mapping[str, str]
    size: Callable[[str], int]
    read: Callable[[str], bytes]


def open_files(path: pathlib.Path) -> Files:
    """Opens a folder or a zip; hidden files and folders are left out.

    Links in a folder are followed, to a folder once; links in a zip are not.

    Raises:
        UserError: nothing there, neither a folder nor a zip, or a zip with two files of one name.
    """
    path = path.expanduser()
    try:
        kind = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UserError(
            f"{path} does not exist (--config.data.dir: a folder or zip of images)."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)}).") from error
    if stat.S_ISDIR(kind):
        return _open_folder(path)
    try:
        if not stat.S_ISREG(kind):
            raise zipfile.BadZipFile("no regular file")
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises nearly anything on a damaged directory
        raise UserError(
            f"{path} is neither a folder nor a readable zip ({shown(str(error))}); unpack other "
            "archives first."
        ) from error
    return _open_zip(path, archive)


def _open_folder(root: pathlib.Path) -> Files:
    try:
        found = list(_walk(root))
    except RecursionError:
        raise UserError(f"the folders in {root} are nested too deeply to be read.") from None
    paths, refused = _sort(found)

    return Files(
        root,
        paths,
        refused,
        lambda path: _size(root / path, MAX_BYTES),
        lambda path: read_file(root / path),
    )


def _open_zip(root: pathlib.Path, archive: zipfile.ZipFile) -> Files:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        path = info.filename.replace("\\", "/")  # which some programs of Windows write
        if path.endswith("/"):
            continue
        parts = [part for part in path.split("/") if part not in ("", ".")]
        path = "/" * path.startswith("/") + "/".join(parts)
        if path in members and _visible(path):
            raise UserError(f"{root} holds two files called {shown(path)}: make the zip again.")
        members[path] = info
    paths, refused = _sort(members, in_zip=True)
    lock = threading.Lock()

    def size(path: str) -> int:
        return checked_size(_unpackable(members[path]).file_size)

    def read(path: str) -> bytes:
        most = size(path)
        with lock, archive.open(members[path]) as file:  # ZipFile counts its readers without one
            # Without a number a member is unpacked to its true end, whatever size it claims.
            content = file.read(most)
        if len(content) != most:
            raise zipfile.BadZipFile("less than it claims")
        return content

    return Files(root, paths, refused, size, read)


def read_file(path: pathlib.Path, most: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        UserError: it has more than `most` bytes, or is a pipe or a device.
        OSError: it cannot be read.
    """
    size = _size(path, most)
    with open(path, "rb") as file:
        return file.read(size)


def require_regular(paths: Iterable[pathlib.Path]) -> None:
    """Raises UserError at the first path that is neither a regular file nor a folder."""
    for path in paths:
        if not path.is_file() and not path.is_dir():
            raise UserError(f"{path} is no regular file (a pipe, or a link to nothing): remove it.")


def _size(path: pathlib.Path, most: int) -> int:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe lets its reader wait, a device may never end
        raise UserError("no regular file")
    return checked_size(status.st_size, most)


def checked_size(size: int, most: int = MAX_BYTES) -> int:
    """The same size; a UserError where it is more than `most` bytes."""
    if size > most:
        raise UserError(
            f"it has {size / 2**20:,.0f} MiB; up to {most // 2**20} are read: make it smaller"
        )
    return size


def _unpackable(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    if info.flag_bits & _ENCRYPTED:
        raise UserError("it is encrypted: make the zip without a password")
    if info.compress_type not in _METHODS:
        raise UserError("it is compressed in an unusual way: make the zip with deflate")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UserError("it is a link, which is not followed in a zip")
    return info


def _sort(found: Iterable[str], *, in_zip: bool = False) -> tuple[tuple[str, ...], dict[str, str]]:
    """The visible paths, and those whose names cannot be used with the reason, both sorted."""
    paths, refused = [], {}
    for path in sorted(found):
        if in_zip and _leads_out(path):
            refused[path] = "its path leads out of the zip"
        elif _visible(path) and _CONTROL.search(path):
            refused[path] = "its name holds control characters or is no UTF-8: rename it"
        elif _visible(path):
            paths.append(path)
    return tuple(paths), refused


def _leads_out(path: str) -> bool:
    absolute = not path or path.startswith("/") or re.match("[A-Za-z]:", path)
    return bool(absolute) or ".." in path.split("/")


def _walk(root: pathlib.Path) -> Iterator[str]:
    """Paths of all visible files; links to folders are followed, each folder once."""

    def stop(error: OSError) -> NoReturn:
        raise UserError(f"cannot read {shown(str(error.filename))} ({reason(error)}).") from error

    seen = {_identity(root)}
    for folder, subfolders, names in os.walk(root, onerror=stop, followlinks=True):
        kept = []
        for name in sorted(filter(_visible, subfolders)):
            try:
                found = _identity(os.path.join(folder, name))
            except OSError as error:
                stop(error)
            if found not in seen:
                seen.add(found)
                kept.append(name)
        subfolders[:] = kept
        relative = pathlib.Path(folder).relative_to(root)
        yield from ((relative / name).as_posix() for name in names if _visible(name))


def _identity(folder: str | pathlib.Path) -> tuple[int, int]:
    """The same for every path to a folder."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _visible(path: str) -> bool:
    return not any(
        part.startswith(".") or part.lower() in _IGNORED_NAMES for part in path.split("/")
    )


def reason(error: BaseException) -> str:
    """Why a file cannot be used, in a few words."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    if isinstance(error, zipfile.BadZipFile):
        return "the zip is damaged there"
    return "corrupt, or not an image"
