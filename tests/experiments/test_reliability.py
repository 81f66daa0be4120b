"""The page of the faults and the README's table say what reliability.json says."""

import json
import subprocess
import sys

import pytest

from experiments import reliability

ROOT = reliability.RESULTS.parent.parent
FOUND = json.loads((reliability.RESULTS / "reliability.json").read_text())


def test_the_readme_has_the_table():
    assert reliability.summary(FOUND) in (ROOT / "README.md").read_text()


def test_the_page_is_of_the_file():
    assert (reliability.RESULTS / "reliability.md").read_text() == reliability.whole(FOUND)


def test_every_figure_is_of_a_session_that_passed_and_is_no_zero():
    figures = FOUND["faults"]["figures"]
    assert FOUND["faults"]["command"].startswith("python -m pytest -m faults --reliability=")
    assert figures["crashes"]["kill -9 survived, the final state bit for bit"] >= 50
    assert figures["long haul"]["steps"] >= 20_000
    assert abs(figures["long haul"]["drift of the memory, %"]) < 2
    assert figures["signals"]["slowest end, in seconds"] < 10
    assert FOUND["mutation"]["figures"]["mutation"]["killed, per cent"] >= 90


def test_the_command_writes_the_page_and_prints_the_table(tmp_path):
    (tmp_path / "reliability.json").write_text(json.dumps(FOUND))
    command = [sys.executable, "-m", "experiments.reliability", f"--out={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == reliability.summary(FOUND).strip()
    assert (tmp_path / "reliability.md").read_text() == reliability.whole(FOUND)


def test_sums():
    assert reliability.total({"a tried": 1_000, "a more": 500, "b": 7}, "a", "b") == "1,507"
    with pytest.raises(KeyError, match="'c'"):
        reliability.total({"a": 1}, "a", "c")
