"""Train, evaluate or sample a disentangled generative model.

  train           python -m ivg.main --config=ivg:digits --workdir=runs/digits
  go on           the same command again: it goes on where the run stopped
  another method  --config=ivg:mnist:infovaegan
  set a field     --config.batch_size=128 --config.data.dir=my_photos.zip
  four seeds      --config.num_runs=4
  score again     python -m ivg.main --mode=evaluate --workdir=runs/digits
  new images      python -m ivg.main --mode=sample --workdir=runs/digits
  what there is   python -m ivg.main --list

with what it leaves in the run directory
  report          python -m ivg.report runs/digits runs/other
  move codes      python -m ivg.explore --workdir=runs/digits
  in Python       python -ic 'import ivg; model = ivg.load("runs/digits")'
  share           python -m ivg.export --workdir=runs/digits
"""

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

from ivg import config_files, terminal
from ivg.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config: one of ivg by its name (ivg:mnist) or the path of a file, and the method after a "
    "colon (ivg:mnist:infovaegan). Needed to train; evaluate and sample read the run directory's "
    "own unless it is given.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Run directory: checkpoints, logs, pictures and scores; made if absent."
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "sample"],
    "train: train (or go on) and score; evaluate: scores and pictures of the last checkpoint; "
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
    "list", False, "Print every method and every config with a line about it, and end."
)

# What stands after an option's equals sign, in the order of the help.
OPTIONS = {
    "config": "CONFIG[:METHOD]",
    "config.FIELD": "VALUE",
    "workdir": "DIR",
    "mode": "train|evaluate|sample",
    "num_samples": "N",
    "list": "",
    "coordinator": "HOST:PORT",
    "num_processes": "N",
    "process_id": "I",
    "heartbeat_seconds": "N",
    "help": "",
    "helpfull": "",
}
EXIT_CODES = """exit codes
  0    done
  2    a mistake that you can mend: one sentence after "error:"
  130  ended by Ctrl-C, 143 by SIGTERM; a run that trains saves its state first
  1    a crash: a mistake in ivg, with its traceback
  else killed, or another machine of the run was lost
After each of them the same command again goes on from the last checkpoint."""

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
        if isinstance(link, ImportError):
            return f"the config file cannot be loaded: {text}."
        if "no attribute 'get_config'" in text:
            return "the file that --config names is no config: it has no function get_config."
        if text.startswith("Unknown command line flag 'config."):
            return "config fields need a config before them, as in --config=ivg:digits."
        if text.startswith("Found --config."):
            return f"--config must come before its fields, such as {text.split()[1]}."
        if wrong := re.match(r"flag (--\S+?)=(.*): (invalid literal|could not convert)", text):
            what = "whole number" if wrong[3] == "invalid literal" else "number"
            return f'{wrong[1]} wants a {what}, not "{wrong[2]}".'
        if meant := re.search(r"Did you mean .?\"(\w+)\W+ instead of .?\"(\w+)", text):
            return f'the config has no field "{meant[2]}" there; did you mean "{meant[1]}"?'
    if any(isinstance(link, _LOOKUP) for link in chain):
        return (
            f"the config has no such field ({texts[-1]}); {config_files.folder() / 'base.py'} has "
            "the fields, methods.py and autoencoders.py beside it those of each method, which need "
            "its name after the config, as in --config=ivg:mnist:METHOD."
        )
    return texts[0]


def help_text() -> str:
    """What --help prints: the common cases, the options, the exit codes."""
    words = {name: flags.FLAGS[name].help for name in OPTIONS if name in flags.FLAGS}
    words["mode"] = words["mode"].split(">: ")[-1]  # absl puts the choices before it
    words |= {
        "config.FIELD": "Any field of the config, as in --config.batch_size=128, after --config. "
        f"The fields are those of {config_files.folder() / 'base.py'}, and of methods.py and "
        "autoencoders.py beside it.",
        "help": "This.",
        "helpfull": "The options of every library too.",
    }
    options = []
    for name, value in OPTIONS.items():
        options += [f"  --{name}" + (f"={value}" if value else "")]
        lines = textwrap.wrap(words[name], 74, break_long_words=False, break_on_hyphens=False)
        options += [f"      {line}" for line in lines]
    return "\n".join([__doc__, "options", *options, "", EXIT_CODES])


def parse_flags(argv: list[str]) -> list[str]:
    """Absl's parser; a mistake is one sentence on stderr and exit code 2."""
    asked = set(argv[1:])
    if asked & {"--help", "-help", "-h", "--helpshort"}:
        print(help_text())
        sys.exit(0)
    if "--helpfull" in asked:
        print("\n".join([help_text(), flags.FLAGS.get_help()]))
        sys.exit(0)
    if not argv[1:]:
        fail(
            "say what to do, for example: python -m ivg.main --config=ivg:digits "
            "--workdir=runs/digits (--list names the configs and methods, --help the rest)."
        )
    try:
        argv = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
        return flags.FLAGS(config_files.resolve_flags(argv))
    except (UserError, flags.Error, SyntaxError, ImportError, *_LOOKUP, ValueError) as error:
        fail(explain(error))


def fail(sentence: str) -> NoReturn:
    """Ends the program: one sentence on stderr, exit code 2."""
    print(f"{terminal.styled('error:', 'error', sys.stderr)} {sentence}", file=sys.stderr)
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
    except BrokenPipeError:  # whoever read the output has ended, as in --list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def run() -> None:
    """Dispatches on --list and --mode."""
    if _LIST.value:
        print(config_files.listing())
        return
    if not _WORKDIR.value:
        raise UserError("name a run directory, for example --workdir=runs/first.")
    workdir = pathlib.Path(_WORKDIR.value)
    config = None if _CONFIG.value is None else _CONFIG.value.to_dict()
    if _MODE.value == "train" and config is None:
        raise UserError("name a config, for example --config=ivg:digits.")
    # After the flags: --help and a mistyped flag need no JAX.
    from ivg import devices, memory, runs

    memory.keep_memory()
    if _MODE.value == "train":
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
