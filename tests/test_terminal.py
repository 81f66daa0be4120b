"""What a person sees: lines in a log, a bar on a real terminal, and colour where it is wanted."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import command
import pytest

from ivg import terminal

SCRIPT = """
import sys
from ivg import terminal
with terminal.Progress(40, file=sys.stderr) as progress:
    progress.update(10)
    progress.update(20, {"D/penalty": 9.0, "D/loss": 0.5, "G/adversarial": 1.25})
    progress.print("saved")
    progress.update(40)
print(terminal.styled("error:", "error", sys.stderr), "a sentence", file=sys.stderr)
"""


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, which the test moves."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def on_terminal(columns: int, **environment: str) -> list[str]:
    """What SCRIPT writes to a real terminal of so many columns: what stands in its lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {n: v for n, v in os.environ.items() if n not in ("NO_COLOR", "TERM")}
    kept |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=command.REPOSITORY,
        env=kept | environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    while not text.endswith(b"a sentence\r\n"):
        text += os.read(ours, 65536)
    os.close(ours)
    assert done.returncode == 0
    return [line.rstrip() for line in re.split(r"[\r\n]+", text.decode()) if line.strip()]


def test_lines_where_there_is_no_terminal(clock, capsys):
    file = io.StringIO()
    with terminal.Progress(2000, 500, file=file) as progress:
        for step in range(501, 1001):
            clock[0] += 0.05
            progress.update(step, {"D": step / 1e4, "G": -1.0} if step % 100 == 0 else None)
        progress.print("saved")
    assert capsys.readouterr().out == "saved\n"
    assert file.getvalue().splitlines() == [
        "step 700/2000 (35 %), 20.0 steps/s, 01:05 left, D 0.07, G -1",
        "step 900/2000 (45 %), 20.0 steps/s, 00:55 left, D 0.09, G -1",
        "step 1000/2000 (50 %), 20.0 steps/s, 00:50 left, D 0.1, G -1",
    ]


def test_lines_of_a_long_run_come_further_and_further_apart(clock):
    """Never within ten seconds of each other, never more than about a minute apart."""
    file, told, lines = io.StringIO(), [], 0
    with terminal.Progress(10**6, file=file) as progress:
        for step in range(1, 8 * 3600):
            clock[0] += 1
            progress.update(step)
            if (count := len(file.getvalue().splitlines())) > lines:
                told.append(clock[0])
                lines = count
    gaps = [b - a for a, b in zip(told, told[1:], strict=False)]
    assert min(gaps) == 10 and max(gaps) == 60 and gaps == sorted(gaps)
    assert "\r" not in file.getvalue() and ", 1.0 steps/s, 11 d 13 h left" in file.getvalue()
    assert len(told) < 8 * 60 + 30


def test_compilation_is_not_taken_for_the_speed(clock):
    file = io.StringIO()
    with terminal.Progress(1000, file=file) as progress:
        for seconds, step in ((60, 10), (10, 110), (20, 1000)):
            clock[0] += seconds
            progress.update(step)
    assert file.getvalue().splitlines() == [
        "step 10/1000 (1 %)",
        "step 110/1000 (11 %), 10.0 steps/s, 01:29 left",
        "step 1000/1000 (100 %), 44.5 steps/s, done in 01:30",
    ]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_bar_on_a_real_terminal(columns):
    lines = on_terminal(columns)
    assert lines[0].startswith("step 0/40, compiling")
    assert max(len(line) for line in lines) < columns
    (done,) = [line for line in lines if line.startswith("100%")]
    assert "█" in done and "40/40" in done
    assert ("D/loss 0.5" in done) == (columns > 40) and "penalty" not in done
    assert ("G/adversarial 1.25" in done) == (columns > 80)
    assert "saved" in lines  # a line of its own, neither before nor behind a bar


def test_colour_and_no_colour():
    assert on_terminal(80)[-1] == "\x1b[1;31merror:\x1b[0m a sentence"
    plain = on_terminal(80, NO_COLOR="1")
    assert plain[-1] == "error: a sentence" and "\x1b" not in "".join(plain)
    assert any(line.startswith("100%") for line in plain)  # the bar has no colour and stays
    dumb = on_terminal(80, TERM="dumb")
    assert dumb[-1] == "error: a sentence" and dumb[:1] == ["saved"]
    assert dumb[1].startswith("step 40/40 (100 %)")


def test_no_step_says_nothing():
    file = io.StringIO()
    terminal.Progress(10, 10, file=file).close()
    assert file.getvalue() == ""


def test_key_losses_are_few_and_telling():
    def names(*losses: str) -> list[str]:
        return [words.split()[0] for words in terminal.key_losses(dict.fromkeys(losses, 1.0))]

    assert names("D/penalty", "D/wasserstein", "G/adversarial", "q_u/info_c", "q_u/info_d") == [
        "D/wasserstein",
        "G/adversarial",
        "q_u/info_d",
    ]
    assert names("X/own", "X/other", "Y/loss") == ["X/own", "Y/loss"]
    assert len(names(*(f"player{i}/loss" for i in range(9)))) == 4


def test_intervals():
    seconds = (4.2, 750, 3723, 200_000)
    assert [terminal.interval(s) for s in seconds] == ["00:04", "12:30", "1:02:03", "2 d 07 h"]
