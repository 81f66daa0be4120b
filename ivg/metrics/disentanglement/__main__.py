"""Scores of codes in a file: `python -m ivg.metrics.disentanglement codes.npz`.

The file holds arrays `codes` [N, D] and `factors` [N, F] (whole numbers) and, if wanted, `names`
[F]. Bad input is answered by one sentence and exit code 2.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ivg import command_line, npz
from ivg.errors import UserError
from ivg.metrics.disentanglement import ALL, FAST, Rows, evaluate, from_arrays


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores the file that the arguments name; returns the exit code."""
    try:
        flags = _flags(arguments)
        scores = evaluate(
            read(pathlib.Path(flags.file)),
            metrics=chosen(flags.metrics),
            seeds=range(flags.seeds),
            num_bins=flags.bins,
        )
        if flags.json:
            _write(pathlib.Path(flags.json), scores)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(scores))
    return 0


def read(path: pathlib.Path) -> Rows:
    """The arrays of an npz file as a source.

    Raises:
        UserError: There is no such file, it is no npz file, or not of these arrays.
    """
    arrays, found = npz.read(path, ("codes", "factors", "names"))
    for name in ("codes", "factors"):
        if name not in arrays:
            raise UserError(f"{path} has no array {name!r}, only {', '.join(found) or 'nothing'}")
    names = arrays["names"].ravel().astype(str).tolist() if "names" in arrays else ()
    return from_arrays(arrays["codes"], arrays["factors"], names)


def chosen(text: str) -> tuple[str, ...]:
    """Metrics of "all", "fast" or a list such as "mig,dci"."""
    groups = {"all": ALL, "fast": FAST}
    return groups.get(text) or tuple(name.strip() for name in text.split(",") if name.strip())


def table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """One line per metric: mean, standard deviation over seeds, and the recipe in words."""
    lines = [("metric", "mean", "std", "recipe")]
    for name, entry in scores.items():
        mean, std = (_number(entry[key]) for key in ("mean", "std"))
        lines.append((name, mean, std, entry.get("reason") or in_words(entry["recipe"])))
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    pad = (str.ljust, str.rjust, str.rjust)
    return "\n".join(
        "  ".join([*(p(cell, w) for p, cell, w in zip(pad, line, widths, strict=False)), line[3]])
        for line in lines
    )


def in_words(recipe: Mapping[str, Any]) -> str:
    """A recipe as a phrase: "20 bins, 10000 rows, ..."."""
    words = []
    for key, value in recipe.items():
        name = key.replace("_", " ")
        if key == "seeds":
            words.append(f"seed{'s' if len(value) > 1 else ''} {', '.join(map(str, value))}")
        elif key in ("source", "predictor", "classifier"):
            words.append(str(value))
        elif isinstance(value, int):
            words.append(f"{value} {name}")
        else:
            words.append(f"{name} {value}")
    return "; ".join(words)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ivg.metrics.disentanglement",
        description="Disentanglement scores of codes whose factors are known.",
        epilog="  python -m ivg.metrics.disentanglement codes.npz --metrics=mig --json=scores.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="npz file with codes [N, D] and factors [N, F] (names [F])")
    parser.add_argument(
        "--metrics",
        default="fast",
        help=f"all, fast (default: {', '.join(FAST)}) or names such as mig,dci; "
        f"all adds {', '.join(ALL[len(FAST) :])}, and dci takes minutes",
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of runs; seeds 0, 1, ...")
    parser.add_argument("--bins", type=int, default=20, help="bins per code (factor, for irs)")
    parser.add_argument("--json", help="file for all scores, recipes and details")
    flags = command_line.parse(parser, arguments)
    for name in ("seeds", "bins"):
        if getattr(flags, name) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(flags, name)}")
    # Before minutes of work rather than after them.
    if flags.json and not pathlib.Path(flags.json).parent.is_dir():
        raise UserError(f"there is no folder {pathlib.Path(flags.json).parent} for the JSON file")
    return flags


def _write(path: pathlib.Path, scores: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(scores, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
