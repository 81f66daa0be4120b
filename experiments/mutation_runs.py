"""The tests of a module on its mutants, in processes that are forked.

The parent has imported JAX and what the tests need beside ivg, but no part of ivg and no backend of
JAX, whose threads would not survive a fork. A child imports one mutant after the other from memory,
under the name of the module, and ivg and the tests anew with each: no file is ever changed. What it
keeps are the programs that XLA compiled, for which nothing but the mutant is new. Last comes the
module as it is: if its tests fail then, a mutant has left something behind and nothing counts.
"""

import gc
import importlib
import importlib.abc
import importlib.util
import json
import os
import pathlib
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from experiments.mutants import Mutant

NEEDED = ("setup.cfg", "pyproject.toml", "ivg", "configs", "tests")
PRELOADED = ("chex", "jax", "numpy", "optax", "pytest", "scipy.special", "scipy.stats")
SETTINGS = {
    "IVG_SHARED": os.devnull,  # what a bare checkout's tests find, and no more
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 "  # as in tests/conftest.py
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
}
# The last one collects garbage five times a session, which takes longer than most mutants do.
OPTIONS = ["-x", "-q", "--tb=line", "-o", "addopts=", "-p", "no:cacheprovider"]
OPTIONS += ["-p", "no:unraisableexception"]
AT_ONCE = 50  # mutants of one child
PATIENCE, GRACE = 5, 30  # a mutant may take so many times what the tests do, and seconds more


class Outcome(NamedTuple):
    """What the tests of a module said."""

    passed: bool
    killer: str  # the first test that failed, or "import", "timeout", "crash"; "" if passed
    seconds: dict[str, float]  # of each test that ran


class Watch:
    """A plugin of pytest: sorts the tests and notes how long they take and the first to fail."""

    def __init__(self, order: Sequence[str]) -> None:
        self.place = {name: i for i, name in enumerate(order)}
        self.seconds: dict[str, float] = {}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list) -> None:
        """Those that are not known come last."""
        items.sort(key=lambda item: self.place.get(item.nodeid, len(self.place)))

    def pytest_runtest_logreport(self, report) -> None:
        """Of set-up, call and tear-down."""
        if not report.skipped:
            self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed and not self.failed:
            self.failed = report.nodeid


class Memory(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the mutant where Python looks for its module."""

    def __init__(self, mutant: Mutant, folder: pathlib.Path) -> None:
        self.name = mutant.module.removesuffix(".py").replace("/", ".")
        self.source, self.file = mutant.source, str(folder / mutant.module)

    def find_spec(self, name: str, path: object, target: object = None):
        """The mutant, or None for any other module."""
        if name != self.name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=self.file)

    def exec_module(self, module) -> None:
        """Runs the changed source."""
        module.__file__ = self.file
        exec(compile(self.source, self.file, "exec"), module.__dict__)


class Tests:
    """The tests of one module: which come first is learnt from those that found mutants."""

    def __init__(self, folder: pathlib.Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names
        self.kills: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.limit = 600.0
        (whole,) = self._child([None])
        if not whole.passed:
            log = (folder.parent / "log.txt").read_text()
            raise RuntimeError(f"the tests fail without a mutant: {whole.killer}\n{log[-3000:]}")
        self.seconds = whole.seconds
        self.limit = GRACE + PATIENCE * sum(whole.seconds.values())

    def on(self, mutants: Sequence[Mutant]) -> list[Outcome]:
        """What the tests, run until one fails, say of each."""
        found: list[Outcome] = []
        while len(found) < len(mutants):
            part = [*mutants[len(found) : len(found) + AT_ONCE], None]
            answers = self._child(part)
            if len(answers) == len(part) and not answers.pop().passed:
                raise RuntimeError(f"{self.names[0]} fails without a mutant, after others")
            found += answers
        return found

    def order(self) -> list[str]:
        """Those that found most mutants, then the quick ones."""
        return sorted(self.seconds, key=lambda t: (-self.kills.get(t, 0), self.seconds[t]))

    def _child(self, mutants: Sequence[Mutant | None]) -> list[Outcome]:
        """Of as many as the child came to; the last, if it is stuck or dead, is what killed it."""
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            _serve(self, mutants, writer)
        os.close(writer)
        found, end = [], "crash"
        try:
            for answer in _lines(reader, self.limit):
                found.append(Outcome(**answer))
                self._learn(found[-1])
        except TimeoutError:
            os.killpg(pid, signal.SIGKILL)
            end = "timeout"
        os.waitpid(pid, 0)
        if len(found) < len(mutants):
            found.append(Outcome(False, end, {}))
        os.close(reader)
        return found

    def _learn(self, outcome: Outcome) -> None:
        self.kills[outcome.killer] = self.kills.get(outcome.killer, 0) + 1


def prepared(checkout: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A copy of what the tests need, in a folder; and this process ready to be forked."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in NEEDED:
        if (checkout / name).is_dir():
            shutil.copytree(checkout / name, copy / name, ignore=shutil.ignore_patterns("__pyca*"))
        else:
            shutil.copy(checkout / name, copy)
    os.environ.update(SETTINGS, JAX_COMPILATION_CACHE_DIR=str(folder / "programs"))
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # a child need not touch, and thereby copy, what is here
    return copy


def _lines(pipe: int, patience: float) -> Iterator[dict[str, Any]]:
    """The JSON lines that come out of a pipe until it ends; TimeoutError if it is silent."""
    text, deadline = b"", time.monotonic() + patience
    while select.select([pipe], [], [], max(deadline - time.monotonic(), 0.0))[0]:
        more = os.read(pipe, 65536)
        if not more:
            return
        *lines, text = (text + more).split(b"\n")
        for line in lines:
            yield json.loads(line)
            deadline = time.monotonic() + patience
    raise TimeoutError


# ---- the child ----------------------------------------------------------------------------------


def _serve(tests: Tests, mutants: Sequence[Mutant | None], writer: int) -> None:
    """Answers with a line for each mutant, and ends the process."""
    try:
        os.setsid()
        log = os.open(tests.folder.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(tests.folder)
        sys.path.insert(0, str(tests.folder))
        for mutant in mutants:
            outcome = _session(tests, mutant)
            tests._learn(outcome)
            os.write(writer, json.dumps(outcome._asdict()).encode() + b"\n")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(0)


def _session(tests: Tests, mutant: Mutant | None) -> Outcome:
    import pytest

    for name, module in list(sys.modules.items()):
        ours = name.partition(".")[0] in ("ivg", "experiments")
        if ours or str(getattr(module, "__file__", None)).startswith(str(tests.folder)):
            del sys.modules[name]  # the copy's are wanted, and a new one for each mutant
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Memory)]
    if mutant is not None:
        sys.meta_path.insert(0, Memory(mutant, tests.folder))
    watch = Watch(tests.order())
    places = [f"--rootdir={tests.folder}", f"--basetemp={tests.folder.parent / 'pytest'}"]
    code = int(pytest.main([*OPTIONS, *places, *tests.names], plugins=[watch]))
    if code > 2:  # 3 to 5: pytest itself went wrong, or there was no test
        raise RuntimeError(f"pytest ended with {code}")
    return Outcome(code == 0, "" if code == 0 else watch.failed or "import", watch.seconds)
