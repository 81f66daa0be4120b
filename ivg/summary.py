"""What a finished run prints: its scores, where its files are, and what to type next."""

import json
import pathlib
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence

from ivg import terminal

_NAME, _NUMBER = 36, 18  # widths of a table's first column and of the others
_WIDTH = 80
_MOST_FACTORS = 6  # shown of those whose traces in the codes were looked for
_MOST_VALUES = 5  # of a score over several seeds, beyond which only the range is shown


def score_lines(results: Mapping) -> list[str]:
    """Every score of a results.json, in lines."""
    lines = clustering_lines(results) + plain_lines(results)
    if results.get("disentanglement"):
        lines.append(_row("disentanglement of the codes", "score", "std over draws"))
        lines += [
            _row(name, number(score["mean"]), number(score["std"]))
            for name, score in results["disentanglement"].items()
        ]
    lines += [
        _row(f"{name} (nats)", number(value))
        for name, value in results.get("bounds", {}).items()
        if isinstance(value, float)
    ]
    for name in (name for name in ("fid", "frechet_classifier") if name in results):
        lines.append(f"  {name}: {results[name]['features']}")
        parts = ("distance", "kid_mean", "kid_std", "precision", "recall")
        lines += _wrapped([f"{part} {results[name][part]:.4f}" for part in parts], "    ")
    if "attributes" in results:
        lines += attribute_lines(results["attributes"])
    return lines


def clustering_lines(results: Mapping) -> list[str]:
    """Clusters of the test images beside those of k-means, or of k-means on the codes."""
    lines = []
    if "clustering" in results:
        lines.append(_row("clustering of the test split", "this run", "k-means (pixels)"))
        lines += [
            _row(name, number(value), number(results["kmeans"][name]))
            for name, value in results["clustering"].items()
        ]
    if "kmeans_codes" in results:
        lines.append(_row("clustering of the test split", "k-means (codes)"))
        lines += [_row(name, number(v)) for name, v in results["kmeans_codes"].items()]
    return lines


def plain_lines(results: Mapping) -> list[str]:
    """The scores that are single numbers; those of one kind, `kind/name`, share their lines."""
    lines, kinds = [], {}
    for name, value in results.items():
        kind, _, part = name.partition("/")
        if isinstance(value, float) and part:
            kinds.setdefault(kind, []).append(f"{part} {value:.4f}")
        elif isinstance(value, float):
            lines.append(_row(name, number(value)))
    for kind, parts in kinds.items():
        lines += _wrapped(parts, f"  {kind}: ")
    return lines


def attribute_lines(scores: Mapping) -> list[str]:
    """Lines about attributes: information in bits, swaps, and what of the truth c and z tell."""
    bits = scores["information"]
    head = f"information in bits, H(y) = {bits['entropy_y']:.4f}"
    lines = [_row(head, "mean", "std of estimates")]
    for pair in ("c;y", "z;y", "z;c"):
        lines.append(_row(f"I({pair})", number(bits[pair]["mean"]), number(bits[pair]["std"])))
    lines.append(_row("attribute swapped", "accuracy", "classifier"))
    for name, swap in scores["swap"].items():
        lines.append(_row(name, number(swap["accuracy"]), number(swap["classifier_accuracy"])))
        lines += [f"    {swap['reason']}"] if swap["reason"] else []
    leak = sorted(scores.get("leak", ()), key=lambda row: row["chance"] - row["c"]["boosted"])
    if leak:
        lines.append(_row("true factors, by boosted trees", "from c", "from z"))
    for row in leak[:_MOST_FACTORS]:
        what = f"{row['name']} ({row['measure']}, chance {number(row['chance'])})"
        lines.append(_row(what, *(number(row[code]["boosted"]) for code in ("c", "z"))))
    if leak[_MOST_FACTORS:]:
        lines.append(f"    and {len(leak) - _MOST_FACTORS} factors of which c tells less")
    return lines


def place_lines(results: Mapping, workdir: pathlib.Path) -> list[str]:
    """Where everything is."""
    lines = [f"  scores    {workdir / 'results.json'}, {workdir / 'metrics.jsonl'}"]
    if results.get("figures"):
        folder = (workdir / results["figures"][0]).parent
        lines.append(f"  pictures  {folder} ({len(results['figures'])} files)")
    if (workdir / "report.html").exists():
        lines.append(f"  report    {workdir / 'report.html'}")
    return lines


def seed_lines(summary: Mapping) -> list[str]:
    """Mean and standard deviation of each score over several seeds, and the values or their range.

    Args:
      summary: what `runs.summarise` returns.
    """
    rows = []
    for name, row in summary["scores"].items():
        values = row["values"]
        each = " ".join(map(number, values))
        if len(values) > _MOST_VALUES:
            each = f"{number(min(values))} to {number(max(values))}"
        rows.append(["  " + name, number(row["mean"]), "+-", number(row["std"]), "  " + each])
    return terminal.columns(rows)


def next_lines(workdir: pathlib.Path, run: pathlib.Path | None = None) -> list[str]:
    """Three commands that are of use now, as they can be pasted into a shell.

    Args:
      workdir: the directory of a run; or of several, which the first command compares.
      run: of several, the one to explore and to load.
    """
    page, name = workdir / "report.html", shlex.quote(str(run or workdir))
    look = f"python -m ivg.report {shlex.quote(str(workdir))}"
    if page.exists():
        look = f"python -m webbrowser {shlex.quote(page.resolve().as_uri())}"
    load = f"import ivg; model = ivg.load({json.dumps(str(run or workdir), ensure_ascii=False)})"
    return [
        terminal.styled("next", "bold", sys.stdout),
        f"  look       {look}",
        f"  explore    python -m ivg.explore --workdir={name}",
        f"  in Python  python -ic {shlex.quote(load)}",
    ]


def number(value: float | None) -> str:
    """A score with four decimals; a dash where it is not defined."""
    return "-" if value is None else f"{value:.4f}"


def _row(name: str, *cells: str) -> str:
    return f"  {name:<{_NAME}}" + "".join(f"{cell:>{_NUMBER}}" for cell in cells)


def _wrapped(parts: Sequence[str], indent: str) -> list[str]:
    """Words with commas between them, in lines that end before the width is used up."""
    together = ", ".join(part.replace(" ", "\0") for part in parts)
    lines = textwrap.wrap(
        together, _WIDTH, initial_indent=indent, subsequent_indent=" " * 4, break_long_words=False
    )
    return [line.replace("\0", " ") for line in lines]
