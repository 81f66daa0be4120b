"""The examples in docstrings and in Markdown files print what they say."""

import doctest
import importlib
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = {"jax": jax, "jnp": jnp, "np": np}  # what every example may take for granted
PAGES = ("README.md", "CONTRIBUTING.md", "configs/README.md", "experiments/README.md")
# Where examples have to be: the functions that are of use without the rest of ivg.
ROOMS = ("losses", "distributions", "metrics", "players", "transforms", "plots", "data")


def modules():
    """The modules of ivg with an example, by their dotted names."""
    paths = [p for p in sorted((ROOT / "ivg").rglob("*.py")) if ">>> " in p.read_text()]
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    return [".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts]


def examples(name):
    """The docstrings with examples of a module, as tests."""
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [
        t for t in finder.find(module, extraglobs=NAMES, globs=dict(vars(module))) if t.examples
    ]


def complaints(test):
    """What goes wrong in a test, as text."""
    said = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.fixture(autouse=True)
def plain(tmp_path, monkeypatch):
    """NumPy prints as it does by default, 64 bits are off, files are written elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert not jax.config.jax_enable_x64
    with np.printoptions(precision=8, suppress=False, threshold=1000, linewidth=75, sign="-"):
        yield


@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings(name):
    found = examples(name)
    assert found, f"{name} has an example that is in no docstring"
    for test in found:
        assert not complaints(test), test.name


def test_there_are_examples_where_they_are_of_use():
    names = modules()
    for room in ROOMS:
        assert any(name.split(".")[1] == room for name in names), room
    found = [test for name in names for test in examples(name)]
    assert len(found) >= 70 and sum(len(test.examples) for test in found) >= 200


def test_a_wrong_example_is_found():
    parser = doctest.DocTestParser()
    wrong = parser.get_doctest(
        ">>> print(jnp.ones(2) + 1)\n[1. 1.]\n", dict(NAMES), "wrong", None, 0
    )
    assert "[2. 2.]" in complaints(wrong)


def test_examples_of_markdown_files():
    """Each fenced block by itself."""
    parser = doctest.DocTestParser()
    for page in PAGES:
        text = (ROOT / page).read_text() if (ROOT / page).exists() else ""
        for block in re.findall(r"^```(?:python|pycon)\n(.*?)^```$", text, re.M | re.S):
            test = parser.get_doctest(block, dict(NAMES), page, page, 0)
            assert not complaints(test), page
