"""What is wrong with a command line, in one sentence.

Absl and ml_collections raise it in many forms, and a config file is Python, which may raise
anything. The most telling link of the chain of causes is what the sentence is made of.
"""

import re
from collections.abc import Iterator, Sequence

from ivg import config_files
from ivg.errors import UserError

_LOOKUP = (KeyError, IndexError, AttributeError, TypeError)  # what a missing field raises
# Texts of the two libraries, and what is said in their place.
_SAID = (
    (
        r".*no attribute 'get_config'",
        "the file that --config names is no config: it has no function get_config.",
    ),
    (
        r"(get_config\(\) (?:takes|missing).*)",
        r"the config file does not take what stands after its colon, or needs a colon (\1).",
    ),
    (
        r"Unknown command line flag 'config\..*",
        "config fields need a config before them, as in --config=ivg:digits.",
    ),
    (
        r"Unknown command line flag '(.*)'\. Did you mean: (.*?) \?",
        r"there is no option --\1; did you mean --\2? See --help.",
    ),
    (r"Unknown command line flag '(.*)'.*", r"there is no option --\1; see --help."),
    (r"Found (--config\.\S*) .*", r"--config must come before its fields, such as \1."),
    (r"flag (--\S+?)=(.*): invalid literal.*", r'\1 wants a whole number, not "\2".'),
    (r"flag (--\S+?)=(.*): could not convert.*", r'\1 wants a number, not "\2".'),
    (r"flag (--\S+?)=(.*): \('Non-boolean.*", r'\1 wants true or false, not "\2".'),
    (
        r"flag (--\S+?)=.* as a ConfigDict.*",
        r"\1 is a section; set one of its fields, as in \1.FIELD=VALUE.",
    ),
    (
        r"Flag (--\S+) is provided after (--\S+) .*",
        r"\1 would overwrite \2 before it; leave one of them out.",
    ),
    (
        r"The flag 'config\..*' is defined twice.*",
        "--config is there twice, with fields between; name it once.",
    ),
    (
        r".*Unable to open flagfile: (?:\[Errno \d+\] )?(.*)",
        r"the --flagfile cannot be opened (\1); name a text file with one option a line.",
    ),
    (
        r"Configuration is not available .*? to load: (?:\[Errno \d+\] )?(.*)",
        r"the config file cannot be read (\1).",
    ),
    (
        r"None value found in required reference",
        "the config file leaves a required field open; set it with --config.FIELD=VALUE.",
    ),
    (r"--flagfile with no argument", "--flagfile wants a file, as in --flagfile=FILE."),
    (
        r"'utf-8' codec can't decode.*",
        "the --flagfile is no text file; name one with one option a line.",
    ),
    (
        r".*Did you mean .?\"(\w+)\W+ instead of .?\"(\w+).*",
        r'the config has no field "\2" there; did you mean "\1"?',
    ),
)


def explain(error: BaseException, paths: Sequence[str] = ()) -> str:
    """One sentence for an error in the flags.

    Args:
        error: as it was caught, with its causes.
        paths: of the config files that --config names.
    """
    links = list(_chain(error))
    texts = [_text(link) for link in links]
    for link, text in zip(links, texts, strict=True):
        if isinstance(link, UserError):
            return text
        if isinstance(link, SyntaxError) and (said := _syntax(link, paths)):
            return said
    for link, text in zip(links, texts, strict=True):
        if place := _place(link, paths):
            return f"{place}: {type(link).__name__}{': ' if text else ''}{text.rstrip('.')}."
    for text in texts:
        for pattern, said in _SAID:
            if found := re.fullmatch(pattern, text):
                return found.expand(said)
    if any(isinstance(link, (*_LOOKUP, SyntaxError)) for link in links):
        return (
            f"the config has no such field ({texts[-1]}); {config_files.folder() / 'base.py'} has "
            "the fields, methods.py and autoencoders.py beside it those of each method, which need "
            "its name after the config, as in --config=ivg:mnist:METHOD."
        )
    return f"{texts[0] or type(error).__name__}; see --help."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, the cause's cause, ..."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _text(link: BaseException) -> str:
    """What an error says, on one line."""
    said = str(link) if isinstance(link, OSError | UnicodeError) or not link.args else link.args[0]
    return " ".join(str(said).split())


def _syntax(link: SyntaxError, paths: Sequence[str]) -> str:
    """What is wrong with a config file, or with one that it imports; "" for a field's name."""
    if link.filename is None and paths:
        return f"{paths[-1]} is no Python file ({link.msg})."
    if link.filename is None or link.filename.startswith("<"):
        return ""
    return f"{link.filename}, line {link.lineno}: {link.msg}."


def _place(link: BaseException, paths: Sequence[str]) -> str:
    """The line of a config file that raised an error, "" where none did."""
    trace, found = link.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in paths:
            found = f"{trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found
