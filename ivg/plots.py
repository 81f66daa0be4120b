"""Arrays in, pictures out: grids of images for the figures of a paper, and loss curves.

Pixels stay exact: a small image is enlarged by a whole factor without interpolation, and everything
around it (labels, title, gaps) is drawn beside, never over it. Only images below 16 pixels, which
the eye would not read as squares, are enlarged bicubically. Pictures are uint8 arrays [H, W, 3], so
that they go to a file (`save`) and to TensorBoard alike.
"""

import io
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ivg.files import replace

Points = tuple[np.ndarray, np.ndarray]  # steps [n], values [n]

_TILE = 48  # smallest side of a tile, in pixels of the picture
_TINY = 16  # images with smaller sides are enlarged smoothly
_GAP, _WIDE_GAP, _MARGIN, _PAD = 2, 12, 10, 6
_TEXT_SIZE, _TITLE_SIZE = 14, 17
_INK, _PAPER = (38, 38, 38), (255, 255, 255)


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as uint8; values outside are clipped, NaN becomes black.

    Examples:
      >>> from ivg import plots
      >>> plots.to_uint8(np.array([-1.0, 0.0, 1.0, 3.0])).tolist()
      [0, 128, 255, 255]
    """
    x = np.nan_to_num(np.asarray(x, np.float32), nan=-1.0)
    return np.round((np.clip(x, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)


def grid(
    images: np.ndarray,
    columns: int,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> np.ndarray:
    """Images row by row in `columns` columns.

    Args:
      images: [N, H, W, 1 or 3], uint8 or in [-1, 1]; the last row may be incomplete.
      columns: images a row.
      row_labels: left of the rows, all or none.
      column_labels: above the columns, all or none; upright where they are wider than an image.
      title: first line of the picture, broken where it is too long.

    Returns:
      The picture, uint8 [height, width, 3].

    Examples:
      >>> from ivg import plots
      >>> picture = plots.grid(np.zeros((6, 32, 32, 1), np.uint8), 3, title="six of them")
      >>> picture.dtype, picture.shape[2]
      (dtype('uint8'), 3)
    """
    images = _rgb(images)
    rows = [list(images[i : i + columns]) for i in range(0, len(images), columns)]
    return _picture(rows, row_labels, column_labels, title)


def reconstructions(
    x: np.ndarray, x_hat: np.ndarray, *, columns: int = 10, title: str = ""
) -> np.ndarray:
    """Pairs of rows: real images above what was reconstructed from them; both [N, H, W, C]."""
    x, x_hat = _rgb(x), _rgb(x_hat)
    if x.shape != x_hat.shape:
        raise ValueError(f"as many and as large reconstructions, not {x.shape} and {x_hat.shape}")
    rows = []
    for i in range(0, len(x), columns):
        rows += [list(x[i : i + columns]), list(x_hat[i : i + columns])]
    labels = ["real", "reconstructed"] * (len(rows) // 2)
    return _picture(rows, labels, (), title, rows_together=2)


def traversal(
    images: np.ndarray,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> np.ndarray:
    """A row per class or code, a column per value: images [rows, columns, H, W, C].

    Examples:
      >>> from ivg import plots
      >>> images = np.linspace(-1, 1, 2 * 5)[:, None, None, None] * np.ones((32, 32, 1))
      >>> picture = plots.traversal(images.reshape(2, 5, 32, 32, 1), row_labels=("c1", "c2"))
      >>> picture.shape[1] > 5 * 32
      True
    """
    rows = [list(_rgb(row)) for row in images]
    return _picture(rows, row_labels, column_labels, title)


def interpolation(
    images: np.ndarray, first: np.ndarray, last: np.ndarray, *, title: str = ""
) -> np.ndarray:
    """Rows of interpolations between the codes of two real images, which stand at the sides.

    Args:
      images: [rows, steps, H, W, C], from the reconstruction of `first` to that of `last`.
      first: real images [rows, H, W, C] on the left.
      last: real images [rows, H, W, C] on the right.
      title: first line of the picture.

    Returns:
      The picture, uint8 [height, width, 3].
    """
    triples = zip(_rgb(first), images, _rgb(last), strict=True)
    rows = [[left, *_rgb(row), right] for left, row, right in triples]
    steps = len(rows[0]) - 2
    labels = ["real", *(f"{t:.2g}" for t in np.linspace(0, 1, steps)), "real"]
    return _picture(rows, (), labels, title, wide_before=(1, steps + 1))


def save(path: str | os.PathLike, picture: np.ndarray) -> pathlib.Path:
    """Writes a picture as PNG, whole or not at all, and returns its path."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    Image.fromarray(_rgb(picture[None])[0]).save(encoded, format="PNG", optimize=True)
    replace(path, encoded.getvalue())
    return path


# ---- grids --------------------------------------------------------------------------------------


def _rgb(images: np.ndarray) -> np.ndarray:
    """[N, H, W, 1 or 3], uint8 or in [-1, 1] -> uint8 [N, H, W, 3]."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images are [N, H, W, 1 or 3], not {images.shape}")
    if images.dtype != np.uint8:
        images = to_uint8(images)
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def _picture(
    rows: Sequence[Sequence[np.ndarray]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
    *,
    rows_together: int = 1,
    wide_before: Sequence[int] = (),
) -> np.ndarray:
    """Draws tiles [H, W, 3] with labels.

    A wide gap stands between groups of `rows_together` rows (if more than one) and before the
    columns in `wide_before`.
    """
    columns = max(len(row) for row in rows)
    for labels, count, what in ((row_labels, len(rows), "row"), (column_labels, columns, "column")):
        if len(labels) not in (0, count):
            raise ValueError(f"{count} {what} labels or none, not {len(labels)}")
    font, title_font = ImageFont.load_default(_TEXT_SIZE), ImageFont.load_default(_TITLE_SIZE)
    height, width, _ = rows[0][0].shape
    scale = -(-_TILE // max(height, width))
    tiny = max(height, width) < _TINY
    method = Image.Resampling.BICUBIC if tiny else Image.Resampling.NEAREST
    height, width = height * scale, width * scale

    left = _MARGIN + max((_width(text, font) + _PAD for text in row_labels), default=0)
    xs = _positions(columns, left, width, wide_before)
    right = xs[-1] + width + _MARGIN
    title_lines = _broken(title, title_font, right - 2 * _MARGIN)
    head = _MARGIN + len(title_lines) * (_TITLE_SIZE + _PAD) + (_PAD if title_lines else 0)
    upright = any(_width(text, font) > width for text in column_labels)
    depth = max((_width(t, font) if upright else _TEXT_SIZE + 2 for t in column_labels), default=0)
    top = head + (depth + _PAD if column_labels else 0)
    groups = range(rows_together, len(rows), rows_together) if rows_together > 1 else ()
    ys = _positions(len(rows), top, height, groups)

    right = max([right, *(_width(line, title_font) + 2 * _MARGIN for line in title_lines)])
    picture = Image.new("RGB", (right, ys[-1] + height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(picture)
    for i, line in enumerate(title_lines):
        draw.text((_MARGIN, _MARGIN + i * (_TITLE_SIZE + _PAD)), line, _INK, title_font)
    for y, text in zip(ys, row_labels, strict=False):
        draw.text((left - _PAD, y + height / 2), text, _INK, font, anchor="rm")
    for x, text in zip(xs, column_labels, strict=False):
        if upright:
            label = _upright(text, font)
            picture.paste(label, (x + (width - label.width) // 2, head + depth - label.height))
        else:
            draw.text((x + width / 2, head + depth / 2), text, _INK, font, anchor="mm")
    for y, row in zip(ys, rows, strict=True):
        for x, tile in zip(xs, row, strict=False):
            picture.paste(Image.fromarray(tile).resize((width, height), method), (x, y))
    return np.asarray(picture)


def _positions(count: int, start: int, size: int, wide_before: Sequence[int]) -> list[int]:
    """Where tiles of one size begin that stand side by side from `start` on."""
    positions = [start]
    for i in range(1, count):
        positions.append(positions[-1] + size + (_WIDE_GAP if i in wide_before else _GAP))
    return positions


def _width(text: str, font: Any) -> int:
    return int(np.ceil(font.getlength(text)))


def _broken(text: str, font: Any, width: int) -> list[str]:
    """Lines of whole words, each at most `width` wide if its words are."""
    lines: list[str] = []
    for word in text.split():
        if lines and _width(f"{lines[-1]} {word}", font) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _upright(text: str, font: Any) -> Image.Image:
    label = Image.new("RGB", (_width(text, font), _TEXT_SIZE + 4), _PAPER)
    ImageDraw.Draw(label).text((0, label.height / 2), text, _INK, font, anchor="lm")
    return label.transpose(Image.Transpose.ROTATE_90)


# ---- curves -------------------------------------------------------------------------------------


def curves(
    path: str | os.PathLike,
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    title: str = "",
) -> pathlib.Path:
    """Draws one panel per quantity, those of one player (the name before the slash) side by side.

    A long series is shown as a running mean over its faint raw values; the few values that lie far
    off then count as less far and may lie outside the panel.

    Args:
      path: the PNG to write.
      series: name such as `D/loss` -> (steps [n], values [n]); values that are not finite are left
        out, and so are series without a finite value. Series that differ in a final number, such as
        `E/kl_01` and `E/kl_02`, share a panel, `E/kl_i`; `E/kl`, their sum, has its own.
      title: above all panels.

    Returns:
      The path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels({name: _finite(*points) for name, points in series.items()})
    rows = _panel_rows(list(panels))
    columns = max(map(len, rows), default=1)
    figure = Figure((3.1 * columns, 2.1 * max(len(rows), 1) + 0.4 * bool(title)), 150)
    figure.set_layout_engine("constrained", h_pad=0.06, w_pad=0.06)
    players = list(dict.fromkeys(name.split("/")[0] for row in rows for name in row))
    for i, row in enumerate(rows):
        for j, name in enumerate(row):
            axes = figure.add_subplot(len(rows), columns, i * columns + j + 1)
            below = rows[i + 1 :]
            _draw_panel(axes, name, panels[name], players.index(name.split("/")[0]))
            if not any(len(other) > j for other in below):
                axes.set_xlabel("step", fontsize=8)
    if title:
        figure.suptitle(title, fontsize=11)
    FigureCanvasAgg(figure).draw()
    return save(path, np.asarray(figure.canvas.buffer_rgba())[..., :3])


def _finite(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps, values = np.asarray(steps), np.asarray(values, np.float64)
    return steps[np.isfinite(values)], values[np.isfinite(values)]


def _panel_rows(names: Sequence[str], most: int = 4) -> list[list[str]]:
    """Names in rows of panels: a player begins a new row, unless the figure gets tall or holey."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.split("/")[0], []).append(name)
    rows = [g[i : i + most] for g in groups.values() for i in range(0, len(g), most)]
    widest = max(map(len, rows), default=0)
    if len(rows) <= 2 * widest and len(rows) * widest <= 1.5 * len(names):
        return rows
    flat = [name for group in groups.values() for name in group]
    return [flat[i : i + most] for i in range(0, len(flat), most)]


def _panels(series: Mapping[str, Points]) -> dict[str, dict[str, Points]]:
    """Panel name -> number -> curve; those that differ in a final number come together, as "_i"."""
    panels: dict[str, dict[str, Points]] = {}
    for name, points in series.items():
        numbered = re.fullmatch(r"(.*_)(\d+)", name)
        panel, number = (f"{numbered[1]}i", str(int(numbered[2]))) if numbered else (name, "")
        if len(points[0]):
            panels.setdefault(panel, {})[number] = points
    return panels


def _draw_panel(axes: Any, name: str, curves: Mapping[str, Points], player: int) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    bounds = [
        _draw_curve(axes, *points, color=f"C{(player + i) % 10}", label=number)
        for i, (number, points) in enumerate(curves.items())
    ]
    if None not in bounds:
        low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
        room = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - room, high + room)
    if len(curves) > 1:
        axes.legend(fontsize=5, ncols=2)
    axes.set_title(name, fontsize=9, loc="left")
    axes.tick_params(labelsize=7, length=2.5)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.ticklabel_format(axis="y", useOffset=False)  # 0.99978, not 7.8 under "1e-5+9.997e-1"
    axes.grid(True, linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curve(
    axes: Any, steps: np.ndarray, values: np.ndarray, *, color: str, label: str
) -> tuple[float, float] | None:
    """Draws one curve; returns the range that a long one should be shown in, else None."""
    window, style = len(values) // 40, dict(color=color, label=label)
    if window < 3:
        axes.plot(steps, values, linewidth=1.3, marker="." if len(steps) < 30 else "", **style)
        return None
    low, high = np.percentile(values, [0.5, 99.5])  # a few spikes must not flatten the rest
    mean = _running_mean(np.clip(values, low, high), window)
    axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.3)
    axes.plot(steps, mean, linewidth=1.4, **style)
    return low, high


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred mean over 2 * (window // 2) + 1 values, over fewer at the ends."""
    half = window // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
