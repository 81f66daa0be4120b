"""CONTRIBUTING.md's worked example, as it stands there: its code, its tests, its lines, a run."""

import ast
import functools
import importlib.util
import inspect
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from typing import NamedTuple

import command
import pytest

import ivg.methods

ROOT = command.REPOSITORY
METHOD, TESTS = "ivg/methods/wae.py", "tests/methods/test_wae.py"


class Block(NamedTuple):
    """A code block: the file it belongs to, "python" (all of it) or "diff", what it says."""

    path: str
    kind: str
    text: str


@functools.cache
def blocks():
    """Those with a caption that begins with the name of a file."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    captioned = r"^`([\w./]+)`[^\n]*\n(?:[^\n]+\n)*\n```(python|diff)\n(.*?)^```$"
    return [Block(*match.groups()) for match in re.finditer(captioned, text, re.M | re.S)]


def code(path):
    (block,) = (b for b in blocks() if b.path == path and b.kind == "python")
    return block.text


def patched(text, diff):
    """The text with the lines that have a plus, where the others stand."""
    for hunk in re.split(r"^@@\n", diff, flags=re.M):
        lines = hunk.splitlines(keepends=True)
        assert all(line[0] in " +" for line in lines), hunk
        before = "".join(line[1:] for line in lines if line[0] == " ")
        assert before and text.count(before) == 1, f"not there, or not once:\n{before}"
        text = text.replace(before, "".join(line[1:] for line in lines))
    return text


def names_of_tests():
    return [
        node.name
        for node in ast.parse(code(TESTS)).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """The example's tests as a module; ivg.methods has the example in a folder of its own."""
    folder = tmp_path_factory.mktemp("contributed")
    for path in (METHOD, TESTS):
        (folder / pathlib.Path(path).name).write_text(code(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ivg.methods, "__path__", [*ivg.methods.__path__, str(folder)])
        patch.setattr(sys, "path", [str(ROOT / "tests" / "methods"), *sys.path])
        spec = importlib.util.spec_from_file_location("contributed", folder / "test_wae.py")
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        yield made
    del sys.modules["ivg.methods.wae"], ivg.methods.wae


@pytest.mark.parametrize("name", names_of_tests())
def test_the_example_keeps_its_promises(module, name, tmp_path):
    test = getattr(module, name)
    test(**({"tmp_path": tmp_path} if "tmp_path" in inspect.signature(test).parameters else {}))


def test_the_promises_are_all_five():
    called = {node.id for node in ast.walk(ast.parse(code(TESTS))) if isinstance(node, ast.Name)}
    assert {"repeated", "moves", "play", "steps_agree", "restored_goes_on", "codes_fit"} <= called
    assert "chex.assert_trees_all_equal(start.G, after.G)" in code(TESTS)
    assert len(names_of_tests()) >= 6


def test_the_example_is_short():
    tree, lines = ast.parse(code(METHOD)), code(METHOD).splitlines()
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = [n for n in ast.walk(tree) if isinstance(n, kinds) and ast.get_docstring(n)]
    words = {i for n in documented for i in range(n.body[0].lineno, n.body[0].end_lineno + 1)}
    written = [line for i, line in enumerate(lines, 1) if line.strip() and i not in words]
    assert 40 < len(written) <= 80, len(written)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what runs, with every block of the text in its place."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("ivg", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for block in blocks():
        path = folder / block.path
        if block.kind == "diff":
            path.write_text(patched(path.read_text(), block.text))
        else:
            assert not path.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    return folder


def test_every_place_that_the_text_names_is_changed(checkout):
    places = {block.path for block in blocks()}
    assert places >= {METHOD, TESTS, "ivg/methods/__init__.py", "configs/autoencoders.py"}
    for path in places:
        known = ROOT / path
        assert not known.exists() or known.read_text() != (checkout / path).read_text(), path


def test_new_files_are_as_ruff_wants_them(checkout):
    ruff = shutil.which("ruff", path=str(pathlib.Path(sys.executable).parent)) or "ruff"
    options = ["--no-cache", "--config", ROOT / "pyproject.toml", METHOD, TESTS]
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *words, *options], cwd=checkout, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert all(len(line) <= 101 for block in blocks() for line in block.text.splitlines())


def test_it_trains_by_its_name(checkout, tmp_path):
    """From the patched copy, which stands before the installed package on Python's path."""
    workdir = tmp_path / "run"
    words = ["-m", "ivg.main", "--config=configs/digits.py:wae", f"--workdir={workdir}"]
    small = dict(num_steps=20, checkpoint_every=20, log_every=1, eval_every=0, batch_size=8)
    small |= {"wae.prefit_steps": 10, "wae.network.width": 8}
    process = subprocess.Popen(
        [sys.executable, *words, *(f"--config.{name}={value}" for name, value in small.items())],
        cwd=checkout,
        env=command.environment() | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Without the evaluation, which takes longer than the training.
    command.interrupt(process, signal.SIGKILL, lambda: 20 in command.steps_saved(workdir))
    assert command.logged(workdir) == list(range(1, 21))
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert "G/squared_error" not in lines[9] and "G/squared_error" in lines[10]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https://)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        assert (ROOT / (path or page)).is_file(), target
        headings = re.findall(r"^#+ (.+)$", (ROOT / (path or page)).read_text(), re.M)
        anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
        assert not anchor or anchor in anchors, target
    # Files that are named, in code, are there; those that a contributor makes aside.
    made = {block.path for block in blocks()}
    named = re.findall(r"`((?:ivg|tests|configs)/[\w/.]+|\.ci/run|[A-Z]+\.md)`", text)
    assert all((ROOT / name).exists() for name in named if name not in made), named
