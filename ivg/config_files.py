"""The config files that come with ivg: where they are, which there are, what `--config` names.

`ivg:mnist` is the file mnist.py of the package `ivg.configs`, wherever ivg is installed; anything
else is a path. After either a colon may name the method: `ivg:mnist:infovaegan`. Nothing here needs
JAX: `--help`, `--list` and a mistake are answered at once.
"""

import ast
import difflib
import functools
import os
import pathlib
import re
import stat
import textwrap
from collections.abc import Iterable

from ivg import configs
from ivg.catalogue import METHODS
from ivg.errors import UserError

PREFIX = "ivg:"


@functools.cache
def folder() -> pathlib.Path:
    """Where the config files of ivg are: in the checkout or in the installed package."""
    return pathlib.Path(next(iter(configs.__path__)))


def known() -> dict[str, tuple[str, str]]:
    """The config files by name: the first line of each, and the method that it begins with."""
    found = {}
    for path in sorted(folder().glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        made = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "get_config"]
        if made and path.stem != "base":
            words = (ast.get_docstring(tree) or "").split("\n")[0]
            default = "".join(ast.literal_eval(d) for d in made[0].args.defaults[:1])
            found[path.stem] = (words, default)
    return found


def resolve(text: str) -> str:
    """What `--config` says as a path, and the method after a colon where one is named.

    Args:
        text: `ivg:NAME`, `ivg:NAME:METHOD`, `PATH` or `PATH:METHOD`.

    Raises:
        UserError: there is no such file; the sentence has the nearest name.
    """
    if text.startswith(PREFIX):
        name, *method = text.removeprefix(PREFIX).split(":", 1)
        path = folder() / f"{name}.py"
        if name not in known():
            raise _none(text, name, method)
    else:
        name, *method = text.split(":", 1)
        path = pathlib.Path(name)
        if not stat.S_ISREG(mode_of(path)):
            raise _none(text, name, method)
    return ":".join([str(path), *method])


def mode_of(path: str | pathlib.Path) -> int:
    """What `stat` says of a path's kind and rights, 0 where there is no such file."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):  # or none can have such a name
        return 0


def _none(text: str, name: str, method: list[str]) -> UserError:
    """There is no such config: its nearest relative, in the same folder or among those of ivg."""
    files = [str(path) for path in _beside(pathlib.Path(name)) if path.stem in known()]
    near = [] if text.startswith(PREFIX) else _nearest(name, files, 0.8)
    near = near or [PREFIX + stem for stem in _nearest(pathlib.Path(name).stem, known(), 0.6)]
    hint = f"did you mean {':'.join([*near, *method])}? " if near else ""
    names = ", ".join(PREFIX + name for name in known())
    return UserError(f'there is no config file "{text}"; {hint}There are {names}.')


def _beside(path: pathlib.Path) -> list[pathlib.Path]:
    """The Python files in a path's folder, which may be none."""
    try:
        return sorted(path.parent.glob("*.py"))
    except OSError:
        return []


def _nearest(name: str, names: Iterable[str], cutoff: float) -> list[str]:
    return difflib.get_close_matches(name, names, n=1, cutoff=cutoff)


def resolve_flags(argv: list[str]) -> list[str]:
    """The arguments with the paths that every --config names, as config_flags reads them.

    Raises:
        UserError: there is no such file.
    """
    found = list(argv)
    for i, word in enumerate(argv):
        if named := re.fullmatch(r"(--?config=)(.*)", word, re.DOTALL):
            found[i] = named[1] + resolve(named[2])
        elif i and argv[i - 1] in ("--config", "-config"):
            found[i] = resolve(word)
    if argv and argv[-1] in ("--config", "-config"):
        raise _none("", "", [])
    return found


def named(argv: list[str]) -> list[str]:
    """The paths of the config files that resolved arguments name."""
    words = [word.split("=", 1)[1] for word in argv if re.match(r"--?config=", word)]
    flags = zip(argv, argv[1:], strict=False)
    words += [word for flag, word in flags if flag in ("--config", "-config")]
    return [word.split(":", 1)[0] for word in words]


def listing() -> str:
    """Every method, and every config file of ivg with the method that it begins with."""
    attributes = "csvae, mmvae and r_cvae learn from attributes: faces, celeba, images, ..."
    methods = [_entry(name, f"{about.line} ({about.venue})") for name, about in METHODS.items()]
    files = [
        _entry(PREFIX + name, words + (f" [{default}]" if default else ""))
        for name, (words, default) in known().items()
    ]
    return "\n".join(
        [
            "methods, as in --config=ivg:digits:METHOD",
            *methods,
            f"  ({attributes})",
            "",
            "configs, as in --config=ivg:digits; [the method where none is named]",
            *files,
            "",
            "A config of your own is a file: --config=PATH.py or --config=PATH.py:METHOD. Those of",
            f"ivg, and base.py with every field that can be set, are in {folder()}",
        ]
    )


def _entry(name: str, words: str) -> str:
    """A name, and words that go on beneath themselves."""
    return textwrap.fill(
        words,
        100,
        initial_indent=f"  {name:<20}  ",
        subsequent_indent=" " * 24,
        break_on_hyphens=False,
    )
