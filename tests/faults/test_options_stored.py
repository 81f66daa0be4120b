"""A run directory whose config.json somebody edited: read as it was meant, or one sentence."""

import collections
import contextlib
import copy
import io
import json
import pathlib
import shutil

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import quick_settings, start

import ivg
from ivg import rundir, runs
from ivg.errors import UserError
from ivg.report import __main__ as report


@pytest.fixture(autouse=True, scope="module")
def quickly():
    with quick_settings():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """A run with its checkpoint, and one that has none."""
    found = tmp_path_factory.mktemp("edited")
    for name in ("run", "bare"):
        shutil.copytree(start().workdir, found / name)
    shutil.rmtree(found / "bare" / "checkpoints")
    return found / "run", found / "bare"


# ---- what can be done with a run ----------------------------------------------------------------


def go_on(workdir: pathlib.Path) -> None:
    """As --mode=train does first."""
    rundir.claim(workdir, start().config)


def evaluate(workdir: pathlib.Path) -> None:
    """As --mode=evaluate and --mode=sample do first."""
    runs.last_state(runs.stored(workdir, None), workdir)


def page(workdir: pathlib.Path) -> None:
    """As `python -m ivg.report`: alone, and beside itself."""
    for words in ([workdir], [workdir, workdir, "--out", workdir / "compared.html"]):
        said, out = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
            code = report.main([str(word) for word in words])
        if code:
            errors = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
            assert code == 2 and len(errors) == 1
            raise UserError(errors[0])


ACTIONS = {"load": ivg.load, "go on": go_on, "evaluate": evaluate}


# ---- random edits -------------------------------------------------------------------------------

VALUES = st.sampled_from([None, True, 0, -1, 3, 1e400, 0.5, 2**70, "", "x", "vae", [], ["x"], {}])
VALUES |= st.sampled_from([{"x": 1}, [[1]], "a" * 5_000, "\0", "mlp", "adam", float("nan")])
KINDS = st.sampled_from(["change", "change", "remove", "remove", "add", "cut"])


def paths(section: dict, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every field and section."""
    found = []
    for name, value in section.items():
        found.append((*above, name))
        if isinstance(value, dict):
            found += paths(value, (*above, name))
    return found


def edited(config: dict, kind: str, place: int, value: object) -> dict:
    """A copy with one field or section changed, removed, emptied or added beside."""
    config = copy.deepcopy(config)
    known = paths(config)
    *sections, last = known[place % len(known)]
    inner = config
    for name in sections:
        inner = inner[name]
    if kind == "remove":
        del inner[last]
    elif kind == "add":
        inner[f"{last}_more"] = value
    else:
        inner[last] = {} if kind == "cut" and isinstance(inner[last], dict) else value
    return config


def test_random_edits(amount, figure, folders):
    counts = collections.Counter()
    whole = json.loads(json.dumps(start().config))

    @settings(max_examples=amount(8, 60), deadline=None, derandomize=True, database=None)
    @given(KINDS, st.integers(0, 10**6), VALUES)
    def run(kind, place, value):
        config = edited(whole, kind, place, value)
        for name, action in (ACTIONS | {"page": page}).items():
            workdir = folders[name == "page"]
            rundir.write_json(workdir / "config.json", config)
            counts["tried"] += 1
            try:
                action(workdir)
            except UserError as error:
                counts["refused"] += 1
                assert "\n" not in str(error)  # its length is cut where it is printed
            if name == "go on":
                continue
            assert rundir.read_config(workdir) == config or value != value

    run()
    assert 0 < counts["refused"] < counts["tried"]
    figure("command line", "uses of an edited config.json tried", counts["tried"])
    figure("command line", "of these uses refused with one sentence", counts["refused"])


CONTENTS = {
    "a list": "[1, 2]",
    "a number": "3",
    "null": "null",
    "a text": '"method"',
    "empty": "",
    "cut": '{"method": "va',
    "no text": b"\xff\xfe{}",
    "nested": "[" * 100_000,
    "no field": "{}",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_config(folders, name):
    for what, action in (ACTIONS | {"page": page}).items():
        workdir = folders[what == "page"]
        content = CONTENTS[name]
        content = content.encode() if isinstance(content, str) else content
        (workdir / "config.json").write_bytes(content)
        with pytest.raises(UserError) as raised:
            action(workdir)
        assert "\n" not in str(raised.value)
        assert (workdir / "config.json").read_bytes() == content


SENTENCES = [
    ("batch_size", "8", 'batch_size="8" must be a whole number'),
    ("seed", None, "seed=None must be a whole number"),
    ("infovaegan_invariant.dim_z", 3.5, "dim_z=3.5 must be a whole number"),
    ("infovaegan_invariant.optimizer.G.b1", 1.0, "optimizer.G.b1=1.0 must be below 1"),
    ("infovaegan_invariant.network", "mlp", 'network="mlp" must be a section'),
    ("data", [], "data=[] must be a section"),
    ("method", 3, "there is no method 3"),
]


@pytest.mark.parametrize("field, value, sentence", SENTENCES)
def test_evaluation_names_the_file_and_the_field(folders, field, value, sentence):
    workdir, config = folders[0], json.loads(json.dumps(start().config))
    inner = config
    *sections, last = field.split(".")
    for name in sections:
        inner = inner[name]
    inner[last] = value
    rundir.write_json(workdir / "config.json", config)
    with pytest.raises(UserError) as raised:
        evaluate(workdir)
    assert str(workdir / "config.json") in str(raised.value) and sentence in str(raised.value)


def test_the_run_as_it_was_is_read(folders):
    rundir.write_json(folders[0] / "config.json", start().config)
    for action in ACTIONS.values():
        action(folders[0])
    assert jax.tree.leaves(ivg.load(folders[0]).state)
