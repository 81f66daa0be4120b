"""The report on the dependencies' known faults tells clean, vulnerable and not audited apart."""

import importlib.util
import json
import pathlib
import sys

import pytest

PATH = pathlib.Path(__file__).resolve().parent.parent / ".ci" / "audit.py"
SKIPPED = {"name": "jax", "skip_reason": "Dependency not found on PyPI and could not be audited"}
CLEAN = {"name": "numpy", "version": "2.0", "vulns": []}
FAULT = {"id": "GHSA-x", "fix_versions": ["11.1", "12.0"], "aliases": [], "description": ""}
FAULTS = [FAULT, FAULT | {"id": "Y", "fix_versions": []}]
BAD = {"name": "pillow", "version": "11.0", "vulns": FAULTS}


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([CLEAN, CLEAN], ["2 packages: 2 clean, 0 vulnerable, 0 not audited"]),
        (
            [CLEAN, BAD, SKIPPED],
            [
                "3 packages: 1 clean, 1 vulnerable, 1 not audited",
                "vulnerable: pillow 11.0: GHSA-x, mended in 11.1, 12.0",
                "vulnerable: pillow 11.0: Y, mended in no version yet",
                "not audited: jax",
            ],
        ),
        (
            [SKIPPED, SKIPPED],
            [
                "2 packages: 0 clean, 0 vulnerable, 2 not audited",
                "not audited: none of them could be asked for; this says nothing about them",
            ],
        ),
        ([BAD], ["1 packages: 0 clean, 1 vulnerable, 0 not audited"]),
    ],
)
def test_clean_vulnerable_and_not_audited_are_told_apart(audit, found, said):
    assert audit.summary({"dependencies": found, "fixes": []})[: len(said)] == said


def faked(audit, monkeypatch, program: str) -> list[str]:
    monkeypatch.setattr(audit, "AUDIT", (sys.executable, "-S", "-c", program))
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: object())
    return audit.lines()


def test_faults_do_not_fail_it(audit, monkeypatch, capsys):
    """pip-audit itself ends with 1 where it found any."""
    text = json.dumps({"dependencies": [BAD]})
    told = faked(audit, monkeypatch, f"print({text!r}); raise SystemExit(1)")
    assert told[0].endswith("1 vulnerable, 0 not audited")
    assert audit.main() == 0
    assert capsys.readouterr().out.startswith("audit: 1 packages: 0 clean, 1 vulnerable")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit('no route to host')", "no route to host"),
        ("print('[]')", "says nothing that can be read"),
        ("print('{}')", "says nothing that can be read"),
        ("", "says nothing that can be read"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_no_report_is_no_clean_one(audit, monkeypatch, capsys, program, why):
    monkeypatch.setattr(audit, "PATIENCE", 0.5 if "sleep" in program else 60)
    (line,) = faked(audit, monkeypatch, program)
    assert line.startswith("no report: ") and why in line
    assert audit.main() == 0 and "clean" not in capsys.readouterr().out


def test_without_pip_audit_it_says_so(audit, monkeypatch):
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: None)
    failing = (sys.executable, "-S", "-c", "raise SystemExit('no index')")
    monkeypatch.setattr(audit, "INSTALL", failing)
    assert audit.lines() == ["no report: pip-audit cannot be installed (no index)"]
    monkeypatch.setattr(audit, "INSTALL", ("/nowhere/python",))
    assert "cannot be installed" in audit.lines()[0]
