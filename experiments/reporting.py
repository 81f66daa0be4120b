"""Words, tables and files of the tables and figures: what a reader needs beside the numbers."""

import argparse
import json
import math
import pathlib
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tensorboardX.proto.event_pb2 import Event

from experiments.running import FACTOR_VAE, Run, Scores, differences, problem
from ivg import plots, rundir

Points = tuple[np.ndarray, np.ndarray]  # steps [n], values [n]


# ---- numbers ------------------------------------------------------------------------------------


def score(run: Run, metric: str) -> float:
    """A disentanglement score of the last checkpoint; NaN where it is not defined or absent."""
    value = run.results["disentanglement"].get(metric, {}).get("mean")
    return math.nan if value is None else float(value)


def bounds(runs: Iterable[Run], name: str) -> dict[str, Any]:
    """Summary of "info_lower" or "info_upper", nats, last checkpoints of the runs that have it."""
    found = [run.results.get("bounds", {}) for run in runs]
    return summary(b[name] for b in found if name in b)


def summary(values: Iterable[float]) -> dict[str, Any]:
    """Mean and sample standard deviation of the finite values, as JSON; None where there is none.

    "values" keeps all of them in order, None for what is not finite.
    """
    values = [float(v) if math.isfinite(v) else None for v in values]
    good = [v for v in values if v is not None]
    return {
        "mean": statistics.fmean(good) if good else None,
        "std": statistics.stdev(good) if len(good) > 1 else None,
        "values": values,
    }


def finite(points: Points) -> Points:
    """The points whose value is finite."""
    steps, values = points
    return steps[np.isfinite(values)], values[np.isfinite(values)]


def median(points: Points | None) -> float:
    """Of the finite values; NaN if there are none."""
    values = () if points is None else finite(points)[1]
    return float(np.median(values)) if len(values) else math.nan


def thinned(points: Points, most: int = 200) -> Points:
    """At most so many points: means over blocks of finite values, each at its last step."""
    steps, values = finite(points)
    parts = np.array_split(np.arange(len(steps)), min(most, max(len(steps), 1)))
    parts = [part for part in parts if len(part)]
    return (
        np.array([steps[part[-1]] for part in parts]),
        np.array([values[part].mean() for part in parts]),
    )


def training_seconds(folder: pathlib.Path) -> float | None:
    """Wall time of the training, from its event files, evaluations on the way included.

    The last scores and what an interrupted part did after its last log line are not in it.
    """
    spans = []
    for path in (folder / "tensorboard").glob("events.*"):
        times = list(wall_times(path.read_bytes()))
        spans += [max(times) - min(times)] if times else []
    return sum(spans) if spans else None


def wall_times(data: bytes) -> Iterator[float]:
    """Of every whole record of an event file: length (8 bytes), check (4), event, check (4)."""
    start = 0
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 8], "little")
        if end + 4 > len(data):
            return
        yield Event.FromString(data[start + 12 : end]).wall_time
        start = end + 4


# ---- words --------------------------------------------------------------------------------------


def spread(numbers: dict[str, Any], digits: int = 2) -> str:
    """As in "0.40 +- 0.05", or what of it there is; says so where values are undefined."""
    if numbers["mean"] is None:
        return "undefined" if numbers["values"] else ""
    text = f"{numbers['mean']:.{digits}f}"
    if numbers["std"] is not None:
        text += f" +- {numbers['std']:.{digits}f}"
    lost = numbers["values"].count(None)
    return f"{text} ({lost} of {len(numbers['values'])} undefined)" if lost else text


def each(values: Sequence[float | None], digits: int = 2) -> str:
    """The values with blanks in between."""
    return " ".join("nan" if v is None else f"{v:.{digits}f}" for v in values)


def votes(recipe: dict[str, Any]) -> str:
    """The votes of a FactorVAE recipe in words."""
    return f"{recipe['train_votes']:,} + {recipe['eval_votes']:,} votes"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    rule = f"|{'---|' * len(head)}"
    cells = ([f" {cell} " if cell != "" else " " for cell in row] for row in (head, *rows))
    lines = [f"|{'|'.join(row)}|" for row in cells]
    return "\n".join([lines[0], rule, *lines[1:]])


def command_line(args: argparse.Namespace, choice: str) -> str:
    """The command that trains and reports the same, without places outside of the checkout."""
    preset = args.presets[args.preset]
    parts = [f"python -m experiments.{args.script} --preset={args.preset}"]
    if not args.workdir.is_absolute():
        parts.append(f"--workdir={args.workdir}")
    for name in ("num_steps", "seeds"):
        if getattr(args, name) != getattr(preset, name):
            parts.append(f"--{name}={getattr(args, name)}")
    for name, normal in (("data", preset.data), (choice, preset.choices)):
        if (values := getattr(args, name)) != normal:
            words = (f"{v:g}" if isinstance(v, float) else v for v in values)
            parts.append(f"--{name}={','.join(words)}")
    if where := getattr(args, "data_dir", None):
        parts.append(f"--data_dir={where.name if where.is_absolute() else where}")
    if (start := getattr(args, "kl_c_start", None)) is not None:
        parts.append(f"--kl_c_start={start:g}")
    return " ".join(parts)


def made_with(runs: Sequence[Run], scores: Scores = FACTOR_VAE) -> dict[str, Any]:
    """Devices, libraries, commits and wall times of all runs that have scores."""
    runs = list(filter(scores.present, runs))
    found = [(run.results or {}).get("versions", {}) for run in runs]
    seconds = {run.folder.name: training_seconds(run.folder) for run in runs}
    return {
        "commits": sorted(
            {
                v["commit"][:7] + " with changes" * bool(v.get("dirty"))
                for v in found
                if "commit" in v
            }
        ),
        "devices": sorted({f"{v['device']} x {v['device_count']}" for v in found if "device" in v}),
        "jax": sorted({v["jax"] for v in found if "jax" in v}),
        "python": sorted({v["python"] for v in found if "python" in v}),
        "training_minutes": {
            n: None if t is None else round(t / 60, 1) for n, t in seconds.items()
        },
    }


def provenance(made: dict[str, Any]) -> str:
    """The same as a sentence."""
    commits, devices, jax = (
        " / ".join(made[name]) or "unknown" for name in ("commits", "devices", "jax")
    )
    times = [t for t in made["training_minutes"].values() if t is not None]
    low, high = (f"{f(times, default=0):.1f}" for f in (min, max))
    span = low if low == high else f"{low} to {high}"
    wall = f"; training took {span} minutes a run" if times else ""
    return f"Commit {commits}; device {devices}; jax {jax}{wall}."


def gaps(runs: Sequence[Run], scores: Scores = FACTOR_VAE) -> list[str]:
    """A line for all runs without the wanted scores, and for those with another config."""
    lines, absent = [], {}
    for run in runs:
        if not run.config:
            absent.setdefault(run.task.group, []).append(str(run.task.seed))
        elif words := problem(run, scores):
            lines.append(f"`{run.folder.name}`: {words}")
        if run.config and (changed := differences(run.task.config, run.config)):
            lines.append(f"`{run.folder.name}` has another config: {'; '.join(changed)}")
    for group, seeds in absent.items():
        number = "seed" if len(seeds) == 1 else "seeds"
        lines.append(f"`{group}`, {number} {', '.join(seeds)}: not started")
    return lines


def frame(
    args: argparse.Namespace, runs: Sequence[Run], choice: str, scores: Scores = FACTOR_VAE
) -> dict[str, Any]:
    """What stands in every JSON file beside the numbers; `choice` is the script's own option."""
    return {
        "preset": args.preset,
        "command": command_line(args, choice),
        "missing": gaps(runs, scores),
        "made_with": made_with(runs, scores),
    }


def footer(content: dict[str, Any]) -> list[str]:
    """The same as the last paragraphs of a page."""
    lines = content["missing"]
    missing = "\n".join(f"- {line}" for line in lines)
    return [
        "Missing, unfinished or different:" if lines else "No run is missing.",
        *([missing] if lines else []),
        f"Preset `{content['preset']}`: `{content['command']}`. {provenance(content['made_with'])}",
    ]


# ---- files --------------------------------------------------------------------------------------


def write(out: pathlib.Path, stem: str, content: dict[str, Any], text: str, figure: Any) -> None:
    """STEM.json, STEM.md and STEM.png."""
    out.mkdir(parents=True, exist_ok=True)
    json.dumps(content, allow_nan=False)  # NaN is no JSON; `summary` leaves None
    rundir.write_json(out / f"{stem}.json", content)
    (out / f"{stem}.md").write_text(text)
    save_figure(out / f"{stem}.png", figure)
    print(text)
    print("\n".join(f"  {out / stem}.{ending}" for ending in ("json", "md", "png")))


def save_figure(path: pathlib.Path, figure: Any) -> None:
    """Writes a matplotlib figure as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).draw()
    plots.save(path, np.asarray(figure.canvas.buffer_rgba())[..., :3])


def labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture uint8 [H, W, 3] with a line of text above it."""
    font, height = ImageFont.load_default(17), 34
    height_below, width = picture.shape[:2]
    width = max(width, math.ceil(font.getlength(text)) + 20)
    canvas = Image.new("RGB", (width, height + height_below), (255, 255, 255))
    ImageDraw.Draw(canvas).text((10, height / 2), text, (38, 38, 38), font, anchor="lm")
    canvas.paste(Image.fromarray(picture), (0, height))
    return np.asarray(canvas)


def tidy(axes: Any) -> None:
    """The look that all panels share."""
    axes.grid(True, linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
