"""Train, evaluate or sample a disentangled generative model.

  python -m ivg.main --config=configs/digits.py --workdir=runs/digits
  python -m ivg.main --config=configs/mnist.py:infovaegan --workdir=runs/mnist --config.seed=1
  python -m ivg.main --mode=evaluate --workdir=runs/mnist
  python -m ivg.main --mode=sample --workdir=runs/mnist --num_samples=64

Every field of the config can be set: --config.batch_size=128, --config.data.dir=my_photos.zip.
Typing the same training command again goes on where the run stopped.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

from absl import app, flags
from ml_collections import config_flags

from ivg.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file, with the method after a colon: configs/mnist.py:infovaegan_joint. Needed to "
    "train; evaluate and sample read the run directory's own unless it is given.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Run directory: checkpoints, logs, pictures and scores; made if absent."
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "sample"],
    "train: train (or go on) and evaluate; evaluate: scores and pictures of the last checkpoint; "
    "sample: new images from it.",
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 100, "Images to draw with --mode=sample.", lower_bound=1
)


def original(error: BaseException) -> BaseException:
    """The error at the bottom of a chain: a UserError if there is one, else the first cause."""
    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(below)
    return next((e for e in chain if isinstance(e, UserError)), chain[-1])


def explain(error: BaseException) -> str:
    """One sentence for an error in the flags."""
    cause = original(error)
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(cause, FileNotFoundError):
        return f"{error}".splitlines()[0]
    if isinstance(cause, (KeyError, AttributeError)):
        return "the config has no such field: " + " ".join(str(cause.args[0]).split())
    return " ".join(str(error).split())


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser; a mistake is one sentence on stderr and exit code 2."""
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, KeyError, AttributeError, ValueError, TypeError, OSError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(2)
    if flags.FLAGS.help:
        print(__doc__)
        print(flags.FLAGS.main_module_help())
        sys.exit(0)
    return rest


def main(argv: list[str]) -> None:
    """Runs the mode; a UserError is one sentence on stderr and exit code 2."""
    try:
        if argv[1:]:
            raise UserError(f'"{argv[1]}" is not an option; options start with "--", see --help.')
        run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run() -> None:
    """Dispatches on --mode."""
    from ivg import runs  # after the flags: --help and a mistyped flag need no JAX

    if not _WORKDIR.value:
        raise UserError("name a run directory, for example --workdir=runs/first.")
    workdir = pathlib.Path(_WORKDIR.value)
    config = None if _CONFIG.value is None else _CONFIG.value.to_dict()
    if _MODE.value == "train":
        if config is None:
            raise UserError("name a config, for example --config=configs/digits.py.")
        runs.train_runs(config, workdir)
    elif _MODE.value == "evaluate":
        runs.evaluate_runs(workdir, config)
    else:
        runs.sample(workdir, _NUM_SAMPLES.value, config)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
