"""Table 1 from run directories: its numbers, its words, what is missing, the pictures."""

import json
import math
import re

import numpy as np
import pytest
from fabricated import VERSIONS, cells, make_run, picture

from experiments import ibgan_table1, running

SCORES = (0.25, 0.40, 0.31)


def task(method, seed, *, data="sprites", steps=5_000):
    return running.make_task(data, method, seed=seed, num_steps=steps, preset="cpu")


def write(workdir, *arguments):
    """The page and the JSON file that the command writes from what is there."""
    out = workdir.parent / "out"
    ibgan_table1.main([f"--workdir={workdir}", f"--out={out}", "--table_only", *arguments])
    page = (out / "ibgan_table1.md").read_text()
    assert picture(out / "ibgan_table1.png").shape[1] > 300
    return page, json.loads((out / "ibgan_table1.json").read_text()), out


@pytest.fixture
def runs(tmp_path):
    """Three seeds of IB-GAN and GAN on sprites, of IB-GAN alone on coloured ones."""
    for seed, score in enumerate(SCORES):
        series = [{"step": 2_500, "eval/factor_vae": score / 2}]
        make_run(tmp_path / "runs", task("ibgan", seed), score, series=series)
        make_run(tmp_path / "runs", task("gan", seed), score / 2)
        make_run(tmp_path / "runs", task("ibgan", seed, data="color_sprites"), score + 0.2)
    return tmp_path / "runs"


def test_numbers_of_the_table(runs):
    page, content, _ = write(runs)
    row = cells(page, "sprites", "`ibgan`", "5,000", "3")
    mean, std = np.mean(SCORES), np.std(SCORES, ddof=1)
    assert row[4:6] == [f"{mean:.2f} +- {std:.2f}", "0.25 0.40 0.31"]
    assert row[6:8] == [f"{mean + 0.1:.2f} +- {std:.2f}", "0.35 0.50 0.41"]
    assert row[8] == "0.80 +- 0.07"
    assert row[9] == (
        "5,000 steps, not 150,000; 3 of 10 seeds; 2,000 + 1,000 votes, not 10,000 + 5,000"
    )
    assert cells(page, "sprites", "`gan`")[2] == "5,000 + 5,000"
    found = content["rows"][1]
    assert (found["data"], found["method"], found["seeds"]) == ("sprites", "ibgan", [0, 1, 2])
    assert found["scores"]["factor_vae"]["values"] == list(SCORES)
    assert found["scores"]["factor_vae"]["mean"] == pytest.approx(mean)
    assert found["recipes"]["factor_vae"]["train_votes"] == 2_000
    assert found["paper"] == [0.80, 0.07]


def test_paper_numbers_are_table_1():
    """In the order gan, infogan, ibgan, vae, beta_vae, factorvae, beta_tcvae."""
    means, spreads = (
        {
            data: [ibgan_table1.PAPER[data, method][i] for method in ibgan_table1.METHODS]
            for data in ("sprites", "color_sprites")
        }
        for i in (0, 1)
    )
    assert means == {
        "sprites": [0.40, 0.61, 0.80, 0.61, 0.69, 0.81, 0.79],
        "color_sprites": [0.35, 0.55, 0.79, 0.59, 0.74, 0.82, 0.80],
    }
    assert spreads == {
        "sprites": [0.05, 0.03, 0.07, 0.04, 0.09, 0.07, 0.06],
        "color_sprites": [0.04, 0.08, 0.05, 0.06, 0.06, 0.06, 0.07],
    }


def test_autoencoders_stand_beside_the_gans(runs):
    for seed in range(3):
        make_run(runs, task("vae", seed), 0.5 + 0.1 * seed)
    page, content, _ = write(runs, "--data=sprites")
    row = cells(page, "sprites", "`vae`")
    assert row[2:6] == ["5,000", "3", "0.60 +- 0.10", "0.50 0.60 0.70"]
    assert row[8:] == [
        "0.61 +- 0.04",
        "5,000 steps, not 300,000; 3 of 10 seeds; 2,000 + 1,000 votes, not 10,000 + 5,000",
    ]
    assert [r["method"] for r in content["rows"]] == ["gan", "ibgan", "vae"]
    assert cells(page, "sprites", "`beta_tcvae`")[8] == "0.79 +- 0.06"


def test_other_scores_and_bounds(runs):
    page, _, _ = write(runs)
    row = cells(page.split("Other scores")[1], "sprites", "`ibgan`")
    assert row[2:] == ["5,000", "0.16 +- 0.04", "3.00 +- 0.00", "4.50 +- 0.00"]
    assert cells(page.split("Other scores")[1], "sprites", "`gan`")[2:][-1] == ""


def test_early_scores_stand_beside_the_authors_log(runs):
    page, content, _ = write(runs)
    early = page.split("IB-GAN early")[1]
    assert cells(early, "2,500")[1:3] == ["", "0.16 +- 0.04 (few votes)"]
    assert cells(early, "5,000")[1:] == [
        "0.27",
        "0.32 +- 0.08; `ibgan` preset 0.42 +- 0.08",
        "0.52 +- 0.08; `ibgan` preset 0.62 +- 0.08",
    ]
    assert [cells(early, step)[1] for step in ("20,000", "40,000")] == ["0.46", "0.53"]
    assert content["early"][1]["ours"]["sprites"]["factor_vae"]["values"] == list(SCORES)


def test_what_is_missing_is_said(runs):
    make_run(runs, task("ibgan", 7), None, series=[{"step": 800, "D/loss": 1.0}])
    page, content, _ = write(runs, "--data=sprites", "--seeds=4")
    assert content["missing"] == [
        "`sprites_ibgan_7`: unfinished, logged until step 800 of 5,000",
        "`sprites_gan`, seed 3: not started",
        "`sprites_infogan`, seeds 0, 1, 2, 3: not started",
        "`sprites_ibgan`, seed 3: not started",
        *(f"`sprites_{vae}`, seeds 0, 1, 2, 3: not started" for vae in ibgan_table1.VAES),
    ]
    assert all(f"- {line}" in page for line in content["missing"])
    assert cells(page, "sprites", "`infogan`")[3:5] == ["0", "no run yet"]
    assert cells(page, "sprites", "`infogan`")[8] == "0.61 +- 0.03"


def test_nothing_missing_is_said_too(runs):
    page, content, _ = write(runs, "--methods=ibgan")
    assert content["missing"] == [] and "No run is missing." in page
    assert "infogan`" not in page


def test_all_seeds_count(runs):
    make_run(runs, task("ibgan", 12), 0.9)
    page, content, _ = write(runs, "--data=sprites", "--methods=ibgan")
    assert cells(page, "sprites", "`ibgan`")[3:6] == ["4", "0.47 +- 0.30", "0.25 0.40 0.31 0.90"]
    assert content["rows"][0]["seeds"] == [0, 1, 2, 12]


def test_a_score_that_is_no_number_is_neither_dropped_nor_averaged(runs):
    make_run(runs, task("ibgan", 3), math.nan)
    page, content, _ = write(runs, "--data=sprites", "--methods=ibgan", "--seeds=4")
    row = cells(page, "sprites", "`ibgan`")
    assert row[3:6] == ["4", "0.32 +- 0.08 (1 of 4 undefined)", "0.25 0.40 0.31 nan"]
    assert content["rows"][0]["scores"]["factor_vae"]["values"] == [*SCORES, None]
    assert [t["run"] for t in content["traversals"]] == ["sprites_ibgan_1", "sprites_ibgan_0"]


def test_other_steps_and_other_votes_are_rows_of_their_own(runs):
    make_run(runs, task("ibgan", 3), 0.1, step=2_000)
    make_run(runs, task("ibgan", 4), 0.5, votes=(10_000, 5_000))
    page, content, _ = write(runs, "--data=sprites", "--methods=ibgan", "--seeds=5")
    assert [(r["step"], r["seeds"]) for r in content["rows"]] == [
        (2_000, [3]),
        (5_000, [0, 1, 2]),
        (5_000, [4]),
    ]
    assert cells(page, "sprites", "`ibgan`", "5,000", "1")[9] == (
        "5,000 steps, not 150,000; 1 of 10 seeds"
    )
    assert "scores of step 2,000" in content["missing"][0]


def test_another_config_is_said_beneath_the_table(tmp_path):
    noisy = task("ibgan", 0)
    noisy.config["ibgan"]["beta"] = 0.3
    make_run(tmp_path / "runs", noisy, 0.4)
    _, content, _ = write(tmp_path / "runs", "--methods=ibgan", "--data=sprites", "--seeds=1")
    assert content["missing"] == ["`sprites_ibgan_0` has another config: ibgan.beta: 0.3 -> 0.141"]


def test_the_papers_protocol_has_no_difference(tmp_path):
    for seed in range(10):
        make_run(tmp_path / "runs", task("ibgan", seed, steps=150_000), 0.8, votes=(10_000, 5_000))
    page, _, _ = write(tmp_path / "runs", "--preset=paper", "--methods=ibgan", "--data=sprites")
    assert cells(page, "sprites", "`ibgan`", "150,000", "10")[9] == (
        "as far as it is known, the same"
    )


def test_where_it_comes_from(tmp_path):
    dirty = VERSIONS | {"commit": "fedcba9876", "dirty": True}
    series = [{"step": 50, "D/loss": 1.0}]
    make_run(tmp_path / "runs", task("ibgan", 0), 0.4, series=series)
    make_run(tmp_path / "runs", task("ibgan", 1), 0.4, series=series, versions=dirty)
    page, content, out = write(tmp_path / "runs", "--methods=ibgan", "--data=sprites", "--seeds=2")
    command = "python -m experiments.ibgan_table1 --preset=cpu --seeds=2 --data=sprites"
    assert content["command"] == f"{command} --methods=ibgan"
    last = page.splitlines()[-1]
    assert "Commit 0123456 / fedcba9 with changes; device cpu x 1; jax 0.10.2" in last
    assert re.search(r"training took 0\.0 minutes a run\.", last)
    assert not any(str(tmp_path) in (out / f"ibgan_table1.{e}").read_text() for e in ("md", "json"))


def test_traversals_of_the_best_and_the_worst_seed(runs):
    page, content, out = write(runs)
    assert [(t["picture"], t["run"]) for t in content["traversals"]] == [
        ("ibgan_traversal_best.png", "sprites_ibgan_1"),
        ("ibgan_traversal_worst.png", "sprites_ibgan_0"),
        ("ibgan_traversal_color_sprites_best.png", "color_sprites_ibgan_1"),
        ("ibgan_traversal_color_sprites_worst.png", "color_sprites_ibgan_0"),
    ]
    label = "IB-GAN on sprites, best of 3 seeds: seed 1, step 5,000, FactorVAE 0.40"
    assert f"![{label}](ibgan_traversal_best.png)" in page
    best = picture(out / "ibgan_traversal_best.png")
    assert np.all(best[-20:, :30] == 10)  # seed 1's picture, below ...
    assert best[:-20].min() < 100 and best[0, 0].min() == 255  # ... a line of text


def test_the_only_seed_is_neither_best_nor_worst(tmp_path):
    make_run(tmp_path / "runs", task("ibgan", 0), 0.4)
    page, content, _ = write(tmp_path / "runs")
    assert page.count("![") == 1
    assert all("the only seed" in t["label"] for t in content["traversals"])
