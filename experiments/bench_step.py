"""Our training step against a plain PyTorch implementation of the same work, in turn, one process.

  python -m experiments.bench_step --cases=all --threads=2
  python -m experiments.bench_step --cases=ibgan_sprites,factorvae --rounds=3 --seconds=2

Ours is the step that training dispatches: jitted, its state donated, images resident as uint8; one
step a call on a CPU, 20 on an accelerator. PyTorch's is written as a good PyTorch programmer would:
the same layers (the numbers of trainable parameters are compared, player by player), batch,
optimisers and order of updates, images resident as uint8, noise drawn inside, channels last, fused
Adam, generated images detached, no gradients for the weights of a player that does not move. On a
GPU a third column has its losses through torch.compile, and both sides' products have the same
precision.

What published code does besides is left out, which flatters PyTorch: the released IB-GAN spends
17 % of its step on gradients that it throws away, and passes real images through an encoder whose
output nobody reads; 1Konny's FactorVAE spends 15 % so; many read a loss back in every step.

Turns alternate (ours, PyTorch, ours, PyTorch, ...); a ratio is taken within a round, so that
whatever else the machine does meets both. `--threads` keeps the process on so many cores, which
both sides then use; a short pause before each turn lets the other's threads fall asleep. Writes
JSON and a page beside it; with only some of the cases, or no PyTorch, only where --out says.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import NoReturn

# JAX, PyTorch and BLAS count their cores when they start: `main` imports them after `use_threads`.
from experiments.bench_step_cases import CASES
from ivg import memory
from ivg.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m experiments.bench_step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = found.add_argument
    add("--cases", default="all", help=f"with commas, or all: {', '.join(CASES)}")
    add("--threads", type=int, help="cores of this process; default: all that it may use")
    add("--rounds", type=int, default=5, help="turns of each side; default 5")
    add("--seconds", type=float, default=2.5, help="of a turn, about; default 2.5")
    add("--steps", type=int, help="of a turn, instead of --seconds")
    add("--precision", default="default", help="as --config.precision; default default")
    add("--out", type=pathlib.Path, help="default experiments/results/bench_step_cpu.json, or _gpu")
    return found


def use_threads(threads: int | None) -> None:
    """Keeps this process and the thread pools that it will start on so many cores.

    Also what both sides need to know about each other before they start.

    Raises:
        UserError: for a number of cores that this process cannot have.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler tells when it starts
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.45")  # of a GPU; PyTorch wants some
    if threads is None:
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not 1 <= threads <= len(cores):
        may = f"1 to {len(cores)}" if cores else "none: this system cannot pin processes"
        raise UserError(f"--threads={threads} cannot be; this process may use {may}.")
    os.sched_setaffinity(0, cores[:threads])  # XLA's pool follows it
    os.environ["OMP_NUM_THREADS"] = str(threads)  # PyTorch's


def check(args: argparse.Namespace) -> None:
    """Raises UserError for numbers that cannot be."""
    for name in ("rounds", "steps"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name}={getattr(args, name)} must be at least 1.")
    if not 0.0 < args.seconds < float("inf"):
        raise UserError(f"--seconds={args.seconds:g} must be positive.")
    if args.out is not None and (args.out.suffix != ".json" or args.out.is_dir()):
        raise UserError(f"--out={args.out} must name a file that ends in .json.")


def main(argv: Sequence[str]) -> None:
    """Measures the cases, prints and writes the table."""
    found = parser()
    found.error = fail
    args = found.parse_args(argv)
    use_threads(args.threads)
    memory.keep_memory()  # as training does; PyTorch gains by it too
    from experiments import bench_step_measure, options

    check(args)
    every = args.cases == "all"
    args.cases = tuple(CASES) if every else options.names("--cases", args.cases, CASES)
    bench_step_measure.measure_all(args, " ".join(["python -m experiments.bench_step", *argv]))


def fail(sentence: str) -> NoReturn:
    """Ends the program: one sentence on stderr, exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def command(argv: Sequence[str]) -> None:
    """`main`, a UserError of which ends the program."""
    try:
        main(argv)
    except UserError as error:
        fail(str(error))


if __name__ == "__main__":
    command(sys.argv[1:])
