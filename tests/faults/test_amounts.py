"""The short and the long form, and the file that the long one writes."""

import json
import subprocess
import sys

import pytest
import reliability

ONE = """
def test_tries(amount, figure):
    figure("numbers", "tried", amount(2, 9))
"""


def session(folder, *arguments) -> subprocess.CompletedProcess:
    """pytest in a folder of its own, with one test that says how much it tried."""
    (folder / "faults").mkdir(exist_ok=True)
    (folder / "faults" / "test_one.py").write_text(ONE)
    repository = reliability.REPOSITORY
    plugin = f"import sys; sys.path[:0] = [{str(repository / 'tests')!r}, {str(repository)!r}]\n"
    plugin += f"import pathlib, reliability; reliability.FOLDER = pathlib.Path({str(folder)!r})\n"
    (folder / "conftest.py").write_text(plugin + "from conftest_of_ivg import *\n")
    source = (repository / "tests" / "conftest.py").read_text()
    (folder / "conftest_of_ivg.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_long_form_writes_its_figures(tmp_path):
    page = tmp_path / "page.json"
    page.write_text('{"mutation": {"killed": 1}}')
    done = session(tmp_path, "-m", "faults", f"--reliability={page}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(page.read_text())
    assert found["mutation"] == {"killed": 1}
    assert found["faults"]["figures"] == {"numbers": {"tried": 9}}
    assert found["faults"]["tests"] == 1 and found["faults"]["skipped"] == []
    assert found["faults"]["command"].startswith("python -m pytest -m faults --reliability=")


def test_a_failure_writes_nothing(tmp_path):
    page = tmp_path / "page.json"
    (tmp_path / "test_two.py").write_text("def test_bad():\n    assert False\n")
    assert session(tmp_path, "-m", "faults", f"--reliability={page}").returncode == 1
    assert not page.exists()


def test_the_short_form_has_no_page(tmp_path):
    done = session(tmp_path, f"--reliability={tmp_path / 'page.json'}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "wants the long form: pytest -m faults" in done.stderr
