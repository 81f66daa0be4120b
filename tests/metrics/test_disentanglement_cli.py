"""`python -m ivg.metrics.disentanglement`: a table, a JSON file, and one sentence for bad input."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ivg.metrics import disentanglement
from ivg.metrics.disentanglement import __main__ as program


@pytest.fixture
def arrays():
    rng = np.random.RandomState(0)
    factors = rng.randint(4, size=(80, 2))
    return {"codes": factors + 0.1 * rng.normal(size=(80, 2)), "factors": factors}


@pytest.fixture
def file(tmp_path, arrays):
    path = tmp_path / "codes.npz"
    np.savez(path, **arrays)
    return str(path)


def test_the_table_has_a_line_per_metric_with_its_recipe(file, arrays, capsys):
    assert program.main([file, "--metrics", "mig,sap_discrete", "--bins", "4"]) == 0
    head, mig, sap = capsys.readouterr().out.splitlines()
    assert head.split() == ["metric", "mean", "std", "recipe"]
    score = disentanglement.mig(**arrays, num_bins=4).value
    assert mig.split()[:3] == ["mig", f"{score:.4f}", "0.0000"]
    assert "80 rows; 4 bins" in mig and mig.endswith("seeds 0, 1, 2")
    assert "54 train; 26 test; linear SVC" in sap


def test_json_holds_values_recipe_and_details(file, tmp_path, capsys):
    out = tmp_path / "out.json"
    arguments = [file, "--metrics=factor_vae_ibgan", "--seeds=2", f"--json={out}"]
    assert program.main(arguments) == 0
    entry = json.loads(out.read_text())["factor_vae_ibgan"]
    assert entry["values"] == [1.0, 1.0] and entry["std"] == 0
    assert entry["recipe"]["seeds"] == [0, 1] and entry["recipe"]["votes"] == 800
    assert entry["details"]["active_dims"] == [0, 1]


def test_an_undefined_metric_says_why(tmp_path, arrays, capsys):
    np.savez(tmp_path / "one.npz", codes=arrays["codes"], factors=arrays["factors"][:, 0])
    path = str(tmp_path / "one.npz")
    assert program.main([path, "--metrics", "mig,modularity", "--seeds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:3] == ["modularity", "-", "-"]
    assert "needs 2 factors that vary" in lines[2]


def test_it_runs_as_a_module(file):
    command = [sys.executable, "-W", "error", "-m", "ivg.metrics.disentanglement", file]
    done = subprocess.run([*command, "--metrics=all"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    metrics = [line.split()[0] for line in done.stdout.splitlines()]
    assert set(disentanglement.ALL) < set(metrics)


def check_error(arguments, message, capsys):
    assert program.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": None}, "has no array 'factors', only codes"),
        ({"codes": None}, "has no array 'codes', only factors"),
        ({"codes": None, "factors": None}, "only nothing"),
        ({"codes": np.zeros((80, 2, 2))}, "codes must be real numbers"),
        ({"codes": np.zeros((79, 2))}, "79 codes and 80 factors"),
        ({"codes": np.full((80, 2), np.nan)}, "are NaN or infinite"),
        ({"codes": np.array([object()])}, "no .npz file of plain arrays"),
        ({"factors": np.full((80, 2), 0.5)}, "factors must be whole numbers"),
        ({"factors": np.zeros((80, 2), int)}, "needs a factor that varies"),
        ({"names": np.array(["only one"])}, "1 names and 2 factors"),
    ],
)
def test_files_without_the_right_arrays(tmp_path, arrays, capsys, change, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **{k: v for k, v in (arrays | change).items() if v is not None})
    check_error([str(path)], message, capsys)


def test_files_that_are_no_npz(tmp_path, file, capsys):
    check_error([str(tmp_path / "none.npz")], "there is no file", capsys)
    check_error([str(tmp_path)], "cannot read", capsys)
    text = tmp_path / "text.npz"
    for content in (b"", b"hello", pathlib.Path(file).read_bytes()[:300]):
        text.write_bytes(content)
        check_error([str(text)], "no .npz file of plain arrays", capsys)
    np.save(tmp_path / "single.npy", np.zeros(3))
    check_error([str(tmp_path / "single.npy")], "holds a single array", capsys)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--metrics=mig,fid"], "unknown metric fid: choose from factor_vae"),
        (["--metrics="], "unknown metric (none named)"),
        (["--seeds=0"], "--seeds must be at least 1"),
        (["--seeds=x"], "--seeds: invalid int value"),
        (["--bins=-1"], "--bins must be at least 1"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["--json=/nowhere/out.json"], "there is no folder /nowhere"),
    ],
)
def test_bad_flags(file, capsys, flags, message):
    check_error([file, *flags], message, capsys)


def test_the_file_must_be_named(capsys):
    check_error([], "arguments are required: file", capsys)
