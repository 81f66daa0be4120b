"""Disks that fill up at any moment: one sentence, nothing lost, and on it goes once there is room.

The disks are real ones, a few hundred kB of memory. What is about to be saved is compared with the
room beforehand; here that is switched off (`blind`), so that the writing itself fails, as it does
where another program takes the room meanwhile.
"""

import pathlib
import shutil
from collections.abc import Callable

import command
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_runs
from toy_runs import toys  # noqa: F401, a fixture

from ivg import build, checkpoint, evaluate, files, log, plots, record, rundir, runs
from ivg import train as training
from ivg.errors import UserError
from ivg.report import page

PAGE = 4096  # bytes: what a tmpfs gives at a time
AGAIN = "make room, then run the same command again"


@pytest.fixture
def blind(monkeypatch):
    """Nobody asks for the room beforehand."""
    plenty = shutil.disk_usage("/")._replace(free=10**9)
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: plenty)
    return real


def small(value: float) -> dict[str, jax.Array]:
    return {"w": jnp.full((50, 40), value), "t": jnp.int32(value)}


def same(found, step: int) -> bool:
    ours, theirs = jax.tree.leaves(found[1]), jax.tree.leaves(small(step))
    pairs = zip(ours, theirs, strict=True)
    return found[0] == step and all(np.array_equal(a, b) for a, b in pairs)


def test_a_checkpoint_on_disks_of_every_size(tmp_path, monkeypatch, amount, figure):
    """From no free page on, until it fits; before it and with it, its files are written."""
    plenty = shutil.disk_usage("/")._replace(free=10**9)
    abstract, filled, fitted = checkpoint.abstract(small(0)), 0, 0
    with toy_runs.disk(tmp_path / "disk", 8_000_000) as disk:
        folder = disk / "checkpoints"
        for free in range(0, 30, amount(5, 1)):
            shutil.rmtree(folder, ignore_errors=True)
            checkpoint.save(folder, 1, small(1), keep=1)
            toy_runs.fill(disk, free * PAGE)
            with monkeypatch.context() as m:
                m.setattr(shutil, "disk_usage", lambda path: plenty)
                try:
                    checkpoint.save(folder, 2, small(2), keep=1)
                    fitted += 1
                except UserError as error:
                    assert "of step 1, is kept: " + AGAIN in str(error)
                    assert same(checkpoint.restore(folder, abstract, warn=pytest.fail), 1)
                    assert [path.name for path in folder.iterdir()] == ["1"]
                    filled += 1
            (disk / "ballast").unlink()
            checkpoint.save(folder, 2, small(2), keep=1)
            assert same(checkpoint.restore(folder, abstract, warn=pytest.fail), 2)
    assert filled >= 3 and fitted >= 1
    figure("storage", "disks filled while a checkpoint was saved, the one before kept", filled)


def test_a_log_on_disks_of_every_size(tmp_path, amount, figure):
    filled, said = 0, []
    with toy_runs.disk(tmp_path / "disk", 8_000_000) as disk:
        for free in range(0, 12, amount(4, 1)):
            workdir = disk / f"run{free}"
            with log.Log(workdir, resume_step=None) as writer:
                writer.scalars(1, {"x": 0.5})
            toy_runs.fill(disk, free * PAGE)
            with pytest.raises(UserError, match=AGAIN):
                with log.Log(workdir, resume_step=1) as writer:
                    for step in range(2, 2000):
                        writer.scalars(step, {"x": step / 3, "y": 1.0})
                        writer.images(step, {"a": np.zeros((64, 64, 3), np.uint8)})
            filled += 1
            toy_runs.make_room(disk)
            steps, values = log.read_metrics(workdir)["x"]
            assert steps.tolist() == list(range(1, len(steps) + 1))
            assert values.tolist() == [0.5, *(step / 3 for step in steps.tolist()[1:])]
            said.append(len(steps))
            log.Log(workdir, resume_step=len(steps)).close()
            assert len(log.read_metrics(workdir)["x"][0]) == len(steps)
    assert said == sorted(said) and said[-1] > said[0]
    figure("storage", "disks filled while metrics were logged, all whole lines kept", filled)


def test_files_on_disks_of_every_size(tmp_path, amount, figure):
    """JSON, pictures and pages: the old one or the new one, and nothing beside it."""
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    series = {"G/loss": (np.arange(9), np.arange(9.0))}
    writers = {
        "a.json": lambda path: rundir.write_json(path, {"text": "x" * 20_000}),
        "a.png": lambda path: plots.save(path, picture),
        "curves.png": lambda path: plots.curves(path, series),
        "a.bin": lambda path: files.replace(path, bytes(20_000)),
    }
    filled = 0
    with toy_runs.disk(tmp_path / "disk", 8_000_000) as disk:
        for name, write in writers.items():
            for free in range(0, 6, amount(3, 1)):
                path = disk / name
                path.write_bytes(b"old")
                toy_runs.fill(disk, free * PAGE)
                try:
                    with files.file_errors(disk):
                        write(path)
                except UserError as error:
                    assert AGAIN in str(error)
                    assert path.read_bytes() == b"old"
                    filled += 1
                (disk / "ballast").unlink()
                assert [p.name for p in disk.iterdir()] == [name]
                path.unlink()
    assert filled >= len(writers)
    figure("storage", "disks filled while other files were written, the old ones kept", filled)


def go_on(workdir: pathlib.Path, disk: pathlib.Path, reference: pathlib.Path) -> bool:
    """Trains on a disk that may be too small, then with room. Returns whether it was too small."""
    failed = False
    try:
        toy_runs.train(workdir)
    except UserError as error:
        failed = True
        text = str(error)
        assert AGAIN in text and "\n" not in text
        before = checkpoint.steps(build.checkpoints(workdir))
        kept = {step: record.is_sound(build.checkpoints(workdir) / str(step)) for step in before}
        assert all(kept.values())
    toy_runs.make_room(disk)
    toy_runs.train(workdir)
    toy_runs.assert_as_if_nothing_happened(workdir, reference)
    return failed


def test_whole_runs_on_disks_of_every_size(toys, blind, tmp_path, amount, figure, capsys):  # noqa: F811
    reference, failed, trials = toy_runs.finished(tmp_path / "reference"), 0, amount(2, 14)
    pages = sum(-(-len(data) // PAGE) for data in toy_runs.contents(reference).values())
    for trial in range(trials):
        size = PAGE * (1 + (pages - 2) * trial // trials)
        with toy_runs.disk(tmp_path / str(trial), size) as disk:
            failed += go_on(disk / "run", disk, reference)
    assert failed == trials
    figure("storage", "runs on a disk that filled up, then ended as if it had not", failed)


STAGES = {
    "config.json": (rundir, "claim", 1),
    "data.json": (rundir, "write_facts", 1),
    "the log": (training, "Log", 1),
    "the text of the config": (log.Log, "text", 1),
    "a line": (log.Log, "scalars", 3),
    "the cost": (log.Log, "cost", 5),
    "the first checkpoint": (checkpoint, "save", 1),
    "another checkpoint": (checkpoint, "save", 3),
    "a checkpoint's record": (record, "write", 2),
    "the last checkpoint": (checkpoint, "save", 4),
    "a picture": (evaluate.plots, "save", 1),
    "the curves": (evaluate.plots, "curves", 1),
    "results.json": (evaluate, "write_json", 1),
    "the page": (page, "write_run", 1),
}


def test_a_disk_that_fills_up_at_any_stage(toys, blind, tmp_path, amount, figure, capsys):  # noqa: F811
    """Full from one moment on: the next file that needs a page fails."""
    reference, stages = toy_runs.finished(tmp_path / "reference"), list(STAGES)[:: amount(6, 1)]
    for stage in stages:
        owner, name, which = STAGES[stage]
        with (
            toy_runs.disk(tmp_path / stage, 8_000_000) as disk,
            pytest.MonkeyPatch.context() as m,
        ):
            m.setattr(owner, name, filling(getattr(owner, name), which, disk, blind))
            assert go_on(disk / "run", disk, reference), f"not filled before {stage}"
    figure(
        "storage", "moments of a run at which the disk was full, then ended as if not", len(stages)
    )


def filling(real: Callable, which: int, disk: pathlib.Path, usage: Callable) -> Callable:
    """The same function, which fills the disk before it is called for the so-manieth time."""
    left = [which]

    def call(*args, **options):
        left[0] -= 1
        if left[0] == 0:
            with pytest.MonkeyPatch.context() as m:
                m.setattr(shutil, "disk_usage", usage)
                toy_runs.fill(disk)
        return real(*args, **options)

    return call


def test_no_more_files(toys, tmp_path, capsys):  # noqa: F811
    """Room for bytes, none for names."""
    reference = toy_runs.finished(tmp_path / "reference")
    with toy_runs.disk(tmp_path / "disk", 8_000_000, ",nr_inodes=30") as disk:
        with pytest.raises(UserError, match=AGAIN):
            toy_runs.train(disk / "run")
        toy_runs.remount(disk, "nr_inodes=1000")
        toy_runs.train(disk / "run")
        toy_runs.assert_as_if_nothing_happened(disk / "run", reference)


def test_scores_and_samples_that_find_no_room_keep_the_old_ones(toys, tmp_path, capsys):  # noqa: F811
    with toy_runs.disk(tmp_path / "disk", 8_000_000) as disk:
        workdir = toy_runs.finished(disk / "run")
        runs.sample(workdir, 9)
        for action in (lambda: runs.evaluate_runs(workdir), lambda: runs.sample(workdir, 50)):
            before = toy_runs.contents(workdir)
            toy_runs.fill(disk)
            with pytest.raises(UserError, match=AGAIN):
                action()
            assert toy_runs.contents(workdir) == before
            (disk / "ballast").unlink()
            action()


def test_command_lines_on_a_full_disk(tmp_path, amount):
    """At the start; and at the end, with a finished run."""
    with toy_runs.disk(tmp_path / "disk", 4 * PAGE) as disk:
        toy_runs.fill(disk)
        text = command.refused(*command.TINY, f"--workdir={disk / 'run'}")
        assert AGAIN in text and str(disk) in text
        if amount(False, True):
            toy_runs.make_room(disk)
            workdir = command.copy_of_finished_run(disk / "finished")
            toy_runs.fill(disk)
            before = toy_runs.contents(workdir)
            assert AGAIN in command.refused("--mode=evaluate", f"--workdir={workdir}")
            assert toy_runs.contents(workdir) == before
