"""The bench: what it trains, what its page says of run directories, and a whole tiny one."""

import json

import numpy as np
import pytest
from fabricated import cells, make_run, picture

from experiments import bench, bench_paper, bench_settings, options, running
from ivg import build, rundir
from ivg.configs import base
from ivg.errors import UserError
from ivg.methods import METHODS

SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "sprites": (64, 64, 1), "celeba": (64, 64, 3)}
SCORES = (0.25, 0.40, 0.31)


def task(method, seed=0, *, data="sprites", preset="cpu", arguments=()):
    args = bench.parse([f"--data={data}", f"--preset={preset}", *arguments])
    return bench_settings.make_task(args, data, method, seed)


def add(folder, **results):
    """More numbers for a fabricated run."""
    found = json.loads((folder / "results.json").read_text())
    rundir.write_json(folder / "results.json", found | results)


def write(workdir, *arguments):
    """The page, the JSON file and where they are, from what is there."""
    out = workdir.parent / "out"
    bench.main([f"--workdir={workdir}", f"--out={out}", "--table_only", *arguments])
    (path,) = out.glob("bench_*.json")
    assert picture(path.with_suffix(".png")).shape[1] > 300
    return path.with_suffix(".md").read_text(), json.loads(path.read_text()), out


# ---- what is trained


def test_methods_are_all_that_the_data_allow():
    for data in bench_settings.DATA:
        methods = bench_settings.methods_of(data)
        left_out = set() if data == "celeba" else set(base.ATTRIBUTE_METHODS)
        assert set(methods) == METHODS.keys() - left_out and len(set(methods)) == len(methods)
    assert bench.parse([]).methods == bench_settings.methods_of("sprites")


@pytest.mark.parametrize("method", ["gan", "infogan", "ibgan", "vae", "beta_vae"])
def test_runs_of_ibgans_table_are_taken_as_they_are(method):
    ours = task(method)
    theirs = running.make_task("sprites", method, seed=0, num_steps=5_000, preset="cpu")
    assert ours.name == theirs.name and ours.num_steps == theirs.num_steps
    assert ours.config == theirs.config


@pytest.mark.parametrize("data", SHAPES)
@pytest.mark.parametrize("preset", bench_settings.PRESETS)
def test_every_config_is_one_that_can_be_built(preset, data):
    for method in bench_settings.methods_of(data):
        config = task(method, data=data, preset=preset).config
        build.check_method(config)
        build.check_numbers(config)
        size = config["data"]["image_size"]
        shape = (size, size, SHAPES[data][2]) if size else SHAPES[data]
        build.make_method(
            method, image_shape=shape, batch_size=config["batch_size"], hyper=config[method]
        )


def test_presets():
    smoke, cpu, paper = (
        {m: task(m, preset=preset).config for m in bench_settings.methods_of("sprites")}
        for preset in ("smoke", "cpu", "paper")
    )
    assert {m: c["num_steps"] for m, c in cpu.items() if c["num_steps"] != 5_000} == {"gan": 10_000}
    assert {c["batch_size"] for c in cpu.values()} == {64}
    assert {m: c["num_steps"] for m, c in smoke.items() if c["num_steps"] != 10} == {"gan": 20}
    for method in ("infovaegan", "infovaegan_joint", "infovaegan_invariant", "wgan_gp", "ali"):
        own = cpu[method][method]
        assert own["network"] == {"name": "infogancr64", "width": 1.0}
        assert own.get("num_critic", 1) == 1
        assert paper[method][method] == bench_settings.file_config("sprites", method)[method]
    assert paper["vae"]["num_steps"] == 300_000 and paper["ibgan"]["num_steps"] == 150_000
    assert (paper["gan"]["gan"]["game_steps"], paper["gan"]["num_steps"]) == (150_000, 300_000)


def test_schedules_end_within_the_run():
    jointvae, cr, ibgan = (task(m).config[m] for m in ("jointvae", "infogan_cr", "ibgan"))
    assert jointvae["capacity_steps"] == 5_000 and cr["cr_start"] == 4_500
    assert ibgan["noise_steps"] == 100_000  # a part of the file's run: as it is
    assert task("ibgan", data="chairs").config["ibgan"]["noise_steps"] == 5_000  # all of it
    smoke = task("infovaegan_invariant", data="digits", preset="smoke").config
    assert smoke["infovaegan_invariant"]["agreement_steps"] == 5
    whole = task("jointvae", preset="paper").config["jointvae"]
    assert whole["capacity_steps"] == 300_000


def test_data_have_their_own_lengths_and_folders(tmp_path):
    assert task("vae", data="mnist").num_steps == 6_500
    assert task("vae", data="digits").num_steps == 6_000
    folder = task("vae", data="chairs", arguments=[f"--data_dir={tmp_path}"]).config["data"]["dir"]
    assert folder == str(tmp_path)


MISTAKES = [
    ("--methods=ibgn", '--methods knows no "ibgn"; did you mean "ibgan"'),
    ("--methods=mmvae", '--methods knows no "mmvae"'),
    ("--methods=", "--methods knows no"),
    ("--data=sprite", '--data knows no "sprite"; did you mean "sprites"'),
    ("--data=digits,mnist", "names 2 data sets; use one at a time"),
    ("--runs=0", "--seeds=0 must be at least 1"),
    ("--num_steps=0", "--num_steps=0 must be at least 1"),
    ("--data_dir=.", "is not needed: sprites has no files"),
    ("--preset=gpu", '--preset knows no "gpu"'),
    ("--workdir=nowhere", "no run in nowhere has any scores yet"),
]


@pytest.mark.parametrize("argument, sentence", MISTAKES)
def test_mistakes_are_one_sentence(argument, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench", argument, "--table_only"])
    with pytest.raises(SystemExit) as stop:
        options.command(bench.main)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error


# ---- training


@pytest.fixture
def trained(monkeypatch):
    """Names of the runs that would be trained; those of "infogan" break."""
    names = []

    def train_group(group, workdir):
        names.extend(run.task.name for run in group)
        if group[0].task.method == "infogan":
            raise UserError("step 7: a loss of player G is not finite.")

    monkeypatch.setattr(running, "train_group", train_group)
    return names


def test_a_method_that_breaks_is_passed_over_and_named(tmp_path, trained):
    make_run(tmp_path / "runs", task("vae"), 0.4)
    arguments = ["--methods=infogan,vae,ibgan", "--runs=2"]
    bench.main([f"--workdir={tmp_path / 'runs'}", f"--out={tmp_path}", *arguments])
    assert trained == ["sprites_infogan_0", "sprites_vae_1", "sprites_ibgan_0",
                       "sprites_infogan_1", "sprites_ibgan_1"]  # fmt: skip
    missing = json.loads((tmp_path / "bench_sprites.json").read_text())["missing"]
    assert missing[0] == "`sprites_infogan_0` broke off: step 7: a loss of player G is not finite."
    assert "`sprites_ibgan`, seeds 0, 1: not started" in missing


def test_what_is_wrong_with_all_is_said_once(tmp_path, trained):
    with pytest.raises(UserError, match="step 7"):
        bench.main([f"--workdir={tmp_path}", f"--out={tmp_path}", "--methods=infogan", "--runs=2"])


def test_another_run_in_a_directory_is_an_error_before_anything_is_trained(tmp_path, trained):
    other = task("vae")
    other.config["vae"]["dim_z"] = 5
    make_run(tmp_path, other, 0.4)
    with pytest.raises(UserError, match="sprites_vae_0 holds .*vae.dim_z: 5 -> 10"):
        bench.main([f"--workdir={tmp_path}", f"--out={tmp_path}", "--methods=infogan,vae"])
    assert trained == []


# ---- the page


@pytest.fixture
def runs(tmp_path):
    """Three seeds of IB-GAN, one of JointVAE, one of a plain GAN, on sprites."""
    for seed, score in enumerate(SCORES):
        folder = make_run(tmp_path / "runs", task("ibgan", seed), score)
        add(folder, reconstruction_mse=0.02 * (seed + 1))
    folder = make_run(tmp_path / "runs", task("jointvae"), 0.5)
    add(folder, reconstruction_mse=0.0123, **{"log_likelihood/bound": -25.0})
    make_run(tmp_path / "runs", task("gan"), 0.2)
    return tmp_path / "runs"


def test_scores_stand_beside_the_papers(runs):
    page, content, _ = write(runs, "--methods=ibgan,jointvae,gan,infogan_cr")
    row = cells(page, "`ibgan`", "5,000", "3")
    mean, std = np.mean(SCORES), np.std(SCORES, ddof=1)
    assert row[3:5] == [f"{mean:.2f} +- {std:.2f}", "0.25 0.40 0.31"]
    assert row[6] == "0.80 +- 0.07 (IB-GAN)"
    assert row[7] == (
        "5,000 steps, not 150,000; 3 of 10 seeds; 2,000 + 1,000 votes, not 10,000 + 5,000"
    )
    assert cells(page, "`gan`")[1:4] == ["5,000 + 5,000", "1", "0.20"]
    joint = cells(page, "`jointvae`")
    assert joint[6] == "0.69 (InfoVAEGAN)" and "capacity_steps 5,000, not 300,000" in joint[7]
    absent = cells(page, "`infogan_cr`")
    assert absent[2:4] == ["0", "no run yet"]
    assert absent[6] == "0.88 +- 0.01 (InfoGAN-CR); 0.92 (InfoGAN-CR, chosen by ModelCentrality)"
    assert content["missing"] == [
        "`sprites_jointvae`, seeds 1, 2: not started",
        "`sprites_gan`, seeds 1, 2: not started",
        "`sprites_infogan_cr`, seeds 0, 1, 2: not started",
    ]
    assert "Frechet distance: left out" in page


def test_other_scores_have_tables_of_their_own(runs):
    page, content, _ = write(runs, "--methods=ibgan,jointvae,gan")
    factors = page.split("Other scores of the true factors")[1]
    assert cells(factors, "method")[1:] == ["factor_vae_ibgan", "mig"]
    assert cells(factors, "`ibgan`")[1:] == ["0.42 +- 0.08", "0.16 +- 0.04"]
    images = page.split("Images and information")[1]
    assert cells(images, "`ibgan`")[1:] == [
        "0.0400 +- 0.0200", "", "", "3.00 +- 0.00", "4.50 +- 0.00"]  # fmt: skip
    assert cells(images, "`jointvae`")[1:5] == ["0.0123", "-25.00", "bernoulli", "3.00"]
    row = next(r for r in content["rows"] if r["method"] == "ibgan")
    assert row["scores"]["disentanglement.factor_vae"]["values"] == list(SCORES)
    assert row["recipes"]["factor_vae"]["train_votes"] == 2_000
    assert content["made_with"]["devices"] == ["cpu x 1"]
    command = "python -m experiments.bench --preset=cpu --methods=ibgan,jointvae,gan"
    assert content["command"] == command


def test_frechet_distances_have_a_table_where_there_are_some(runs):
    parts = {"kid_mean": 0.0125, "precision": 0.5, "recall": 0.25, "counts": {"real": 70}}
    for seed, distance in enumerate((10.0, 12.0, 14.0)):
        add(runs / f"sprites_ibgan_{seed}", fid={"distance": distance} | parts)
    add(runs / "sprites_gan_0", frechet_classifier={"distance": 3.0} | parts)
    page, content, _ = write(runs, "--methods=ibgan,jointvae,gan")
    table = page.split("nats.")[-1]
    assert cells(table, "method")[1:3] == ["fid distance", "fid KID x 1000"]
    assert cells(table, "`ibgan`")[1:] == [
        "12.00 +- 2.00", "12.50 +- 0.00", "50.0 +- 0.0", "25.0 +- 0.0", "", "", "", ""]  # fmt: skip
    assert cells(table, "`gan`")[5:] == ["3.00", "12.50", "50.0", "25.0"]
    assert cells(table, "`jointvae`")[1:] == [""] * 8
    assert "no FID" in page and "Frechet distance: left out" not in page
    row = next(r for r in content["rows"] if r["method"] == "ibgan")
    assert row["scores"]["fid.distance"]["mean"] == 12 and "fid.counts.real" not in row["scores"]


def test_clusters_are_per_cent_and_codes_have_a_column_of_their_own(tmp_path):
    for method, part, value in (("jointvae", "clustering", 0.7), ("vae", "kmeans_codes", 0.5)):
        folder = make_run(tmp_path / "runs", task(method, data="mnist"), 0.0)
        found = {part: {"accuracy_one_to_one": value, "nmi": 0.25}, "disentanglement": {}}
        add(folder, **found)
    page, _, _ = write(tmp_path / "runs", "--data=mnist", "--methods=jointvae,vae", "--runs=1")
    assert cells(page, "method")[3:7] == [
        "clusters %", "each seed", "k-means on codes %", "each seed"]  # fmt: skip
    joint, vae = cells(page, "`jointvae`"), cells(page, "`vae`")
    assert joint[3:7] == ["70.00", "70.00", "", ""] and vae[3:7] == ["", "", "50.00", "50.00"]
    assert joint[8] == "71.53, best 87.32 (InfoVAEGAN)" and vae[8] == ""
    assert "6,500 steps, not 94,000" in joint[9] and "1 of 4 seeds" in joint[9]
    others = page.split("Other scores of the clusters")[1]
    assert cells(others, "`vae`")[1:] == ["", "25.00"]


def test_the_sheet_shows_the_best_seed_of_each_method(runs):
    page, content, out = write(runs, "--methods=ibgan,jointvae,gan")
    assert {p["picture"] for p in content["pictures"]} == {"traversal_images.png"}
    assert {p["method"]: p["run"] for p in content["pictures"]} == {
        "ibgan": "sprites_ibgan_1",
        "jointvae": "sprites_jointvae_0",
        "gan": "sprites_gan_0",
    }
    assert "bench_sprites_traversals.png" in page
    sheet = picture(out / "bench_sprites_traversals.png")
    assert np.any(np.all(sheet == 10, axis=-1))  # seed 1's shade


def test_the_papers_numbers():
    means = {method: [p.value for p in bench_paper.of("sprites", method)] for method in METHODS}
    assert {m: v for m, v in means.items() if v} == {
        "gan": [0.40], "infogan": [0.61], "ibgan": [0.80], "vae": [0.61], "beta_vae": [0.69, 0.73],
        "factorvae": [0.81, 0.82], "beta_tcvae": [0.79], "infovaegan": [0.79], "jointvae": [0.69],
        "infogan_cr": [0.88, 0.92],
    }  # fmt: skip
    assert bench_paper.of("mnist", "infovaegan")[0].words() == "95.42, best 96.15 (InfoVAEGAN)"
    assert bench_paper.of("digits", "infovaegan") == ()


# ---- a whole one


def test_a_tiny_bench_from_nothing_and_again(tmp_path, monkeypatch):
    arguments = [
        "--data=digits",
        "--preset=smoke",
        "--methods=vae,wgan_gp",
        f"--workdir={tmp_path}",
    ]
    bench.main(arguments)
    page = (tmp_path / "bench_digits.md").read_text()
    assert "No run is missing." in page
    assert 0 < float(cells(page, "`vae`", "10", "1")[3]) <= 100
    assert cells(page, "`wgan_gp`", "10", "1")[3] == ""  # it infers nothing
    content = json.loads((tmp_path / "bench_digits.json").read_text())
    words = "--preset=smoke --data=digits --methods=vae,wgan_gp"
    assert content["command"] == f"python -m experiments.bench {words}"
    assert [p["picture"] for p in content["pictures"]] == ["traversal_codes.png", "samples.png"]
    assert picture(tmp_path / "bench_digits_traversals.png").shape[1] > 1_000
    monkeypatch.setattr(running, "train_group", lambda *_: pytest.fail("trained again"))
    bench.main(arguments)
    assert (tmp_path / "bench_digits.md").read_text() == page
