"""Run directories that cannot be written, cannot be read, or are something else."""

import os
import pathlib
from collections.abc import Callable

import command
import numpy as np
import pytest
import toy_runs
from toy_runs import toys  # noqa: F401, a fixture

import ivg
from ivg import build, checkpoint, export, runs
from ivg.errors import UserError
from ivg.report import __main__ as report

WRITERS: dict[str, Callable[[pathlib.Path], object]] = {
    "train on": lambda run: toy_runs.train(run, num_steps=toy_runs.STEPS + 2),
    "train again": toy_runs.train,
    "evaluate": runs.evaluate_runs,
    "sample": lambda run: runs.sample(run, 4),
    "a page": lambda run: report.make([run], None),
    "a new run": lambda run: toy_runs.train(run / "new"),
    "another new run": lambda run: toy_runs.train(run.parent / "new"),
}


def readers(folder: pathlib.Path) -> dict[str, Callable[[pathlib.Path], object]]:
    """What writes nothing, or elsewhere."""
    return {
        "load": lambda run: ivg.load(run).sample(3, seed=0),
        "compare": lambda run: report.make([run, run], str(folder / "compare.html")),
        "export": lambda run: export.write(ivg.load(run), folder / "export"),
    }


def assert_refused(run: pathlib.Path) -> int:
    """Whatever would write says one sentence and changes nothing. Returns how many it were."""
    before, below = toy_runs.contents(run.parent), sorted(run.parent.rglob("*"))
    for name, action in WRITERS.items():
        with pytest.raises(UserError) as caught:
            action(run)
        text = str(caught.value)
        assert str(run.parent) in text and "\n" not in text, name
        assert "ermission denied" in text or "ead-only file system" in text, (name, text)
        assert toy_runs.contents(run.parent) == before, name
        assert sorted(run.parent.rglob("*")) == below, name
    return len(WRITERS)


def assert_read(run: pathlib.Path, folder: pathlib.Path, images: np.ndarray) -> int:
    """Whatever only reads works."""
    found = readers(folder)
    np.testing.assert_array_equal(found.pop("load")(run), images)
    for action in found.values():
        action(run)
    assert (folder / "compare.html").stat().st_size > 10_000
    assert (folder / "export" / "config.json").exists()
    return len(found) + 1


def test_a_read_only_file_system(toys, tmp_path, capsys, figure):  # noqa: F811
    with toy_runs.disk(tmp_path / "disk", 8_000_000) as disk:
        run = toy_runs.finished(disk / "run")
        images = ivg.load(run).sample(3, seed=0)
        toy_runs.remount(disk, "ro")
        figure("storage", "commands refused on a read-only file system", assert_refused(run))
        read = assert_read(run, tmp_path, images)
        figure("storage", "commands that only read there, and worked", read)


def test_somebody_elses_run_directory(toys, tmp_path, capsys, figure):  # noqa: F811
    """As a user without rights to it."""
    run, own = toy_runs.finished(tmp_path / "theirs" / "run"), tmp_path / "own"
    images = ivg.load(run).sample(3, seed=0)
    own.mkdir()
    toy_runs.let_in(tmp_path)
    own.chmod(0o777)
    for path in (run.parent, *run.parent.rglob("*")):
        path.chmod((path.stat().st_mode | 0o055) & 0o555)
    with toy_runs.nobody():
        figure("storage", "commands refused without permission", assert_refused(run))
        assert_read(run, own, images)
    for path in run.parent.rglob("*"):
        path.chmod(0o755)


def in_place_of(kind: str) -> Callable[[pathlib.Path], None]:
    """Puts something else where a file or a folder was."""

    def put(path: pathlib.Path) -> None:
        if path.is_dir():
            path.rename(path.with_name(path.name + ".before"))
        else:
            path.unlink(missing_ok=True)
        if kind == "a folder":
            path.mkdir()
        elif kind == "a file":
            path.write_bytes(b"something")
        elif kind == "a dangling link":
            path.symlink_to(path.parent / "gone" / "away")
        elif kind == "a link to itself":
            path.symlink_to(path)

    return put


NAMES = (
    "",
    "config.json",
    "checkpoints",
    "figures",
    "results.json",
    "metrics.jsonl",
    "tensorboard",
)
KINDS = ("a folder", "a file", "a dangling link", "a link to itself")


def test_something_else_in_place_of_a_part(toys, tmp_path, capsys, amount, figure):  # noqa: F811
    """One sentence, or it did not matter; never another error, never another result."""
    reference, refused, tried = toy_runs.finished(tmp_path / "reference"), 0, 0
    images = ivg.load(reference).sample(3, seed=0)
    actions = {
        "train": toy_runs.train,
        "evaluate": runs.evaluate_runs,
        "sample": lambda run: runs.sample(run, 4),
        "load": lambda run: np.testing.assert_array_equal(ivg.load(run).sample(3, seed=0), images),
    }
    cases = [(name, kind, action) for name in NAMES for kind in KINDS for action in actions]
    for i, (name, kind, action) in enumerate(cases[:: amount(17, 2)]):
        run = toy_runs.finished(tmp_path / str(i) / "run")
        in_place_of(kind)(run / name)
        tried += 1
        try:
            actions[action](run)
        except UserError as error:
            refused += 1
            assert str(run) in str(error) and "\n" not in str(error), (name, kind, action)
        else:
            # An empty folder is one to begin in; scores and logs are written anew, or not needed.
            begins = (action, kind) == ("train", "a folder")
            assert begins or name not in ("", "config.json", "checkpoints"), (name, kind, action)
            assert name != "config.json"
        if name in ("", "checkpoints") and kind != "a folder":  # what was there still is
            there = run.with_name("run.before") if name == "" else run / "checkpoints.before"
            assert toy_runs.contents(there)
    assert refused >= tried // 4
    figure("storage", "files or folders of a run replaced by something else", tried)


def test_folders_that_cannot_be_looked_into(toys, tmp_path, capsys, amount):  # noqa: F811
    """Neither a new run in them nor one that is there, which is not taken for a run at step 0."""
    toy_runs.let_in(tmp_path)
    toy_runs.config_data()
    for name in ("", "checkpoints", "checkpoints/8", "checkpoints/8/state", "figures"):
        for mode in (0o000, 0o444, 0o666)[: amount(1, 3)]:
            run = toy_runs.finished(tmp_path / f"{name.replace('/', '_')}_{mode:o}")
            for path in (run, *run.rglob("*")):
                os.chown(path, toy_runs.NOBODY, toy_runs.NOBODY) if os.geteuid() == 0 else None
            (run / name).chmod(mode)
            actions = [toy_runs.train, runs.evaluate_runs]
            actions += [] if name == "figures" else [ivg.load]
            for action in actions:
                with toy_runs.nobody(), pytest.raises(UserError) as caught:
                    action(run)
                assert str(run) in str(caught.value), (name, mode)
            (run / name).chmod(0o755)
            assert checkpoint.steps(build.checkpoints(run)) == [6, 8]


def test_command_lines_on_a_read_only_disk(tmp_path, amount):
    with toy_runs.disk(tmp_path / "disk", 8_000_000) as disk:
        if amount(False, True):
            workdir = command.copy_of_finished_run(disk)
            toy_runs.remount(disk, "ro")
            before = toy_runs.contents(disk)
            for arguments in (["--mode=evaluate"], ["--mode=sample"], command.TINY):
                text = command.refused(*arguments, f"--workdir={workdir}")
                assert "ead-only file system" in text and str(workdir) in text
            assert toy_runs.contents(disk) == before
        toy_runs.remount(disk, "ro")
        text = command.refused(*command.TINY, f"--workdir={disk / 'new'}")
        assert "ead-only file system" in text and str(disk / "new") in text
