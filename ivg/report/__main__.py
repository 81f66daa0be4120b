"""Writes the page of a run, or one page that compares several.

  python -m ivg.report runs/digits                  writes runs/digits/report.html
  python -m ivg.report runs/* --out=compare.html    compares them (compare.html is the default)

A directory with seed_0, seed_1, ... counts as its runs. A run that cannot be read is an error; a
directory or file among several that is no run is named and passed over.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

from ivg import command_line
from ivg.errors import UserError

COMPARISON = "compare.html"
# What numbers raise that are texts, lists that are none, or names that are missing.
UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes what the arguments ask for; returns the exit code."""
    try:
        flags = _flags(arguments)
        print(f"  {checked([pathlib.Path(name) for name in flags.runs], flags.out)}")
    except UserError as error:
        return command_line.refuse(error)
    return 0


def checked(named: Sequence[pathlib.Path], out: str | None) -> pathlib.Path:
    """As `make`; directories may hold what ivg never wrote, and that is a UserError too."""
    try:
        return make(named, out)
    except UNREADABLE as error:
        raise UserError(
            f"{named[0]}{' or another of them' if len(named) > 1 else ''} holds values that a run "
            f"of ivg does not ({type(error).__name__}: {error}): leave it out, or delete its "
            "results.json and metrics.jsonl."
        ) from error


def make(named: Sequence[pathlib.Path], out: str | None) -> pathlib.Path:
    """The page of these directories; its path.

    Raises:
        UserError: there is no run among them, or it cannot be written.
    """
    from ivg.report import compare  # after the flags: --help needs no JAX

    found = compare.directories(named)
    if len(found) == 1 and out is None:
        return of_one(found[0])
    return compare.write_page(found, pathlib.Path(out or COMPARISON))


def of_one(workdir: pathlib.Path) -> pathlib.Path:
    """The page of a run from its last checkpoint; without images where there is none yet."""
    import jax

    from ivg import build, checkpoint, memory, rundir, runs
    from ivg.report import page

    memory.keep_memory()
    config = rundir.read_config(workdir)
    if checkpoint.latest_step(build.checkpoints(workdir)) is None:
        print(f"note: {workdir} holds no checkpoint yet; the page has no images", file=sys.stderr)
        return page.write_page(workdir, config, None)
    run, state, step = runs.last_state(config, workdir)
    with jax.set_mesh(run.mesh):
        return page.write_run(run, config, workdir, state, step)


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ivg.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", help="run directories")
    parser.add_argument(
        "--out", help=f"file of the comparison (default {COMPARISON}, where you are)"
    )
    return command_line.parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
