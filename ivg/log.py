"""What a run writes down while it trains: metrics, pictures, its versions.

`metrics.jsonl` holds one JSON object a line with the number of finished steps as `step`; the same
command twice writes the same lines. What depends on the machine and the hour, the cost, has a file
of its own, `cost.jsonl`. TensorBoard gets the scalars of both, pictures and the config. All are
written at once and unbuffered: what was logged before a crash is on disk, and a full disk is an
error at the line that met it.
"""

import contextlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

import ivg
from ivg.files import file_errors, replace
from ivg.trackers import Tracker

METRICS = "metrics.jsonl"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Log:
    """What is known of one run, to `metrics.jsonl`, `cost.jsonl` and `tensorboard/`.

    On resume everything logged after `resume_step` is dropped first, so that no step is there
    twice; therefore log step N before the checkpoint of step N is saved.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike,
        *,
        resume_step: int | None,
        tracker: Tracker | None = None,
    ) -> None:
        """Opens the logs of a run.

        Args:
          run_dir: the run directory; created where missing.
          resume_step: the step of the checkpoint that the run goes on from; None for a run that
            starts at step 0, which drops whatever an attempt without any checkpoint has logged.
          tracker: is told the scalars and pictures too; it is not closed with the log.

        Raises:
          UserError: no space left, or the file system refuses.
        """
        self._run_dir = pathlib.Path(run_dir)
        self._tracker = tracker or NoLog()
        with file_errors(self._run_dir), contextlib.ExitStack() as opened:
            (self._run_dir / "tensorboard").mkdir(parents=True, exist_ok=True)
            self._start = 0 if resume_step is None else resume_step
            first = 0 if resume_step is None else resume_step + 1
            for name in (METRICS, "cost.jsonl"):
                if lost := _drop(self._run_dir / name, first):
                    print(f"warning: {self._run_dir / name}: {lost}")
            events = f"events.out.tfevents.{time.time_ns() / 1e9:.6f}.{socket.gethostname()}"
            self._metrics, self._cost, self._events = (
                opened.enter_context(open(self._run_dir / name, "ab", buffering=0))
                for name in (METRICS, "cost.jsonl", f"tensorboard/{events}")
            )
            self._event(file_version="brain.Event:2")
            # TensorBoard then forgets the steps from `first` on that older event files hold.
            self._event(step=first, session_log=SessionLog(status=SessionLog.START))
            self._files = opened.pop_all()
        self._alarmed: set[str] = set()

    def alarm(
        self, step: int, text: str | None, say: Callable[[str], None] = print, *, kind: str = ""
    ) -> None:
        """Says (prints) a warning when there is one and this kind's call before had none."""
        if text and kind not in self._alarmed:
            say(f"warning: step {step}: {text}")
        (self._alarmed.discard if text is None else self._alarmed.add)(kind)

    def scalars(self, step: int, values: Mapping[str, Any], *, prefix: str = "") -> None:
        """Logs numbers of one step as one line; a NaN is written as the string "nan", inf likewise.

        Args:
          step: number of finished training steps.
          values: Python numbers or arrays without dimensions by name, such as `D/loss`.
          prefix: put before every name with a slash, if any.
        """
        numbers = {
            f"{prefix}/{name}" if prefix else name: float(value) for name, value in values.items()
        }
        line = {name: x if math.isfinite(x) else str(x) for name, x in numbers.items()}
        self._line(self._metrics, step, line)
        self._show(step, numbers)

    def cost(self, step: int, rates: Mapping[str, float]) -> None:
        """Logs what the steps since the last call cost, as `cost/steps_per_second` and so on."""
        numbers = {f"cost/{name}": float(value) for name, value in rates.items()}
        self._line(self._cost, step, numbers)
        self._show(step, numbers)

    def cost_report(self, step: int, report: Mapping[str, Any]) -> None:
        """Logs what a process has to say of the cost when it ends; see `read_cost`."""
        self._line(self._cost, step, {"report": report})
        once = {n: float(x) for n, x in report.items() if isinstance(x, int | float)}
        self._show(step, {f"cost/run/{name}": x for name, x in once.items()})

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Shows uint8 pictures [H, W, 1 or 3] in TensorBoard."""
        self._tracker.images(step, pictures)
        with file_errors(self._run_dir):
            for name, picture in pictures.items():
                picture = np.asarray(picture)
                if picture.dtype != np.uint8 or picture.ndim != 3:
                    raise ValueError(
                        f"{name}: uint8 [H, W, C], not {picture.dtype} {picture.shape}"
                    )
                rgb = np.broadcast_to(picture, (*picture.shape[:2], 3))
                self._event(step=step, summary=summary.image(name, rgb, dataformats="HWC"))

    def text(self, name: str, text: str) -> None:
        """Shows a text (the config) in TensorBoard with its line breaks and indentation."""
        code = "\n".join("    " + line for line in text.splitlines())  # Markdown's code block
        with file_errors(self._run_dir):
            self._event(step=self._start, summary=summary.text(name, code))

    def force(self) -> None:
        """Forces the lines to the disk: before a checkpoint is saved, which a power cut may leave.

        Without it the run would go on from there with a gap in its curves.
        """
        with file_errors(self._run_dir):
            for file in (self._metrics, self._cost):
                os.fsync(file.fileno())

    def close(self) -> None:
        """Closes all files."""
        self._files.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _line(self, file: Any, step: int, values: Mapping[str, Any]) -> None:
        with file_errors(self._run_dir):
            text = json.dumps({"step": int(step)} | values, allow_nan=False)
            _write(file, text.encode() + b"\n")

    def _show(self, step: int, numbers: Mapping[str, float]) -> None:
        self._tracker.scalars(step, numbers)
        values = [Summary.Value(tag=name, simple_value=x) for name, x in numbers.items()]
        with file_errors(self._run_dir):
            self._event(step=int(step), summary=Summary(value=values))

    def _event(self, **fields: Any) -> None:
        # tensorboardX's own writer hands events to a thread through a queue of ten: when the disk
        # is full the thread dies and the training waits for ever. Hence its messages, but not it.
        data = Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
        _write(self._events, length + checks[0] + data + checks[1])


class NoLog:
    """Stands for the `Log` in the processes that do not write: whatever it is told, it is gone."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Every method of a Log."""
        return lambda *args, **options: None


def read_metrics(run_dir: str | os.PathLike) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every scalar of a run's `metrics.jsonl`: name -> (steps int [n], values float [n]).

    Raises:
      UserError: the file system does not let it be read.
    """
    series: dict[str, tuple[list[int], list[float]]] = {}
    for line in _lines(pathlib.Path(run_dir) / METRICS):
        step = line.pop("step")
        for name, value in line.items():
            with contextlib.suppress(ValueError, TypeError):  # of a file that was damaged
                number = float(value)
                steps, values = series.setdefault(name, ([], []))
                steps.append(step)
                values.append(number)
    return {name: (np.array(steps), np.array(values)) for name, (steps, values) in series.items()}


def read_cost(run_dir: str | os.PathLike) -> dict[str, Any] | None:
    """The report of the last process that trained a run and was not killed; None without one."""
    lines = _lines(pathlib.Path(run_dir) / "cost.jsonl")
    reports = [line["report"] for line in lines if isinstance(line.get("report"), dict)]
    return reports[-1] if reports else None


def _lines(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Whole lines of such a file, in order; a torn one (no space, power cut) is passed over."""
    if path.exists():
        with file_errors(path.parent), open(path, "rb") as f:
            yield from filter(None, map(_parsed, f))


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None where it is torn, or was altered so that it is no line of ours."""
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    ours = isinstance(found, dict) and type(found.get("step")) is int and found["step"] >= 0
    return found if ours else None


def _drop(path: pathlib.Path, first: int) -> str:
    """Removes the lines from step `first` on, and torn ones, in one move.

    Returns what is missing that the run does not write again, in words; "" where nothing is.
    """
    if not path.exists():
        return "it is missing, and begins anew" if first and path.name == METRICS else ""
    kept, dropped, unread = [], 0, 0
    with open(path, "rb") as f:
        for line in f:
            found = _parsed(line)
            # What a kill cut off is written again; what is torn before it is not.
            unread += found is None and line.endswith(b"\n") and bool(line.strip())
            if found is not None and found["step"] < first:
                kept.append(line)
            else:
                dropped += 1
    if dropped:
        replace(path, b"".join(kept))
    return f"lines that cannot be read are left out: {unread}" if unread else ""


def _write(file: Any, data: bytes) -> None:
    """Writes all of `data` to an unbuffered file, which may take less at a time."""
    while data:
        data = data[file.write(data) :]


def parameter_table(state: Any) -> str:
    """A table of the players in a NamedTuple: arrays, parameters and MiB of their `params`."""
    rows = [("player", "arrays", "parameters", "MiB")]
    totals = [0, 0, 0]
    for name, player in state._asdict().items():
        if not hasattr(player, "params"):
            continue
        leaves = jax.tree.leaves(player.params)
        counts = [
            len(leaves),
            sum(leaf.size for leaf in leaves),
            sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        ]
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        rows.append((name, *_table_cells(*counts)))
    rows.append(("total", *_table_cells(*totals)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *numbers in rows:
        cells = [x.rjust(width) for x, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _table_cells(arrays: int, parameters: int, size: int) -> tuple[str, str, str]:
    return str(arrays), f"{parameters:,}", f"{size / 2**20:.2f}"


def versions() -> dict[str, Any]:
    """What a run was made with: libraries, devices, and the commit where ivg is a git checkout."""
    found: dict[str, Any] = {"ivg": ivg.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        found[package.split("-")[0]] = importlib.metadata.version(package)
    devices = jax.devices()
    found |= {"device": devices[0].device_kind, "device_count": len(devices)}
    return found | _commit(pathlib.Path(ivg.__file__).parent)


def _commit(package: pathlib.Path) -> dict[str, Any]:
    """Commit of the checkout that tracks `package`; dirty: tracked files were changed since."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(package), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie inside somebody else's repository, which does not track it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {}
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"commit": commit, "dirty": git("status", "--porcelain", "--untracked-files=no") != ""}
