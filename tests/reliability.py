"""How much the tests of `tests/faults` try, and what becomes of their figures.

A plain `pytest` runs them in a short form; `pytest -m faults` runs the long one, and with
`--reliability=FILE` its figures go into that JSON file, under "faults". They travel as properties
of the tests' reports, so that they come from every worker of pytest-xdist.
"""

import pathlib
import time

import pytest

from experiments import provenance

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "tests" / "faults"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "hypothesis")


def is_long(config: pytest.Config) -> bool:
    """Whether the faults were asked for by name: then all of them are tried."""
    return config.getoption("markexpr") == "faults"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reliability",
        metavar="FILE",
        type=pathlib.Path,
        help="with -m faults: write its figures to this JSON file, under 'faults'",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "faults: injects faults (tests/faults); alone: all of them")
    wanted = config.getoption("reliability")
    if wanted and not hasattr(config, "workerinput"):
        if not is_long(config):
            raise pytest.UsageError("--reliability=FILE wants the long form: pytest -m faults.")
        config.pluginmanager.register(Recorder(wanted), "reliability")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.faults)


class Recorder:
    """Writes the figures of a session whose tests all passed."""

    def __init__(self, file: pathlib.Path) -> None:
        self.file, self.start = file, time.monotonic()
        self.figures: dict[str, dict] = {}
        self.tests, self.bad, self.skipped = 0, [], []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.bad.append(report.nodeid)
        if report.skipped:
            self.skipped.append(report.nodeid)
        if report.when == "call" and report.passed:
            self.tests += 1
            for name, value in report.user_properties:
                group, _, figure = name.partition(".")
                known = self.figures.setdefault(group, {})
                if figure in known:  # of another test: one of them would be lost
                    self.bad.append(f"{report.nodeid} ({name} is recorded twice)")
                known[figure] = value

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus or self.bad:
            why = ", ".join(self.bad) or f"exit status {exitstatus}"
            print(f"\n{self.file} is left as it was: {why}")
            return
        command = f"python -m pytest -m faults --reliability={self.file}"
        seconds = time.monotonic() - self.start
        found = provenance.about(REPOSITORY, command, seconds, PACKAGES)
        found |= {"tests": self.tests, "skipped": sorted(self.skipped)}
        found["figures"] = {group: self.figures[group] for group in sorted(self.figures)}
        provenance.update(self.file, "faults", found)
