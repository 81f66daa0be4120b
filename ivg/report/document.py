"""The frame of every page: head, style, script, and nothing that asks the network for anything.

The policy in the head forbids every request: pictures are data URIs, style and script stand in the
page itself.
"""

import datetime
import html
import importlib.resources
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ivg.files import file_errors, replace

LIMIT = 8_000_000  # bytes of a page, at most
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def escaped(text: object) -> str:
    """Any text as HTML, in an attribute's quotes too."""
    return html.escape(str(text), quote=True)


def script_data(name: str, content: Any) -> str:
    """JSON for the script, which no text in it can end."""
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def resource(name: str) -> str:
    """The text of a file beside this one."""
    return (importlib.resources.files("ivg.report") / name).read_text(encoding="utf-8")


def document(title: str, body: Iterable[str], *, style: str = "") -> str:
    """A whole page; the parts of the body are HTML already, the title is not.

    `style` is put behind the common one: the sheets of this page.
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escaped(title)}</title>",
            f"<style>\n{resource('page.css')}</style>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            *body,
            f"<script>\n{resource('page.js')}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    """Writes a page whole or not at all.

    Raises:
        UserError: no space left.
    """
    with file_errors(path.parent):
        replace(path, text)
    return path


# ---- pieces -------------------------------------------------------------------------------------


def section(name: str, title: str, *parts: str) -> str:
    """A section with its heading; "" where nothing is in it. `title` is text."""
    inside = "\n".join(part for part in parts if part)
    if not inside:
        return ""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{escaped(title)}</h2>\n{inside}\n</section>'
    )


def folded(summary: str, *parts: str, kind: str = "") -> str:
    """What opens on a click; `summary` is text."""
    inside = "\n".join(part for part in parts if part)
    return (
        f'<details class="{kind}"><summary>{escaped(summary)}</summary>\n{inside}\n</details>'
        if inside
        else ""
    )


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", kind: str = ""
) -> str:
    """A table; the first cell of a row is its heading. Cells are HTML, caption and head are text.

    It scrolls by itself where it is wider than the page.
    """
    top = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
    lines = [
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    ]
    if not lines:
        return ""
    words = f"<caption>{escaped(caption)}</caption>" if caption else ""
    head_row = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    body = "\n".join(lines)
    # A region that scrolls must be reachable by the keyboard.
    label = escaped(caption or "table")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="{kind}">{words}{head_row}<tbody>\n{body}\n</tbody></table></div>'
    )


def number(value: object) -> str:
    """A value as a table shows it: four digits, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escaped(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if value != value or abs(value) == float("inf"):
        return escaped(value)
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        return f"{value:.3g}".replace("-", "−")
    digits = 4 if size < 10 else 2 if size < 1000 else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def steps(count: int) -> str:
    """A number of steps with its thousands apart."""
    return f"{count:,}"


def moment(seconds: float) -> str:
    """A time on this machine's clock, to the minute."""
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def facts(pairs: Mapping[str, str]) -> str:
    """A list of names and values; names are text, values HTML."""
    items = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{value}</dd></div>" for name, value in pairs.items()
    )
    return f'<dl class="facts">{items}</dl>'
