import errno
import json

import pytest

from ivg import rundir, runs
from ivg.errors import UserError

CONFIG = {"seed": 0, "num_steps": 10, "num_runs": 1, "data": {"name": "digits", "dir": "a"}}


def test_flatten():
    assert rundir.flatten({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {
        "a.b": 1,
        "a.c.d": 2,
        "e": [3],
    }


def test_difference_names_unsafe_fields_only():
    new = {"num_steps": 20, "num_runs": 1, "data": {"name": "mnist", "dir": "b"}, "extra": 1}
    assert rundir.difference(CONFIG, new) == [
        "data.name: digits -> mnist",
        "extra: absent -> 1",
        "seed: 0 -> absent",
    ]


def test_claim_makes_and_keeps(tmp_path):
    workdir = tmp_path / "a" / "run"
    rundir.claim(workdir, CONFIG | {"names": ("x", "y")})
    assert rundir.read_config(workdir) == CONFIG | {"names": ["x", "y"]}
    rundir.claim(workdir, CONFIG | {"names": ("x", "y"), "num_steps": 30})
    assert rundir.read_config(workdir)["num_steps"] == 30
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(UserError, match="seed: 0 -> 1"):
        rundir.claim(workdir, CONFIG | {"names": ("x", "y"), "seed": 1})
    assert (workdir / "config.json").read_bytes() == before


def test_claim_of_what_is_not_a_run(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="not a run directory"):
        rundir.claim(tmp_path / "file", CONFIG)
    with pytest.raises(UserError, match="not a run directory"):
        rundir.claim(tmp_path, CONFIG)
    with pytest.raises(UserError, match="cannot be made"):
        rundir.claim(tmp_path / "file" / "run", CONFIG)
    assert {p.name for p in tmp_path.iterdir()} == {"file"}


def test_damaged_config(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(UserError, match="damaged"):
        rundir.claim(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == '{"seed": '


def test_full_disk_at_the_start_is_one_sentence_and_can_be_mended(tmp_path, monkeypatch):
    """The draft of config.json that a full disk leaves does not make the folder a stranger's."""
    workdir = tmp_path / "run"

    def full(path, content):
        path.with_suffix(".tmp").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rundir, "write_json", full)
    monkeypatch.setattr(runs.train, "train", lambda config, folder: rundir.claim(folder, config))
    with pytest.raises(UserError, match="No space left.*run the same command again"):
        runs.train_runs(CONFIG, workdir)
    assert [p.name for p in workdir.iterdir()] == ["config.tmp"]
    monkeypatch.undo()
    rundir.claim(workdir, CONFIG)
    assert [p.name for p in workdir.iterdir()] == ["config.json"]


def test_summary_of_runs():
    results = [
        {"seed": s, "step": 5, "method": "m", "clustering": {"nmi": v}, "figures": [], "x": 2.0}
        for s, v in ((3, 0.5), (4, 0.7))
    ]
    summary = runs.summarise(results)
    assert summary["seeds"] == [3, 4]
    assert summary["scores"].keys() == {"clustering.nmi", "x"}
    row = summary["scores"]["clustering.nmi"]
    assert row["values"] == [0.5, 0.7]
    assert row["mean"] == pytest.approx(0.6) and row["std"] == pytest.approx(0.02**0.5)
    assert json.loads(json.dumps(summary)) == summary
    assert runs.summarise(results[:1])["scores"]["x"]["std"] == 0.0
