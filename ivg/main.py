"""Train, evaluate or sample a disentangled generative model.

  python -m ivg.main --config=configs/digits.py --workdir=runs/digits
  python -m ivg.main --config=configs/mnist.py:infovaegan --workdir=runs/mnist --config.seed=1
  python -m ivg.main --mode=evaluate --workdir=runs/mnist
  python -m ivg.main --mode=sample --workdir=runs/mnist --num_samples=64
  python -m ivg.main --list                                    (every method and config file)

Every field of the config can be set: --config.batch_size=128, --config.data.dir=my_photos.zip.
Typing the same training command again goes on where the run stopped.
"""

import ast
import difflib
import os
import pathlib
import re
import signal
import sys
import textwrap
from typing import NoReturn

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

from absl import app, flags, logging
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

_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Several machines: HOST:PORT of process 0; SLURM and TPU pods need none."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Several machines: processes in all; 1 trains alone.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Several machines: which of them this is, from 0 on.", lower_bound=0
)
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds",
    60,
    "Several machines: all end, to be started again, when one is silent for so long.",
    lower_bound=1,
)
_LIST = flags.DEFINE_boolean(
    "list", False, "Print every method and every config file with a line about it, and end."
)

# What each method is, and its paper; not from the methods themselves, which need JAX.
METHODS = {
    "ali": "an encoder plays in the GAN's game (Dumoulin et al., ICLR 2017)",
    "beta_tcvae": "VAE with its total correlation weighted (Chen et al., NeurIPS 2018)",
    "beta_vae": "VAE with a weight beta, or a capacity (Higgins et al., ICLR 2017)",
    "csvae": "VAE, an adversary takes attributes out of z (Klys et al., NeurIPS 2018)",
    "dip_vae": "VAE whose codes are to be uncorrelated (Kumar et al., ICLR 2018)",
    "factorvae": "VAE and a discriminator of dependent codes (Kim & Mnih, ICML 2018)",
    "gan": "generator, discriminator; z is regressed later (Goodfellow et al., 2014)",
    "ibgan": "InfoGAN with an information bottleneck (Jeon et al., AAAI 2021)",
    "infogan": "GAN whose codes can be read from the image (Chen et al., NIPS 2016)",
    "infogan_cr": "InfoGAN with a contrastive regulariser (Lin et al., ICML 2020)",
    "infovaegan": "WGAN-GP with classes, styles and inference (Ye & Bors, ICIP 2021)",
    "infovaegan_invariant": "the same, classes found by agreement on affine copies (ours)",
    "infovaegan_joint": "the same as released: D sees image and codes (Ye & Bors, ICIP 2021)",
    "jointvae": "VAE with continuous codes and a relaxed class (Dupont, NeurIPS 2018)",
    "mixture_vae": "mixture of VAEs, independent components (Ye & Bors, TNNLS 2021)",
    "mmvae": "VAE with attributes, information kept out of z (Kim, thesis, 2019)",
    "r_cvae": "conditional VAE, attributes have a code (Kim, thesis, 2019)",
    "vae": "the variational autoencoder (Kingma & Welling, ICLR 2014)",
    "wgan_gp": "Wasserstein GAN with gradient penalty (Gulrajani et al., NIPS 2017)",
}

_LOOKUP = (KeyError, AttributeError, TypeError)  # what a field that is not there raises


def explain(error: BaseException) -> str:
    """One sentence for an error in the flags, from the most telling link of its chain of causes."""
    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(below)
    texts = [" ".join(str(link.args[0] if link.args else link).split()) for link in chain]
    for link, text in zip(chain, texts, strict=True):
        if isinstance(link, UserError):
            return text
        if isinstance(link, SyntaxError):
            return f"{link.filename}, line {link.lineno}: {link.msg}."
        if "no attribute 'get_config'" in text:
            return "the file that --config names is no config: it has no function get_config."
        if text.startswith("Unknown command line flag 'config."):
            return "config fields need a config before them, as in --config=configs/digits.py."
        if meant := re.search(r"Did you mean .?\"(\w+)\W+ instead of .?\"(\w+)", text):
            return f'the config has no field "{meant[2]}" there; did you mean "{meant[1]}"?'
    if any(isinstance(link, _LOOKUP) for link in chain):
        return (
            f"the config has no such field ({texts[-1]}); configs/base.py lists the fields, "
            "methods.py and autoencoders.py beside it those of each method, which need its name "
            "after the config, as in --config=configs/mnist.py:METHOD."
        )
    return texts[0]


def listing() -> str:
    """Every method, and every config file below `configs` with the method that it begins with."""
    methods = [_entry(name, words) for name, words in METHODS.items()]
    configs = [
        _entry(path, words + (f" [{default}]" if default else ""))
        for path, (words, default) in config_files().items()
    ]
    return "\n".join(
        [
            "methods, as in --config=configs/digits.py:METHOD",
            *methods,
            "",
            "config files, [the method where none is named]",
            *(configs or ["  none here; they are in the folder configs of the checkout"]),
        ]
    )


def config_files() -> dict[str, tuple[str, str]]:
    """The config files below `configs`: the first line of each and the method it begins with."""
    found = {}
    for path in sorted(pathlib.Path("configs").glob("*.py")):
        tree = ast.parse(path.read_text())
        made = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "get_config"]
        if made and path.stem != "base":
            words = (ast.get_docstring(tree) or "").split("\n")[0]
            default = "".join(ast.literal_eval(d) for d in made[0].args.defaults[:1])
            found[str(path)] = (words, default)
    return found


def _entry(name: str, words: str) -> str:
    """A name, and words that go on beneath themselves."""
    return textwrap.fill(
        words,
        100,
        initial_indent=f"  {name:<24} ",
        subsequent_indent=" " * 27,
        break_on_hyphens=False,
    )


def parse_flags(argv: list[str]) -> list[str]:
    """Absl's parser; a mistake is one sentence on stderr and exit code 2."""
    if set(argv[1:]) & {"--help", "-help", "-h"}:
        print(__doc__)
        print(flags.FLAGS.main_module_help())
        sys.exit(0)
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if named := re.fullmatch(r"--?config(=.*)?", word, re.DOTALL):
            require_config_file((named[1] or f"={following}")[1:].split(":")[0])
    try:
        return flags.FLAGS(argv)
    except (UserError, flags.Error, SyntaxError, *_LOOKUP, ValueError) as error:
        fail(explain(error))


def require_config_file(path: str) -> None:
    """Ends the program with one sentence where there is no such file."""
    if not pathlib.Path(path).is_file():
        near = difflib.get_close_matches(path, config_files(), n=1, cutoff=0.8)
        hint = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(config_files()) or "none here"
        fail(f'there is no config file "{path}"; {hint}There are {known}.')


def fail(sentence: str) -> NoReturn:
    """Ends the program: one sentence on stderr, exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def main(argv: list[str]) -> None:
    """Runs the mode; a UserError is one sentence on stderr and exit code 2."""
    logging.set_verbosity(logging.WARNING)  # JAX's own notes about absent accelerators
    try:
        if argv[1:]:
            raise UserError(f'"{argv[1]}" is not an option; options start with "--", see --help.')
        run()
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on from the last checkpoint")
        sys.exit(128 + signal.SIGINT)


def run() -> None:
    """Dispatches on --list and --mode."""
    if _LIST.value:
        print(listing())
        return
    # After the flags: --help and a mistyped flag need no JAX.
    from ivg import devices, memory, runs

    if not _WORKDIR.value:
        raise UserError("name a run directory, for example --workdir=runs/first.")
    workdir = pathlib.Path(_WORKDIR.value)
    config = None if _CONFIG.value is None else _CONFIG.value.to_dict()
    memory.keep_memory()
    if _MODE.value == "train":
        if config is None:
            raise UserError("name a config, for example --config=configs/digits.py.")
        devices.start_processes(
            coordinator=_COORDINATOR.value,
            num_processes=_NUM_PROCESSES.value,
            process_id=_PROCESS_ID.value,
            heartbeat=_HEARTBEAT.value,
        )
        runs.train_runs(config, workdir)
    elif _MODE.value == "evaluate":
        runs.evaluate_runs(workdir, config)
    else:
        runs.sample(workdir, _NUM_SAMPLES.value, config)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
