"""The page of one run: `report.html` in its directory."""

import json
import pathlib
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ivg import data, rundir
from ivg.log import read_cost, read_metrics, versions
from ivg.players import Method
from ivg.report import charts, explorer, sheets, stills, tables, traversals, words
from ivg.report.document import (
    LIMIT,
    document,
    escaped,
    facts,
    folded,
    moment,
    number,
    section,
    steps,
    table,
    write,
)

NAME = "report.html"
STILLS = 1_500_000  # characters for the pictures that do not move
MOST_FILES = 60
MOVES = (
    "Each slider and each button changes one code of the chosen start and leaves all else as it "
    "is; moving another code begins at the start again. The images were made beforehand and lie "
    "in this page."
)


class Seen(NamedTuple):
    """A run in memory: what generates, with what, of which data.

    method: at its step; key: root of what the page draws.
    """

    method: Method
    state: Any
    dataset: data.Dataset
    key: jax.Array
    step: int


def write_page(
    workdir: pathlib.Path, config: Mapping, seen: Seen | None, *, running: bool = False
) -> pathlib.Path:
    """Writes `report.html` from what the directory holds and from the run in memory.

    Args:
        workdir: the run directory.
        config: its config.
        seen: the run in memory; None for a page without traversals and samples.
        running: in the middle of training: fewer images, in less time.

    Raises:
        UserError: no space left.
    """
    return write(workdir / NAME, page(workdir, config, seen, running=running))


def write_run(
    run: Any, config: Mapping, workdir: pathlib.Path, state, step: int, *, running: bool = False
) -> pathlib.Path:
    """The same for a run as `build` makes it, with a state on this process's own devices."""
    key = jax.random.fold_in(run.eval_key, np.int32(1))  # beside the evaluation's own split
    seen = Seen(run.method.at(step), state, run.dataset, key, step)
    return write_page(workdir, config, seen, running=running)


def page(
    workdir: pathlib.Path, config: Mapping, seen: Seen | None, *, running: bool = False
) -> str:
    """The same as a text of at most `LIMIT` bytes."""
    results, series = read_results(workdir), read_metrics(workdir)
    step = seen.step if seen else last_step(results, series)
    shown = _stills(seen, running) if seen else []
    parts = {
        "scores": _scores(results, step),
        "curves": section("curves", "Curves", charts.curves(series)),
        "config": _config(config),
        "files": _files(workdir),
        "go-on": go_on(workdir),
    }
    pictures = [_still(still, seen.dataset.image_shape) for still in shown] if seen else []
    spent = sum(len(part.encode()) for part in (*parts.values(), *pictures))
    moving, style = _traversals(seen, results, running, LIMIT - spent - 200_000)
    style += "\n".join(_still_style(i, still) for i, still in enumerate(shown))
    title = words.method(config["method"])[0]
    main = "\n".join(["<main>", moving, *_numbered(pictures), *parts.values(), "</main>"])
    body = [header(workdir, config, results, step, seen, running), contents(main), main]
    return document(f"{title} on {data_name(config, seen)}", body, style=style)


def data_name(config: Mapping, seen: Seen | None) -> str:
    """What the data set is called."""
    return seen.dataset.name if seen else config.get("data", {}).get("name", "?")


def read_results(workdir: pathlib.Path) -> dict:
    """results.json; {} where there is none yet, or none that can be read."""
    try:
        found = json.loads((workdir / "results.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def last_step(results: Mapping, series: Mapping) -> int:
    """The step that a directory knows of."""
    logged = max((int(x[-1]) for x, _ in series.values()), default=0)
    return max(int(results.get("step", 0)), logged)


# ---- parts --------------------------------------------------------------------------------------


def header(
    workdir: pathlib.Path,
    config: Mapping,
    results: Mapping,
    step: int,
    seen: Seen | None,
    running: bool,
) -> str:
    """What the run is, how far it got, its first few scores."""
    title, about, paper = words.method(config["method"])
    total = config["num_steps"]
    state = "finished" if step >= total else "training" if running else "not finished"
    made = results.get("versions") or versions()
    known = {
        "Status": f'<span class="status {state.split()[0]}">{state}</span>',
        "Steps": f"{steps(step)} of {steps(total)}",
        **({"Rollbacks": number(back)} if (back := results.get("rollbacks")) else {}),
        "Seed": number(config["seed"]),
        "Method": f"<code>{escaped(config['method'])}</code>",
        **_when(workdir),
        "Device": _device(made, results.get("cost") or read_cost(workdir) or {}),
        "Commit": _commit(made),
    }
    top = "".join(
        f"<div><b>{number(value)}</b><span>{escaped(name)}</span><small>{escaped(beside)}</small>"
        "</div>"
        for name, value, beside in tables.headlines(results)
    )
    shape = "×".join(map(str, seen.dataset.image_shape[:2])) if seen else ""
    of = f" of {shape} pixels" if shape else ""
    return (
        f'<header><p class="kicker">{escaped(workdir.resolve().name)}</p>'
        f"<h1>{escaped(title)} <span>on {escaped(data_name(config, seen))}{of}</span></h1>"
        f'<p class="lede">{escaped(about)} <cite>{escaped(paper)}</cite></p>'
        f"{facts(known)}"
        f'<progress max="{total}" value="{min(step, total)}" aria-label="steps done"></progress>'
        + (f'<div class="headlines">{top}</div>' if top else "")
        + "</header>"
    )


def contents(main: str) -> str:
    """Links to the sections of a page."""
    found = re.findall(r'<h2 id="([\w-]+)-title">([^<]*)</h2>', main)
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in found)
    return f'<nav aria-label="Sections">{links}</nav>'


def _when(workdir: pathlib.Path) -> dict[str, str]:
    """When the run was last written to."""
    times = [p.stat().st_mtime for p in (workdir / n for n in ("metrics.jsonl", "results.json"))
             if p.exists()]  # fmt: skip
    return {"Last written": moment(max(times))} if times else {}


def _device(made: Mapping, spent: Mapping) -> str:
    name = f"{escaped(made.get('device', '?'))} × {number(made.get('device_count', 1))}"
    seconds = spent.get("seconds")
    return name + (f", {_duration(seconds)}" if isinstance(seconds, int | float) else "")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _commit(made: Mapping) -> str:
    if "commit" not in made:
        return f"ivg {escaped(made.get('ivg', '?'))}"
    changed = " + changes" if made.get("dirty") else ""
    return f"<code>{escaped(str(made['commit'])[:10])}</code>{changed}"


def _scores(results: Mapping, step: int) -> str:
    old = results.get("step", step) != step
    note = f'<p class="note">These are the scores of step {number(results.get("step"))}.</p>'
    found = tables.scores(results) + tables.cost(results) + tables.versions(results)
    return section("scores", "Scores", (note if old else "") + found) if results else ""


def _config(config: Mapping) -> str:
    rows = [[f"<code>{escaped(n)}</code>", f"<code>{escaped(json.dumps(v))}</code>"]
            for n, v in rundir.flatten(config).items()]  # fmt: skip
    fields = table(["", ""], rows, caption="Every field of the config", kind="plain")
    return section("config", "Config", folded(f"{len(rows)} fields", fields))


def _files(workdir: pathlib.Path) -> str:
    """The files of the run; of the folders that hold many, the folder."""
    rows = []
    for path in sorted(workdir.iterdir()):
        if path.name in (NAME, NAME + ".tmp", rundir.LOCK):
            continue
        rows.append([f"<code>{escaped(path.name)}{'/' * path.is_dir()}</code>", _size(path)])
    more = len(rows) - MOST_FILES
    note = f'<p class="note">and {more} more</p>' if more > 0 else ""
    listed = table(["", ""], rows[:MOST_FILES], caption="Files of the run", kind="plain")
    return section("files", "Files", folded(f"{len(rows)} files and folders", listed, note))


def _size(path: pathlib.Path) -> str:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    size = float(sum(p.lstat().st_size for p in files))
    count = f"{len(files)} files, " if path.is_dir() else ""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{count}{size:.3g} {unit}" if unit == "B" else f"{count}{size:.1f} {unit}"
        size /= 1000
    return f"{count}{size:.1f} GB"


def go_on(workdir: pathlib.Path) -> str:
    """Commands for what comes next, and the run in Python."""
    name = shlex.quote(str(workdir))
    commands = {
        "Score it again": f"python -m ivg.main --mode=evaluate --workdir={name}",
        "Draw images": f"python -m ivg.main --mode=sample --workdir={name} --num_samples=64",
        "Move its codes live": f"python -m ivg.explore --workdir={name}",
        "Export it": f"python -m ivg.export --workdir={name}",
        "Write this page anew": f"python -m ivg.report {name}",
    }
    rows = [[escaped(n), f"<code>{escaped(c)}</code>"] for n, c in commands.items()]
    python = (
        f"import ivg\n\nmodel = ivg.load({str(workdir)!r})\n"
        "images = model.sample(16, seed=0)   # uint8 [16, H, W, C]\n"
        "print(model.codes)"
    )
    return section(
        "go-on",
        "How to go on",
        table(["", ""], rows, caption="On the command line", kind="plain commands"),
        f'<h3>In Python</h3><pre tabindex="0"><code>{escaped(python)}</code></pre>',
    )


# ---- pictures -----------------------------------------------------------------------------------


def _stills(seen: Seen, running: bool) -> list[stills.Still]:
    return stills.stills(
        seen.method, seen.state, seen.dataset, seen.key, quick=running, budget=STILLS
    )


def _traversals(seen: Seen | None, results: Mapping, running: bool, budget: int) -> tuple[str, str]:
    """(HTML, style) of the traversals."""
    if seen is None or all(code.kind == "noise" for code in seen.method.codes.values()):
        return "", ""
    found = traversals.explore(
        seen.method,
        seen.state,
        seen.dataset,
        seen.key,
        plan=traversals.QUICK if running else traversals.FULL,
        kl=_known_kl(results, seen.step),
        budget=budget,
    )
    if found is None:
        return "", ""
    notes = [MOVES]
    if any(slider.kl is not None for slider in found.sliders):
        notes.append("The codes with the largest KL from their prior come first.")
    if found.left_out:
        notes.append(f"Shown are {found.left_out}.")
    return (
        section("traversals", "Traversals", explorer.explorer(found, " ".join(notes))),
        explorer.style(found) + "\n",
    )


def _known_kl(results: Mapping, step: int) -> list[float] | None:
    """The KL of each code, where the scores are of this very step."""
    if results.get("step") != step:
        return None
    return results.get("rates") or tables.at(results, ("bounds", "kl"))


def _still(still: stills.Still, shape: tuple[int, ...]) -> str:
    """A picture as HTML; "#" in its classes stands for its number."""
    size = sheets.thumb(shape)
    count, columns = still.count, still.sheet.columns

    def one(i: int) -> str:
        row, column = divmod(i, columns)
        return f'<i class="t still#" style="--x:{column};--y:{row}"></i>'

    if still.group <= 2:
        tiles = [
            f'<span class="pair">{"".join(one(i + k) for k in range(still.group))}</span>'
            for i in range(0, count, still.group)
        ]
    else:
        tiles = [f'<i class="row still#" style="--y:{i}"></i>' for i in range(count // still.group)]
    place = f"--c:{columns};--r:{still.sheet.rows};--w:{size}px;--ratio:{shape[1] / shape[0]:.4g}"
    kind = "rows" if still.group > 2 else "wall"
    return section(
        still.title.lower(),
        still.title,
        f'<p class="note">{escaped(still.words)}</p>',
        f'<div class="{kind}" style="{place}" role="img" aria-label="{escaped(still.alt)}">'
        f"{''.join(tiles)}</div>",
    )


def _still_style(i: int, still: stills.Still) -> str:
    return f'.still{i}{{background-image:url("{still.sheet.uri}")}}'


def _numbered(pictures: list[str]) -> Iterator[str]:
    """The pictures with their numbers in their classes."""
    for i, picture in enumerate(pictures):
        yield picture.replace("still#", f"still{i}")
