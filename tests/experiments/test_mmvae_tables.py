"""MMVAE's Tables 2 and 3 from run directories: numbers, the thesis beside them, leaks, refusals."""

import json
import math

import pytest
from fabricated import cells, leak_row, make_attribute_run, picture

from experiments import mmvae_runs, mmvae_table2, mmvae_table3

# bits of the pairs: method -> the mean of seed 0; estimates are 0.01 below and above it
BITS = {
    "r_cvae": {"c;y": 0.97, "z;y": 0.30, "z;c": 1.20},
    "csvae": {"c;y": 0.98, "z;y": 0.20, "z;c": 0.60},
    "mmvae": {"c;y": 0.96, "z;y": 0.10, "z;c": 0.40},
}
LEAK = [
    leak_row("glasses", "attribute", (0.99, 1.0), (0.6, 0.75), measure="accuracy", chance=0.5),
    leak_row("lens_darkness", "sub-attribute", (0.4, 0.6), (0.1, 0.2)),
    leak_row("frame", "sub-attribute", (0.5, 0.7), (0.4, 0.55), measure="accuracy", chance=0.4),
    leak_row("skin", "nuisance", (-0.2, 0.1), (0.9, 0.95)),
    leak_row("gaze", "nuisance", (0.0, 0.3), (0.5, 0.85)),
]


def settled(*arguments, script=mmvae_table2):
    return script.parse(["--preset=cpu", *arguments])


def task(method, seed=0, *, data="faces", arguments=()):
    args = settled(f"--data={data}", *arguments)
    return mmvae_runs.make_task(args, data, method, seed)


def around(means, shift=0.0):
    return {pair: [m + shift - 0.01, m + shift + 0.01] for pair, m in means.items()}


def write(script, workdir, *arguments, stem=None):
    """The page, the JSON file, and where they lie, of what is there."""
    name, out = stem or script.__name__.split(".")[-1], workdir.parent / "out"
    script.main([f"--workdir={workdir}", f"--out={out}", "--table_only", *arguments])
    assert picture(out / f"{name}.png").shape[0] > 300
    return (out / f"{name}.md").read_text(), json.loads((out / f"{name}.json").read_text()), out


def swap(accuracy, *, judge=0.985, reason=""):
    return {"glasses": {"accuracy": accuracy, "classifier_accuracy": judge, "reason": reason}}


@pytest.fixture
def runs(tmp_path):
    """Two seeds of each method, the second 0.02 bits above the first."""
    for method, means in BITS.items():
        for seed in range(2):
            bits = around(means, 0.02 * seed)
            make_attribute_run(tmp_path / "runs", task(method, seed), bits, leak=LEAK,
                               swap=swap(0.90 + 0.02 * seed))  # fmt: skip
    return tmp_path / "runs"


# ---- Table 2


def test_estimates_stand_beside_the_thesis(runs):
    page, content, _ = write(mmvae_table2, runs, "--seeds=2")
    row = cells(page, "`mmvae`", "3,000", "2")
    spread = "0.014 (seeds), 0.014 (estimates)"
    assert row[3:5] == ["1.000", "0.97"]
    assert row[5:11] == [
        f"0.970 +- {spread}", "0.908 +- 0.016",
        f"0.110 +- {spread}", "0.175 +- 0.017",
        f"0.410 +- {spread}", "0.400 +- 0.025",
    ]  # fmt: skip
    assert row[11] == (
        "rendered faces; 3,000 steps of 64, not 234,000 of 128; network width 0.25; "
        "dim z 64, not 512; weight of c's KL from 10 to 1 over 1,000 steps, not 1; "
        "adversary 3 x 128, not 7 x 512; its learning rate 0.001, not 1e-05; "
        "2 estimates, not 5"
    )
    assert "adversary" not in cells(page, "`r_cvae`")[11]
    found = content["rows"][2]
    first, second = found["bits"]["z;c"]["each"]
    assert first == pytest.approx([0.39, 0.41]) and second == pytest.approx([0.41, 0.43])
    assert found["bits"]["z;c"]["values"] == pytest.approx([0.40, 0.42])
    assert found["bits"]["z;c"]["std"] == pytest.approx(math.sqrt(0.0002))
    assert [r["method"] for r in content["rows"]] == ["r_cvae", "csvae", "mmvae"]
    assert "No run is missing." in page
    last = page.splitlines()[-1]
    assert "`python -m experiments.mmvae_table2 --preset=cpu --seeds=2`" in last
    assert "Commit 0123456; device cpu x 1; jax 0.10.2" in last


def test_the_thesis_numbers():
    assert {m: [p[0] for p in pairs.values()] for m, pairs in mmvae_runs.PAPER_BITS.items()} == {
        "r_cvae": [0.895, 0.245, 1.391],
        "csvae": [0.909, 0.210, 0.498],
        "mmvae": [0.908, 0.175, 0.400],
    }
    assert mmvae_table3.PAPER == {"r_cvae": 94.35, "csvae": 96.50, "mmvae": 97.17}


def test_the_order_is_held_against_the_thesis(runs):
    page, content, _ = write(mmvae_table2, runs, "--seeds=2")
    assert [f["holds"] for f in content["order"]] == [True, True, True]
    assert cells(page, "I(z;y) is lowest for MMVAE")[1:] == [
        "holds", "r_cvae 0.310, csvae 0.210, mmvae 0.110"
    ]  # fmt: skip


def test_an_order_that_does_not_hold_is_said(tmp_path):
    other = BITS | {"csvae": {"c;y": 0.90, "z;y": 0.05, "z;c": 0.30}}
    for method, means in other.items():
        make_attribute_run(tmp_path / "runs", task(method), around(means))
    page, content, _ = write(mmvae_table2, tmp_path / "runs")
    assert [f["holds"] for f in content["order"]] == [False, False, False]
    assert cells(page, "I(z;c) falls from r-CVAE to CSVAE to MMVAE")[1] == "does not hold"
    assert "What should be in c" not in page  # no leak table without true factors


def test_what_is_missing_is_said(runs):
    make_attribute_run(runs, task("mmvae", 7), None, series=[{"step": 800, "E/loss": 1.0}])
    for folder in runs.glob("faces_csvae_*"):
        folder.rename(folder.parent / f"moved_{folder.name}")
        (folder.parent / f"moved_{folder.name}" / "config.json").unlink()
    page, content, _ = write(mmvae_table2, runs)
    assert content["missing"] == [
        "`faces_mmvae_7`: unfinished, logged until step 800 of 3,000",
        "`faces_r_cvae`, seed 2: not started",
        "`faces_csvae`, seeds 0, 1, 2: not started",
        "`faces_mmvae`, seed 2: not started",
    ]
    row = cells(page, "`csvae`")
    assert row[2:7] == ["0", "", "", "no run yet", "0.909 +- 0.012"]
    assert [f["holds"] for f in content["order"]] == [None, None, None]


def test_one_seed_has_the_spread_of_its_estimates(tmp_path):
    means = BITS["mmvae"]
    make_attribute_run(tmp_path / "runs", task("mmvae"), around(means) | {"z;y": [math.nan, 0.2]})
    page, content, _ = write(mmvae_table2, tmp_path / "runs", "--methods=mmvae", "--seeds=1")
    row = cells(page, "`mmvae`")
    assert row[5] == "0.960 +- 0.014 (estimates)"
    assert row[7] == "0.200"
    assert content["rows"][0]["bits"]["z;y"]["each"] == [[None, 0.2]]


def test_other_recipes_are_rows_of_their_own(tmp_path):
    for seed, depth in enumerate((7, 7, 3)):
        make_attribute_run(tmp_path / "runs", task("mmvae", seed), around(BITS["mmvae"]),
                           recipe={"width": 512, "depth": depth})  # fmt: skip
    _, content, _ = write(mmvae_table2, tmp_path / "runs", "--methods=mmvae")
    assert sorted(row["seeds"] for row in content["rows"]) == [[0, 1], [2]]
    assert [row["protocol"].count("MINE 3 x 512") for row in content["rows"]].count(1) == 1


def test_celeba_glasses_writes_files_of_its_own(tmp_path):
    images = tmp_path / "celeba64_10k.zip"
    images.write_text("")
    arguments = ["--data=celeba_glasses", f"--data_dir={images}", "--seeds=1"]
    own = task("mmvae", data="celeba_glasses", arguments=arguments[1:])
    assert own.name == "celeba_glasses_mmvae_0" and own.config["data"]["dir"] == str(images)
    make_attribute_run(tmp_path / "runs", own, around(BITS["mmvae"]), entropy=0.918)
    page, content, out = write(
        mmvae_table2, tmp_path / "runs", *arguments, stem="mmvae_table2_celeba_glasses"
    )
    row = cells(page, "`mmvae`")
    assert row[3] == "0.918" and row[11].startswith("CelebA-Glasses from celeba64_10k.zip; ")
    assert "--data=celeba_glasses --data_dir=celeba64_10k.zip" in content["command"]
    assert str(tmp_path) not in page + (out / "mmvae_table2_celeba_glasses.json").read_text()
    assert not (out / "mmvae_table2_celeba_glasses_leak.png").exists()


# ---- what leaked


def test_leaks_over_seeds_and_their_summary(tmp_path):
    for seed, (skin_c, lens) in enumerate(((0.1, 0.6), (0.3, 0.8))):
        rows = [dict(row) for row in LEAK]
        rows[1] |= {"c": {"linear": 0.4, "boosted": lens}}
        rows[3] |= {"c": {"linear": -0.2, "boosted": skin_c}}
        make_attribute_run(tmp_path / "runs", task("mmvae", seed), around(BITS["mmvae"]), leak=rows)
    page, content, out = write(mmvae_table2, tmp_path / "runs", "--methods=mmvae", "--seeds=2")
    leak = page.split("## What should be in c")[1]
    assert cells(leak, "skin")[1:] == ["nuisance", "", "z", "R^2", "0.00", "-0.20 / 0.20",
                                       "0.90 / 0.95", "0.90 / 0.95"]  # fmt: skip
    assert cells(leak, "frame")[2:6] == ["glasses", "c", "accuracy", "0.40"]
    assert cells(leak, "frame")[6:] == ["0.50 / 0.70", "0.40 / 0.55", "0.40 / 0.55"]
    summary = cells(leak, "`mmvae`", "3,000", "2")
    # attributes in c: linear (0.99 - 0.5) / 0.5; sub-attributes: frame (0.7 - 0.4) / 0.6 = 0.5
    assert summary[3:6] == ["0.98 / 1.00 +- 0.00", "0.28 / 0.60 +- 0.07", "0.70 / 0.90 +- 0.00"]
    assert summary[6:9] == ["0.20 / 0.50 +- 0.00", "0.05 / 0.23 +- 0.00", "0.00 / 0.25 +- 0.07"]
    assert summary[9:11] == ["0.20 / 0.50 +- 0.00", "0.05 / 0.23 +- 0.00"]  # the mean of z
    assert summary[11] == "gaze in c (0.30), glasses in z (0.50)"
    assert content["leak"][0]["factors"][3]["c"]["boosted"]["values"] == [0.1, 0.3]
    assert picture(out / "mmvae_table2_leak.png").shape[0] > 200


def test_leaks_of_methods_stand_beside_each_other(runs):
    page, content, _ = write(mmvae_table2, runs, "--seeds=2")
    assert [entry["method"] for entry in content["leak"]] == ["r_cvae", "csvae", "mmvae"]
    assert cells(page, "factor")[6:] == [
        f"`{method}` {code}"
        for method in ("r_cvae", "csvae", "mmvae")
        for code in ("c", "z", "z_mean")
    ]


def test_scores_that_are_absent_are_no_zeros(tmp_path):
    rows = [leak_row("skin", "nuisance", (0.1, None), (0.9, None))]  # linear predictors only
    make_attribute_run(tmp_path / "runs", task("mmvae"), around(BITS["mmvae"]), leak=rows)
    page, content, _ = write(mmvae_table2, tmp_path / "runs", "--methods=mmvae", "--seeds=1")
    assert cells(page, "skin")[6:] == ["0.10 / nan", "0.90 / nan", "0.90 / nan"]
    assert content["leak"][0]["summary"]["the rest in c"]["boosted"]["mean"] is None
    assert content["leak"][0]["worst"] == {"c": None, "z": None}


def test_an_attribute_that_the_run_is_not_told_of_belongs_into_the_rest(tmp_path):
    beard = leak_row("beard", "attribute", (0.6, 0.8), (0.9, 1.0), measure="accuracy", chance=0.5)
    length = leak_row("length", "sub-attribute", (0.0, 0.1), (0.5, 0.7)) | {"owner": "beard"}
    make_attribute_run(tmp_path / "runs", task("mmvae"), around(BITS["mmvae"]),
                       leak=[*LEAK, beard, length])  # fmt: skip
    page, content, _ = write(mmvae_table2, tmp_path / "runs", "--methods=mmvae", "--seeds=1")
    assert [cells(page, name)[3] for name in ("glasses", "frame", "beard", "length", "gaze")] == [
        "c", "c", "z", "z", "z"
    ]  # fmt: skip
    entry = content["leak"][0]
    assert entry["summary"]["attributes in c"]["boosted"]["mean"] == 1.0
    rest = (0.1 + 0.3 + 0.6 + 0.1) / 4
    assert entry["summary"]["the rest in c"]["boosted"]["mean"] == pytest.approx(rest)
    assert entry["worst"]["c"]["factor"] == "beard"


# ---- Table 3


def test_swaps_stand_beside_the_thesis(runs):
    (runs / "faces_mmvae_0" / "figures").mkdir()
    (runs / "faces_mmvae_0" / "figures" / "swap_glasses.png").write_bytes(b"a picture")
    page, content, out = write(mmvae_table3, runs, "--seeds=2")
    assert (out / "mmvae_table3_mmvae_glasses.png").read_bytes() == b"a picture"
    assert "![mmvae, glasses: seed 0, step 3,000](mmvae_table3_mmvae_glasses.png)" in page
    row = cells(page, "`mmvae`", "3,000", "glasses", "2")
    assert row[4:8] == ["91.00 +- 1.41", "90.00 92.00", "98.50 +- 0.00", "97.17"]
    assert row[8].startswith("rendered faces; 3,000 steps") and "estimates" not in row[8]
    assert content["rows"][0]["refused"] == {} and "Refused" not in page


def test_refusals_are_shown_with_their_reason(runs):
    reason = "the classifier has 93.1 % of its test images right, fewer than 95 %"
    refused = swap(None, judge=0.931, reason=reason)
    make_attribute_run(runs, task("mmvae", 2), around(BITS["mmvae"]), swap=refused)
    for seed in (2, 3):
        make_attribute_run(runs, task("csvae", seed), around(BITS["csvae"]), swap=refused)
    for seed in range(2):
        folder = runs / f"faces_csvae_{seed}"
        results = json.loads((folder / "results.json").read_text())
        results["attributes"]["swap"] = refused
        (folder / "results.json").write_text(json.dumps(results))
    page, content, _ = write(mmvae_table3, runs)
    row = cells(page, "`mmvae`")
    assert row[3:6] == ["3", "91.00 +- 1.41 (1 of 3 refused)", "90.00 92.00 -"]
    assert cells(page, "`csvae`")[4:7] == ["refused", "- - - -", "93.10 +- 0.00"]
    assert f"- `mmvae`, glasses, seed 2: {reason}" in page
    assert f"- `csvae`, glasses, seeds 0, 1, 2, 3: {reason}" in page
    assert content["rows"][2]["accuracy"]["values"] == [90.0, pytest.approx(92.0), None]


def test_each_attribute_has_a_row(tmp_path):
    both = swap(0.9) | {"beard": {"accuracy": 0.5, "classifier_accuracy": 0.96, "reason": ""}}
    make_attribute_run(tmp_path / "runs", task("mmvae"), around(BITS["mmvae"]), swap=both)
    page, content, _ = write(mmvae_table3, tmp_path / "runs", "--seeds=1")
    assert [row["attribute"] for row in content["rows"]] == ["glasses", "beard"]
    assert cells(page, "`mmvae`", "3,000", "beard")[4] == "50.00"
    assert cells(page, "`r_cvae`")[3:5] == ["0", "no run yet"]
