"""Which runs an experiment wants, finds, skips and trains; what the command line refuses."""

import pytest
from fabricated import make_run

from experiments import ibgan_beta_sweep, ibgan_convergence, ibgan_table1, options, running
from ivg import runs, train
from ivg.errors import UserError

SCRIPTS = {m.__name__: m for m in (ibgan_table1, ibgan_beta_sweep, ibgan_convergence)}


def task(method="ibgan", *, data="sprites", seed=0, steps=5_000, preset="cpu", beta=None):
    return running.make_task(data, method, seed=seed, num_steps=steps, preset=preset, beta=beta)


@pytest.fixture
def trained(monkeypatch):
    """The groups of names that would be trained, in order."""
    groups = []
    monkeypatch.setattr(
        running, "train_group", lambda group, workdir: groups.append([r.task.name for r in group])
    )
    return groups


# ---- what is wanted


def test_the_paper_preset_is_the_papers_protocol():
    config = task(steps=150_000, preset="paper").config
    assert config["num_steps"] == 150_000 and config["batch_size"] == 64
    assert config["ibgan"]["beta"] == 0.141 and config["ibgan"]["noise_steps"] == 100_000
    votes = config["disentanglement"]
    assert (votes["train_votes"], votes["eval_votes"]) == (10_000, 5_000)
    assert votes["metrics"] == "fast"
    assert task(data="color_sprites").config["ibgan"]["beta"] == 0.071
    assert task("infogan").config["infogan"]["code_prior"] == "normal"


def test_a_gan_gets_as_many_steps_again_for_its_regression():
    config = task("gan", steps=700).config
    assert config["gan"]["game_steps"] == 700 and config["num_steps"] == 1_400


@pytest.mark.parametrize("preset, runs_wanted", [("smoke", 7), ("cpu", 42), ("paper", 140)])
def test_runs_of_the_table(preset, runs_wanted):
    args = ibgan_table1.parse([f"--preset={preset}"])
    tasks = ibgan_table1.make_tasks(args)
    assert len({t.name for t in tasks}) == len(tasks) == runs_wanted
    assert {t.seed for t in tasks} == set(range(args.seeds))


def test_autoencoders_have_the_steps_of_the_study():
    steps = {
        preset: {
            t.method: t.num_steps for t in ibgan_table1.make_tasks(ibgan_table1.parse([preset]))
        }
        for preset in ("--preset=cpu", "--preset=paper")
    }
    assert steps["--preset=paper"]["vae"] == steps["--preset=paper"]["factorvae"] == 300_000
    assert steps["--preset=paper"]["ibgan"] == 150_000
    assert steps["--preset=cpu"]["vae"] == steps["--preset=cpu"]["ibgan"] == 5_000
    own = task("vae").config["vae"]
    assert own["network"] == {"name": "dlib64"} and own["optimizer"]["E"]["learning_rate"] == 1e-4


def test_runs_of_the_sweep():
    tasks = ibgan_beta_sweep.make_tasks(ibgan_beta_sweep.parse(["--preset=paper"]))
    assert len(tasks) == 80
    betas = sorted({t.config["ibgan"]["beta"] for t in tasks})
    assert betas == [0, 0.071, 0.141, 0.212, 0.35, 0.5, 0.71, 1.0]
    assert {t.name for t in tasks} >= {"sprites_ibgan_beta0_9", "sprites_ibgan_beta0.071_0"}


def test_the_figure_of_convergence_is_at_the_papers_beta():
    args = ibgan_convergence.parse(["--preset=paper"])
    assert args.betas == (0.212,) and args.num_steps == 150_000 and args.seeds == 10


def test_every_config_of_the_presets_is_one_that_trains():
    from ivg import build

    for preset in running.SETTINGS:
        for data in running.DATA:
            for method in ibgan_table1.METHODS:
                config = task(method, data=data, preset=preset, steps=20).config
                build.check_method(config)
                build.check_numbers(config)
    assert task(data="color_sprites_dlib").config["data"]["coloring"] == "dlib"
    assert task(data="color_sprites").config["data"]["coloring"] == "ibgan"


# ---- what is there


def test_states_of_a_run(tmp_path):
    line = {"step": 1_250, "Q/info_lower": 1.0}
    make_run(tmp_path, task(seed=0), 0.4)
    make_run(tmp_path, task(seed=1), None, series=[line])
    make_run(tmp_path, task(seed=2), 0.3, step=1_000, series=[line])
    (make_run(tmp_path, task(seed=3), 0.3) / "results.json").write_text("{")
    found = running.find([task(seed=seed) for seed in range(5)], tmp_path)
    assert [running.finished(run) for run in found] == [True, False, False, False, False]
    assert [running.has_scores(run) for run in found] == [True, False, True, False, False]
    words = [running.problem(run) for run in found]
    assert words[0] is None
    assert words[1] == "unfinished, logged until step 1,250 of 5,000"
    assert words[2] == "unfinished, logged until step 1,250 of 5,000, scores of step 1,000"
    assert "damaged" in words[3]


def test_a_run_with_the_same_config_is_found_under_another_name(tmp_path):
    make_run(tmp_path, task(seed=1), 0.4)  # beta 0.141 is the file's own
    wanted = [task(seed=seed, beta=beta) for beta in (0.141, 0.212) for seed in (0, 1)]
    found = running.find(wanted, tmp_path)
    assert [bool(run.config) for run in found] == [False, True, False, False]
    assert found[1].folder.name == "sprites_ibgan_1"


def test_seeds_beyond_the_wanted_ones_are_reported_too(tmp_path):
    for seed in (0, 11):
        make_run(tmp_path, task(seed=seed), 0.4)
    make_run(tmp_path, task(seed=5, beta=0.5), 0.4)  # another group
    further = running.further_seeds([task(seed=0), task(seed=1)], tmp_path)
    assert [t.name for t in further] == ["sprites_ibgan_11"]
    assert further[0].config["seed"] == 11


# ---- training


def test_finished_runs_are_skipped_and_the_rest_trained_seed_by_seed(tmp_path, trained, capsys):
    tasks = [task(method, seed=seed) for method in ("infogan", "ibgan") for seed in range(3)]
    make_run(tmp_path, tasks[0], 0.4)
    make_run(tmp_path, tasks[4], 0.4, step=4_999)
    make_run(tmp_path, tasks[5], None)
    running.train_missing(tasks, tmp_path)
    assert trained == [
        ["sprites_infogan_1"],
        ["sprites_ibgan_0"],
        ["sprites_infogan_2"],
        ["sprites_ibgan_1"],
        ["sprites_ibgan_2"],
    ]
    assert "1 of 6 runs are finished" in capsys.readouterr().out


def test_several_seeds_in_one_program_are_of_one_group(tmp_path, trained):
    tasks = [task(method, seed=seed) for method in ("infogan", "ibgan") for seed in range(3)]
    make_run(tmp_path, tasks[0], 0.4)
    running.train_missing(tasks, tmp_path, at_once=2)
    assert trained == [
        ["sprites_infogan_1", "sprites_infogan_2"],
        ["sprites_ibgan_0", "sprites_ibgan_1"],
        ["sprites_ibgan_2"],
    ]


def test_more_steps_go_on_with_a_run_and_fewer_skip_it(tmp_path, trained):
    make_run(tmp_path, task(steps=5_000), 0.4)
    running.train_missing([task(steps=2_500)], tmp_path)
    assert trained == []
    running.train_missing([task(steps=20_000)], tmp_path)
    assert trained == [["sprites_ibgan_0"]]


def test_another_run_in_the_directory_is_an_error_before_anything_is_trained(tmp_path, trained):
    make_run(tmp_path, task(seed=1, beta=0.5), 0.4, folder="sprites_ibgan_1")
    with pytest.raises(UserError, match="sprites_ibgan_1 holds .*ibgan.beta: 0.5 -> 0.141"):
        running.train_missing([task(seed=0), task(seed=1)], tmp_path)
    assert trained == []


def test_a_gan_of_another_length_is_an_error(tmp_path, trained):
    make_run(tmp_path, task("gan", steps=100), 0.4)
    with pytest.raises(UserError, match="gan.game_steps: 100 -> 200"):
        running.train_missing([task("gan", steps=200)], tmp_path)


def test_a_run_that_was_scored_with_other_votes_is_the_same_run(tmp_path, trained):
    make_run(tmp_path, task(preset="paper"), 0.4)
    running.train_missing([task(preset="cpu")], tmp_path)
    assert trained == []
    running.train_missing([task(preset="cpu", steps=6_000)], tmp_path)
    assert trained == [["sprites_ibgan_0"]]


def test_one_run_is_trained_as_the_command_line_does(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(runs, "train_runs", lambda config, folder: calls.append((config, folder)))
    running.train_missing([task(seed=3)], tmp_path)
    assert calls == [(task(seed=3).config, tmp_path / "sprites_ibgan_3")]


def test_several_are_trained_together(tmp_path, monkeypatch):
    calls, reports = [], []
    monkeypatch.setattr(
        train, "train_together", lambda c, f: calls.append((list(c), list(f))) or ["a", "b"]
    )
    monkeypatch.setattr(runs, "report", lambda results, folder: reports.append((results, folder)))
    running.train_missing([task(seed=0), task(seed=1)], tmp_path, at_once=5)
    folders = [tmp_path / f"sprites_ibgan_{seed}" for seed in (0, 1)]
    assert calls == [([task(seed=0).config, task(seed=1).config], folders)]
    assert reports == list(zip("ab", folders, strict=True))


# ---- the command line


MISTAKES = [
    ("ibgan_table1", "--preset=smok", 'no "smok"; did you mean "smoke"'),
    ("ibgan_table1", "--methods=gan,vea", '--methods knows no "vea"; did you mean "vae"'),
    ("ibgan_table1", "--methods=", "--methods knows no"),
    ("ibgan_table1", "--data=colour", "--data knows no"),
    ("ibgan_table1", "--seeds=0", "--seeds=0 must be at least 1"),
    ("ibgan_table1", "--num_steps=-5", "--num_steps=-5 must be at least 1"),
    ("ibgan_table1", "--runs_at_once=0", "--runs_at_once=0 must be"),
    ("ibgan_table1", "--seeds=few", "invalid int value"),
    ("ibgan_table1", "--workdir=FILE", "is a file"),
    ("ibgan_table1", "--out=FILE", "is a file"),
    ("ibgan_table1", "--workdir=nowhere", "no run in nowhere has"),
    ("ibgan_table1", "--workdir=EMPTY", "no run in"),
    ("ibgan_table1", "--betas=0.1", "unrecognized arguments"),
    ("ibgan_beta_sweep", "--betas=0.1,x", "is not numbers"),
    ("ibgan_beta_sweep", "--betas=-0.1", "is not numbers"),
    ("ibgan_beta_sweep", "--betas=nan", "is not numbers"),
    ("ibgan_convergence", "--betas=", "is not numbers"),
    ("ibgan_convergence", "--methods=gan", "unrecognized arguments"),
]


@pytest.mark.parametrize("script, argument, sentence", MISTAKES)
def test_mistakes_are_one_sentence_and_exit_code_2(
    script, argument, sentence, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    argument = argument.replace("FILE", "file").replace("EMPTY", "empty")
    monkeypatch.setattr("sys.argv", [script, argument, "--table_only"])
    with pytest.raises(SystemExit) as stop:
        options.command(SCRIPTS[f"experiments.{script}"].main)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error


def test_where_things_are_written_unless_said():
    smoke, cpu = ibgan_table1.parse(["--preset=smoke"]), ibgan_table1.parse([])
    assert str(smoke.workdir) == str(smoke.out) == "runs/ibgan_table1_smoke"
    assert (str(cpu.workdir), str(cpu.out)) == ("runs/ibgan_table1_cpu", "experiments/results")


def test_help_names_the_presets(capsys):
    with pytest.raises(SystemExit) as stop:
        ibgan_table1.parse(["--help"])
    assert stop.value.code == 0
    assert "smoke, cpu, paper" in capsys.readouterr().out
