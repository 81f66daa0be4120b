"""Damaged files of a run directory: noticed, said, and never made worse.

Every file of a checkpoint is truncated, removed, replaced and has bits flipped, at seeded places;
so have the other files of a run.
"""

import json
import os
import pathlib
import random
import shutil
from collections.abc import Callable

import command
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_runs
from toy_runs import toys  # noqa: F401, a fixture

import ivg
from ivg import build, checkpoint, log, rundir, runs
from ivg.errors import UserError
from ivg.report import __main__ as report

Damage = Callable[[pathlib.Path], None]


def small(value: float) -> dict[str, jax.Array]:
    return {"w": jnp.full((50, 40), value), "t": jnp.int32(value)}


ABSTRACT = checkpoint.abstract(small(0))


@pytest.fixture
def two(tmp_path) -> pathlib.Path:
    """Checkpoints of steps 100 and 200."""
    for step in (100, 200):
        checkpoint.save(tmp_path / "two", step, small(step), keep=2, metadata={"config": {"a": 1}})
    return tmp_path / "two"


def sound(found: tuple | None, step: int) -> bool:
    """Whether `restore` gave this step's state, bit for bit."""
    if found is None or found[0] != step:
        return False
    pairs = zip(jax.tree.leaves(found[1]), jax.tree.leaves(small(step)), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def cut(length: int) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[:length])


def flip(bit: int) -> Damage:
    def damage(path: pathlib.Path) -> None:
        content = bytearray(path.read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)

    return damage


def replaced(make: Callable[[pathlib.Path], object]) -> Damage:
    def damage(path: pathlib.Path) -> None:
        path.unlink()
        make(path)

    return damage


REPLACED = {
    "missing": replaced(lambda path: None),
    "a folder": replaced(pathlib.Path.mkdir),
    "a pipe": replaced(os.mkfifo),
    "a dangling link": replaced(lambda path: path.symlink_to("gone")),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),  # after a power cut
}


def damages(size: int, flips: int, draw: random.Random) -> list[Damage]:
    """What can happen to a file of so many bytes and changes it."""
    others = [REPLACED[name] for name in REPLACED if size or name != "zeros"]
    if not size:
        return others
    lengths = sorted({0, 1, size // 2, size - 1, draw.randrange(size)})
    bits = draw.sample(range(8 * size), min(flips, 8 * size))
    return [*map(cut, lengths), *map(flip, bits), *others]


def test_every_file_of_a_checkpoint(two, amount, figure):
    """The one before is used and named, whatever happened to the newest, and nothing is changed."""
    draw, tried, whole = random.Random(8), {}, shutil.copytree(two / "200", two / "whole")
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    assert len(names) >= 10
    for name in names:
        for damage in damages((whole / name).stat().st_size, amount(1, 25), draw):
            said = []
            shutil.rmtree(two / "200")
            shutil.copytree(whole, two / "200")
            damage(two / "200" / name)
            assert sound(checkpoint.restore(two, ABSTRACT, warn=said.append), 100), name
            assert len(said) == 1 and "the checkpoint of step 200 in" in said[0], said
            assert "taking the one before, of step 100; training keeps it as 200.damaged" in said[0]
            tried[str(name)] = tried.get(str(name), 0) + 1
    assert sorted(p.name for p in two.iterdir()) == ["100", "200", "whole"]
    figure("storage", "damaged files of checkpoints, all noticed", sum(tried.values()))


def test_foreign_files_in_a_checkpoint_do_not_matter(two, figure):
    names = (".DS_Store", "state/extra", "state/d/0", "state/zarr.json", "other/_METADATA", "a/b/c")
    for name in names:
        (two / "200" / name).parent.mkdir(exist_ok=True, parents=True)
        (two / "200" / name).write_bytes(b"foreign")
        assert sound(checkpoint.restore(two, ABSTRACT, warn=pytest.fail), 200), name


def test_a_damaged_one_pushes_no_sound_one_out(two):
    """Nor is it deleted: it is put aside until somebody looks; keep=1 keeps what is sound."""
    cut(5)(two / "200" / "ivg.json")
    damaged = toy_runs.contents(two / "200")
    checkpoint.save(two, 150, small(150), keep=1)
    assert sorted(p.name for p in two.iterdir()) == ["150", "200.damaged"]
    checkpoint.save(two, 200, small(200), keep=1)
    cut(5)(two / "200" / "ivg.json")
    checkpoint.save(two, 200, small(200), keep=1)  # in the place of a damaged one
    assert sorted(p.name for p in two.iterdir()) == ["200", "200.damaged", "200.damaged-2"]
    assert toy_runs.contents(two / "200.damaged") == damaged
    assert sound(checkpoint.restore(two, ABSTRACT, warn=pytest.fail), 200)


def test_all_damaged(two):
    for step in (100, 200):
        cut(0)(two / str(step) / "state" / "_METADATA")
    before = toy_runs.contents(two)
    with pytest.raises(UserError, match="no checkpoint in .* is sound .*, of step 100: its file"):
        checkpoint.restore(two, ABSTRACT, warn=lambda text: None)
    assert toy_runs.contents(two) == before


def test_under_another_name(two):
    shutil.copytree(two / "100", two / "300")
    said = []
    assert sound(checkpoint.restore(two, ABSTRACT, warn=said.append), 200)
    assert "step 300" in said[0] and "it is that of step 100 under another name" in said[0]


def test_of_another_run(two):
    """The config tells: what is not safe to change makes another run."""
    before = toy_runs.contents(two)
    same = {"a": 1, "num_steps": 9, "new": "field"}
    assert sound(checkpoint.restore(two, ABSTRACT, config=same, warn=pytest.fail), 200)
    for config, what in (({"a": 2}, "a: 1 -> 2"), ({}, "a: 1 -> absent")):
        with pytest.raises(UserError, match=f"of step 200 in .* is of another run .{what}"):
            checkpoint.restore(two, ABSTRACT, config=config, warn=pytest.fail)
    assert toy_runs.contents(two) == before


def test_what_cannot_be_read_just_now_is_no_damage(two, monkeypatch, figure):
    """EIO, ESTALE, EACCES: a sentence that names the file; nothing is passed over or put aside."""
    import errno

    from ivg import record

    before, tried = toy_runs.contents(two), 0
    for code in (errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOTCONN, errno.EMFILE):
        for name in ("_checksum", "read"):

            def fail(path, code=code):
                raise OSError(code, os.strerror(code), str(path))

            with monkeypatch.context() as m:
                m.setattr(record, name, fail)
                with pytest.raises(UserError) as caught:
                    checkpoint.restore(two, ABSTRACT, warn=pytest.fail)
                with pytest.raises(UserError):  # nor is it replaced, or moved, unread
                    checkpoint.save(two, 200, small(0), keep=1)
            text = str(caught.value)
            assert "of step 200" in text and os.strerror(code) in text and "may be sound" in text
            assert toy_runs.contents(two) == before
            tried += 1
    link = two / "200" / "ivg.json"
    link.unlink()
    link.symlink_to("/proc/self/mem")  # a real one: reading its first byte is an EIO
    with pytest.raises(UserError, match="Input/output error"):
        checkpoint.restore(two, ABSTRACT, warn=pytest.fail)
    figure("storage", "errors while a checkpoint was read, none taken for damage", tried + 1)


class PowerCut(BaseException):
    """The machine stops."""


def test_power_cuts(tmp_path, two, monkeypatch, amount, figure):
    """What was not forced to the disk is empty then: at each operation, in each order."""
    cuts, stop_at, ended = 0, 0, False
    while not ended:
        folder = shutil.copytree(two, tmp_path / str(stop_at))
        forced, left = set(), [stop_at]

        def power(function, forced=forced, left=left):
            def call(what, *args, **options):
                left[0] -= 1
                if left[0] < 0:
                    raise PowerCut
                if isinstance(what, int):  # fsync
                    forced.add(os.fstat(what).st_ino)
                return function(what, *args, **options)

            return call

        with monkeypatch.context() as m:
            m.setattr(os, "fsync", power(os.fsync))
            m.setattr(pathlib.Path, "rename", power(pathlib.Path.rename))
            m.setattr(shutil, "rmtree", power(shutil.rmtree))
            try:
                checkpoint.save(folder, 300, small(300), keep=1)
                ended = True
            except PowerCut:
                cuts += 1
        old = {path.stat().st_ino for path in two.rglob("*")}
        for path in [p for p in folder.rglob("*") if p.is_file()]:
            if path.stat().st_ino not in forced | old and "300" in path.parts:
                path.write_bytes(b"")
        found = checkpoint.restore(folder, ABSTRACT, warn=pytest.fail)
        assert sound(found, 300) or (sound(found, 200) and not ended)
        checkpoint.save(folder, 400, small(400), keep=1)
        assert [p.name for p in folder.iterdir()] == ["400"]
        stop_at += amount(7, 1)
    assert cuts > 3
    figure("storage", "power cuts while a checkpoint was saved", cuts)


def test_a_name_is_forced_before_older_ones_go(two, monkeypatch):
    """Else a power cut could undo the renaming and keep the deletion."""
    order = []
    real = {"rename": pathlib.Path.rename, "force": os.fsync, "remove": shutil.rmtree}

    def noting(name):
        def call(what, *args, **options):
            where = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
            order.append((name, pathlib.Path(where).name))
            return real[name](what, *args, **options)

        return call

    monkeypatch.setattr(pathlib.Path, "rename", noting("rename"))
    monkeypatch.setattr(os, "fsync", noting("force"))
    monkeypatch.setattr(shutil, "rmtree", noting("remove"))
    checkpoint.save(two, 300, small(300), keep=1)
    moved = order.index(("rename", "300.saving"))
    assert ("force", "two") in order[moved:]
    assert order.index(("force", "two"), moved) < order.index(("rename", "100"))
    assert ("force", "ivg.json.tmp") in order[:moved] and ("force", "300.saving") in order[:moved]


# ---- whole runs ---------------------------------------------------------------------------------


def test_runs_go_on_from_the_one_before(toys, tmp_path, capsys, amount, figure):  # noqa: F811
    """They end as the run that nothing happened to, bit for bit."""
    draw, reference = random.Random(1), toy_runs.finished(tmp_path / "reference")
    runs_done = amount(2, 12)
    for i in range(runs_done):
        run = toy_runs.finished(tmp_path / str(i) / "run")
        newest = build.checkpoints(run) / str(toy_runs.STEPS)
        path = draw.choice(sorted(p for p in newest.rglob("*") if p.is_file()))
        draw.choice(damages(path.stat().st_size, 4, draw))(path)
        toy_runs.train(run)
        out = capsys.readouterr().out
        assert f"the checkpoint of step {toy_runs.STEPS} in" in out
        assert f"going on from step {toy_runs.STEPS - toy_runs.EVERY} of" in out
        aside = newest.with_name(f"{newest.name}.damaged")
        assert aside.is_dir() and checkpoint.steps(newest.parent) == [6, 8]
        shutil.rmtree(aside)
        toy_runs.assert_as_if_nothing_happened(run, reference)
    figure("storage", "runs that went on from the checkpoint before a damaged one", runs_done)


def test_another_runs_checkpoint_in_a_run(toys, tmp_path, capsys):  # noqa: F811
    run = toy_runs.finished(tmp_path / "run")
    toy_runs.train(tmp_path / "other", seed=1, num_steps=10)
    shutil.copytree(tmp_path / "other" / "checkpoints" / "10", run / "checkpoints" / "10")
    before = toy_runs.contents(run)
    for action in (toy_runs.train, runs.evaluate_runs, ivg.load, lambda run: runs.sample(run, 3)):
        with pytest.raises(UserError, match=r"step 10 in .* of another run \(seed: 1 -> 0\)"):
            action(run)
    after = toy_runs.contents(run)
    assert {n: x for n, x in after.items() if n in before} == before


def test_other_files_of_a_run(toys, tmp_path, capsys, amount, figure):  # noqa: F811
    """It goes on with the same result, or says one sentence."""
    draw, reference = random.Random(2), toy_runs.finished(tmp_path / "reference")
    runs.sample(reference, 4)
    images = ivg.load(reference).sample(3, seed=0)
    names = [n for n in toy_runs.contents(reference) if not n.startswith(("checkpoints", "fig"))]
    actions = {
        "load": lambda run: np.testing.assert_array_equal(ivg.load(run).sample(3, seed=0), images),
        "train": toy_runs.train,
        "train on": lambda run: toy_runs.train(run, num_steps=toy_runs.STEPS + 1),
        "evaluate": runs.evaluate_runs,
        "sample": lambda run: runs.sample(run, 4),
        "page": lambda run: report.make([run], None),
        "compare": lambda run: report.make([run, reference], str(run / "compare.html")),
    }
    tried = refused = 0
    for name in sorted(names):
        content = (reference / name).read_bytes()
        for i, damage in enumerate(damages(len(content), amount(1, 6), draw)):
            if i % amount(9, 2) or damage is REPLACED["a pipe"]:
                continue
            action = draw.choice(sorted(actions))
            run = toy_runs.finished(tmp_path / f"{tried}" / "run")
            shutil.copy(reference / "samples.npz", run)
            damage(run / name)
            tried += 1
            try:
                actions[action](run)
            except UserError as error:
                refused += 1
                assert "\n" not in str(error) and name in str(error) + "config.json", (name, action)
            else:
                assert toy_runs.state(run)[0] in (toy_runs.STEPS, toy_runs.STEPS + 1)
            if action == "train" and name != "config.json":
                assert toy_runs.state(run) == toy_runs.state(reference)
            shutil.rmtree(run.parent)
    assert 0 < refused < tried
    figure("storage", "other damaged files of a run: it went on, or said one sentence", tried)


def test_metrics_after_a_power_cut(toys, tmp_path, capsys):  # noqa: F811
    """Whole lines stay, the others are counted; what is missing is said."""
    run, reference = (toy_runs.finished(tmp_path / name) for name in ("run", "reference"))
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    garbage = [b"\0" * 50 + b"\n", b"\xff\xfe{\n", b'{"step": true}\n', b"[" * 9000 + b"\n", b"7\n"]
    path.write_bytes(b"".join([*lines[:3], *garbage, *lines[3:], b'{"step": 9, "x'] + [b"\0" * 99]))
    toy_runs.train(run)
    said = f"warning: {path}: lines that cannot be read are left out: {len(garbage)}\n"
    assert said in capsys.readouterr().out
    assert path.read_bytes() == (reference / "metrics.jsonl").read_bytes()
    path.unlink()
    toy_runs.train(run)
    assert f"warning: {path}: it is missing, and begins anew" in capsys.readouterr().out
    path.write_text('{"step": 1, "a": [1], "b": "x", "c": null, "d": 2}\n{"step": 1.5, "d": 3}\n')
    assert list(log.read_metrics(run)) == ["d"]
    (run / "cost.jsonl").write_text('{"step": 1, "report": 7}\n')
    assert log.read_cost(run) is None


def test_altered_data_json_and_config_json(toys, tmp_path, capsys):  # noqa: F811
    """Still JSON, but not what was written."""
    run = toy_runs.finished(tmp_path / "run")
    facts = json.loads((run / "data.json").read_text())
    rundir.write_json(run / "data.json", facts | {"num_images": 7})
    with pytest.raises(UserError, match="data.json is damaged; delete it"):
        ivg.load(run)
    (run / "data.json").unlink()
    assert ivg.load(run).step == toy_runs.STEPS
    config = json.loads((run / "config.json").read_text())
    rundir.write_json(run / "config.json", config | {"batch_size": 12})
    for action in (ivg.load, runs.evaluate_runs, toy_runs.train):
        with pytest.raises(UserError, match="batch_size: (8 -> 12|12 -> 8)"):
            action(run)
    (run / "config.json").write_text("{")
    with pytest.raises(UserError, match="put back a copy .each checkpoint's ivg.json holds one"):
        toy_runs.train(run)
    stored = json.loads((run / "checkpoints" / "8" / "ivg.json").read_text())
    assert stored["metadata"]["config"] == config
    rundir.write_json(run / "config.json", stored["metadata"]["config"])
    toy_runs.train(run)


def test_command_lines_with_damage(tmp_path, amount):
    """All checkpoints, then the newest: what is typed, what is said."""
    run = command.copy_of_finished_run(tmp_path)
    folder = run / "checkpoints"
    for step in checkpoint.steps(folder):
        REPLACED["missing"](folder / str(step) / "state" / "_METADATA")
    before = toy_runs.contents(run)
    text = command.refused("--mode=sample", f"--workdir={run}")
    assert f"no checkpoint in {folder} is sound" in text and "state/_METADATA is missing" in text
    assert toy_runs.contents(run) == before
    if amount(False, True):
        shutil.rmtree(folder)
        shutil.copytree(command.finished_run() / "checkpoints", folder)
        cut(100)(folder / str(command.STEPS) / "ivg.json")
        out = command.ok("--mode=sample", f"--workdir={run}")
        assert f"the checkpoint of step {command.STEPS} in {folder} is damaged" in out
        assert "images of step 35" in out
