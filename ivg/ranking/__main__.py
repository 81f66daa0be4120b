"""Ranks runs without labels: `python -m ivg.ranking runs/a runs/b runs/c`.

Prints a table, the best first; --out=DIR also writes ranking.json, ranking.md and ranking.png.
Runs that cannot be compared are answered by one sentence and exit code 2.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

import numpy as np

from ivg import command_line, plots, rundir
from ivg.errors import UserError
from ivg.metrics.selection import MEASURES
from ivg.ranking.compare import GROUPS, TRUTH, check, rank

NAMES = {"udr": "UDR", "centrality": "ModelCentrality"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ranks the runs that the arguments name; returns the exit code."""
    try:
        flags = _flags(arguments)
        folders = [pathlib.Path(name) for name in flags.runs]
        check(folders, flags.group, flags.images, flags.votes)
        if flags.out:
            _folder(pathlib.Path(flags.out))  # before minutes of work rather than after them
        found = rank(
            folders,
            images=flags.images,
            votes=flags.votes,
            group=flags.group,
            relation=flags.relation,
            seed=flags.seed,
        )
        found["runs"] = sorted(found["runs"], key=lambda r: r[f"{flags.sort}_rank"])
        print("\n".join(["", *lines(found), "", *sentences(found)]))
        if flags.out:
            _write(pathlib.Path(flags.out), found)
    except UserError as error:
        return command_line.refuse(error)
    return 0


# ---- words --------------------------------------------------------------------------------------


def cells(found: Mapping[str, Any]) -> list[list[str]]:
    """The table: a head and a row for each run."""
    rows = [["run", "method", "seed", "UDR", "rank", "dims", "centrality", "rank", "FactorVAE"]]
    for r in found["runs"]:
        scores = [f"{r['udr']:.4f}", str(r["udr_rank"]), str(r["informative"])]
        scores += [f"{r['centrality']:.4f}", str(r["centrality_rank"])]
        truth = r["scores"].get(TRUTH)
        rows.append([r["folder"], r["method"], str(r["seed"]), *scores])
        rows[-1].append("-" if truth is None else f"{truth:.4f}")
    return rows


def lines(found: Mapping[str, Any]) -> list[str]:
    """The table in columns: the first two to the left, numbers to the right."""
    rows = cells(found)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust] * 2 + [str.rjust] * (len(widths) - 2)
    return [
        "  ".join(side(*cell) for side, *cell in zip(sides, row, widths, strict=True))
        for row in rows
    ]


def markdown(found: Mapping[str, Any]) -> str:
    """The table and what stands behind it, as a page."""
    head, *rows = cells(found)
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    table = [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
    return "\n".join(["# Runs ranked without labels", "", *table, "", *sentences(found), ""])


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The recipe, and how far the rankings agree with the true score."""
    recipe, count = found["recipe"], sum(TRUTH in r["scores"] for r in found["runs"])
    among = {"all": "all runs", "method": "runs of a method", "settings": "seeds of one setting"}
    said = [
        f"UDR: {recipe['relation']}, {recipe['images']} test images of {recipe['data']}, among "
        f"{among[recipe['group']]}; dims: informative dimensions.",
        f"ModelCentrality: {recipe['votes']} votes of {recipe['images_per_vote']} images for each "
        f"pair of runs, among all runs.",
    ]
    for name, value in found["correlation"].items():
        if value is not None:
            said.append(
                f"Rank correlation of {NAMES[name]} with the true FactorVAE score: {value:+.2f} "
                f"({count} runs)."
            )
    if not any(value is not None for value in found["correlation"].values()):
        said.append("No rank correlation with the truth: fewer than 3 runs know their true score.")
    return said


# ---- files --------------------------------------------------------------------------------------


def _write(out: pathlib.Path, found: Mapping[str, Any]) -> None:
    names = ["ranking.json", "ranking.md"]
    try:
        rundir.write_json(out / "ranking.json", found)
        (out / "ranking.md").write_text(markdown(found))
        if any(r["scores"].get(TRUTH) is not None for r in found["runs"]):
            plots.save(out / "ranking.png", picture(found))
            names.append("ranking.png")
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from None
    print("\n".join(["", *(f"  {out / name}" for name in names)]))


def picture(found: Mapping[str, Any]) -> np.ndarray:
    """Both scores against the true one, a colour for each method: uint8 `[H, W, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [r for r in found["runs"] if r["scores"].get(TRUTH) is not None]
    methods = sorted({r["method"] for r in rows})
    figure = Figure((7.2, 3.4), 150)
    figure.set_layout_engine("constrained")
    for i, (name, title) in enumerate(NAMES.items()):
        axes = figure.add_subplot(1, 2, i + 1)
        for k, method in enumerate(methods):
            own = [(r["scores"][TRUTH], r[name]) for r in rows if r["method"] == method]
            axes.scatter(*zip(*own, strict=True), s=24, color=f"C{k % 10}", label=method)
        value = found["correlation"][name]
        axes.set_title(
            title if value is None else f"{title}, rank correlation {value:+.2f}", size=9
        )
        axes.set_xlabel("true FactorVAE score", fontsize=8)
        axes.set_ylabel(title, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(True, linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7)
    FigureCanvasAgg(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def _folder(out: pathlib.Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made ({error.strerror}); use another --out.") from None


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ivg.ranking",
        description="Ranks runs of one data set without labels, by UDR and ModelCentrality.",
        epilog="  python -m ivg.ranking runs/seed_* --out=ranked",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("runs", nargs="+", help="run directories, three or more")
    add("--out", help="folder for ranking.json, ranking.md and ranking.png; made if absent")
    add("--images", type=int, default=2_000, help="test images for UDR (default %(default)s)")
    add("--votes", type=int, default=80,
        help="groups of 64 images for each pair of runs, which take most of the time "
        "(default %(default)s)")  # fmt: skip
    add("--group", choices=GROUPS, default="all",
        help="runs that UDR compares with each other: all, those of a method, or those of the same "
        "settings, which differ in the seed (default %(default)s)")  # fmt: skip
    add("--relation", choices=MEASURES, default="spearman", help="of UDR (default %(default)s)")
    add("--sort", choices=NAMES, default="udr", help="order of the table (default %(default)s)")
    add("--seed", type=int, default=0, help="of the codes drawn for ModelCentrality")
    return command_line.parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
