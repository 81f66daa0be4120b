"""Several runs at once, and what a run directory alone is good for."""

import json
import statistics

import command
import numpy as np
import pytest

from ivg import runs
from ivg.errors import UserError


def test_two_runs_and_their_summary(tmp_path):
    workdir = tmp_path / "runs"
    more = ("--config.num_runs=2", "--config.num_steps=4", "--config.log_every=4")
    out = command.ok(*command.TINY, *more, f"--workdir={workdir}")
    results = [json.loads((workdir / f"seed_{i}" / "results.json").read_text()) for i in (0, 1)]
    assert [r["seed"] for r in results] == [0, 1]
    summary = json.loads((workdir / "results.json").read_text())
    assert summary["seeds"] == [0, 1]
    row = summary["scores"]["reconstruction_mse"]
    values = [r["reconstruction_mse"] for r in results]
    assert values[0] != values[1]
    assert row["values"] == [round(v, 4) for v in values]
    assert row["mean"] == pytest.approx(statistics.fmean(values))
    assert row["std"] == pytest.approx(statistics.stdev(values))
    assert "clustering.accuracy_one_to_one" in summary["scores"]
    assert "kmeans.accuracy_one_to_one" in summary["scores"]
    assert "2 runs" in out and "reconstruction_mse" in out
    assert out.count("\nnext\n") == 1 and f"python -m ivg.report {workdir}\n" in out
    with pytest.raises(UserError, match=f"several runs.*{workdir / 'seed_1'}"):
        runs.sample(workdir, 9)


def test_evaluation_of_a_run_directory_alone(tmp_path):
    workdir = command.copy_of_finished_run(tmp_path)
    before = command.contents(workdir)
    (workdir / "results.json").unlink()
    for picture in (workdir / "figures").iterdir():
        picture.unlink()
    out = command.ok("--mode=evaluate", f"--workdir={workdir}")
    after = command.contents(workdir)
    assert after.keys() == before.keys()
    same = [n for n in before if n not in ("figures/curves.png", "report.html", "results.json")]
    assert {n: after[n] for n in same} == {n: before[n] for n in same}
    results = command.results(workdir)
    assert results == command.results(command.finished_run())
    assert f"{workdir / 'figures'} ({len(results['figures'])} files)" in out
    assert str(workdir / "results.json") in out and f"ivg.explore --workdir={workdir}" in out
    assert "accuracy_one_to_one" in out and "k-means" in out


def test_samples_of_a_run_directory_alone(tmp_path):
    workdir = command.copy_of_finished_run(tmp_path)
    drawn = []
    for _ in range(2):
        out = command.ok("--mode=sample", "--num_samples=9", f"--workdir={workdir}")
        drawn.append([(workdir / n).read_bytes() for n in ("figures/drawn.png", "samples.npz")])
    assert drawn[0] == drawn[1]
    assert f"9 images of step {command.STEPS}" in out
    arrays = np.load(workdir / "samples.npz")
    assert arrays["images"].shape == (9, 8, 8, 1) and arrays["images"].dtype == np.uint8
    assert arrays["d"].shape == (9, 10) and arrays["c"].shape == (9, 2)


def test_no_run_there(tmp_path):
    with pytest.raises(UserError, match="not a run directory.*--mode=train"):
        runs.sample(tmp_path / "none", 9)
    text = command.refused("--mode=evaluate", f"--workdir={tmp_path / 'none'}")
    assert "not a run directory" in text and "--mode=train" in text
    assert not (tmp_path / "none").exists()
