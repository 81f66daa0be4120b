"""Curves as inline SVG: one panel per quantity, those of one player together.

The numbers stand in the picture itself (`data-x`, `data-y`), where the script finds those nearest
to the pointer. A long series is shown as means over stretches of it, within the band of all values.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ivg.report.document import escaped, folded, number, steps

Points = tuple[np.ndarray, np.ndarray]  # steps [n], values [n]

WIDTH, HEIGHT = 300, 168
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 22
MOST_POINTS = 200
COLORS = 8
OPEN = 12  # panels that stand open; of more than ENOUGH the others are folded
ENOUGH = 16
TOPICS = {"eval": "score"}


class Line(NamedTuple):
    """A curve of a panel.

    label: in the legend, "" where it is the only one.
    color: 0 to COLORS - 1.
    thin: one of several runs of a group.
    """

    label: str
    points: Points
    color: int = 0
    thin: bool = False


class Axes(NamedTuple):
    """The ranges of a panel, and where they lie in the picture."""

    first: float
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        """Where a step stands."""
        share = (step - self.first) / ((self.last - self.first) or 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value stands."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


# ---- which panels -------------------------------------------------------------------------------


def panels(series: Mapping[str, Points]) -> dict[str, list[Line]]:
    """Panel name -> its curves; names that differ in a final number come together, as "_i"."""
    found: dict[str, list[Line]] = {}
    for name, (x, y) in series.items():
        x, y = np.asarray(x, float), np.asarray(y, float)
        fine = np.isfinite(y)
        numbered = re.fullmatch(r"(.*_)(\d+)", name)
        panel, label = (f"{numbered[1]}i", str(int(numbered[2]))) if numbered else (name, "")
        if fine.any():
            lines = found.setdefault(panel, [])
            lines.append(Line(label, (x[fine], y[fine]), len(lines) % COLORS))
    return found


def groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Panel names by player (what stands before the slash), the scores on the way first."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.split("/")[0] if "/" in name else "", []).append(name)
    return dict(sorted(found.items(), key=lambda item: item[0] != "eval"))


def curves(series: Mapping[str, Points]) -> str:
    """All panels of a run: a few of every player open, the others folded."""
    return arranged(panels(series))


def arranged(found: Mapping[str, Sequence[Line]], *, legend: bool = True) -> str:
    """Panels as HTML: the first of each player open, side by side, then all others, folded."""
    by_player = groups(list(found))
    each = len(found) if len(found) <= ENOUGH else max(1, OPEN // max(len(by_player), 1))
    ahead = [name for names in by_player.values() for name in names[:each]]
    rest = {p: names[each:] for p, names in by_player.items() if names[each:]}
    folds = [
        folded(f"{len(names)} more of {TOPICS.get(player, player or 'others')}",
               _side_by_side(names, found, legend))
        for player, names in rest.items()
    ]  # fmt: skip
    return _side_by_side(ahead, found, legend) + "".join(folds) if ahead else ""


def _side_by_side(names: Sequence[str], found: Mapping, legend: bool) -> str:
    inside = "".join(figure(name, found[name], legend=legend) for name in names)
    return f'<div class="panels">{inside}</div>'


# ---- a panel ------------------------------------------------------------------------------------


def figure(name: str, lines: Sequence[Line], *, legend: bool = True) -> str:
    """One panel: title, last value, picture, legend."""
    drawn = [shortened(*line.points) for line in lines]
    axes = ranges(lines, drawn)
    player, _, term = name.rpartition("/")
    title = escaped(term.replace("_", " "))
    if player:
        title = f'<span class="player">{escaped(TOPICS.get(player, player))}</span> {title}'
    picture = "".join(_line(line, points, axes) for line, points in zip(lines, drawn, strict=True))
    last = number(float(lines[0].points[1][-1])) if len(lines) == 1 else ""
    labels = [line for line in lines if line.label and not line.thin]
    keys = "".join(
        f'<span class="key c{line.color}">{escaped(line.label)}</span>' for line in labels
    )
    return (
        f'<figure class="chart"><figcaption><b>{title}</b> '
        f'<output data-last="{last}">{last}</output></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{escaped(described(name, lines))}">'
        f'{_grid(axes)}{picture}<g class="hover"></g></svg>'
        + (f'<p class="legend">{keys}</p>' if keys and legend else "")
        + "</figure>"
    )


def described(name: str, lines: Sequence[Line]) -> str:
    """A panel in words."""
    x, y = lines[0].points
    words = f"{name}: from {number(float(y[0]))} at step {steps(int(x[0]))} to "
    words += f"{number(float(y[-1]))} at step {steps(int(x[-1]))}"
    return words if len(lines) == 1 else f"{words} (first of {len(lines)} curves)"


def shortened(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Steps, means, lowest and highest values of at most MOST_POINTS stretches of a series."""
    count = min(len(y), MOST_POINTS)
    edges = np.linspace(0, len(y), count + 1).round().astype(int)
    sizes = np.diff(edges)
    means = np.add.reduceat(y, edges[:-1]) / sizes
    lows, highs = np.minimum.reduceat(y, edges[:-1]), np.maximum.reduceat(y, edges[:-1])
    return x[edges[1:] - 1], means, lows, highs


def ranges(lines: Sequence[Line], drawn: Sequence[tuple[np.ndarray, ...]]) -> Axes:
    """What a panel shows: all steps, and the values but for a few of a long series' extremes."""
    x = np.concatenate([points[0] for points in drawn])
    y = np.concatenate([points[1] for points in drawn])
    cut = 0.5 if max(len(line.points[1]) for line in lines) > 120 else 0.0
    low, high = (float(v) for v in np.percentile(y, [cut, 100 - cut]))
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    first, last = float(x.min()), float(x.max())
    if first == last:
        first, last = first - 1.0, last + 1.0
    return Axes(first, last, low - room, high + room)


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers between two ends, about so many: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(wanted, 1)
    if not raw > 0 or not math.isfinite(raw):
        return []
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * m for m in (1, 2, 5, 10) if base * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_words(values: Sequence[float]) -> list[str]:
    """Ticks with as many decimals as tell them apart; thousands as k, millions as M."""
    if not values:
        return []
    top = max(abs(v) for v in values)
    step = min((b - a for a, b in zip(values, values[1:], strict=False)), default=top or 1.0)
    units = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
    size, unit = next((pair for pair in units if top >= pair[0]), units[-1])
    if 0 < top < 1e-3:
        return [f"{v:.1e}".replace("-", "−").replace("e−0", "e−") if v else "0" for v in values]
    digits = max(0, -math.floor(math.log10(step / size) + 1e-9))
    return [f"{v / size:.{digits}f}{unit}".replace("-", "−") if v else "0" for v in values]


def _grid(axes: Axes) -> str:
    """Lines and words of both axes."""
    parts = []
    values = ticks(axes.low, axes.high, 4)
    for value, word in zip(values, tick_words(values), strict=True):
        y = axes.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{word}</text>')
    values = [v for v in ticks(axes.first, axes.last, 4) if v == int(v)]
    for value, word in zip(values, tick_words(values), strict=True):
        x = axes.x(value)
        anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
        parts.append(f'<path class="tick" d="M{x:.1f} {HEIGHT - BOTTOM}v4"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{word}</text>'
        )
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    return "".join(parts)


def _line(line: Line, drawn: tuple[np.ndarray, ...], axes: Axes) -> str:
    """A curve, and the band of all values where each point stands for several."""
    x, y, low, high = drawn
    kind = f"c{line.color}{' thin' if line.thin else ''}"
    xs = [axes.x(v) for v in x]
    ys = [min(max(axes.y(v), TOP - 4), HEIGHT - BOTTOM + 4) for v in y]
    way = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(xs, ys, strict=True))
    band = ""
    if len(line.points[1]) > MOST_POINTS and not line.thin:
        up = [min(max(axes.y(v), TOP - 4), HEIGHT - BOTTOM + 4) for v in high]
        down = [min(max(axes.y(v), TOP - 4), HEIGHT - BOTTOM + 4) for v in low]
        edge = [*zip(xs, up, strict=True), *reversed(list(zip(xs, down, strict=True)))]
        around = "L".join(f"{a:.1f} {b:.1f}" for a, b in edge)
        band = f'<path class="band {kind}" d="M{around}Z"/>'
    numbers = " ".join(f"{v:.5g}" for v in y)
    dots = "".join(
        f'<circle class="{kind}" cx="{a:.1f}" cy="{b:.1f}" r="2"/>'
        for a, b in zip(xs, ys, strict=True)
    ) if len(xs) < 13 and not line.thin else ""  # fmt: skip
    return (
        f'{band}<path class="curve {kind}" d="M{way}" data-name="{escaped(line.label)}" '
        f'data-x="{" ".join(str(int(v)) for v in x)}" data-y="{numbers}"/>{dots}'
    )
