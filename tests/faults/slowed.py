"""`python slowed.py PART MARKER ARGUMENTS`: `python -m ivg.main ARGUMENTS` with one part made slow.

When the part is reached the file MARKER is made, and XLA then compiles for minutes: in C++, where
Python's signal handlers do not run.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
from absl import app

from ivg import cost, evaluate, main, midway, train

PARTS = {
    "restoring": (train, "restore"),
    "compiling": (cost, "compiled"),
    "an evaluation": (midway, "look"),
    "the scores": (evaluate, "evaluate"),
}


def compile_for_minutes() -> None:
    """2 ** 12 matrix products, which takes no time to say."""
    function = lambda x: jnp.sin(x) @ jnp.cos(x)  # noqa: E731
    for _ in range(12):
        function = jax.jit(lambda x, inner=function: inner(inner(x) * 2))
    function.lower(jnp.ones((4, 4))).compile()


if __name__ == "__main__":
    part, marker, *arguments = sys.argv[1:]

    def slow(*args, **options):
        pathlib.Path(marker).touch()
        compile_for_minutes()
        raise AssertionError("nobody ended this process")

    setattr(*PARTS[part], slow)
    app.run(main.main, argv=[sys.argv[0], *arguments], flags_parser=main.parse_flags)
