"""Exports: a process that cannot import ivg gets the same arrays; folders are whole; the card."""

import json
import pathlib
import re
import subprocess
import sys

import command
import jax
import numpy as np
import pytest
from exported import STEP, facts, make_config, numbers, tiny

import ivg
from ivg import build, checkpoint, export, model_card, plots, programs, rundir
from ivg.errors import UserError

pytest.importorskip("safetensors", reason="needs the extra `export`")
pytest.importorskip("flatbuffers", reason="needs the extra `export`")
from safetensors import safe_open

# What another process loads: the method, its networks, the image shape and the batch sizes.
CASES = {
    "mlp": ("infovaegan", (), (8, 8, 1), (1, 3, 7)),
    "ibgan64": ("ibgan", (("name", "ibgan64"), ("ndf", 2), ("ngf", 2)), (64, 64, 1), (3,)),
    "attributes": ("mmvae", (), (8, 8, 3), (8,)),
}
# Blocks what an export must do without, runs the card's own lines, then every program.
STRANGER = """
import json, pathlib, re, sys, os

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ivg", "flax", "optax", "orbax", "chex"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
try:
    import ivg
except ImportError:
    print("ivg is not there")
for folder, sizes in json.loads(sys.argv[1]).items():
    os.chdir(folder)
    card = pathlib.Path("README.md").read_text()
    exec(re.search(r"```python\\n(.*?)```", card, re.DOTALL)[1])
    given, found = np.load("example.npz"), {}
    generate_float = load("generate_float.jax_export")
    for n in sizes:
        rows = {k: v[:n] for k, v in given.items()}
        codes = {k[6:]: v for k, v in rows.items() if k.startswith("codes.")}
        inputs = [rows[k] for k in ("images", "attributes") if k in rows]
        out = {f"encoded.{k}": v for k, v in encode(weights, *inputs).items()}
        out |= {"images": generate(weights, codes), "x": generate_float(weights, codes)}
        found |= {f"{n}.{k}": np.asarray(v) for k, v in out.items()}
    if len(sizes) > 2:
        loss = lambda c: (generate_float(weights, c) ** 2).sum()
        found |= {f"slope.{k}": v for k, v in jax.grad(loss)(codes).items()}
    np.savez("found.npz", **found)
assert not [name for name in sys.modules if name.split(".")[0] in ("ivg", "flax", "optax")]
"""


@pytest.fixture(autouse=True, scope="module")
def fast():
    """Compiles in half the time; compared are programs of one optimisation level."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> pathlib.Path:
    """A run directory with two checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    config, known = make_config("infovaegan"), facts("infovaegan", (8, 8, 1))
    rundir.write_json(folder / "config.json", config)
    rundir.write_facts(folder, known)
    method = build.stored_method(config, known)
    state = numbers(jax.eval_shape(method.init, jax.random.key(0)))
    for step in (STEP, STEP + 1):
        checkpoint.save(build.checkpoints(folder), step, state, keep=2)
    results = {"step": STEP + 1, "method": "infovaegan", "reconstruction_mse": 0.25}
    results |= {"disentanglement": {"mig": {"mean": 0.125, "std": None, "recipe": {"bins": 20}}}}
    rundir.write_json(folder / "results.json", results | {"figures": ["figures/x.png"]})
    return folder


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def reason(capsys, *arguments: object) -> str:
    """The sentence of a command that must fail."""
    assert export.main([str(a) for a in arguments]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith("error: ") and out.err.count("\n") == 1
    return out.err


# ---- another process ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """What a process without ivg says and computes, by case."""
    root, sizes = tmp_path_factory.mktemp("exports"), {}
    for case, (name, network, shape, batches) in CASES.items():
        model, folder = tiny(name, shape, network), root / case
        with pytest.MonkeyPatch.context() as patch:  # that other process compares
            patch.setattr(programs, "compare", lambda *_: "not compared")
            export.write(model, folder)
        sizes[str(folder)] = batches
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, json.dumps(sizes)],
        cwd=root,
        env=command.environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    arrays = {}
    for case in CASES:
        arrays[case] = dict(np.load(root / case / "example.npz"))
        arrays[case] |= dict(np.load(root / case / "found.npz"))
    return done.stdout, arrays


def test_the_cards_lines_run_without_ivg(stranger):
    said = stranger[0].splitlines()
    assert said[0] == "ivg is not there"
    assert sum(line.endswith("grey levels off: 0") for line in said) == len(CASES)
    off = [float(n) for line in said for n in re.findall(r"float32\((.*?)\)", line)]
    assert len(off) == 3 + 1 + 2 and max(off) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_a_process_without_ivg_gets_the_same_arrays(case, stranger):
    name, network, shape, sizes = CASES[case]
    model, found = tiny(name, shape, network), stranger[1][case]
    codes = {name: found[f"codes.{name}"] for name in model.codes}
    assert np.array_equal(model.generate(**codes), found["images"])  # ivg's own, bit for bit
    x = jax.jit(model.functions.generate)(model.state, codes)
    for n in sizes:
        np.testing.assert_allclose(found[f"{n}.x"], x[:n], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found[f"{n}.images"], plots.to_uint8(found[f"{n}.x"]))
        off = found[f"{n}.images"].astype(int) - found["images"][:n]
        assert abs(off).max() <= 1 and found[f"{n}.images"].dtype == np.uint8
        for code in model.codes:
            expected = found[f"encoded.{code}"][:n]
            np.testing.assert_allclose(found[f"{n}.encoded.{code}"], expected, rtol=0, atol=1e-5)
    assert x.std() > 0.03 and all(np.ptp(found[f"encoded.{c}"]) > 0.05 for c in model.codes)


def test_derivatives_are_those_of_the_method(stranger):
    model, found = tiny("infovaegan", (8, 8, 1), ()), stranger[1]["mlp"]
    codes = {k: found[f"codes.{k}"][:7] for k in model.codes}
    loss = jax.jit(jax.grad(lambda c: (model.functions.generate(model.state, c) ** 2).sum()))
    for name, slope in loss(codes).items():
        np.testing.assert_allclose(found[f"slope.{name}"], slope, rtol=1e-4, atol=1e-5)
        assert abs(slope).max() > 0.01


# ---- the command --------------------------------------------------------------------------------


def test_the_command_writes_a_folder(workdir, tmp_path, capsys, monkeypatch):
    out = tmp_path / "new" / "model"
    assert export.main([f"--workdir={workdir}", f"--out={out}"]) == 0
    said = capsys.readouterr().out
    assert f"step {STEP + 1}: images differ from ivg's own by at most 0 grey levels" in said
    first = files(out)
    assert set(first) == {
        *("README.md", "config.json", "weights.safetensors", "example.npz"),
        *("encode.jax_export", "generate.jax_export", "generate_float.jax_export"),
    }
    about = json.loads(first["config.json"])
    assert about["results"]["reconstruction_mse"] == 0.25 and "figures" not in about["results"]
    assert about["run"]["data"]["dir"] == "photos"
    for place in ("/home/somebody", str(pathlib.Path(ivg.__file__).parent), str(workdir)):
        assert not any(place.encode() in data for data in first.values()), place
    with safe_open(out / "weights.safetensors", "np") as found:
        metadata = found.metadata()
        assert metadata["method"] == "infovaegan" and metadata["step"] == str(STEP + 1)
        assert {"format", "version", "data", "commit"} < metadata.keys()
    # An earlier export is replaced.
    monkeypatch.setattr(programs, "compare", lambda *_: "not compared")
    assert export.main([f"--workdir={workdir}", f"--out={out}", f"--step={STEP}"]) == 0
    assert f"are of step {STEP + 1}, this is step {STEP}" in (out / "README.md").read_text()
    assert [path.name for path in out.parent.iterdir()] == ["model"]  # no drafts are left


def test_mistakes_are_one_sentence(workdir, tmp_path, capsys, monkeypatch):
    run, full = f"--workdir={workdir}", tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("years of work")
    assert "there is no directory" in reason(capsys, f"--workdir={tmp_path / 'nowhere'}")
    assert "not a run directory" in reason(capsys, f"--workdir={full}")
    assert "no checkpoint of step 3" in reason(capsys, run, "--step=3", f"--out={tmp_path / 'a'}")
    assert "is not empty and no earlier export" in reason(capsys, run, f"--out={full}")
    assert "is a file" in reason(capsys, run, f"--out={full / 'thesis.tex'}")
    assert "--workdir" in reason(capsys)
    rundir.write_json(full / "config.json", {"format": "ivg-export"})
    assert "thesis.tex, which would be lost" in reason(capsys, run, f"--out={full}")
    assert (full / "thesis.tex").read_text() == "years of work"
    (tmp_path / "young").mkdir()
    rundir.write_json(tmp_path / "young" / "config.json", {})
    assert "no checkpoint yet" in reason(capsys, f"--workdir={tmp_path / 'young'}")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "pip install 'ivg[export]'" in reason(capsys, run, f"--out={tmp_path / 'b'}")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    model, out = tiny("wgan_gp"), tmp_path / "model"
    monkeypatch.setattr(programs, "compare", lambda *_: "not compared")
    export.write(model, out)
    before = files(out)

    def full(about):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_card, "card", full)
    with pytest.raises(UserError, match="No space left"):
        export.write(model, out)
    assert files(out) == before and [path.name for path in tmp_path.iterdir()] == ["model"]
