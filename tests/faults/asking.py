"""Command lines by the hundred: a process that has imported the programs answers each in a fork.

In a process of its own (`python asking.py PROGRAM ...`), because the tests' process has threads of
JAX, which do not survive a fork. What `ivg.main` would do with a command line that it accepts is
replaced: training prints the config that it was given, everything else nothing.
"""

import contextlib
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 10  # that a command line may take to be accepted or refused


class Answer(NamedTuple):
    """How a program ended: exit code (negative: killed by that signal) and what it printed."""

    code: int
    out: str
    err: str


Ask = Callable[[str, Sequence[str]], Answer]  # (program, its arguments)


@contextlib.contextmanager
def asking(folder: pathlib.Path, *programs: str) -> Iterator[Ask]:
    """A process that answers for these programs, which run in `folder` and have it as their home.

    Args:
        folder: where they run.
        *programs: modules: ivg.main alone, or others.
    """
    words = {name: str(folder) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    words |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, __file__, *programs],
        cwd=folder,
        env=os.environ | words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(program: str, arguments: Sequence[str]) -> Answer:
        process.stdin.write(json.dumps([program, *arguments]) + "\n")
        process.stdin.flush()
        return Answer(*json.loads(process.stdout.readline()))

    try:
        assert process.stdout.readline() == "ready\n"
        yield ask
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def refused(answer: Answer) -> bool:
    """Whether it was refused; asserts that it was, by one sentence, or that all is well."""
    if answer.code == 0:
        assert not answer.err, answer
        return False
    assert answer.code == 2, shortened(answer)
    lines = answer.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), answer
    assert 20 < len(lines[0]) <= 1_100 and lines[0].isprintable(), answer
    assert lines[0].endswith((".", "?", "--help")) and "Traceback" not in answer.err, answer
    return True


def shortened(answer: Answer) -> Answer:
    return Answer(answer.code, answer.out[-300:], answer.err[:3_000])


def contents(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything below a folder."""
    return {
        str(path): (found.st_size, found.st_mtime_ns)
        for path in folder.rglob("*")
        if (found := path.lstat())
    }


# ---- the other process --------------------------------------------------------------------------


def _replace_work() -> None:
    """Stands in for what `ivg.main` calls once a command line is accepted."""
    work, others = types.ModuleType("ivg.runs"), types.ModuleType("ivg.devices")
    work.train_runs = lambda config, workdir: print(json.dumps(config))
    work.evaluate_runs = work.sample = others.start_processes = lambda *_, **__: None
    others.keep_memory = lambda: None
    sys.modules |= {"ivg.runs": work, "ivg.devices": others, "ivg.memory": others}


def _run(program: str) -> int | None:
    module = importlib.import_module(program)
    if program == "ivg.main":
        return module.app.run(module.main, flags_parser=module.parse_flags)
    if program.startswith("experiments."):  # its options alone: accepted, they would train
        return importlib.import_module("experiments.options").command(module.parse)
    return module.main()


def _answer(program: str, arguments: Sequence[str]) -> Answer:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            signal.alarm(SECONDS)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = [program, *arguments]
            code: object = 1
            try:
                code = _run(program)
            except SystemExit as error:
                code = error.code
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else code is not None)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (out, err):
            file.seek(0)
        return Answer(code, *(file.read().decode("utf-8", "replace") for file in (out, err)))


if __name__ == "__main__":
    if sys.argv[1:] == ["ivg.main"]:
        _replace_work()
    for name in sys.argv[1:]:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        program, *arguments = json.loads(line)
        print(json.dumps(_answer(program, arguments)), flush=True)
