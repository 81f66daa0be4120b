"""What the command lines share: their arguments, and how they answer a mistake."""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from ivg import terminal
from ivg.errors import UserError

MISTAKE = 2  # exit code of a mistake that the user can mend
LONGEST = 1_000  # characters of a sentence: it may quote what was given


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The parsed arguments; None takes those of the process.

    Raises:
        UserError: for a mistake, where argparse itself prints the usage and a prefix of its own.
    """

    def fail(message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")

    parser.error = fail
    found = parser.parse_args(arguments)
    check_names(found)
    return found


def check_names(found: argparse.Namespace) -> None:
    """Raises UserError where a text is so long that no file can have it as its name."""
    for option, value in vars(found).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str | pathlib.Path) and _is_too_long(str(text)):
                raise UserError(f"{option}={one_line(text, 60)} is too long; see --help.")


def _is_too_long(text: str) -> bool:
    sizes = [len(part) for part in os.fsencode(text).split(b"/")]
    return max(sizes) > 255 or sum(sizes) + len(sizes) > 4_000


def refuse(problem: object) -> int:
    """Prints a mistake as one line on stderr, after "error:". Returns the exit code."""
    print(f"{terminal.styled('error:', 'error', sys.stderr)} {one_line(problem)}", file=sys.stderr)
    return MISTAKE


def one_line(problem: object, most: int = LONGEST) -> str:
    r"""Text that a terminal shows as one line: printable, and without its middle if it is long.

    Args:
        problem: text, or what has one.
        most: characters.

    Example:
        >>> one_line("a\nb \x1b[31m")
        'a b \\x1b[31m'
        >>> one_line("x" * 30, 9)
        'xxx...xxx'
    """
    words = " ".join(str(problem).split())
    if len(words) > most:
        half = (most - 3) // 2
        words = f"{words[:half]}...{words[-half:]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
