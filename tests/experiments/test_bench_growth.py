"""Exponents on made-up costs, and the whole bench on the smallest steps."""

import json

import jax
import numpy as np
import pytest
from fabricated import cells, picture

from experiments import bench_growth, bench_growth_page, options

VALUES = (16, 32, 64, 128, 256)


def row(*, time, flops=None, memory=None, laws=None, values=VALUES, grows="batch_size"):
    """As `bench_growth.measure` makes it, from functions of the value; two rounds of time."""
    made = {"time": time, "flops": flops, "memory": memory}
    made = {name: cost for name, cost in made.items() if cost is not None}
    rounds = {"time": (1.0, 1.1)}
    row = {
        "grows": grows,
        "case": "made up",
        "values": list(values),
        "measured": {n: [[f(v) * r for r in rounds.get(n, (1.0,))] for v in values]
                     for n, f in made.items()},
        "laws": laws or dict.fromkeys(made, 1.0),
    }  # fmt: skip
    return row | {"found": bench_growth_page.found(row)}


# ---- fits


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_an_exponent_is_found_exactly(power):
    costs = [3.5 * value**power for value in VALUES]
    np.testing.assert_allclose(bench_growth_page.exponent(VALUES, costs), power, atol=1e-12)


def test_the_spread_is_that_of_the_rounds():
    costs = [[v, v**2, 7.0 * v**1.5] for v in VALUES]
    found = bench_growth_page.exponents(VALUES, costs)
    np.testing.assert_allclose([found[n] for n in ("median", "min", "max")], [1.5, 1.0, 2.0])


def test_what_is_paid_once_shows_below_and_not_in_the_upper_half():
    found = row(time=lambda v: 40.0 + v)["found"]["time"]
    upper = np.polyfit(np.log(VALUES[2:]), np.log([40.0 + v for v in VALUES[2:]]), 1)[0]
    np.testing.assert_allclose(found["upper"]["median"], upper)
    assert found["all"]["median"] < found["upper"]["median"] < 1
    assert row(time=lambda v: 1_000.0 + v)["found"]["time"]["verdict"] == "below"
    assert row(time=lambda v: v**1.1)["found"]["time"]["verdict"] == "agrees"
    assert row(time=lambda v: v**1.3)["found"]["time"]["verdict"] == "above"


def test_rounds_that_differ_too_much_decide_nothing():
    wide = {"median": 0.5, "min": -0.3, "max": 1.2}
    assert bench_growth_page.verdict(1.0, wide) == "within the spread"
    assert bench_growth_page.verdict(2.0, wide) == "below"
    assert bench_growth_page.verdict(0.4, wide) == "agrees"


@pytest.mark.parametrize("values", [(2, 4), (2, 4, 8), (2, 4, 8, 16)])
def test_the_upper_half_has_at_least_two_values(values):
    found = row(time=lambda v: v**2, values=values, laws={"time": 2.0})["found"]["time"]
    np.testing.assert_allclose([found["all"]["median"], found["upper"]["median"]], 2.0)


# ---- page and figure


def test_the_page_has_measured_and_expected():
    rows = [
        row(time=lambda v: 2.0 * v, flops=lambda v: 5e6 * v, memory=lambda v: 100.0 + v),
        row(time=lambda v: 3.0, laws={"time": 0.0}, grows="images", values=(1_000, 64_000)),
    ]
    versions = {"commit": "0123456789ab", "dirty": True, "device": "cpu", "device_count": 4,
                "jax": "0.10.2"}  # fmt: skip
    content = {"rows": rows, "preset": "cpu", "rounds": 2, "seconds": 0.5, "cores": 2}
    page = bench_growth_page.markdown(content | {"versions": versions})
    time, flops, memory = (
        cells(page, "batch size 16 to 256", "made up", cost)[3:]
        for cost in ("time", "operations", "memory")
    )
    assert time == flops == ["linear", "1.00", "1.00", "agrees"]
    assert memory[0] == "linear" and memory[-1] == "below"
    assert cells(page, "resident images 1,000 to 64,000")[3:] == [
        "constant", "0.00", "0.00", "agrees"]  # fmt: skip
    assert cells(page, "batch size", "made up", "16")[3:] == ["33.6 [32, 35.2]", "80", "116"]
    assert cells(page, "resident images", "made up", "64,000")[3:] == ["3.15 [3, 3.3]", "", ""]
    assert "Commit 0123456789 with changes; device cpu x 4" in page


def test_the_dashed_line_is_the_law_through_the_last_point():
    own = row(time=lambda v: 10.0 + v, laws={"time": 2.0})
    panel = bench_growth_page.draw([own]).axes[0]
    line = next(line for line in panel.lines if line.get_linestyle() == "--")
    x, y = line.get_data()
    np.testing.assert_allclose(y, (10.0 + 256) * 1.05 * (x / 256.0) ** 2)
    assert [tick.get_text() for tick in panel.get_xticklabels()] == [str(v) for v in VALUES]
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")


# ---- what is measured


def test_every_series_is_one_that_can_be_built():
    networks = {}
    for series in (*bench_growth.CPU, *bench_growth.SMOKE):
        assert series.laws.keys() <= bench_growth_page.QUANTITIES.keys()
        assert series.values == tuple(sorted(set(series.values))) and len(series.values) > 1
        last = series.setup._replace(**{series.grows: series.values[-1]})._replace(images=10)
        networks[last.method, str(last.network), last.image_size] = last
    for setup in networks.values():
        parts = bench_growth.make_parts(setup)
        assert jax.tree.leaves(jax.eval_shape(parts.init, jax.random.key(0)))
    grown = {series.grows for series in bench_growth.CPU}
    assert grown == {"batch_size", "image_size", "dim_z", "runs", "images"}


MISTAKES = [
    ("--preset=smok", '--preset knows no "smok"; did you mean "smoke"'),
    ("--rounds=0", "--rounds must be at least 1"),
    ("--seconds=nan", "--seconds above 0"),
    ("--out=FILE", "is a file; name a directory"),
    ("--runs=3", "unrecognized arguments"),
]


@pytest.mark.parametrize("argument, sentence", MISTAKES)
def test_mistakes_are_one_sentence(argument, sentence, tmp_path, monkeypatch, capsys):
    (tmp_path / "FILE").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench_growth", argument])
    with pytest.raises(SystemExit) as stop:
        options.command(bench_growth.main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and sentence in error


def test_the_whole_bench_on_the_smallest_steps(tmp_path):
    bench_growth.main(["--preset=smoke", f"--out={tmp_path}"])
    content = json.loads((tmp_path / "bench_growth.json").read_text())
    rows = {(row["grows"], row["case"]): row for row in content["rows"]}
    assert len(rows) == len(bench_growth.SMOKE) and content["rounds"] == 2
    batch = rows["batch_size", "vae, mlp"]
    assert batch["values"] == [4, 8, 16] and {len(t) for t in batch["measured"]["time"]} == {2}
    counts = np.array(batch["measured"]["flops"])[:, 0]
    steps = np.diff(counts) / np.diff(batch["values"])  # what grows, grows with the batch
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-3)
    assert np.all(np.diff(np.array(batch["measured"]["memory"])[:, 0]) > 0)
    for case, memory in (("one after the other", "constant"), ("at once", "linear")):
        row = rows["runs", f"vae, mlp, {case}"]
        one, two = np.array(row["measured"]["flops"])[:, 0]
        np.testing.assert_allclose(two, 2 * one, rtol=0.01)
        verdict = row["found"]["memory"]
        assert bench_growth_page.law_words(verdict["law"]) == memory
        assert verdict["verdict"] == "agrees"
    page = (tmp_path / "bench_growth.md").read_text()
    assert cells(page, "batch size 4 to 16", "vae, mlp", "operations")[3] == "linear"
    assert "--preset=smoke" in page
    assert picture(tmp_path / "bench_growth.png").shape[0] > 500
