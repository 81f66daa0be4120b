"""One page for several runs, from what their directories hold; nothing is loaded or generated.

Seeds of one config form a group: a column of the table, a colour of the curves.
"""

import json
import pathlib
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ivg import rundir
from ivg.errors import UserError
from ivg.files import file_errors
from ivg.log import read_metrics
from ivg.report import charts, sheets, tables, words
from ivg.report.document import (
    LIMIT,
    document,
    escaped,
    folded,
    number,
    section,
    steps,
    table,
    write,
)
from ivg.report.page import contents, last_step, read_results

MISSING = '<span class="missing">missing</span>'
PICTURES = ("samples", "traversal_codes", "reconstructions", "traversal_images", "interpolations")
WIDTHS = (640, 480, 320)  # of a picture, until it fits
MOST_CURVES = 1_500_000  # characters
MOST_PIXELS = 50_000_000  # of a picture


class Finished(NamedTuple):
    """A run as its directory knows it."""

    folder: pathlib.Path
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    series: Mapping[str, charts.Points]
    step: int


class Group(NamedTuple):
    """The seeds of one config; `label` tells it from the other groups."""

    label: str
    runs: list[Finished]
    color: int


# ---- which runs ---------------------------------------------------------------------------------


def directories(named: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """The run directories among paths; one with seed_0, seed_1, ... stands for its runs.

    What is no run is named on the standard error output and passed over.

    Raises:
        UserError: there is no run among them.
    """
    found, others = [], []
    for path in named:
        below = sorted(path.glob("seed_*/config.json"), key=_seed)
        if below:
            found += [config.parent for config in below]
        elif (path / "config.json").is_file():
            found.append(path)
        else:
            others.append(path)
    if not found:
        what = (
            f"{others[0]} is not" if len(others) == 1 else f"none of the {len(others)} arguments is"
        )
        raise UserError(
            f"{what} a run directory (no config.json, no seed_0); name directories that "
            "python -m ivg.main has made, such as runs/digits."
        )
    for path in others:
        print(f"note: {path} is no run directory and is left out", file=sys.stderr)
    return list({path.resolve(): path for path in found}.values())


def _seed(config: pathlib.Path) -> tuple[int, str]:
    name = config.parent.name.removeprefix("seed_")
    return (int(name) if name.isdigit() else sys.maxsize, name)


def read(folder: pathlib.Path) -> Finished:
    """What a directory holds.

    Raises:
        UserError: its config cannot be read.
    """
    config = rundir.read_config(folder)
    if not isinstance(config, dict) or not isinstance(config.get("method"), str):
        raise UserError(f"{folder / 'config.json'} is no config of a run; leave {folder} out.")
    results, series = read_results(folder), read_metrics(folder)
    return Finished(folder, config, results, series, last_step(results, series))


def settings(config: Mapping) -> dict[str, Any]:
    """What a run computes, and how long, apart from its seed."""
    flat = rundir.flatten(config)
    return {n: v for n, v in flat.items() if n == "num_steps" or n not in (*rundir.SAFE, "seed")}


def grouped(runs: Sequence[Finished]) -> list[Group]:
    """Runs by their settings, in their order."""
    sets: dict[str, list[Finished]] = {}
    for run in runs:
        sets.setdefault(json.dumps(settings(run.config), sort_keys=True), []).append(run)
    members = list(sets.values())
    return [
        Group(label(own[0], [other[0] for other in members]), own, i % charts.COLORS)
        for i, own in enumerate(members)
    ]


def label(run: Finished, others: Sequence[Finished]) -> str:
    """Method and data, and the fields by which it differs from others of the same."""
    name, own = f"{words.method(run.config['method'])[0]} on {_data(run)}", settings(run.config)
    alike = [settings(o.config) for o in others if _what(o) == _what(run)]
    fields = sorted({n for other in alike for n in own.keys() | other.keys()
                     if own.get(n) != other.get(n)})  # fmt: skip
    told = [f"{n.split('.')[-1]}={own.get(n, 'absent')}" for n in fields[:3]]
    return ", ".join([name, *told, *(["…"] if len(fields) > 3 else [])])


def _what(run: Finished) -> tuple[str, str]:
    return run.config["method"], _data(run)


def _data(run: Finished) -> str:
    section = run.config.get("data")
    return str(section.get("name", "?")) if isinstance(section, Mapping) else "?"


# ---- the page -----------------------------------------------------------------------------------


def write_page(folders: Sequence[pathlib.Path], out: pathlib.Path) -> pathlib.Path:
    """Writes the page of these run directories.

    Raises:
        UserError: a run cannot be read, or the page cannot be written.
    """
    text = page([read(folder) for folder in folders])
    if out.is_dir():
        raise UserError(f"{out} is a directory; use another --out.")
    with file_errors(out.parent):
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            return write(out, text)
        except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
            raise UserError(
                f"{out} cannot be written ({error.strerror}); use another --out."
            ) from None


def page(runs: Sequence[Finished]) -> str:
    """The page as a text of at most `LIMIT` bytes."""
    groups = grouped(runs)
    parts = [
        section("runs", "Runs", run_table(groups)),
        section("scores", "Scores", score_table(groups), _recipes(groups)),
        section("curves", "Curves", key(groups), curves(groups)),
        section("differences", "Differences of the configs", differences(groups)),
    ]
    spent = sum(len(part.encode()) for part in parts)
    parts.insert(2, pictures(groups, LIMIT - spent - 100_000))
    main = "\n".join(["<main>", *parts, "</main>"])
    methods = ", ".join(dict.fromkeys(words.method(r.config["method"])[0] for r in runs))
    data = ", ".join(dict.fromkeys(_data(run) for run in runs))
    count = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
    head = (
        f'<header><p class="kicker">{count} in {len(groups)} groups</p>'
        f"<h1>{escaped(methods)} <span>on {escaped(data)}</span></h1></header>"
    )
    return document(f"{count}: {methods} on {data}", [head, contents(main), main])


def run_table(groups: Sequence[Group]) -> str:
    """Every run: its group, directory, seed, how far it is."""
    rows = []
    for group in groups:
        for run in group.runs:
            total = run.config.get("num_steps", 0)
            done = run.step >= total and bool(run.results)
            state = "finished" if done else "training or stopped"
            rows.append([swatch(group), f"<code>{escaped(run.folder)}</code>",
                         number(run.config.get("seed")), f"{steps(run.step)} of {steps(total)}",
                         f'<span class="status {state.split()[0]}">{state}</span>'])  # fmt: skip
    return table(["group", "directory", "seed", "steps", ""], rows, caption="Runs")


def swatch(group: Group) -> str:
    """A group's name behind its colour."""
    return f'<span class="swatch c{group.color}"><i>{escaped(group.label)}</i></span>'


def key(groups: Sequence[Group]) -> str:
    """Which colour is which group."""
    several = any(len(group.runs) > 1 for group in groups)
    note = " Thin lines are seeds, thick ones their mean." if several else ""
    return f'<p class="legend">{" ".join(swatch(g) for g in groups)}</p><p class="note">{note}</p>'


def score_table(groups: Sequence[Group]) -> str:
    """A row for each score, a column for each group: mean ± sample standard deviation."""
    found = [[tables.flat_scores(run.results) for run in group.runs] for group in groups]
    names = list(dict.fromkeys(n for runs in found for run in runs for n in run))
    rows = [[tables.named(name, tables.spoken(name)), *(cell(name, runs) for runs in found)]
            for name in names]  # fmt: skip
    head = ["", *(f"{g.label} (n = {len(g.runs)})" for g in groups)]
    caption = "Mean ± sample standard deviation over seeds"
    return table(head, rows, caption=caption) or '<p class="note">No run has scores yet.</p>'


def cell(name: str, runs: Sequence[Mapping[str, float]]) -> str:
    """A score of a group's runs."""
    values = [run[name] for run in runs if name in run]
    if not values:
        return MISSING
    text = number(statistics.fmean(values))
    if len(values) > 1:
        text += f" ± {number(statistics.stdev(values))}"
    few = f"<small>{len(values)} of {len(runs)} runs</small>" if len(values) < len(runs) else ""
    return text + few


def _recipes(groups: Sequence[Group]) -> str:
    """How the first run of each group was scored, in full."""
    parts = [
        folded(f"Scores of {group.runs[0].folder} with their recipes", found)
        for group in groups
        if (found := tables.scores(group.runs[0].results))
    ]
    return "".join(parts)


def differences(groups: Sequence[Group]) -> str:
    """The fields in which groups differ; those that not all of them have are folded."""
    flat = [settings(group.runs[0].config) for group in groups]
    names = sorted({name for one in flat for name in one})
    rows: dict[bool, list[list[str]]] = {True: [], False: []}
    for name in names:
        if len({json.dumps(one.get(name, "absent"), sort_keys=True) for one in flat}) > 1:
            row = [f"<code>{escaped(name)}</code>", *(_field(one, name) for one in flat)]
            rows[all(name in one for one in flat)].append(row)
    head = ["field", *(group.label for group in groups)]
    if not any(rows.values()):
        return '<p class="note">The configs differ in nothing but the seed.</p>'
    common = table(head, rows[True], caption="Fields that differ", kind="plain")
    own = table(head, rows[False], caption="Fields that only some have", kind="plain")
    return common + folded(f"{len(rows[False])} fields that only some of them have", own)


def _field(one: Mapping, name: str) -> str:
    return f"<code>{escaped(json.dumps(one[name]))}</code>" if name in one else "–"


# ---- curves -------------------------------------------------------------------------------------


def curves(groups: Sequence[Group]) -> str:
    """The curves of all runs over each other; those of single dimensions are left out.

    Dimension 3 of one seed is not dimension 3 of another.
    """
    names = [n for g in groups for run in g.runs for n in charts.panels(run.series)]
    found = {
        name: lines
        for name in dict.fromkeys(names)
        if not name.endswith("_i") and (lines := list(_lines(name, groups)))
    }
    text = charts.arranged(found, legend=False)
    if len(text) > MOST_CURVES:  # of very many runs, the means only
        few = {n: [x for x in lines if not x.thin] or lines[:8] for n, lines in found.items()}
        text = charts.arranged(few, legend=False)
    return text


def _lines(name: str, groups: Sequence[Group]) -> Iterator[charts.Line]:
    """A thin line for each seed, then the mean of each group."""
    for group in groups:
        own = [(run, charts.panels({name: run.series[name]}).get(name, ()))
               for run in group.runs if name in run.series]  # fmt: skip
        points = [(run, lines[0].points) for run, lines in own if lines]
        for run, one in points if len(points) > 1 else ():
            seed = f"{group.label}, seed {run.config.get('seed')}"
            yield charts.Line(seed, one, group.color, thin=True)
        if points:
            yield charts.Line(group.label, mean([one for _, one in points]), group.color)


def mean(curves: Sequence[charts.Points]) -> charts.Points:
    """The mean over the steps that all curves have; of none in common, the first curve."""
    common = set(curves[0][0].tolist()).intersection(*(x.tolist() for x, _ in curves[1:]))
    if not common:
        return curves[0]
    kept = np.array(sorted(common))
    rows = [y[np.searchsorted(x, kept)] for x, y in curves]
    return kept, np.mean(rows, axis=0)


# ---- pictures -----------------------------------------------------------------------------------


def pictures(groups: Sequence[Group], budget: int) -> str:
    """The figures of each group's first run side by side, a row for each kind."""
    kinds = [kind for kind in PICTURES if any(_path(g, kind).is_file() for g in groups)]
    each = budget // max(len(kinds) * len(groups), 1)
    parts = []
    for kind in kinds:
        inside = "".join(_figure(group, kind, each) for group in groups)
        parts.append(f'<h3>{escaped(kind.replace("_", " "))}</h3><div class="sides">{inside}</div>')
    return section("pictures", "Pictures", *parts)


def _path(group: Group, kind: str) -> pathlib.Path:
    return group.runs[0].folder / "figures" / f"{kind}.png"


def _figure(group: Group, kind: str, budget: int) -> str:
    """A figure of a group, as small as it must be."""
    caption = f"<figcaption>{swatch(group)}</figcaption>"
    try:
        # PNG only: of other kinds Pillow hands some to other programs.
        with Image.open(_path(group, kind), formats=("PNG",)) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"<figure>{caption}{MISSING}</figure>"
            picture = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return f"<figure>{caption}{MISSING}</figure>"
    for width in WIDTHS:
        small = picture
        if picture.width > width:
            size = (width, max(1, round(picture.height * width / picture.width)))
            small = picture.resize(size, Image.Resampling.LANCZOS)
        uri = sheets.data_uri(np.asarray(small), lossless=False)
        if len(uri) <= budget:
            alt = escaped(f"{kind.replace('_', ' ')} of {group.runs[0].folder}")
            return f'<figure>{caption}<img src="{uri}" alt="{alt}"></figure>'
    return f'<figure>{caption}<p class="note">too large for this page</p></figure>'
