"""The bench's pictures: scores of every method, and what the best seed of each one draws."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from experiments import bench_paper, reporting
from experiments.bench_page import ANY, CODES, ERROR, best
from experiments.bench_paper import CLUSTERS, FACTOR_VAE
from experiments.running import Run
from ivg import plots

PANELS = (
    ("FactorVAE", FACTOR_VAE),
    ("MIG", "disentanglement.mig"),
    ("clusters, one to one", CLUSTERS),
    ("k-means on codes", CODES),
    ("reconstruction error", ERROR),
)
PAPERS = {"IB-GAN": ("s", "C1"), "InfoVAEGAN": ("D", "C2"), "InfoGAN-CR": ("^", "C3")}
TILE = 1_000  # pixels that a picture of the sheet is wide, at most
GAP = 16


def draw(rows: Sequence[Mapping[str, Any]], data: str) -> Any:
    """A panel per score: a dot per seed, the mean +- standard deviation, the papers' beside it."""
    from matplotlib.figure import Figure

    panels = [(title, key) for title, key in PANELS if any(key in row["scores"] for row in rows)]
    size = (2.2 + 2.9 * max(len(panels), 1), 1.3 + 0.33 * len(rows))
    figure = Figure(size, 150, layout="constrained")
    for i, (title, key) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        draw_panel(axes, rows, key)
        axes.set_title(f"{data}: {title}" if i == 0 else title, fontsize=9, loc="left")
        names = [f"{row['method']}, {row['game_steps']:,} steps" for row in rows]
        axes.set_yticks(range(len(rows)), names if i == 0 else [""] * len(rows))
        axes.set(ylim=(len(rows) - 0.4, -0.6))
        if key == ERROR:
            axes.set_xlim(left=0.0)
        else:
            axes.set_xlim(-0.03, 1.03)
        if i == 0:
            figure.legend(*axes.get_legend_handles_labels(), fontsize=7, ncols=4,
                          loc="outside lower center")  # fmt: skip
        reporting.tidy(axes)
    return figure


def draw_panel(axes: Any, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    """One score of every method; each kind of mark is named once, for the legend."""
    named: set[str] = set()

    def name(label: str) -> str:
        new = label not in named
        named.add(label)
        return label if new else f"_{label}"

    for y, row in enumerate(rows):
        if key in row["scores"]:
            found = row["scores"][key]
            good = [v for v in found["values"] if v is not None]
            axes.plot(good, [y - 0.12] * len(good), ".", color="C0", alpha=0.5, label=name("seeds"))
            if good:
                look = dict(fmt="o", color="C0", markersize=4, capsize=3, label=name("their mean"))
                axes.errorbar(found["mean"], y, xerr=found["std"] or 0.0, **look)
        if key == bench_paper.score_of(row["data"]):
            draw_papers(axes, y, row, key, name)


def draw_papers(axes: Any, y: int, row: Mapping[str, Any], key: str, name: Any) -> None:
    """The published numbers of a method, below ours."""
    factor = 0.01 if key == CLUSTERS else 1.0
    for number in row["published"]:
        source = number["source"].split(",")[0]
        marker, color = PAPERS[source]
        look = dict(fmt=marker, color=color, markersize=4, capsize=3)
        std = factor * (number["std"] or 0.0)
        label = name(f"paper: {source}")
        axes.errorbar(factor * number["value"], y + 0.22, xerr=std, label=label, **look)


# ---- what the methods draw ----------------------------------------------------------------------


def sheet(runs: Sequence[Run], path: pathlib.Path, columns: int = 2) -> list[dict[str, Any]]:
    """Traversals or samples of the best seed of each method, side by side; what is on it."""
    groups: dict[str, list[Run]] = {}
    for run in filter(ANY.present, runs):
        groups.setdefault(run.task.method, []).append(run)
    tiles, shown = [], []
    for method, group in groups.items():
        last = max(run.results["step"] for run in group)
        group = [run for run in group if run.results["step"] == last]  # like with like
        run, words, value = best(group)
        if picture := picture_of(run):
            score = "" if value is None else f", {words} {value:.3g}"
            rank = f"best of {len(group)} seeds" if len(group) > 1 else "the only seed"
            label = f"{method}, {rank}: {run.task.seed}, step {last:,}{score}"
            tiles.append(tile(picture, label))
            shown.append({"method": method, "run": run.folder.name, "picture": picture.name})
    if tiles:
        path.parent.mkdir(parents=True, exist_ok=True)
        plots.save(path, side_by_side(tiles, columns))
    return shown


def picture_of(run: Run) -> pathlib.Path | None:
    """A traversal, by class where the run was scored by its classes, else of images; or samples.

    Of images rather than from the middle of the prior, where a young autoencoder draws nothing.
    """
    figures = run.folder / "figures"
    by_class = sorted(figures.glob("traversal_d_*.png")) if "clustering" in run.results else []
    names = ("traversal_images.png", "traversal_codes.png", "samples.png")
    wanted = [*by_class[:1], *(figures / name for name in names)]
    return next((path for path in wanted if path.exists()), None)


def tile(path: pathlib.Path, label: str) -> np.ndarray:
    """A picture, no wider than TILE, with its label."""
    with Image.open(path, formats=("PNG",)) as image:
        width = min(TILE, image.width)
        size = (width, max(1, round(image.height * width / image.width)))
        picture = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    return reporting.labelled(picture, label)


def side_by_side(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures in rows, each row as high as its highest, on white."""
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    width = max(sum(t.shape[1] + GAP for t in row) for row in rows)
    bands = []
    for row in rows:
        band = np.full((max(len(t) for t in row) + GAP, width, 3), 255, np.uint8)
        left = 0
        for t in row:
            band[: len(t), left : left + t.shape[1]] = t
            left += t.shape[1] + GAP
        bands.append(band)
    return np.concatenate(bands)
