"""What the commands beside `ivg.main` share: their arguments, and how they answer a mistake."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from ivg.errors import UserError


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The parsed arguments; None takes those of the process.

    Raises:
        UserError: for a mistake, where argparse itself prints the usage and a prefix of its own.
    """

    def fail(message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")

    parser.error = fail
    return parser.parse_args(arguments)
