"""The bench of training steps: its cases, its arithmetic, its page, what its command refuses."""

import json
import math

import jax
import numpy as np
import pytest

from experiments import bench_step, bench_step_cases, bench_step_measure, bench_step_ours
from experiments import bench_step_page as page
from experiments.bench_step_cases import CASES
from ivg.errors import UserError

# ---- cases


@pytest.fixture
def small(monkeypatch):
    """Minibatches of two images, and few images; what a bench sets in JAX is undone."""
    monkeypatch.setattr(bench_step_cases, "BATCH", 2)
    monkeypatch.setattr(bench_step_measure, "NUM_IMAGES", 12)
    names = ("jax_enable_compilation_cache", "jax_default_matmul_precision")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_the_players_of_its_config(name):
    method, config = bench_step_ours.make_method(CASES[name])
    found = bench_step_ours.parameters(method)
    assert config["batch_size"] == 64
    assert found.keys() == config[CASES[name].method]["optimizer"].keys() - {"elbo"}
    assert all(count > 1_000 for count in found.values())
    if name == "infovaegan_mnist":
        assert method.phases[0].num_batches == 5
    if name == "ibgan_celeba":
        network = config["ibgan"]["network"]
        assert (network["ngf"], network["ndf"], network["trunk"]) == (64, 64, "shared")
        assert (config["ibgan"]["dim_z"], config["ibgan"]["dim_r"]) == (64, 15)


def test_a_step_that_differs_is_not_raced():
    with pytest.raises(UserError, match="beta_vae is not the same work.*'G': 5"):
        bench_step_measure.same_parameters("beta_vae", {"E": 3, "G": 4}, {"E": 3, "G": 5})
    with pytest.raises(UserError, match="beta_vae: loss of torch is not finite"):
        bench_step_measure.finite("beta_vae", "torch", {"other": 1.0, "loss": math.nan})


# ---- arithmetic


def test_turns_alternate_and_ratios_are_taken_within_a_round(monkeypatch):
    wall, cpu, order = [0.0], [0.0], []

    def run(name, seconds):
        def steps(count):
            order.append((name, count))
            wall[0] += seconds[len(order) > 2] * count
            cpu[0] += 2.0 * seconds[len(order) > 2] * count

        return steps

    clock = bench_step_measure.time
    monkeypatch.setattr(clock, "sleep", lambda seconds: None)
    monkeypatch.setattr(clock, "perf_counter", lambda: wall[0])
    monkeypatch.setattr(clock, "process_time", lambda: cpu[0])
    runs = {"ours": run("ours", (0.5, 0.25)), "torch": run("torch", (1.0, 0.75))}
    turns = bench_step_measure.take_turns(runs, {"ours": 4, "torch": 2}, rounds=2)
    assert order == [("ours", 4), ("torch", 2)] * 2
    assert turns["ours"]["steps_per_second"] == [2.0, 4.0]
    assert turns["torch"]["steps_per_second"] == pytest.approx([1.0, 4 / 3])
    assert turns["torch"]["cpu_seconds"] == pytest.approx([2.0, 1.5])
    assert bench_step_measure.ratios(turns) == {"torch": pytest.approx([2.0, 3.0])}


def test_a_turn_is_whole_dispatches():
    args = bench_step.parser().parse_args(["--steps=30"])
    assert bench_step_measure.steps_of_turn(None, args, 20) == 40
    args = bench_step.parser().parse_args(["--seconds=1e-9"])
    assert bench_step_measure.steps_of_turn(lambda steps: None, args, 20) == 20


# ---- the page


def side(speeds, cpu, flops, **more):
    turns = {"steps_per_second": speeds, "cpu_seconds": cpu, "first_call_seconds": 0.5}
    return turns | {"flops": flops, "memory_bytes": 3 * 2**20} | more


def content(*sides, backend="cpu", family="vae", ratios=None):
    known = {
        "ours": side([4.0, 6.0, 5.0], [0.3, 0.2, 0.1], 3e9, compile_seconds=7.25),
        "torch": side([2.0, 4.0, 3.0], [0.5, 0.5, 0.5], 2e9),
        "torch_compile": side([4.0, 4.0, 4.0], [0.4, 0.4, 0.4], 2e9),
    }
    row = {
        "case": "ibgan_sprites",
        "words": "made up",
        "family": family,
        "batch_size": 64,
        "image_shape": [64, 64, 1],
        "parameters": {"E": 1_000, "G": 234},
        "sides": {name: known[name] for name in sides},
        "ratios": ratios or {},
    }
    return {
        "command": "python -m experiments.bench_step",
        "device": "a chip",
        "backend": backend,
        "cores": 2,
        "rounds": 3,
        "precision": "default",
        "num_images": 2_048,
        "versions": {"jax": "1.2", "torch": "3.4", "commit": "0123456789", "dirty": True},
        "matmul_peak": {"ours": 20e9, "torch": 10e9},
        "rows": [row],
    }


def cells(text, line):
    """The cells of the n-th line with the case's name."""
    found = [row for row in text.splitlines() if row.startswith("| `ibgan_sprites` |")]
    return [cell.strip() for cell in found[line].strip("|").split("|")]


def test_the_page_of_two_sides():
    text = page.page(content("ours", "torch", ratios={"torch": [2.0, 1.5, 5 / 3]}))
    assert cells(text, 0) == [
        "`ibgan_sprites`", "5", "3", "1.67 (1.50 to 2.00)", "1.3, met", "0.2 / 0.5"
    ]  # fmt: skip
    # 5 and 3 steps a second of PyTorch's 2 GFLOP; the peak is the larger one, 20 GFLOP/s
    assert cells(text, 1) == [
        "`ibgan_sprites`", "3 / 2", "10 / 6", "50% / 30%", "3 / 3", "7.2", "0.5", "1,234"
    ]  # fmt: skip
    assert "commit 0123456 with changes" in text and "jax 1.2, torch 3.4" in text
    assert "PyTorch's count on both sides" in text and "{" not in text


def test_the_page_without_pytorch():
    text = page.page(content("ours"))
    assert cells(text, 0) == ["`ibgan_sprites`", "5", "0.2"]
    assert cells(text, 1)[2:4] == ["15", "75%"]  # 5 steps a second of our 3 GFLOP
    assert "PyTorch's" not in text


def test_the_page_of_a_gpu_has_a_third_column():
    ratios = {"torch": [2.0, 2.0, 2.0], "torch_compile": [1.5, 1.5, 1.5]}
    made = content("ours", "torch", "torch_compile", backend="gpu", family="gan", ratios=ratios)
    found = cells(page.page(made), 0)
    assert found[3] == "4" and found[5] == "3.0, missed" and found[7] == "1.5, met"
    assert page.aim(made["rows"][0] | {"image_shape": [28, 28, 1]}, "torch", "gpu") is None


# ---- the command


@pytest.mark.parametrize(
    "argument, words",
    [
        ("--cases=ibgan_sprite", '--cases knows no "ibgan_sprite"; did you mean "ibgan_sprites"?'),
        ("--rounds=0", "--rounds=0 must be at least 1"),
        ("--steps=0", "--steps=0 must be at least 1"),
        ("--seconds=nan", "--seconds=nan must be positive"),
        ("--out=table.md", "--out=table.md must name a file that ends in .json"),
        ("--threads=0", "--threads=0 cannot be"),
        ("--threads=100000", "--threads=100000 cannot be"),
    ],
)
def test_what_cannot_be_is_one_sentence(argument, words):
    with pytest.raises(UserError) as error:
        bench_step.main([argument])
    assert words in str(error.value)


def test_the_peak_is_the_best_of_all_measurements(monkeypatch):
    speeds = iter([3.0, 5.0, 4.0, 1.0, 2.0, 9.0])
    monkeypatch.setattr(
        bench_step_ours, "matmul_peak", lambda *size, precision: lambda: next(speeds)
    )
    again = bench_step_measure.matmul_peaks(None, "cpu", "default")
    assert [again(), again()] == [{"ours": 5.0}, {"ours": 9.0}]


def test_a_precision_that_does_not_exist_is_one_sentence():
    with pytest.raises(UserError, match='precision="half"'):
        bench_step_ours.make_method(CASES["beta_vae"], precision="half")


def test_the_command_ends_with_2_and_one_sentence(capsys):
    for argument, words in (
        ("--cases=no", f'--cases knows no "no"; use {", ".join(CASES)}.'),
        ("--case=beta_vae", "unrecognized arguments: --case=beta_vae"),
    ):
        with pytest.raises(SystemExit) as ended:
            bench_step.command([argument])
        assert ended.value.code == 2
        assert capsys.readouterr().err == f"error: {words}\n"


def test_without_pytorch_our_step_is_timed_alone(small, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench_step_measure, "torch_side", lambda: None)
    monkeypatch.setitem(bench_step_measure.PEAK, "cpu", (64, 1))
    out = tmp_path / "made" / "bench.json"
    bench_step.main(["--cases=jointvae", "--rounds=2", "--steps=1", f"--out={out}"])
    printed = capsys.readouterr().out
    assert "pip install -e '.[bench]'" in printed
    row = json.loads(out.read_text())["rows"][0]
    assert row["sides"].keys() == {"ours"} and row["ratios"] == {}
    own, resting = row["sides"]["ours"], 3 * 4 * sum(row["parameters"].values())
    assert len(own["steps_per_second"]) == len(own["cpu_seconds"]) == 2
    assert own["memory_bytes"] > resting and own["flops"] > 1e6 and own["compile_seconds"] > 0
    assert out.with_suffix(".md").read_text() in printed


# ---- PyTorch


@pytest.fixture
def torch_side():
    pytest.importorskip("torch", reason="PyTorch is installed for the bench only: '.[bench]'")
    from experiments import bench_step_torch

    return bench_step_torch


@pytest.mark.parametrize("name", CASES)
def test_pytorch_has_as_many_parameters_as_we(name, torch_side):
    case = CASES[name]
    game = torch_side.make_game(case, where=torch_side.device())
    method, _ = bench_step_ours.make_method(case)
    assert torch_side.parameters(game) == bench_step_ours.parameters(method)
    assert game.num_batches == method.phases[0].num_batches


@pytest.mark.parametrize("name", ["factorvae", "infovaegan_mnist"])
def test_pytorchs_step_moves_every_player(name, small, torch_side, monkeypatch):
    monkeypatch.setattr(torch_side, "BATCH", 2)
    game = torch_side.make_game(CASES[name], where=torch_side.device())
    monkeypatch.setattr(torch_side, "make_game", lambda *args, **options: game)
    theirs = torch_side.make(CASES[name], *bench_step_measure.random_images(CASES[name]))
    weights = {player: list(own.network.parameters()) for player, own in game.players.items()}
    before = {player: [w.detach().clone() for w in own] for player, own in weights.items()}
    assert all(math.isfinite(loss) for loss in theirs.run(2).values())
    for player, own in weights.items():
        pairs = zip(before[player], own, strict=True)
        assert any(not np.array_equal(a, b.detach()) for a, b in pairs), player
        assert all(w.requires_grad for w in own)
    assert theirs.flops() > 1e6 and theirs.memory() > 4 * sum(theirs.parameters.values())
