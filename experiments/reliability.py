"""What the faults that the tests inject came to: the page of reliability.json, the README's table.

  python -m pytest -m faults --reliability=experiments/results/reliability.json
  python -m experiments.mutation
  python -m experiments.reliability

The first two try everything and write an entry each; this one writes reliability.md beside the file
from both, and prints the table that the README has.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

from experiments.reporting import table

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def whole(found: Mapping) -> str:
    """The Markdown page: every figure, by what it is about."""
    entry = found["faults"]
    rows = [
        (group, name, shown(value))
        for group, figures in entry["figures"].items()
        for name, value in figures.items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
    skipped = [f"Left out on that machine: `{name}`." for name in entry["skipped"]]
    lines = [
        "# Faults that the tests inject, and what came of them",
        "",
        "Every number was counted while the tests ran; any other outcome fails a test. The mutants "
        "of the formulas have [a page of their own](mutation.md).",
        "",
        table(("about", "what", "number"), rows),
        "",
        f"`{entry['command']}`: {entry['tests']} tests in {entry['seconds'] / 60:.0f} min, "
        f"{entry['device']}; commit {entry['commit']}; {versions}.",
        *([""] + skipped if skipped else []),
    ]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """A figure as people write it."""
    if isinstance(value, list):
        return " to ".join(str(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def summary(found: Mapping) -> str:
    """The README's table."""
    figures, mutation = found["faults"]["figures"], found["mutation"]["figures"]["mutation"]
    return table(("injected", "how often", "what came of it"), summary_rows(figures, mutation))


def summary_rows(figures: Mapping, mutation: Mapping) -> list[tuple[str, str, str]]:
    """The table's rows; a figure that is not there any more is a KeyError."""
    crashes, signals, numbers = figures["crashes"], figures["signals"], figures["numbers"]
    haul, shares = figures["long haul"], mutation["killed, per cent"]
    repeated = total(crashes, "most steps repeated")
    interval = next(n for n in crashes if n.startswith("most steps")).rpartition(" ")[2]
    named = total(numbers, "of these, shown")
    return [
        ("kill -9, on one run", total(crashes, "kill -9 survived"), "every restart went on, at "
         f"most {repeated} steps were repeated (a checkpoint every {interval}), the final state "
         "is equal bit for bit"),
        ("SIGTERM, Ctrl-C, SIGHUP", total(signals, "sent"),
         f"saved and ended, the slowest after {total(signals, 'slowest end')} s"),
        ("files of checkpoints damaged", total(figures["storage"], "damaged files"),
         "all noticed; the newest sound checkpoint is used and named, none deleted"),
        ("disks filled while something was written", total(figures["storage"], "disks filled"),
         "one sentence; what was there is kept"),
        ("NaN and infinity in weights", total(numbers, "faults in weights"),
         f"player and layer named where the step shows it ({named})"),
        ("image folders, zips, tables, damaged at random",
         total(figures["image files"], "folders and zips tried", "damaged zips tried",
               "damaged attribute files tried", "damaged prepared sets tried"),
         "read as documented or refused in one sentence, in "
         f"{total(figures['image files'], 'peak memory')} MiB at most"),
        ("command lines, values of fields, edited configs",
         total(figures["command line"], "command lines tried", "of the other programs tried",
               "values of fields tried", "uses of an edited config.json tried"),
         "accepted, or one sentence and exit code 2"),
        ("files of strangers", total(figures["security"], "hostile files offered"),
         "none ran anything"),
        ("arrays to losses, distributions, scores",
         total(figures["losses and metrics"], "random inputs"),
         "laws hold; NaN never becomes a plausible number"),
        ("steps in one go", total(haul, "steps"),
         f"memory drifts by {total(haul, 'drift of the memory')} %, the step is compiled "
         f"{'once' if haul['compilations of the step'] == 1 else 'more than once'}"),
        ("formulas changed, [mutants](experiments/results/mutation.md)",
         total(mutation, "mutants made"), f"{shares} % noticed by a test"),
    ]  # fmt: skip


def total(figures: Mapping[str, int], *starts: str) -> str:
    """The sum of all figures whose names begin so; at least one for each beginning."""
    chosen = {start: [v for n, v in figures.items() if n.startswith(start)] for start in starts}
    if missing := [start for start, values in chosen.items() if not values]:
        raise KeyError(f"no figure begins with {missing[0]!r}")
    return shown(sum(value for values in chosen.values() for value in values))


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    return parser.parse_args(arguments)


def main() -> int:
    """Writes the page, prints the table."""
    out = options().out
    found = json.loads((out / "reliability.json").read_text())
    (out / "reliability.md").write_text(whole(found))
    print(summary(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
