"""What a mutant is, what is left out, and that reasons and survivors belong together."""

import json
import pathlib
import subprocess
import sys

import pytest

from experiments import mutants, mutation

SOURCE = '''"""A module."""

from typing import Any

__all__ = ["scaled"]
Params = Any
LIMIT = 4.0


def scaled(x: float | None, factor: float = 2.0) -> float:
    """Documented."""
    if x is None:
        return LIMIT
    return min(factor * x, LIMIT)
'''


@pytest.fixture
def made(tmp_path):
    (tmp_path / "module.py").write_text(SOURCE)
    return mutants.make(tmp_path, "module.py")


def test_mutants_are_what_differs_by_one_line(made):
    found, left_out = made
    changes = {(m.function, m.before, m.after) for m in found}
    assert ("", "LIMIT = 4.0", "LIMIT = 5.0") in changes
    assert ("scaled", "if x is None:", "if x is not None:") in changes
    line = "return min(factor * x, LIMIT)"
    assert ("scaled", line, "return min(factor / x, LIMIT)") in changes
    assert ("scaled", line, "return min(LIMIT)") in changes
    old = SOURCE.splitlines()
    for mutant in found:
        new = mutant.source.splitlines()
        different = [i for i, (a, b) in enumerate(zip(old, new, strict=True), 1) if a != b]
        assert different == [mutant.line] and new[mutant.line - 1].strip() == mutant.after
    assert len({m.source for m in found}) == len(found)
    assert left_out == 4  # three of `__all__`, and None for Any


def test_nothing_is_changed_that_only_people_read(made):
    changed = {m.line for m in made[0]}
    kept = ("A module", "__all__", "Params", "Documented", "import")
    assert not changed & {
        i for i, t in enumerate(SOURCE.splitlines(), 1) if any(k in t for k in kept)
    }
    assert not any("| None" not in m.after for m in made[0] if m.line == 10)  # annotations


def test_a_fingerprint_is_of_what_a_module_does():
    same = SOURCE.replace("A module", "Other words").replace("4.0\n", "4.0  # a comment\n")
    assert mutants.fingerprint(same) == mutants.fingerprint(SOURCE)
    assert mutants.fingerprint(SOURCE.replace("4.0", "4.5")) != mutants.fingerprint(SOURCE)


TOY = "def double(x):\n    return 2 * x\n"
TOY_TEST = "from ivg import toy\n\n\ndef test_double():\n    assert toy.double(3) == 6\n"
RUN = """
import json, pathlib, sys
from experiments import mutation_runs
from experiments.mutants import Mutant

checkout, folder = map(pathlib.Path, sys.argv[1:])
copy = mutation_runs.prepared(checkout, folder)
tests = mutation_runs.Tests(copy, ["tests/test_toy.py"])
tests.limit = 5.0
bodies = ["3 * x", "x * 2", "exec('while True: pass')", "__import__('os')._exit(7)", "x x", "x"]
mutants = [Mutant("ivg/toy.py", "double", 2, "", b, f"def double(x):\\n    return {b}\\n")
           for b in bodies]
print(json.dumps([(o.passed, o.killer) for o in tests.on(mutants)]))
"""


def test_mutants_that_hang_or_die_do_not_stop_the_others(tmp_path):
    checkout, folder = tmp_path / "checkout", tmp_path / "work"
    for name in ("ivg", "configs", "tests"):
        (checkout / name).mkdir(parents=True)
    folder.mkdir()
    (checkout / "setup.cfg").touch()
    (checkout / "pyproject.toml").touch()
    (checkout / "ivg" / "__init__.py").touch()
    (checkout / "ivg" / "toy.py").write_text(TOY)
    (checkout / "tests" / "test_toy.py").write_text(TOY_TEST)
    command = [sys.executable, "-c", RUN, str(checkout), str(folder)]
    done = subprocess.run(command, cwd=mutation.CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    killed = [False, "tests/test_toy.py::test_double"]
    assert json.loads(done.stdout) == [
        killed,
        [True, ""],
        [False, "timeout"],
        [False, "crash"],
        [False, "import"],  # it is no Python
        killed,
    ]
    assert (checkout / "ivg" / "toy.py").read_text() == TOY


def row(killed, *survivors):
    names = ("function", "line", "before", "after")
    listed = [dict(zip(names, survivor, strict=True)) for survivor in survivors]
    return {"mutants": killed + len(listed), "killed": killed, "survivors": listed}


def test_survivors_and_reasons_belong_together(tmp_path, monkeypatch):
    file = tmp_path / "reasons.json"
    reason = {"function": "f", "before": "a", "after": "b", "reason": "the same"}
    file.write_text(json.dumps({"m.py": [reason]}))
    monkeypatch.setattr(mutation, "REASONS", file)
    good = {"m.py": row(99, ("f", 3, "a", "b"))}
    assert mutation.complaints(good, everything=True) == []
    moved = {"m.py": row(99, ("f", 7, "a", "b"))}  # lines above do not matter
    assert mutation.complaints(moved, everything=True) == []
    other = {"m.py": row(99, ("f", 3, "a", "c"))}
    lines = mutation.complaints(other, everything=True)
    assert lines == [
        "m.py:3: survives without a reason: a -> c",
        "m.py: a reason for what does not survive: a -> b",
    ]
    assert len(mutation.complaints(other, everything=False)) == 1  # a sample need not have all
    few = {"m.py": row(8, ("f", 3, "a", "b"))}
    assert mutation.complaints(few, everything=True) == ["only 88.9 % are killed, not 90"]


def test_every_module_of_the_rooms_is_tried():
    rooms = [mutation.CHECKOUT / "ivg" / room for room in ("losses", "distributions")]
    present = {p for room in rooms for p in room.glob("*.py") if p.name != "__init__.py"}
    named = {mutation.CHECKOUT / module for module in mutation.MODULES}
    assert named == present | {mutation.CHECKOUT / "ivg" / "players.py"}
    for tests in mutation.MODULES.values():
        assert all((mutation.CHECKOUT / test).is_file() for test in tests)


def test_the_page_lists_survivors_with_their_reasons(monkeypatch, tmp_path):
    file = tmp_path / "reasons.json"
    reason = {"function": "f", "before": "a", "after": "b", "reason": "It is the same."}
    file.write_text(json.dumps({"m.py": [reason]}))
    monkeypatch.setattr(mutation, "REASONS", file)
    found = {"m.py": row(99, ("f", 3, "a", "b")) | {"left_out": 2, "seconds": 5.0}}
    entry = {"command": "this", "seconds": 5, "device": "CPU", "commit": "0", "versions": {}}
    entry |= {"figures": {"mutation": mutation.total(found)}, "modules": found}
    text = mutation.page(entry)
    assert "99 of 100 mutants are killed, 99.0 %" in text
    assert "It is the same.\n\n```diff\n@@ m.py:3 f\n- a\n+ b\n```" in text


def test_options_are_checked(capsys):
    assert mutation.options(["--modules=players"]).modules == ["ivg/players.py"]
    for wrong in (["--modules=painters"], ["--sample=0"]):
        with pytest.raises(SystemExit) as stop:
            mutation.options(wrong)
        assert stop.value.code == 2 and wrong[0].split("=")[0] in capsys.readouterr().err
    assert pathlib.Path(mutation.options([]).out).name == "results"
