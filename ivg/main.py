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

import contextlib
import io
import os
import pathlib
import re
import signal
import stat
import sys
import textwrap
from typing import NoReturn

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

from absl import app, flags, logging
from ml_collections import config_flags

from ivg import command_line, config_files, fields, mistakes
from ivg.errors import UserError

# What config_flags looks for the config's fields in; `parse_flags` fills it. The arguments of the
# process themselves may still hold a --flagfile, which would be read, or fail, here already.
_WORDS: list[str] = []
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config: one of ivg by its name (ivg:mnist) or the path of a file, and the method after a "
    "colon (ivg:mnist:infovaegan). Needed to train; evaluate and sample read the run directory's "
    "own unless it is given.",
    lock_config=True,
    sys_argv=_WORDS,
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
    "num_samples",
    100,
    "Images to draw with --mode=sample.",
    lower_bound=1,
    upper_bound=1_000_000,
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
  130  ended by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP (its terminal was closed;
       under nohup it goes on); a run that trains saves its state first
  1    a crash: a mistake in ivg, with its traceback
  else killed, or another machine of the run was lost
After each of them the same command again goes on from the last checkpoint."""

_HELP = re.compile(r"--?(help|helpshort|helpfull|helpxml|h|\?)(=(true|t|yes|y|1))?", re.IGNORECASE)


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
    logging.set_verbosity(logging.ERROR)  # ml_collections' own notes about config files
    if not argv[1:]:
        fail(
            "say what to do, for example: python -m ivg.main --config=ivg:digits "
            "--workdir=runs/digits (--list names the configs and methods, --help the rest)."
        )
    try:
        argv = config_files.resolve_flags(with_flag_files(argv))
    except Exception as error:
        fail(mistakes.explain(error))
    if asked := {found[1] for word in argv[1:] if (found := _HELP.fullmatch(word))}:
        print(help_text())
        if asked & {"helpfull", "helpxml"}:
            print(flags.FLAGS.get_help())
        sys.exit(0)
    _WORDS[:] = argv
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # beside a user's config file
    try:
        return flags.FLAGS(argv)
    except (Exception, SystemExit) as error:  # a config file is Python: it may raise anything
        fail(mistakes.explain(error, config_files.named(argv)))
    finally:
        sys.dont_write_bytecode = writes


def with_flag_files(argv: list[str]) -> list[str]:
    """The arguments with those that every --flagfile holds.

    Raises:
        UserError: a file names itself, perhaps through others, or is a pipe, which may never end.
        flags.Error: a file cannot be read.
    """
    for before, word in zip(argv, argv[1:], strict=False):
        named = re.fullmatch(r"--?flagfile=(.*)", word, re.DOTALL)
        path = named[1] if named else word if before in ("--flagfile", "-flagfile") else ""
        if path and stat.S_ISFIFO(config_files.mode_of(path)):
            raise UserError(f"--flagfile={path} is a pipe; name a file with one option a line.")
    with contextlib.redirect_stderr(io.StringIO()) as warned:
        found = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
    if warned.getvalue():
        raise UserError("a --flagfile names itself, perhaps through another one; take that out.")
    return found


def asked_config() -> dict | None:
    """What --config names, as plain dicts, every field of it checked; None where it is not given.

    Raises:
        UserError: it is no config, or a field cannot be.
    """
    if not flags.FLAGS["config"].present:
        return None
    found, path = _CONFIG.value, config_flags.get_config_filename(flags.FLAGS["config"])
    try:
        config = found.to_dict()
    except AttributeError:
        raise UserError(
            f"get_config of {path} returns {type(found).__name__}, not a ConfigDict of "
            "ml_collections; return one, as the configs of ivg do."
        ) from None
    except OSError as error:
        raise UserError(mistakes.explain(error, [path])) from None
    fields.check_method(config)
    fields.check(config)
    fields.check_complete(config, "train")
    fields.check_known(config)
    return config


def asked_workdir() -> pathlib.Path:
    """What --workdir names.

    Raises:
        UserError: it is not given, or no directory can have that name.
    """
    if not _WORKDIR.value:
        raise UserError("name a run directory, for example --workdir=runs/first.")
    try:
        os.stat(_WORKDIR.value)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # what uses it says so
    except (OSError, ValueError) as error:
        why, given = getattr(error, "strerror", None) or error, fields.shown(_WORKDIR.value)
        raise UserError(f"--workdir={given} cannot be a directory ({why}); use another.") from None
    return pathlib.Path(_WORKDIR.value)


def fail(sentence: str) -> NoReturn:
    """Ends the program: one sentence on stderr, exit code 2."""
    sys.exit(command_line.refuse(sentence))


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
    workdir, config = asked_workdir(), asked_config()
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
