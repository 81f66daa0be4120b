"""Files whole or not at all, and which errors of the file system become a sentence."""

import errno
import os
import pathlib

import pytest

from ivg import files
from ivg.errors import UserError


def test_replace_is_whole_and_forced_to_the_disk(tmp_path, monkeypatch):
    path, forced = tmp_path / "a.json", []

    def force(descriptor):
        forced.append(pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(os, "fsync", force)
    files.replace(path, "first é")
    assert path.read_text(encoding="utf-8") == "first é"
    assert forced == ["a.json.tmp", tmp_path.name]  # the content before the name, then the name

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(path, b"second", draft="draft")
    assert path.read_text(encoding="utf-8") == "first é"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_forced_is_no_error(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(os, "fsync", refuse)
    files.force(tmp_path)
    with pytest.raises(OSError, match="Invalid"):
        files.force(tmp_path / "file")


@pytest.mark.parametrize(
    ("code", "named", "said"),
    [
        (errno.ENOSPC, None, "cannot write to .*make room, then run the same command again"),
        (errno.EDQUOT, "/elsewhere/x", "cannot write to .*make room"),
        (errno.EIO, None, "cannot use .*run.*Input/output error.*what was saved is kept"),
        (errno.EACCES, "run/config.json", "cannot use .*run/config.json .Permission denied"),
        (errno.ENOENT, "run", "cannot use .*run .No such file"),
        (errno.ENOTDIR, "", "cannot use"),  # the folder that the run directory is in
        (errno.EACCES, "/elsewhere/x", None),
        (errno.ENOENT, "run2/x", None),
        (errno.EACCES, None, None),
        (errno.ECONNREFUSED, None, None),
    ],
)
def test_errors_about_a_directory_are_said_others_pass(tmp_path, code, named, said):
    error = OSError(code, os.strerror(code), None if named is None else str(tmp_path / named))
    with (
        pytest.raises(UserError if said else OSError, match=said),
        files.file_errors(tmp_path / "run"),
    ):
        raise error


def test_of_a_move_both_names_count(tmp_path):
    with pytest.raises(UserError, match="run/b"), files.file_errors(tmp_path / "run"):
        raise OSError(errno.EXDEV, "Invalid cross-device link", "/a", None, str(tmp_path / "run/b"))
