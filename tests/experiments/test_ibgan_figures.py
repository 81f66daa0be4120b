"""Fig. 3 and Fig. 4 from run directories: bounds and scores against beta, KL over training."""

import json
import math

import numpy as np
import pytest
from fabricated import KL, cells, make_run, picture

from experiments import ibgan_beta_sweep, ibgan_convergence, reporting, running


def task(beta, seed, *, steps=5_000, data="sprites"):
    return running.make_task(data, "ibgan", seed=seed, num_steps=steps, preset="cpu", beta=beta)


def lines(lower, upper):
    """A log whose medians are the second entries, with a value that is not finite."""
    return [
        {"step": 50 * (i + 1), "Q/info_lower": a, "E/info_upper": b}
        for i, (a, b) in enumerate(zip(lower, upper, strict=True))
    ]


def write(script, workdir, *arguments):
    """The page and the JSON file that the command writes from what is there."""
    name, out = script.__name__.split(".")[-1], workdir.parent / "out"
    script.main([f"--workdir={workdir}", f"--out={out}", "--table_only", *arguments])
    assert picture(out / f"{name}.png").shape[0] > 300
    return (out / f"{name}.md").read_text(), json.loads((out / f"{name}.json").read_text())


# ---- Fig. 3


@pytest.fixture
def sweep(tmp_path):
    """Two betas, two seeds: medians of I^L 1 and 3, of I^U 2 and 5."""
    logs = (
        lines([0.0, 1.0, 9.0, math.nan], [1.0, 2.0, 2.5, math.nan]),
        [*lines([2.0, 3.0, 4.0], [4.0, 5.0, 9.0]), {"step": 120, "eval/factor_vae": 0.6}],
    )
    for beta, scores in ((0.0, (0.2, 0.4)), (0.212, (0.5, math.nan))):
        for seed, score in enumerate(scores):
            make_run(tmp_path / "runs", task(beta, seed), score, series=logs[seed])
    return tmp_path / "runs"


def test_median_over_steps_then_mean_over_seeds(sweep):
    page, content = write(ibgan_beta_sweep, sweep, "--betas=0,0.212", "--seeds=2")
    first, second = content["rows"]
    assert (first["beta"], first["seeds"], first["step"]) == (0.0, [0, 1], 5_000)
    assert first["info_lower"]["values"] == [1.0, 3.0] and first["info_lower"]["mean"] == 2.0
    assert first["info_upper"]["values"] == [2.0, 5.0]
    assert first["gap"]["values"] == [1.0, 2.0]
    assert first["gap"]["std"] == pytest.approx(np.sqrt(0.5))
    assert first["last"]["info_upper"]["mean"] == 4.5
    assert first["factor_vae"]["mean"] == pytest.approx(0.3)
    assert first["factor_vae_on_the_way"]["values"] == [0.6]
    assert second["factor_vae"]["values"] == [0.5, None]
    row = cells(page, "sprites", "0", "5,000", "2")
    assert row[4:7] == ["2.000 +- 1.414", "3.500 +- 2.121", "1.500 +- 0.707"]
    assert row[8:] == ["0.30 +- 0.14", "0.20 0.40", "0.60", "2,000 + 1,000 votes"]
    row = cells(page, "sprites", "0.212")
    assert row[8:10] == ["0.50 (1 of 2 undefined)", "0.50 nan"]
    assert "No run is missing" in page


def test_betas_without_runs_are_said(sweep):
    _, content = write(ibgan_beta_sweep, sweep)
    assert "`sprites_ibgan_beta0`, seed 2: not started" in content["missing"]
    assert "`sprites_ibgan_beta0.071`, seeds 0, 1, 2: not started" in content["missing"]
    assert len(content["missing"]) == 8


def test_runs_of_the_table_are_taken_where_they_lie(sweep):
    for seed in range(2):
        table = running.make_task("sprites", "ibgan", seed=seed, num_steps=5_000, preset="cpu")
        make_run(sweep, table, 0.4)
    page, content = write(ibgan_beta_sweep, sweep, "--betas=0.141", "--seeds=2")
    assert content["rows"][0]["runs"] == ["sprites_ibgan_0", "sprites_ibgan_1"]
    assert content["rows"][0]["info_lower"]["mean"] is None  # nothing was logged
    assert cells(page, "sprites", "0.141")[4] == "undefined"


# ---- Fig. 4


def convergence_log():
    return [
        {"step": 50 * i, "E/kl_01": 0.1 * i, "E/kl_02": 1.0, "E/kl_03": math.nan}
        for i in range(1, 5)
    ] + [{"step": 100, "eval/factor_vae": 0.25}, {"step": 200, "eval/factor_vae": 0.5}]


def test_kl_and_score_of_every_seed(tmp_path):
    for seed in range(2):
        make_run(tmp_path / "runs", task(0.212, seed), 0.6, series=convergence_log())
    page, content = write(ibgan_convergence, tmp_path / "runs", "--num_steps=5000", "--seeds=3")
    assert [row["seed"] for row in content["rows"]] == [0, 1]
    row = content["rows"][0]
    assert row["kl"] == KL and row["in_use"] == 2
    assert row["kl_curves"]["r1"]["step"] == [50, 100, 150, 200]
    assert row["kl_curves"]["r1"]["kl"] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert row["kl_curves"]["r3"] == {"step": [], "kl": []}
    assert row["score_curve"] == {"step": [100, 200], "score": [0.25, 0.5]}
    words = cells(page, "`sprites_ibgan_beta0.212_0`", "0.212", "5,000", "0.60")
    assert words[-3:] == ["2", "r2 2.00 r1 0.50 r3 0.01", "100: 0.25, 200: 0.50"]
    assert content["missing"] == ["`sprites_ibgan_beta0.212`, seed 2: not started"]


def test_a_run_without_a_log_has_no_curves(tmp_path):
    make_run(tmp_path / "runs", task(0.212, 0), math.nan)
    page, content = write(ibgan_convergence, tmp_path / "runs", "--num_steps=5000")
    assert content["rows"][0]["kl_curves"] == {}
    assert cells(page, "`sprites_ibgan_beta0.212_0`")[3] == "undefined"


# ---- numbers


def test_thinned_curves_are_means_over_blocks():
    steps, values = reporting.thinned((np.arange(1, 9), np.arange(8.0)), most=4)
    assert steps.tolist() == [2, 4, 6, 8] and values.tolist() == [0.5, 2.5, 4.5, 6.5]
    steps, values = reporting.thinned((np.arange(3), np.array([1.0, np.nan, np.inf])))
    assert steps.tolist() == [0] and values.tolist() == [1.0]
    assert [len(a) for a in reporting.thinned((np.arange(0), np.zeros(0)))] == [0, 0]


def test_summary_and_its_words():
    numbers = reporting.summary([1.0, math.nan, 2.0])
    assert numbers == {"mean": 1.5, "std": pytest.approx(np.sqrt(0.5)), "values": [1.0, None, 2.0]}
    assert reporting.spread(numbers) == "1.50 +- 0.71 (1 of 3 undefined)"
    assert reporting.spread(reporting.summary([0.5])) == "0.50"
    assert reporting.spread(reporting.summary([math.inf])) == "undefined"
    assert reporting.spread(reporting.summary([])) == ""


def test_wall_time_is_that_of_the_event_files(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    def record(wall_time):
        data = Event(wall_time=wall_time, step=1).SerializeToString()
        return len(data).to_bytes(8, "little") + b"...." + data + b"...."

    assert reporting.training_seconds(tmp_path) is None
    (tmp_path / "tensorboard").mkdir()
    for name, times in (("a", (10.0, 15.0, 70.0)), ("b", (500.0, 530.0))):
        torn = record(9e9)[:-2]  # a crash in the middle of a line
        text = b"".join(map(record, times)) + torn
        (tmp_path / "tensorboard" / f"events.out.{name}").write_bytes(text)
    assert reporting.training_seconds(tmp_path) == 90.0
