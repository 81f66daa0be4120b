"""InfoVAEGAN's Tables 1 and 2 from run directories: numbers, words, what is missing, settings."""

import argparse
import json
import math

import pytest
from fabricated import VERSIONS, begin, cells, header, make_run, picture

from experiments import (
    bench_settings,
    infovaegan_runs,
    infovaegan_table1,
    infovaegan_table2,
    running,
)
from ivg import build
from ivg.errors import UserError
from ivg.methods import METHODS

PROVENANCE = VERSIONS | {"commit": "0123456789", "dirty": False}


def task(method, seed=0, *, data="mnist", preset="cpu", arguments=()):
    args = infovaegan_table1.parse([f"--preset={preset}", *arguments])
    return infovaegan_runs.make_task(args, data, method, seed)


def scores(accuracy):
    return {
        "accuracy_one_to_one": accuracy,
        "accuracy_many_to_one": accuracy + 0.01,
        "nmi": accuracy - 0.02,
        "ari": accuracy - 0.1,
    }


def make_clustering_run(workdir, task, *, folder=None, step=None, **found):
    """A run; `found` says which of clustering, kmeans_codes, kmeans it has, as accuracies."""
    path = begin(workdir / (folder or task.name), task, ())
    results = header(task, step, PROVENANCE) | {k: scores(v) for k, v in found.items()}
    results |= {"reconstruction_mse": 0.12, "log_likelihood/bound": -795.25}
    (path / "results.json").write_text(json.dumps(results))
    return path


def write(script, workdir, *arguments):
    """The page and the JSON file that the command writes from what is there."""
    name, out = script.__name__.split(".")[-1], workdir.parent / "out"
    script.main([f"--workdir={workdir}", f"--out={out}", "--table_only", *arguments])
    assert picture(out / f"{name}.png").shape[0] > 300
    return (out / f"{name}.md").read_text(), json.loads((out / f"{name}.json").read_text())


# ---- Table 1


@pytest.fixture
def runs(tmp_path):
    """Two seeds with classes, and a method without."""
    workdir = tmp_path / "runs"
    for seed, accuracy in enumerate((0.5, 0.7)):
        make_clustering_run(workdir, task("jointvae", seed), clustering=accuracy, kmeans=0.54)
    make_clustering_run(workdir, task("ali"), kmeans_codes=0.6)
    return workdir


def test_accuracy_of_classes_and_of_codes(runs):
    page, content = write(infovaegan_table1, runs, "--methods=jointvae,ali,infogan", "--seeds=2")
    row = cells(page, "mnist", "`jointvae`", "15,000", "2")
    assert row[4:9] == ["argmax of d", "60.00 +- 14.14", "70.00", "50.00 70.00", "71.53, 87.32"]
    assert row[9:12] == ["54.00 +- 0.00", "0.580 +- 0.141", "0.500 +- 0.141"]
    assert row[12] == "15,000 steps of 64, not 94,000 of 64; 2 of 4 seeds"
    row = cells(page, "mnist", "`ali`")
    assert row[3:8] == ["1", "k-means on the codes", "60.00", "60.00", "60.00"]
    assert row[8:10] == ["", ""] and row[12] == "20,000 steps of 64"
    assert cells(page, "mnist", "`infogan`")[3:9] == ["0", "", "no run yet", "", "", "93.35"]
    first = content["rows"][0]
    assert first["method"] == "jointvae" and first["seeds"] == [0, 1]
    assert first["accuracy"]["mean"] == pytest.approx(60.0) and first["accuracy"]["best"] == 70.0
    assert first["many_to_one"]["values"] == pytest.approx([51.0, 71.0])
    assert first["paper"] == [71.53, 87.32] and first["runs"] == ["mnist_jointvae_0",
                                                                  "mnist_jointvae_1"]  # fmt: skip
    assert cells(page.split("same checkpoints")[1], "mnist", "`jointvae`")[3:] == [
        "61.00 +- 14.14", "0.1200 +- 0.0000", "-795.2 +- 0.0"
    ]  # fmt: skip
    assert content["missing"] == [
        "`mnist_ali`, seed 1: not started",
        "`mnist_infogan`, seeds 0, 1: not started",
    ]


def test_the_papers_other_rows_stand_below(runs):
    page, _ = write(infovaegan_table1, runs)
    quoted = page.split("quotes of other methods")[1]
    assert cells(quoted, "CatGAN") == ["CatGAN", "30", "95.73"]
    assert cells(quoted, "DEC") == ["DEC", "10", "84.30"]
    assert cells(page, "mnist", "`infovaegan`")[8] == "95.42, 96.15"


def test_a_run_of_another_length_is_a_row_of_its_own(runs):
    make_clustering_run(runs, task("jointvae", 7), step=2_000, clustering=0.2)
    _, content = write(infovaegan_table1, runs, "--methods=jointvae", "--seeds=2")
    assert [(r["step"], r["seeds"]) for r in content["rows"]] == [(2_000, [7]), (15_000, [0, 1])]
    assert "scores of step 2,000" in content["missing"][0]


def test_runs_with_other_settings_are_not_averaged(runs):
    other = task("jointvae", 7)
    other.config["jointvae"]["gamma"] = 100.0
    make_clustering_run(runs, other, clustering=0.9)
    _, content = write(infovaegan_table1, runs, "--methods=jointvae", "--seeds=2")
    assert sorted(row["seeds"] for row in content["rows"]) == [[0, 1], [7]]
    assert content["missing"] == [
        "`mnist_jointvae_7` has another config: jointvae.gamma: 100.0 -> 30.0"
    ]


def test_given_run_directories_whatever_they_are(tmp_path):
    """Two seeds below one directory, as `num_runs` leaves them, and a run with its own settings."""
    several = tmp_path / "four"
    for seed, accuracy in enumerate((0.97, 0.98)):
        own = task("infovaegan_invariant", seed, arguments=["--num_steps=2500"])
        make_clustering_run(several, own, folder=f"seed_{seed}", clustering=accuracy, kmeans=0.5)
    digits = task("infovaegan", 3, data="digits", arguments=["--num_steps=77"])
    digits.config["infovaegan"]["dim_z"] = 5
    alone = make_clustering_run(tmp_path, digits, folder="alone", clustering=0.6, kmeans=0.7861)
    arguments = ["--folders", str(several), str(alone)]
    page, content = write(infovaegan_table1, tmp_path / "runs", *arguments)
    assert [(r["data"], r["method"], r["step"]) for r in content["rows"]] == [
        ("mnist", "infovaegan_invariant", 2_500),
        ("digits", "infovaegan", 77),
    ]
    assert cells(page, "mnist", "`infovaegan_invariant`")[5] == "97.50 +- 0.71"
    row = cells(page, "digits", "`infovaegan`", "77")
    assert row[8:10] == ["", "78.61"] and row[12].startswith("digits, not MNIST; 77 steps")
    assert content["missing"] == [] and str(tmp_path) not in page
    assert content["command"].endswith("infovaegan_table1 --folders four alone")


def test_other_images_are_written_under_their_name(tmp_path):
    make_clustering_run(tmp_path / "runs", task("infovaegan", data="digits"), clustering=0.6)
    out = tmp_path / "out"
    infovaegan_table1.main(
        [f"--workdir={tmp_path / 'runs'}", f"--out={out}", "--table_only", "--data=digits"]
    )
    assert sorted(path.name for path in out.iterdir()) == [
        f"infovaegan_table1_digits.{ending}" for ending in ("json", "md", "png")
    ]
    assert "CatGAN" not in (out / "infovaegan_table1_digits.md").read_text()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--methods=infogam"], 'knows no "infogam"; did you mean "infogan"'),
        (["--data=sprites"], '--data knows no "sprites"'),
        (["--data_dir=nowhere"], "--data_dir=nowhere is no directory"),
        (["--table_only", "--workdir=nowhere"], "has any clustering accuracy yet"),
        (["--folders", "nowhere"], "nowhere is not a run directory"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        infovaegan_table1.main(arguments)


def test_folders_without_scores_are_refused(tmp_path):
    begin(tmp_path / "empty", task("ali"), ())
    with pytest.raises(UserError, match="none of the --folders has any clustering accuracy"):
        infovaegan_table1.main(["--folders", str(tmp_path / "empty")])


# ---- settings


def test_every_config_of_the_presets_is_one_that_trains():
    for preset in infovaegan_table1.PRESETS:
        for data in infovaegan_runs.DATA:
            for method in infovaegan_runs.METHODS:
                config = task(method, data=data, preset=preset).config
                build.check_method(config)
                build.check_numbers(config)
                size = config["data"]["image_size"] or (8 if data == "digits" else 28)
                build.make_method(
                    method,
                    image_shape=(size, size, 1),
                    batch_size=config["batch_size"],
                    hyper=config[method],
                )
    assert set(infovaegan_runs.METHODS) <= set(METHODS)


def test_settings_of_the_presets():
    config = task("infogan", preset="paper").config
    assert config["infogan"]["network"] == {"name": "infogan28", "width": 1.0}
    assert (config["num_steps"], config["batch_size"]) == (5_000, 128)
    assert config["infogan"]["noise_steps"] == 0 and config["infogan"]["dim_z"] == 62
    rates = {k: v["learning_rate"] for k, v in config["infogan"]["optimizer"].items()}
    assert rates == {"G": 1e-3, "Q": 2e-4, "D": 2e-4}
    config = task("infovaegan", preset="paper").config["infovaegan"]
    assert config["network"]["name"] == "infogan28" and config["dim_z"] == 62
    rates = {k: v["learning_rate"] for k, v in config["optimizer"].items()}
    assert rates == {"G": 1e-4, "D": 1e-4, "q_u": 2e-4, "q_z": 2e-4, "elbo": 2e-4}


@pytest.mark.parametrize("data, length", [("mnist", (94_000, 25_000)), ("digits", (6_000, 1_600))])
def test_jointvaes_capacities_rise_over_the_same_part_of_the_run(data, length):
    config = task("jointvae", data=data, arguments=[f"--num_steps={length[0] // 2}"]).config
    assert config["jointvae"]["capacity_steps"] == length[1] // 2
    assert task("jointvae", data=data, arguments=[f"--num_steps={length[0]}"]).config["jointvae"][
        "capacity_steps"
    ] == length[1]  # fmt: skip


def test_runs_of_the_table_and_their_length():
    args = infovaegan_table1.parse(["--data=mnist,digits", "--data_dir=.", "--seeds=2"])
    tasks = infovaegan_runs.make_tasks(args)
    assert len({t.name for t in tasks}) == len(tasks) == 2 * 7 * 2
    lengths = {(t.data, t.method): t.num_steps for t in tasks}
    assert lengths["mnist", "infogan"] == 5_000 and lengths["digits", "infogan"] == 6_000
    assert {t.data: t.config["data"]["dir"] for t in tasks} == {"mnist": ".", "digits": ""}


# ---- Table 2


def sprites(method, seed, **options):
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return infovaegan_table2.make_task(infovaegan_table2.parse(arguments), method, seed)


def test_factorvae_scores_beside_the_papers(tmp_path):
    for seed, score in enumerate((0.4, 0.6, math.nan)):
        make_run(tmp_path / "runs", sprites("factorvae", seed), score)
    make_run(tmp_path / "runs", sprites("infovaegan", 0), 0.3)
    page, content = write(infovaegan_table2, tmp_path / "runs")
    row = cells(page, "`factorvae`", "5,000", "3")
    assert row[3:7] == ["0.50 +- 0.14 (1 of 3 undefined)", "0.40 0.60 nan", "0.82",
                        "0.25 +- 0.07 (1 of 3 undefined)"]  # fmt: skip
    assert row[7] == "5,000 steps, not 300,000; 3 of 10 seeds; 2,000 + 1,000 votes"
    row = cells(page, "`infovaegan`")
    assert row[5:7] == ["0.79", "0.15"]
    assert row[7].startswith(
        "5,000 steps, not 115,200; 1 of 10 seeds; 2,000 + 1,000 votes; network"
    )
    assert row[7].endswith("num_critic 1, not 5")
    assert cells(page, "`jointvae`")[2:6] == ["0", "no run yet", "", "0.69"]
    assert [row["method"] for row in content["rows"]] == ["infovaegan", "factorvae"]
    assert "`sprites_infovaegan`, seeds 1, 2: not started" in content["missing"]


def test_the_runs_are_those_of_the_bench():
    args = argparse.Namespace(preset="cpu", num_steps=5_000, data_dir=None)
    for method in infovaegan_table2.METHODS:
        assert sprites(method, 1) == bench_settings.make_task(args, "sprites", method, 1)
    vae = running.make_task("sprites", "beta_vae", seed=1, num_steps=5_000, preset="cpu")
    assert running.differences(sprites("beta_vae", 1).config, vae.config) == []
    paper = {m: sprites(m, 0, preset="paper") for m in infovaegan_table2.METHODS}
    assert {m: t.num_steps for m, t in paper.items()} == infovaegan_table2.PAPER_LENGTH
    assert paper["infovaegan"].config["infovaegan"]["num_critic"] == 5
    assert paper["jointvae"].config["jointvae"]["capacity_steps"] == 300_000


def test_the_papers_protocol_has_no_difference(tmp_path):
    for seed in range(10):
        own = sprites("beta_vae", seed, preset="paper")
        make_run(tmp_path / "runs", own, 0.7, votes=(10_000, 5_000))
    page, _ = write(infovaegan_table2, tmp_path / "runs", "--preset=paper", "--methods=beta_vae")
    assert cells(page, "`beta_vae`", "300,000", "10")[7] == "as far as it is known, the same"
