"""The traversals as HTML: starts to choose, sliders over strips of images, buttons.

Every image is a tile of its start's sheet, which is the background that a class of the whole
(`start0`, `start1`, ...) chooses. The script only moves numbers; without it the first start shows.
"""

from collections.abc import Sequence

from ivg.report import sheets
from ivg.report.document import escaped, script_data
from ivg.report.traversals import PLANE, Explored, Plane, Slider

SHOWN = 256  # pixels of the large image
SHOWN_TINY = 192  # of one with sides below TINY, whose squares would be all that one sees
TINY = 16
GROUPS = {"image": "From test images", "middle": "From the prior", "drawn": "From samples"}


def style(found: Explored) -> str:
    """The sheets, as backgrounds."""
    rules = [f".starts .t{{{_background(found.thumbs)}}}"]
    for i, one in enumerate(found.sheets):
        rules.append(f".start{i} .of-start{{{_background(one)}}}")
        for j, plane in enumerate(found.planes[i]):
            rules.append(f".start{i} .plane{j}{{{_background(plane)}}}")
    return "\n".join(rules)


def _background(one: sheets.Sheet) -> str:
    return f'background-image:url("{one.uri}")'


def tile(one: sheets.Sheet, number: int, size: int, *, kind: str = "", label: str = "") -> str:
    """An image of a sheet, `size` pixels wide; without a label it is decoration."""
    said = f'role="img" aria-label="{escaped(label)}"' if label else 'aria-hidden="true"'
    row, column = divmod(number, one.columns)
    place = f"--c:{one.columns};--r:{one.rows};--x:{column};--y:{row};--w:{size}px"
    return f'<span class="t {kind}" style="{place}" {said}></span>'


def explorer(found: Explored, words: str = "") -> str:
    """The whole of it; "" where nothing moves."""
    if not (found.sliders or found.choices or found.areas):
        return ""
    first, ratio = found.sheets[0], found.shape[1] / found.shape[0]
    small = sheets.thumb(found.shape)
    own = len(found.sliders) * found.steps
    parts = [
        f'<div class="explorer start0" id="explorer" data-columns="{found.steps}" '
        f'style="--steps:{found.steps};--ratio:{ratio:.4g}">',
        _starts(found, small),
        '<div class="stage">',
        '<div class="view">',
        tile(first, own, _large(found), kind="of-start now", label="the image"),
        '<p class="said" aria-live="polite"><b id="said-what">Start</b> <span id="said-where">'
        f"{escaped(found.starts[0].name)}</span></p>",
        _origin(found, small, own),
        '<button type="button" id="back">Back to the start</button>',
        "</div>",
        '<div class="tracks">',
        *(_choice(found, i, small) for i in range(len(found.choices))),
        *(_plane(found, i) for i in range(len(found.areas))),
        *(_slider(found, i) for i in range(len(found.sliders))),
        f'<p class="note">{escaped(words)}</p>' if words else "",
        "</div></div></div>",
        script_data("traversal-data", _data(found, own)),
    ]
    return "\n".join(part for part in parts if part)


def _starts(found: Explored, small: int) -> str:
    """A group of buttons for each kind of start."""
    parts = []
    for kind, title in GROUPS.items():
        members = [i for i, start in enumerate(found.starts) if start.kind == kind]
        buttons = "".join(
            f'<button type="button" class="start" data-start="{i}" '
            f'aria-pressed="{"true" if i == 0 else "false"}" '
            f'aria-label="start from {escaped(found.starts[i].name)}" '
            f'title="{escaped(found.starts[i].name)}">{tile(found.thumbs, i, small)}'
            f"<span>{escaped(found.starts[i].label)}</span></button>"
            for i in members
        )
        if buttons:
            parts.append(
                f'<div class="choices starts" role="group" aria-label="{title}">'
                f"<h3>{title}</h3><div>{buttons}</div></div>"
            )
    return f'<div class="start-rows">{"".join(parts)}</div>'


def _origin(found: Explored, small: int, own: int) -> str:
    """The real image beside its reconstruction, for starts that are images."""
    if found.starts[0].image is None:
        return ""
    return (
        '<div class="origin" id="origin">'
        f'<figure class="starts">{tile(found.thumbs, 0, small, kind="real")}'
        "<figcaption>real</figcaption></figure>"
        f"<figure>{tile(found.sheets[0], own, small, kind='of-start')}"
        "<figcaption>reconstructed</figcaption></figure></div>"
    )


def _choice(found: Explored, i: int, small: int) -> str:
    """Buttons of a class, or of draws of an attribute; equal labels stand together."""
    choice = found.choices[i]
    plain = len(set(choice.labels)) == len(choice.labels)
    parts = []
    for label in dict.fromkeys(choice.labels):
        numbers = [j for j, other in enumerate(choice.labels) if other == label]
        buttons = "".join(
            f'<button type="button" class="choice" data-tile="{choice.first + j}" '
            f'aria-pressed="false" data-what="{escaped(choice.title if plain else "")}" '
            f'data-where="{escaped(_called(label, plain, n))}" '
            f'aria-label="{escaped(f"{choice.title} {label}" if plain else _called(label, 0, n))}">'
            f"{tile(found.sheets[0], choice.first + j, small, kind='of-start')}"
            + (f"<span>{escaped(label)}</span>" if plain else "")
            + "</button>"
            for n, j in enumerate(numbers)
        )
        parts.append(buttons if plain else f"<p>{escaped(label)}</p><div>{buttons}</div>")
    inside = f"<div>{''.join(parts)}</div>" if plain else "".join(parts)
    about = "" if plain else f"c of “{choice.title}” drawn from p(c | y), all else as it is"
    note = f'<span class="note">{escaped(about)}</span>' if about else ""
    legend = f"<legend>{escaped(choice.title)}{note}</legend>"
    return f'<fieldset class="choices">{legend}{inside}</fieldset>'


def _called(label: str, plain: bool, number: int) -> str:
    return label if plain else f"{label}, draw {number + 1}"


def _slider(found: Explored, i: int) -> str:
    """A code: its name, the strip of its images, the slider below."""
    slider = found.sliders[i]
    name = _name(slider)
    nearest = _nearest(slider, found, 0)
    kl = "" if slider.kl is None else f"<small>KL {slider.kl:.2f} nats</small>"
    low, high = (_signed(float(v)) for v in slider.values[[0, -1]])
    return (
        f'<div class="track" data-row="{i}"><label for="code{i}">{escaped(name)}{kl}</label>'
        f'<output for="code{i}">{_signed(_own(slider, found, 0))}</output>'
        f'<div class="way"><div class="strip of-start" '
        f'style="--r:{found.sheets[0].rows};--y:{i}"><i class="mark" style="--at:{nearest}"></i>'
        f'</div><input type="range" id="code{i}" min="0" max="{found.steps - 1}" step="1" '
        f'value="{nearest}" aria-valuetext="{_signed(_own(slider, found, 0))}" '
        f'title="{escaped(name)} from {low} to {high}"></div></div>'
    )


def _plane(found: Explored, i: int) -> str:
    """Both dimensions of an attribute's code: a field to click into and a slider for each."""
    plane = found.areas[i]
    names = [f"{plane.code}{plane.axis + k + 1}" for k in (1, 0)]
    inputs = "".join(
        f'<label for="plane{i}-{k}">{names[k]} <span>{("across", "down")[k]}</span></label>'
        f'<input type="range" id="plane{i}-{k}" data-axis="{k}" min="0" max="{PLANE - 1}" step="1" '
        f'value="{PLANE // 2}"><output for="plane{i}-{k}">{_signed(0.0)}</output>'
        for k in (0, 1)
    )
    return (
        f'<fieldset class="field" data-plane="{i}"><legend>the plane of {escaped(plane.attribute)}'
        f'<span class="note">both dimensions of its code, z as it is</span></legend>'
        f'<div class="plane plane{i}"><i class="mark"></i></div>'
        f'<div class="plane-sliders">{inputs}</div></fieldset>'
    )


def _data(found: Explored, own: int) -> dict:
    """What the script needs: names, values, where everything stands."""
    return {
        "own": own,
        "columns": found.sheets[0].columns,
        "rows": found.sheets[0].rows,
        "plane": PLANE,
        "starts": [
            {
                "name": start.name,
                "real": start.image is not None,
                "values": [round(_own(s, found, i), 4) for s in found.sliders],
                "nearest": [_nearest(s, found, i) for s in found.sliders],
                "planes": [_places(p, found, i) for p in found.areas],
                "thumb": i,
            }
            for i, start in enumerate(found.starts)
        ],
        "thumbs": found.thumbs.columns,
        "sliders": [
            {"name": _name(s), "values": [round(float(v), 4) for v in s.values]}
            for s in found.sliders
        ],
        "planes": [
            {
                "names": [f"{p.code}{p.axis + 2}", f"{p.code}{p.axis + 1}"],
                "values": [round(float(v), 4) for v in p.values],
            }
            for p in found.areas
        ],
    }


def _large(found: Explored) -> int:
    """How wide the large image is, in pixels."""
    return sheets.side(found.shape, SHOWN_TINY if max(found.shape[:2]) < TINY else SHOWN)


def _name(slider: Slider) -> str:
    return f"{slider.code}{slider.axis + 1}"


def _own(slider: Slider, found: Explored, start: int) -> float:
    return float(found.starts[start].codes[slider.code][0, slider.axis])


def _nearest(slider: Slider, found: Explored, start: int) -> int:
    return _closest(slider.values, _own(slider, found, start))


def _places(plane: Plane, found: Explored, start: int) -> list[list[float]]:
    """Of the dimension across and the one down: the nearest step and the start's own value."""
    values = [float(found.starts[start].codes[plane.code][0, plane.axis + k]) for k in (1, 0)]
    return [[_closest(plane.values, v), round(v, 4)] for v in values]


def _closest(values: Sequence[float], value: float) -> int:
    return min(range(len(values)), key=lambda i: abs(values[i] - value))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
