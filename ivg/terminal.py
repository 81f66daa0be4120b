"""What a person sees while a program runs: a bar on a terminal, lines in a log, sober colour.

A terminal that can do nothing (TERM=dumb) is treated as a log. There is no colour where NO_COLOR is
set (https://no-color.org), or where the output goes to a file.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TextIO

_STYLES = {"bold": "1", "error": "1;31"}
# What each player's progress is best seen by, the most telling first; see `key_losses`.
_TELLING = ("loss", "wasserstein", "adversarial", "log_likelihood", "squared_error", "info")
_TELLING += ("info_lower", "info_upper", "info_d", "agreement", "cross_entropy", "accuracy")
_SHOWN = 4  # losses at a time
_SHORTEST, _LONGEST = 10, 30  # characters of the bar
_REDRAW = 0.2  # seconds
_WINDOW = 20.0  # seconds over which the speed beside the bar is measured


def is_lively(file: TextIO) -> bool:
    """Whether `file` is a terminal whose last line can be written again."""
    return file.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, file: TextIO) -> str:
    """Text as it is to be written to `file`: "bold" or "error" (red) where colours are wanted."""
    if os.environ.get("NO_COLOR") or not is_lively(file):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def width(file: TextIO) -> int:
    """Columns of the terminal; 80 where it does not say."""
    try:
        return os.get_terminal_size(file.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def interval(seconds: float) -> str:
    """A time in short: 00:04, 12:30, 1:02:03, 2 d 03 h."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24:02} h"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def key_losses(losses: Mapping[str, float]) -> list[str]:
    """At most four of the losses in words: the most telling one of each player.

    Args:
      losses: values by `player/measure`; of measures that are not known here the first counts.
    """
    best: dict[str, tuple[int, str]] = {}
    for name, value in losses.items():
        player, _, measure = name.partition("/")
        rank = _TELLING.index(measure) if measure in _TELLING else len(_TELLING)
        if player not in best or rank < best[player][0]:
            best[player] = rank, f"{name} {value:.3g}"
    return [words for _, words in best.values()][:_SHOWN]


class Progress:
    """How far the training is: a bar on a terminal, now and then a line elsewhere.

    The lines come every `every` seconds at first, then further and further apart, up to a minute: a
    day's training writes about 1,500 of them.
    """

    def __init__(
        self, total: int, initial: int = 0, *, file: TextIO | None = None, every: float = 10.0
    ) -> None:
        """Starts the clock.

        Args:
          total: steps of the whole run.
          initial: finished steps, on resume.
          file: where to; the standard error output if None.
          every: seconds between the first lines, if `file` is no terminal.
        """
        self._file = sys.stderr if file is None else file
        self._total, self._step, self._every = total, initial, every
        self._losses: list[str] = []
        self._begin = (time.monotonic(), initial)
        self._told = self._begin  # when something was last shown, and at which step
        self._marks = deque([self._begin])  # from the first of them on the speed is measured
        self._lively = is_lively(self._file)
        if self._lively and initial < total:
            self._draw(f"step {initial}/{total}, compiling the first one")

    def update(self, step: int, losses: Mapping[str, float] | None = None) -> None:
        """Notes that `step` steps are finished; the losses stay on show until the next ones."""
        now = time.monotonic()
        if self._step == self._begin[1]:  # what came before was compilation for the most part
            self._marks = deque([(now, step)])
        self._step = step
        if losses is not None:
            self._losses = key_losses(losses)
        if now - self._told[0] >= self._wait(now):
            self._tell(now)

    def print(self, text: str) -> None:
        """Prints a line of text to the standard output without tearing the bar."""
        if self._lively:
            self._draw("")
        print(text, flush=True)
        if self._lively and self._step > self._begin[1]:
            self._tell(time.monotonic())

    def close(self) -> None:
        """Ends the bar, or prints the last line if it is not yet there."""
        if self._lively and self._begin[1] < self._total:
            self._tell(time.monotonic())
            print(file=self._file, flush=True)
        elif not self._lively and self._step != self._told[1]:
            self._tell(time.monotonic())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _wait(self, now: float) -> float:
        """Seconds from one showing to the next."""
        if self._lively:
            return _REDRAW
        return max(self._every, min((now - self._begin[0]) / 10, 60.0))

    def _tell(self, now: float) -> None:
        how = self._speed(now)
        share = self._step / max(self._total, 1)
        count = f"{self._step:>{len(str(self._total)) if self._lively else 0}}/{self._total}"
        if self._lively:
            self._draw(self._bar(share, ", ".join([count, *how])))
        else:
            words = [f"step {count} ({100 * self._step // max(self._total, 1)} %)", *how]
            print(", ".join([*words, *self._losses]), file=self._file, flush=True)
        self._told = now, self._step

    def _speed(self, now: float) -> list[str]:
        """Steps per second and the time that is left, or at the end was taken, in words."""
        since = self._marks[0]
        rate = (self._step - since[1]) / max(now - since[0], 1e-9)
        digits = 0 if rate >= 100 else 1 if rate >= 1 else 3
        words = [f"{rate:.{digits}f} steps/s"] if rate else []
        if self._step >= self._total:
            words.append(f"done in {interval(now - self._begin[0])}")
        elif rate:
            words.append(f"{interval((self._total - self._step) / rate)} left")
        self._marks.append((now, self._step))
        while len(self._marks) > 1 and now - self._marks[0][0] > (_WINDOW if self._lively else 0):
            self._marks.popleft()
        return words

    def _bar(self, share: float, words: str) -> str:
        """One line: the share as a bar, the words, and as many losses as there is room for."""
        room = width(self._file) - 1
        length = max(_SHORTEST, min(_LONGEST, room * 3 // 10 - 12))
        for loss in self._losses:
            if len("100% || ") + length + len(words) + 2 + len(loss) > room:
                break
            words += f", {loss}"
        full = "█" if _speaks_unicode(self._file) else "#"
        return f"{100 * share:3.0f}% |{(full * int(length * share)).ljust(length)}| {words}"

    def _draw(self, line: str) -> None:
        """Writes over the terminal's last line, never more than it holds."""
        room = width(self._file) - 1
        # The cursor stands at the beginning: what others print goes over the bar, not behind it.
        print(f"\r{line[:room].ljust(room)}\r", end="", file=self._file, flush=True)


def _speaks_unicode(file: TextIO) -> bool:
    return (getattr(file, "encoding", None) or "").lower().replace("-", "") == "utf8"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first cell to the left, the others to the right, all aligned."""
    count = max(map(len, rows), default=0)
    full = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    return [
        "  ".join([
            row[0].ljust(widths[0]),
            *(cell.rjust(size) for cell, size in zip(row[1:], widths[1:], strict=True)),
        ]).rstrip()
        for row in full
    ]  # fmt: skip
