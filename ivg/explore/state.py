"""What the controls of the page stand for: codes of one image, as arrays, and back.

`state` is the codes of the image that is shown, name -> float32 [size], exactly as they were
inferred or drawn. Sliders show them rounded and within their range; what the user did not touch is
taken from the state, so that an encoded image does not jump when one slider is moved.
"""

import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ivg.log import read_metrics
from ivg.players import Code

State = dict[str, np.ndarray]

SHOWN = 10  # sliders beside the image, at most; the others are folded away
INFORMATIVE = 0.05  # nats; a code whose KL is below says nothing of the image
STEP = 0.01  # of sliders
LAST = 3  # logged values that the KL is the mean of


class Slider(NamedTuple):
    """A dimension of a continuous code.

    code, axis: which.
    low, high: its range.
    label: what stands above the slider.
    """

    code: str
    axis: int
    low: float
    high: float
    label: str


def sliders(
    codes: Mapping[str, Code], attributes: Sequence[str] = (), kl: Sequence[float] | None = None
) -> tuple[list[Slider], list[Slider]]:
    """A slider for each dimension of the continuous codes: those to show, those to fold away.

    Args:
        codes: of the model.
        attributes: names; dimensions of the code c belong to them in turn, equally many to each.
        kl: nats per dimension of all continuous codes, side by side; the largest then come first
            and those that say nothing are folded away. None keeps the order.
    """
    names = [name for name, code in codes.items() if code.kind == "continuous"]
    places = [(name, axis) for name in names for axis in range(codes[name].size)]
    amounts = dict(zip(places, kl, strict=True)) if kl is not None else {}
    if amounts:
        places.sort(key=lambda place: -amounts[place])

    def made(name: str, axis: int) -> Slider:
        code, label = codes[name], f"{name}{axis + 1}"
        if attributes and name == "c":
            each = code.size // len(attributes)
            label += f" · {attributes[axis // each]}"
        if amounts:
            label += f" · {amounts[name, axis]:.2f} nats"
        return Slider(name, axis, code.low, code.high, label)

    shown = [place for place in places if amounts.get(place, INFORMATIVE) >= INFORMATIVE]
    shown = shown[:SHOWN] or places[:SHOWN]
    rest = [place for place in places if place not in shown]
    return [made(*place) for place in shown], [made(*place) for place in rest]


def known_kl(workdir: pathlib.Path, count: int) -> list[float] | None:
    """KL per dimension in nats where the run knows it for `count` dimensions.

    As evaluation found it (results.json), else as training logged it last.
    """
    try:
        evaluated = json.loads((workdir / "results.json").read_text())["bounds"]["kl"]
    except (OSError, ValueError, KeyError, TypeError):
        evaluated = ()
    found = dict(enumerate(evaluated, 1)) or {
        int(named[1]): float(np.mean(values[-LAST:]))
        for name, (_, values) in read_metrics(workdir).items()
        if (named := re.fullmatch(r"\w+/kl_(\d+)", name))
    }
    whole = sorted(found) == list(range(1, count + 1)) and np.all(np.isfinite(list(found.values())))
    return [found[i + 1] for i in range(count)] if whole and count else None


def classes(codes: Mapping[str, Code]) -> list[str]:
    """Names of the categorical codes."""
    return [name for name, code in codes.items() if code.kind == "categorical"]


def noises(codes: Mapping[str, Code]) -> list[str]:
    """Names of the codes that no slider moves."""
    return [name for name, code in codes.items() if code.kind == "noise"]


def middle(codes: Mapping[str, Code]) -> State:
    """The first class, all else 0."""
    state = {name: np.zeros(code.size, np.float32) for name, code in codes.items()}
    for name in classes(codes):
        state[name][0] = 1.0
    return state


def first(batch: Mapping[str, np.ndarray]) -> State:
    """The codes of the first image of a batch."""
    return {name: np.array(code[0], np.float32) for name, code in batch.items()}


def value(state: State, slider: Slider) -> float:
    """What a slider shows of a state: a multiple of its step, within its range."""
    exact = float(np.clip(state[slider.code][slider.axis], slider.low, slider.high))
    steps = round((exact - slider.low) / STEP)
    return float(np.clip(round(slider.low + steps * STEP, 6), slider.low, slider.high))


def chosen(state: State, name: str) -> int:
    """The class that is shown of a categorical code."""
    return int(np.argmax(state[name]))


def moved(
    state: State,
    sliders: Sequence[Slider],
    values: Sequence[float],
    picked: Mapping[str, int] | None = None,
) -> State:
    """The state after sliders and class buttons were set; equal where they show what it is.

    Args:
        state: before.
        sliders, values: where each slider stands now.
        picked: the chosen class of each categorical code.
    """
    new = {name: code.copy() for name, code in state.items()}
    for slider, now in zip(sliders, values, strict=True):
        if abs(float(now) - value(state, slider)) > STEP / 2:
            new[slider.code][slider.axis] = np.clip(now, slider.low, slider.high)
    for name, number in (picked or {}).items():
        if number != chosen(state, name):
            new[name] = np.eye(len(state[name]), dtype=np.float32)[number]
    return new


def batch(state: State) -> State:
    """The codes as a batch of one."""
    return {name: code[None] for name, code in state.items()}


def between(a: State, b: State, steps: int) -> State:
    """Codes [steps, size] on the straight way from a to b, both ends included."""
    t = np.linspace(0.0, 1.0, steps, dtype=np.float32)
    return {name: np.outer(1 - t, a[name]) + np.outer(t, b[name]) for name in a}


def with_attribute(state: State, drawn: State, attribute: int, count: int) -> State:
    """The state with one attribute's part of c as in `drawn`.

    Args:
        state: of the image.
        drawn: has a c drawn from p(c | y).
        attribute: its number, of `count`; equally many neighbouring dimensions belong to each.
        count: of attributes.
    """
    each = len(state["c"]) // count
    own = slice(attribute * each, (attribute + 1) * each)
    new = {name: code.copy() for name, code in state.items()}
    new["c"][own] = drawn["c"][own]
    return new
