"""The page of bench_growth: exponents beside those that are expected, numbers, one figure."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import reporting

QUANTITIES = {"time": "ms", "flops": "MFLOP", "memory": "MiB"}
GROWS = {
    "batch_size": "batch size",
    "image_size": "image side",
    "dim_z": "latent size",
    "runs": "runs",
    "images": "resident images",
}
LAWS = {0.0: "constant", 1.0: "linear", 2.0: "quadratic"}
TOLERANCE = 0.2  # of an exponent: 15 % of time in a doubling
NOTE = f"""\
An exponent is the slope in logarithms: 1 where the cost doubles with what grows, 2 where it
quadruples, 0 where it does not change; "all" over all values, "upper" over the larger half, where
what is paid once a step weighs least. Of times: the median over the rounds, smallest and largest in
brackets; the other two are counts. "Agrees": the upper exponent is within {TOLERANCE:g} of the
expected one; "below": what does not grow (the call of a step, parameters and optimiser in memory)
still weighs, or larger work is done more efficiently; "above": it costs more than the law says;
"within the spread": the rounds differ too much to tell. Operations are XLA's count for a step
before compiling, memory is that of the compiled program: arguments, results that do not replace
them and intermediate values. Of runs one after the other only one is in memory. Start-up: placing
the images on the device and making the first batch, which sorts as many random numbers."""


# ---- laws ---------------------------------------------------------------------------------------


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of log(cost) against log(value), by least squares."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def exponents(values: Sequence[float], costs: Sequence[Sequence[float]]) -> dict[str, float]:
    """Median, smallest and largest exponent over the rounds.

    Args:
        values: of what grows, [n].
        costs: of every value, its rounds: [n, rounds].
    """
    slopes = [exponent(values, one) for one in zip(*costs, strict=True)]
    return {"median": statistics.median(slopes), "min": min(slopes), "max": max(slopes)}


def verdict(law: float, upper: Mapping[str, float]) -> str:
    """Whether an exponent, of `exponents`, is the expected one."""
    if abs(upper["median"] - law) <= TOLERANCE:
        return "agrees"
    if upper["min"] <= law <= upper["max"]:
        return "within the spread"
    return "below" if upper["median"] < law else "above"


def found(row: Mapping[str, Any]) -> dict[str, Any]:
    """Exponents and verdict of each measured quantity of a series."""
    values, half = row["values"], len(row["values"]) // 2
    half = min(half, len(values) - 2)  # a slope needs two
    results = {}
    for name, costs in row["measured"].items():
        upper = exponents(values[half:], costs[half:])
        results[name] = {
            "law": row["laws"][name],
            "all": exponents(values, costs),
            "upper": upper,
            "verdict": verdict(row["laws"][name], upper),
        }
    return results


# ---- words --------------------------------------------------------------------------------------


def words(slopes: Mapping[str, float]) -> str:
    """As in "0.93 [0.90, 0.97]", or without a spread where there is none to be seen."""
    middle, low, high = (two_digits(slopes[name]) for name in ("median", "min", "max"))
    return middle if low == high else f"{middle} [{low}, {high}]"


def two_digits(slope: float) -> str:
    """As in "0.93", never "-0.00"."""
    return f"{round(slope, 2) + 0.0:.2f}"


def three_digits(cost: float) -> str:
    """As in "0.0123" and "12,345"."""
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


def law_words(law: float) -> str:
    """As in "linear"."""
    return LAWS.get(float(law), f"power {law:g}")


def line(row: Mapping[str, Any]) -> str:
    """What is printed of a series as soon as it is measured."""
    parts = [
        f"{name} {words(own['upper'])} ({law_words(own['law'])}: {own['verdict']})"
        for name, own in row["found"].items()
    ]
    return f"{GROWS[row['grows']]}, {row['case']}: {'; '.join(parts)}"


def law_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line per series and quantity."""
    lines = [
        [
            GROWS[row["grows"]] + f" {row['values'][0]:,} to {row['values'][-1]:,}",
            row["case"],
            {"flops": "operations"}.get(name, name),
            law_words(own["law"]),
            words(own["all"]),
            words(own["upper"]),
            own["verdict"],
        ]
        for row in rows
        for name, own in row["found"].items()
    ]
    head = ["what grows", "case", "cost", "expected", "exponent, all", "upper", "verdict"]
    return reporting.table(head, lines)


def number_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line per value."""
    lines = []
    for row in rows:
        for i, value in enumerate(row["values"]):
            cells = {name: scaled(name, costs[i]) for name, costs in row["measured"].items()}
            middle, low, high = (
                three_digits(f(cells["time"])) for f in (statistics.median, min, max)
            )
            time = f"{middle} [{low}, {high}]"
            rest = [three_digits(cells[n][0]) if n in cells else "" for n in ("flops", "memory")]
            lines.append([GROWS[row["grows"]], row["case"], f"{value:,}", time, *rest])
    return reporting.table(["what grows", "case", "value", "ms", "MFLOP", "MiB"], lines)


def scaled(name: str, costs: Sequence[float]) -> list[float]:
    """In the units of `QUANTITIES`."""
    return [cost / 1e6 for cost in costs] if name == "flops" else list(costs)


def markdown(content: Mapping[str, Any]) -> str:
    """The page."""
    made = content["versions"]
    commit = made["commit"] or "unknown"
    changed = " with changes" if made.get("dirty") else ""
    parts = [
        "# Growth: the cost of a training step",
        "![Cost against what grows, measured and expected](bench_growth.png)",
        law_table(content["rows"]),
        NOTE,
        number_table(content["rows"]),
        f"`python -m experiments.bench_growth --preset={content['preset']}`: {content['rounds']} "
        f"rounds of {content['seconds']:g} s a value. Commit {commit[:10]}{changed}; device "
        f"{made['device']} x {made['device_count']}, of which one was used, {content['cores']} "
        f"cores; jax {made['jax']}.",
    ]
    return "\n\n".join(parts) + "\n"


# ---- the figure ---------------------------------------------------------------------------------


def draw(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A column per thing that grows, a row per cost; points as measured, dashed the law."""
    from matplotlib.figure import Figure

    columns = [name for name in GROWS if any(row["grows"] == name for row in rows)]
    figure = Figure((2.7 * len(columns) + 0.6, 7.2), 130, layout="constrained")
    for j, grows in enumerate(columns):
        own = [row for row in rows if row["grows"] == grows]
        for i, (name, unit) in enumerate(QUANTITIES.items()):
            axes = figure.add_subplot(len(QUANTITIES), len(columns), i * len(columns) + j + 1)
            for k, row in enumerate(own):
                if name in row["measured"]:
                    draw_series(axes, row, name, f"C{k}")
            finish_panel(axes, own, name)
            if j == 0:
                axes.set_ylabel(f"{unit} a step" if name != "memory" else unit, fontsize=8)
            if i == 0:
                axes.legend(fontsize=6, loc="upper left")
            if i == len(QUANTITIES) - 1:
                axes.set_xlabel(GROWS[grows], fontsize=8)
    figure.suptitle("cost of a training step: measured (median, range), dashed: the expected law",
                    fontsize=9)  # fmt: skip
    return figure


def draw_series(axes: Any, row: Mapping[str, Any], name: str, color: str) -> None:
    """Points with their range, and the law through the last of them."""
    costs = [scaled(name, one) for one in row["measured"][name]]
    values, middle = np.array(row["values"], float), np.array([statistics.median(c) for c in costs])
    reach = [middle - [min(c) for c in costs], [max(c) for c in costs] - middle]
    own = row["found"][name]
    label = f"{row['case']}" if name == "time" else None
    axes.errorbar(values, middle, reach, fmt="o", color=color, markersize=4, capsize=2, label=label)
    axes.plot(
        values, middle[-1] * (values / values[-1]) ** own["law"], "--", color=color, alpha=0.6
    )
    axes.annotate(
        f" {two_digits(own['upper']['median'])}", (values[-1], middle[-1]), fontsize=6, color=color,
        xytext=(2, -2), textcoords="offset points",
    )  # fmt: skip


def finish_panel(axes: Any, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """Logarithmic axes with a tick per value."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ticks = sorted({value for row in rows for value in row["values"]})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, [short(value) for value in ticks])
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.7)
    low, high = axes.get_ylim()
    middle, room = np.sqrt(low * high), 10**0.5
    axes.set_ylim(min(low, middle / room), max(high, middle * room) * (3 if name == "time" else 1))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    reporting.tidy(axes)
    axes.tick_params(labelsize=6)


def short(value: int) -> str:
    """As in "64k"."""
    return f"{value // 1_000}k" if value >= 1_000 and value % 1_000 == 0 else str(value)
