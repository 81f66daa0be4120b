"""The record in a checkpoint's folder: what its files must be, and how damage is told.

`ivg.json` holds the size and CRC-32 of every other file, what the caller wants to remember, and a
checksum of itself. Only what cannot be right is damage: a file that is missing, is no file, or has
other content. A file that cannot be read just now (a disk that fails, a server that is away, no
permission) is an OSError, and says nothing about the checkpoint.
"""

import concurrent.futures
import json
import os
import pathlib
import stat
import zlib
from typing import Any

from ivg import files

NAME = "ivg.json"
_ABSENT = (FileNotFoundError, NotADirectoryError)


class Damaged(Exception):
    """The checkpoint cannot be used; the message says why, as a clause."""


def write(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes the record of a folder; it and all files there are on disk when this returns."""
    found = [pathlib.Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    # At once: a disk that is asked for eleven small files one by one takes five times as long.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        described = list(pool.map(_settled, found))
    names = [file.relative_to(path).as_posix() for file in found]
    content = content | {"files": dict(zip(names, described, strict=True))}
    files.replace(path / NAME, json.dumps(_sealed(content)))
    for folder, _, _ in os.walk(path, topdown=False):
        files.force(folder)


def read(path: pathlib.Path) -> dict[str, Any]:
    """What `write` was given.

    Raises:
        Damaged: there is no record, or it is not as it was written.
        OSError: it cannot be read just now.
    """
    try:
        _require_file(path / NAME, NAME)
        record = json.loads((path / NAME).read_text(encoding="utf-8"))
        seal = record.pop("crc32")
    except _ABSENT as error:
        raise Damaged(f"its file {NAME} is missing") from error
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise Damaged(f"its file {NAME} cannot be read") from error
    if _sealed(record)["crc32"] != seal:
        raise Damaged(f"its file {NAME} was altered")
    return record


def check(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Compares the files of a folder with its record; files that are not in it do not matter.

    Raises:
        Damaged: one is missing or is not as it was written.
        OSError: one cannot be read just now.
    """
    for name, (size, checksum) in record["files"].items():
        try:
            if _require_file(path / name, name).st_size != size:
                raise Damaged(f"its file {name} is truncated or has grown")
            if _checksum(path / name) != checksum:
                raise Damaged(f"bytes of its file {name} were altered")
        except _ABSENT as error:
            raise Damaged(f"its file {name} is missing") from error


def is_sound(path: pathlib.Path) -> bool:
    """Whether a folder is as it was written.

    Raises:
        OSError: it cannot be read just now.
    """
    try:
        check(path, read(path))
    except Damaged:
        return False
    return True


def _require_file(path: pathlib.Path, name: str) -> os.stat_result:
    """Status of a file; Damaged where something else is in its place, which may never end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise Damaged(f"its file {name} is no file")
    return found


def _settled(file: pathlib.Path) -> list[int]:
    """Forces a file to the disk; its size and checksum."""
    files.force(file)
    return [file.stat().st_size, _checksum(file)]


def _sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with a checksum of itself, so that a damaged record is not taken at its word."""
    text = json.dumps(record, sort_keys=True)
    return json.loads(text) | {"crc32": zlib.crc32(text.encode())}


def _checksum(file: pathlib.Path) -> int:
    checksum = 0
    with open(file, "rb") as f:
        while block := f.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum
