"""MMVAE's Figures 11 to 13 from run directories, and the settings and options of its scripts."""

import json
import math

import pytest
from fabricated import cells, make_attribute_run, make_run, picture

from experiments import (
    ibgan_table1,
    mmvae_curves,
    mmvae_runs,
    mmvae_table2,
    mmvae_table3,
    mmvae_weights,
    options,
    reporting,
    running,
)
from ivg import rundir
from ivg.errors import UserError

SCRIPTS = {m.__name__.split(".")[1]: m for m in (mmvae_table2, mmvae_table3, mmvae_weights)}
SCRIPTS["mmvae_curves"] = mmvae_curves


def write(script, workdir, *arguments):
    name, out = script.__name__.split(".")[-1], workdir.parent / "out"
    script.main([f"--workdir={workdir}", f"--out={out}", "--table_only", *arguments])
    assert picture(out / f"{name}.png").shape[0] > 300
    return (out / f"{name}.md").read_text(), json.loads((out / f"{name}.json").read_text())


def bits(cy, zy, zc):
    return {"c;y": [cy, cy], "z;y": [zy - 0.01, zy + 0.01], "z;c": [zc, zc]}


# ---- Fig. 11


def weighted(zy, zc, seed=0):
    args = mmvae_weights.parse(["--preset=cpu"])
    return mmvae_runs.make_task(args, "faces", "mmvae", seed, weights=(zy, zc))


@pytest.fixture
def sweep(tmp_path):
    """Three values of each weight, the run at (1, 1) under its name in the table."""
    workdir = tmp_path / "runs"
    swap = {"glasses": {"accuracy": 0.9, "classifier_accuracy": 0.99, "reason": ""}}
    for zy, zc, *numbers in (
        (0, 1, 0.97, 0.5, 0.6),
        (2, 1, 0.9, 0.1, 0.4),
        (1, 0, 0.98, 0.2, 1.5),
        (1, 2, 0.8, 0.15, 0.2),
    ):
        make_attribute_run(workdir, weighted(zy, zc), bits(*numbers), swap=swap)
    args = mmvae_table2.parse(["--preset=cpu"])
    table = mmvae_runs.make_task(args, "faces", "mmvae", 0)
    make_attribute_run(workdir, table, bits(0.96, 0.2, 0.4))
    return workdir


def test_one_weight_moves_while_the_other_stays_one(sweep):
    page, content = write(mmvae_weights, sweep, "--values=0,1,2")
    rows = content["rows"]
    assert {(r["weight_zy"], r["weight_zc"]) for r in rows} == {
        (0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 0.0), (1.0, 2.0)
    }  # fmt: skip
    beta, gamma = (mmvae_weights.sweep(rows, w) for w in ("weight_zy", "weight_zc"))
    assert [r["bits"]["z;y"]["mean"] for r in beta] == pytest.approx([0.5, 0.2, 0.1])
    assert [r["bits"]["z;c"]["mean"] for r in gamma] == pytest.approx([1.5, 0.4, 0.2])
    row = cells(page, "0", "1", "3,000", "1")
    assert row[4:8] == ["1.000", "0.970 +- 0.000 (estimates)", "0.500 +- 0.014 (estimates)",
                        "0.600 +- 0.000 (estimates)"]  # fmt: skip
    assert row[8:10] == ["90.00", "0.0200"]
    assert content["missing"] == []
    (middle,) = [r for r in rows if (r["weight_zy"], r["weight_zc"]) == (1.0, 1.0)]
    assert middle["runs"] == ["faces_mmvae_0"] and middle["swap"]["mean"] is None


def test_runs_of_the_sweep_and_their_names(sweep):
    args = mmvae_weights.parse(["--preset=cpu", "--values=0,0.5,1", "--seeds=2"])
    tasks = mmvae_weights.make_tasks(args)
    assert len(tasks) == 2 * 5 and tasks[0].name == "faces_mmvae_zy0_zc1_0"
    assert tasks[-1].config["mmvae"]["weight_zc"] == 0.5
    _, content = write(mmvae_weights, sweep, "--values=0,0.5")
    assert content["missing"] == [
        "`faces_mmvae_zy0.5_zc1`, seed 0: not started",
        "`faces_mmvae_zy1_zc0.5`, seed 0: not started",
    ]
    assert "--values=0,0.5" in content["command"]


# ---- Fig. 12 and 13


def log(*, jump, players=False):
    lines = []
    for i, zc in enumerate((0.2, 0.2 + jump, 0.25 + jump, math.nan)):
        line = {"step": 1_000 * (i + 1), "eval/info_cy": 0.9, "eval/info_zy": 0.1 * i}
        line["eval/info_zc"] = zc
        line |= (
            {f"T_{n}/info": math.log(2) * (i + 1) for n in ("cy", "zy", "zc")} if players else {}
        )
        lines.append(line)
    return lines


def curve_task(method, seed=0):
    return mmvae_runs.make_task(mmvae_curves.parse(["--preset=cpu"]), "faces", method, seed)


def test_curves_over_the_training(tmp_path):
    make_attribute_run(tmp_path / "runs", curve_task("r_cvae"), bits(0.97, 0.3, 1.2),
                       series=log(jump=0.8))  # fmt: skip
    make_attribute_run(tmp_path / "runs", curve_task("mmvae"), bits(0.96, 0.1, 0.4),
                       series=log(jump=0.1, players=True))  # fmt: skip
    page, content = write(mmvae_curves, tmp_path / "runs", "--seeds=1")
    first, second = content["rows"]
    assert first["estimates"]["z;c"] == {"step": [1_000, 2_000, 3_000], "bits": [0.2, 1.0, 1.05]}
    assert first["players"] == {} and second["players"]["z;y"]["bits"] == [1.0, 2.0, 3.0, 4.0]
    assert second["last"] == {"c;y": 0.96, "z;y": pytest.approx(0.1), "z;c": 0.4}
    row = cells(page, "`faces_r_cvae_0`", "`r_cvae`", "0")
    assert row[4] == "1,000: 0.00, 2,000: 0.10, 3,000: 0.20, 4,000: 0.30"
    assert row[5] == "1,000: 0.20, 2,000: 1.00, 3,000: 1.05"
    assert row[6:] == ["0.970 0.300 1.200", "+0.80, steps 1,000 to 2,000"]
    assert content["missing"] == ["`faces_csvae`, seed 0: not started"]


def test_a_run_that_goes_on_has_its_curve_so_far(tmp_path):
    make_attribute_run(tmp_path / "runs", curve_task("csvae"), None, series=log(jump=0.1)[:1])
    page, content = write(mmvae_curves, tmp_path / "runs", "--methods=csvae", "--seeds=1")
    row = content["rows"][0]
    assert row["step"] is None and row["last"] == {}
    assert cells(page, "`faces_csvae_0`")[5:] == ["1,000: 0.20", "", ""]
    assert content["missing"] == ["`faces_csvae_0`: unfinished, logged until step 1,000 of 3,000"]


def test_the_mean_is_over_the_steps_that_all_seeds_have():
    curves = [{"step": [1, 2, 3], "bits": [0.0, 1.0, 2.0]}, {"step": [1, 3], "bits": [1.0, 4.0]}]
    assert mmvae_curves.mean_curve(curves) == ([1, 3], [0.5, 3.0])
    assert mmvae_curves.mean_curve([{"step": [], "bits": []}]) == ([], [])


# ---- settings


@pytest.mark.parametrize("preset", mmvae_runs.SETTINGS)
def test_every_setting_is_one_of_a_method(preset):
    """A name with a mistake in it would be passed over in silence."""
    args = mmvae_table2.parse([f"--preset={preset}"])
    known = {}
    for method in mmvae_runs.METHODS:
        config = mmvae_runs.make_task(args, "faces", method, 0).config
        for name, value in rundir.flatten(config).items():
            known.setdefault(name.replace(f"{method}.", "METHOD."), []).append(value)
    for name, value in mmvae_runs.SETTINGS[preset].items():
        players = [name.replace("T_*", T) for T in ("T_cy", "T_zy", "T_zc")]
        for own in players:
            assert set(known[own]) == {value}, own


def test_every_config_of_the_presets_is_one_that_trains(tmp_path):
    from ivg import build

    for preset in mmvae_runs.SETTINGS:
        for data in mmvae_runs.DATA:
            args = mmvae_table2.parse([f"--preset={preset}", f"--data={data}"])
            for task in mmvae_runs.make_tasks(args):
                build.check_method(task.config)
                build.check_numbers(task.config)


def test_the_paper_preset_is_the_thesis_protocol():
    config = {}
    for data, seeds in (("faces", 3), ("celeba_glasses", 1)):
        args = mmvae_table3.parse(["--preset=paper", f"--data={data}"])
        tasks = mmvae_runs.make_tasks(args)
        assert [t.seed for t in tasks if t.method == "mmvae"] == list(range(seeds))
        config = tasks[-1].config
        assert config["batch_size"] == 128 and config["mmvae"]["dim_z"] == 512
        assert config["mmvae"]["network"] == {"name": "mmvae64", "width": 1.0}
        assert config["mmvae"]["statistics"] == {"width": 512, "depth": 7}
        assert config["mmvae"]["optimizer"]["T_zc"]["learning_rate"] == 1e-5
        scores = config["attribute_scores"]
        assert (scores["estimates"], scores["mine_width"], scores["mine_depth"]) == (5, 512, 7)
    run = running.Run(tasks[-1], None, config, {"step": config["num_steps"]}, {})
    assert mmvae_runs.training_words([run]) == "as far as it is known, the same"


def test_the_scripts_of_a_preset_share_their_runs():
    folders = {str(m.parse(["--preset=cpu"]).workdir) for m in SCRIPTS.values()}
    assert folders == {"runs/mmvae_cpu"}
    smoke = mmvae_weights.parse(["--preset=smoke"])
    assert smoke.values == (0.0, 1.0) and smoke.out == smoke.workdir


def test_scores_of_another_line_are_none(tmp_path):
    args = ibgan_table1.parse([])
    task = ibgan_table1.make_tasks(args)[0]
    make_run(tmp_path, task, 0.4)
    (run,) = running.find([task], tmp_path)
    assert running.problem(run) is None
    words = "results.json has no estimate of information"
    assert running.problem(run, mmvae_runs.INFORMATION) == words


MISTAKES = [
    ("mmvae_table2", "--methods=vae", '--methods knows no "vae"'),
    ("mmvae_table2", "--data=face", '--data knows no "face"; did you mean "faces"'),
    ("mmvae_table2", "--data=faces,celeba_glasses", "one at a time"),
    ("mmvae_table2", "--preset=papr", 'no "papr"'),
    ("mmvae_table2", "--seeds=0", "--seeds=0 must be at least 1"),
    ("mmvae_table2", "--workdir=nowhere", "no run in nowhere has any estimate of information"),
    ("mmvae_table3", "--workdir=nowhere", "no run in nowhere has any swap accuracy"),
    ("mmvae_curves", "--workdir=nowhere", "attribute_scores.quick_steps"),
    ("mmvae_weights", "--values=1,x", "is not numbers"),
    ("mmvae_weights", "--methods=mmvae", "unrecognized arguments"),
]


@pytest.mark.parametrize("script, argument, sentence", MISTAKES)
def test_mistakes_are_one_sentence_and_exit_code_2(
    script, argument, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [script, argument, "--table_only"])
    with pytest.raises(SystemExit) as stop:
        options.command(SCRIPTS[script].main)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error


def test_a_data_set_that_is_not_there_is_said_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mmvae_table2", "--data=celeba_glasses", "--data_dir=gone"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        options.command(mmvae_table2.main)
    assert stop.value.code == 2 and "--data_dir=gone does not exist" in capsys.readouterr().err


def test_the_start_of_the_divergence_is_named_wherever_it_is_changed():
    args = mmvae_weights.parse(["--preset=cpu", "--kl_c_start=1"])
    assert mmvae_runs.stem(args) == "mmvae_weights_klc1"
    task = mmvae_runs.make_task(args, "faces", "mmvae", 0)
    assert task.name == "faces_mmvae_klc1_0" and task.config["mmvae"]["kl_c_start"] == 1.0
    assert reporting.command_line(args, "values").endswith(" --kl_c_start=1")
    with pytest.raises(UserError, match="--kl_c_start=-1.0 must be at least 0"):
        mmvae_weights.parse(["--preset=cpu", "--kl_c_start=-1"])
