"""Thousands of steps with logs, scores, pictures and checkpoints: nothing grows."""

import os
import pathlib
import re
import subprocess
import sys
import time
from typing import NamedTuple

import command
import numpy as np
import pytest

EVERY = 10  # steps between two lines of the log
MEMORY = 0.02  # of the memory in use: how far it may drift


class Sample(NamedTuple):
    """The training process at a moment."""

    step: int
    kilobytes: int  # resident memory
    handles: int  # open files, sockets and pipes
    compiled: int  # lines that JAX has written on compilation


class Haul(NamedTuple):
    """A run that was watched until it ended."""

    workdir: pathlib.Path
    steps: int
    between: int  # steps from one evaluation and checkpoint to the next
    samples: list[Sample]  # while it trained, the first fifth of its steps left out
    out: str
    compilations: list[str]  # what was compiled, in order: the function with its argument types
    words: list[str]  # what else the standard error output says


def compilations(text: str) -> list[str]:
    return re.findall(r"Compiling (jit\(.*\) with global shapes .*)", text)


def observe(process: subprocess.Popen, workdir: pathlib.Path, spoken: pathlib.Path) -> Sample:
    folder = pathlib.Path(f"/proc/{process.pid}")
    memory = re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
    assert memory, "a process without memory"
    steps = command.logged(workdir)
    handles = len(os.listdir(folder / "fd"))
    compiled = len(compilations(spoken.read_text()))
    return Sample(steps[-1] if steps else 0, int(memory[1]), handles, compiled)


@pytest.fixture(scope="module")
def haul(tmp_path_factory, amount) -> Haul:
    if not pathlib.Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc, which says how much memory and how many files a process has")
    folder = tmp_path_factory.mktemp("haul")
    steps, between = amount(2_000, 20_000), amount(100, 500)
    lengths = {"num_steps": steps, "log_every": EVERY}
    lengths |= {"eval_every": between, "checkpoint_every": between}
    flags = [f"--config.{name}={value}" for name, value in lengths.items()]
    arguments = [*command.TINY, *flags, f"--workdir={folder / 'run'}"]
    with open(folder / "out", "w") as out, open(folder / "err", "w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "ivg.main", *arguments],
            cwd=command.REPOSITORY,
            env=command.environment() | {"JAX_LOG_COMPILES": "1"},
            stdout=out,
            stderr=err,
        )
        samples = []
        try:
            while process.poll() is None:
                try:
                    samples.append(observe(process, folder / "run", folder / "err"))
                except (FileNotFoundError, ProcessLookupError, AssertionError):
                    pass  # it has ended, or closed a file, meanwhile
                time.sleep(0.2)
        finally:
            process.kill()
    text = (folder / "err").read_text()
    assert process.returncode == 0, text
    training = [s for s in samples if steps // 5 <= s.step < steps]
    assert len(training) >= 4, samples
    loud = ("Compiling ", "Finished ", "Persistent compilation", "Not writing persistent")
    words = [line for line in text.splitlines() if line.strip()]
    words = [line for line in words if not any(word in line for word in loud)]
    spoken = (folder / "out").read_text()
    return Haul(folder / "run", steps, between, training, spoken, compilations(text), words)


def test_the_memory_is_flat(haul, figure):
    sizes = np.array([s.kilobytes for s in haul.samples])
    quarter = max(1, len(sizes) // 4)
    begin, end = np.median(sizes[:quarter]), np.median(sizes[-quarter:])
    figure("long haul", "steps", haul.steps)
    figure("long haul", "memory after the warm-up, MiB", round(float(begin) / 1024))
    figure("long haul", "drift of the memory, %", round(100 * float(end / begin - 1), 2))
    assert abs(end / begin - 1) < MEMORY


def test_the_file_handles_are_flat(haul, figure):
    counts = np.array([s.handles for s in haul.samples])
    figure("long haul", "open files, least and most", [int(counts.min()), int(counts.max())])
    # A checkpoint opens some fifteen for a moment; none may stay.
    half = len(counts) // 2
    assert counts[:half].min() == counts[half:].min()
    assert counts.max() <= counts.min() + 30


def test_each_function_is_compiled_once(haul, figure):
    """And nothing after the first fifth, until the run is scored."""
    assert haul.samples[-1].compiled == haul.samples[0].compiled > 0
    step = [line for line in haul.compilations if line.startswith("jit(dispatch)")]
    figure("long haul", "compilations of the step", len(step))
    assert len(step) == 1
    drawn = [line for line in haul.compilations if line.startswith("jit(generate)")]
    assert len(drawn) == len(set(drawn)) >= 1


def test_the_logs_are_bounded(haul, figure):
    """A line for each step that was logged, all of a length; few words; the newest checkpoints."""
    lines = (haul.workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    told = [line for line in lines if '"eval/' not in line]
    assert len(told) == haul.steps // EVERY
    assert len(lines) - len(told) <= 3 * (haul.steps // haul.between)
    half = len(lines) // 2
    assert sum(map(len, lines[half:])) < 1.1 * sum(map(len, lines[:half])) + 1_000
    events = sum(path.stat().st_size for path in (haul.workdir / "tensorboard").iterdir())
    assert len(list((haul.workdir / "tensorboard").iterdir())) == 1
    pictures = (haul.steps - 1) // haul.between
    assert events < 2_500 * haul.steps / EVERY + 250_000 * pictures
    assert len(haul.out.splitlines()) + len(haul.words) < 120
    assert command.steps_saved(haul.workdir) == [
        haul.steps - i * haul.between for i in reversed(range(3))
    ]
    total = sum(path.stat().st_size for path in haul.workdir.rglob("*") if path.is_file())
    figure("long haul", "run directory, MiB", round(total / 2**20, 1))
    figure("long haul", "lines on the terminal", len(haul.out.splitlines()) + len(haul.words))
