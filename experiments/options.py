"""The command line of the tables and figures: a preset, and what is changed of it."""

import argparse
import difflib
import pathlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from absl import logging

from experiments import launch_options
from experiments.running import DATA, Preset
from ivg import command_line
from ivg.errors import UserError


def parser_of(
    script: str,
    doc: str,
    presets: Mapping[str, Preset],
    *,
    known: Sequence[str] | Mapping = DATA,
    runs: str | None = None,
) -> argparse.ArgumentParser:
    """A parser with what all scripts take.

    Args:
        script: its name, as in `python -m experiments.NAME`.
        doc: shown by --help.
        presets: name -> what the script does unless told otherwise.
        known: the data sets that it may be run on.
        runs: the default --workdir is runs/RUNS_PRESET; the script's name if None.
    """
    runs = runs or script
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{script}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.error = wrong
    parser.add_argument("--preset", default="cpu", help=f"{', '.join(presets)}; default cpu")
    parser.add_argument("--workdir", type=pathlib.Path, help=f"default runs/{runs}_PRESET")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        help="default experiments/results; with --preset=smoke the workdir",
    )
    parser.add_argument("--num_steps", type=int, help="of the game, instead of the preset's")
    parser.add_argument("--seeds", "--runs", type=int, help="how many: 0, 1, ...")
    parser.add_argument("--data", help=f"with commas: {', '.join(known)}")
    parser.add_argument("--runs_at_once", type=int, default=1, help="seeds in one program")
    parser.add_argument("--table_only", action="store_true", help="train nothing")
    launch_options.add_options(parser)
    parser.set_defaults(script=script, presets=presets, known=known, runs=runs)
    return parser


def settle(args: argparse.Namespace) -> argparse.Namespace:
    """The options with the preset's values where none were given.

    Raises:
        UserError: for values that cannot be.
    """
    command_line.check_names(args)
    one_of("--preset", args.preset, args.presets)
    preset = args.presets[args.preset]
    args.num_steps = preset.num_steps if args.num_steps is None else args.num_steps
    args.seeds = preset.seeds if args.seeds is None else args.seeds
    args.data = preset.data if args.data is None else names("--data", args.data, args.known)
    args.workdir = args.workdir or pathlib.Path("runs") / f"{args.runs}_{args.preset}"
    default_out = args.workdir if args.preset == "smoke" else pathlib.Path("experiments/results")
    args.out = args.out or default_out
    for name in ("num_steps", "seeds", "runs_at_once"):
        # No number of steps: those of the data set's file.
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name}={getattr(args, name)} must be at least 1.")
    for name in ("workdir", "out"):
        if getattr(args, name).exists() and not getattr(args, name).is_dir():
            raise UserError(f"--{name}={getattr(args, name)} is a file; name a directory.")
    launch_options.settle(args)
    return args


def names(option: str, text: str, known: Sequence[str] | Mapping) -> tuple[str, ...]:
    """The names of "a,b", each of them known."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in found or ("",):
        one_of(option, name, known)
    return found


def one_of(option: str, name: str, known: Sequence[str] | Mapping) -> None:
    """Raises UserError if the name is not known."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        choices = ", ".join(known)
        hint = f'did you mean "{near[0]}"? There are: {choices}' if near else f"use {choices}"
        raise UserError(f'{option} knows no "{name}"; {hint}.')


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers of "0,0.141", in rising order.

    Raises:
        UserError: for what is no number of at least 0.
    """
    try:
        found = {float(part) for part in text.split(",") if part.strip()}
    except ValueError:
        found = set()
    if not found or not all(0 <= x < float("inf") for x in found):
        raise UserError(f'{option}="{text}" is not numbers of at least 0, as in {option}=0,0.141.')
    return tuple(sorted(found))


def fail(sentence: str) -> NoReturn:
    """Ends the program: one sentence on stderr, exit code 2."""
    sys.exit(command_line.refuse(sentence))


def wrong(message: str) -> NoReturn:
    """Ends the program with what a parser has to say."""
    fail(f"{message}; see --help.")


def command(main: Callable[[Sequence[str]], None]) -> None:
    """Runs a script's main; a UserError is one sentence on stderr and exit code 2."""
    logging.set_verbosity(logging.WARNING)  # JAX's own notes about absent accelerators
    try:
        main(sys.argv[1:])
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on from the last checkpoint")
        sys.exit(128 + signal.SIGINT)
