"""results.json as tables: each score with a phrase, its spread, and the recipe it was made by.

Whatever is there is shown; what has no table of its own stands in the last one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ivg import rundir
from ivg.report import words
from ivg.report.document import escaped, folded, number, steps, table

OWN = ("method", "data", "step", "seed", "versions", "cost", "figures", "attributes")
OWN += ("clustering", "kmeans", "kmeans_codes", "disentanglement", "bounds", "rates", "rollbacks")
FEATURES = {"fid": "Fréchet inception distance", "frechet_classifier": "Fréchet distance"}


def headlines(results: Mapping) -> list[tuple[str, float, str]]:
    """The few numbers that stand at the top: (name, value, what to compare it with)."""
    found = []
    for path, name in words.HEADLINES:
        value = at(results, path)
        pixels = at(results, ("kmeans", *path[1:])) if path[0] == "clustering" else None
        beside = "" if pixels is None else f"k-means on pixels {number(pixels)}"
        if isinstance(value, int | float):
            found.append((name, value, beside))
    for name, swap in (at(results, ("attributes", "swap")) or {}).items():
        if isinstance(swap.get("accuracy"), int | float):
            found.insert(0, (f"{name} swapped, accuracy", swap["accuracy"], ""))
    return found[:4]


def at(results: Mapping, path: Sequence[str]) -> Any:
    """What stands at a path of names; None where there is nothing."""
    value: Any = results
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def flat_scores(results: Mapping) -> dict[str, float]:
    """The numbers of a run's results by dotted name; of a metric with a recipe, its mean."""
    skipped = ("step", "seed", "versions", "cost", "figures", "disentanglement", "attributes")
    skipped += ("rollbacks",)
    flat = rundir.flatten({name: v for name, v in results.items() if name not in skipped})
    for name, score in (results.get("disentanglement") or {}).items():
        flat[f"disentanglement.{name}"] = score.get("mean")
    found = results.get("attributes") or {}
    for pair, score in found.get("information", {}).items():
        if isinstance(score, Mapping) and "mean" in score:
            flat[f"I({pair})"] = score["mean"]
    for name, swap in found.get("swap", {}).items():
        flat[f"swap.{name}"] = swap.get("accuracy")
    return {
        name: float(value)
        for name, value in flat.items()
        if isinstance(value, int | float) and ".counts." not in name
    }


def spoken(name: str) -> str:
    """A dotted name as words."""
    return name.replace("_", " ").replace(".", ": ").replace("/", ": ").replace(";", "; ")


def scores(results: Mapping) -> str:
    """All tables."""
    parts = [clustering(results), disentanglement(results), attributes(results)]
    parts += [features(results, name, title) for name, title in FEATURES.items()]
    parts += [information(results), others(results)]
    return "\n".join(part for part in parts if part)


def named(name: str, label: str = "") -> str:
    """A score's name with its phrase below."""
    about = words.phrase(name)
    return escaped(label or name.replace("_", " ")) + (
        f"<small>{escaped(about)}</small>" if about else ""
    )


def clustering(results: Mapping) -> str:
    """Clusters beside k-means on the pixels, or k-means on the codes."""
    own, pixels, codes = (results.get(n) for n in ("clustering", "kmeans", "kmeans_codes"))
    columns = {str(results.get("method", "")): own, "k-means on pixels": pixels}
    columns |= {"k-means on codes": codes}
    columns = {name: c for name, c in columns.items() if isinstance(c, Mapping)}
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    return table(
        ["", *columns],
        ([named(n), *(number(c.get(n)) for c in columns.values())] for n in rows),
        caption="Clustering of the test images",
    )


def disentanglement(results: Mapping) -> str:
    """Scores of true factors: mean, deviation over the metric's seeds, recipe."""
    found = results.get("disentanglement") or {}
    rows, behind = [], []
    for name, score in found.items():
        values = score.get("values", [])
        spread = number(score.get("std")) if len(values) > 1 else "–"
        recipe = score.get("reason") or flat_words(score.get("recipe") or {})
        rows.append([named(name), number(score.get("mean")), spread, str(len(values)),
                     f"<small>{escaped(recipe)}</small>"])  # fmt: skip
        behind += details(name, score)
    head = ["", "mean", "std over seeds", "seeds", "recipe"]
    return table(head, rows, caption="Disentanglement of the codes", kind="recipes") + folded(
        "Behind the disentanglement scores", *behind
    )


def details(name: str, score: Mapping) -> list[str]:
    """What a score is made of: every value of it, and its details."""
    rows = [["values", ", ".join(number(v) for v in score.get("values", []))]]
    for key, value in (score.get("details") or {}).items():
        rows.append([escaped(key.replace("_", " ")), nested(value)])
    return [table(["", ""], rows, caption=name.replace("_", " "), kind="plain")]


def nested(value: object) -> str:
    """Numbers, lists and lists of lists as HTML."""
    if isinstance(value, list | tuple):
        if any(isinstance(v, list | tuple) for v in value):
            return "<br>".join(nested(v) for v in value)
        return " &nbsp;".join(number(v) for v in value) or "none"
    if isinstance(value, Mapping):
        return "<br>".join(f"{escaped(k)}: {nested(v)}" for k, v in value.items())
    return number(value)


def flat_words(recipe: Mapping) -> str:
    """A recipe in a line: "rows 10,000; bins 20; seeds 0"."""
    parts = []
    for name, value in rundir.flatten(recipe).items():
        listed = value if isinstance(value, list) else [value]
        shown = ", ".join(f"{v:,}" if isinstance(v, int) else str(v) for v in listed)
        parts.append(f"{name.replace('_', ' ')} {shown}")
    return "; ".join(parts)


def attributes(results: Mapping) -> str:
    """Information in bits, swapped attributes, and what the codes tell of true factors."""
    found = results.get("attributes")
    if not found:
        return ""
    bits = found.get("information", {})
    rows = [
        [named(pair, f"I({pair.replace(';', '; ')})"), number(bits[pair]["mean"]),
         number(bits[pair]["std"]), ", ".join(number(v) for v in bits[pair].get("values", []))]
        for pair in ("c;y", "z;y", "z;c") if pair in bits
    ]  # fmt: skip
    rows += [["H(y)<small>entropy of the test labels, the ceiling</small>",
              number(bits.get("entropy_y")), "", ""]] if rows else []  # fmt: skip
    recipe = f"By networks trained afresh: {flat_words(bits.get('recipe', {}))}."
    parts = [
        table(["", "mean", "std of estimates", "estimates"], rows, caption="Information in bits"),
        f'<p class="recipe">{escaped(recipe)}</p>' if bits.get("recipe") else "",
    ]
    swaps = [
        [escaped(name), number(swap.get("accuracy")), number(swap.get("classifier_accuracy")),
         escaped(swap.get("reason", ""))]
        for name, swap in found.get("swap", {}).items()
    ]  # fmt: skip
    head = ["", "accuracy", "the judge on real images", ""]
    parts.append(table(head, swaps, caption="Attributes turned to their other value"))
    return "\n".join([*parts, leak(found.get("leak", []))])


def leak(rows: Sequence[Mapping]) -> str:
    """What boosted trees and linear models read of every true factor from either code."""
    codes = [c for c in ("c", "z", "c_mean", "z_mean") if rows and c in rows[0]]
    head = ["factor", "measure", "chance", *(f"{c.replace('_', ' ')}, {kind}" for c in codes
            for kind in ("linear", "boosted"))]  # fmt: skip
    body = [
        [f"{escaped(row['name'])}<small>{escaped(row.get('kind', ''))}</small>",
         escaped(row.get("measure", "")), number(row.get("chance")),
         *(number(row[c].get(kind)) for c in codes for kind in ("linear", "boosted"))]
        for row in rows
    ]  # fmt: skip
    counts = f"{steps(rows[0]['train'])} training, {steps(rows[0]['test'])} test images" if (
        rows and "train" in rows[0]) else ""  # fmt: skip
    note = f'<p class="recipe">{counts}; c and z are draws, “mean” the posterior’s means.</p>'
    return folded(
        "True factors that can be read from c and from z",
        table(head, body, caption="Share of a true factor that a predictor gets right"),
        note if counts else "",
    )


def features(results: Mapping, name: str, title: str) -> str:
    """Frechet distance, KID, precision and recall, with what they are of."""
    found = results.get(name)
    if not isinstance(found, Mapping):
        return ""
    values = {n: v for n, v in found.items() if isinstance(v, int | float)}
    rest = {n: v for n, v in found.items() if n not in values}
    body = [[named(n), number(value)] for n, value in values.items()]
    return table(["", ""], body, caption=f"{title}: {found.get('features', '')}") + (
        f'<p class="recipe">{escaped(flat_words(rest))}</p>'
    )


def information(results: Mapping) -> str:
    """Bounds on the codes' information, and the divergence of each dimension as bars."""
    bounds = results.get("bounds") or {}
    rows = [[named(n), number(v)] for n, v in bounds.items() if isinstance(v, int | float)]
    parts = [table(["", ""], rows, caption="Information in the codes")]
    for kl, title in ((bounds.get("kl"), "KL of each code, nats"), (results.get("rates"),
                      "KL of each code of test images, nats")):  # fmt: skip
        if kl:
            parts.append(bars(kl, title))
    return "\n".join(part for part in parts if part)


def bars(values: Sequence[float], title: str) -> str:
    """A bar for each dimension, with its number."""
    top = max(max(values), 1e-9)
    rows = [
        [str(i + 1), f'<span class="bar" style="--part:{100 * max(v, 0.0) / top:.1f}%"></span>'
         f"{number(float(v))}"]
        for i, v in enumerate(values)
    ]  # fmt: skip
    return table(["dimension", "nats"], rows, caption=title, kind="bars")


def others(results: Mapping) -> str:
    """Every number that has no table above."""
    left = {n: v for n, v in results.items() if n not in OWN and n not in FEATURES}
    rows = [[named(n, spoken(n)), nested(v)] for n, v in rundir.flatten(left).items()]
    return table(["", ""], rows, caption="Images")


def cost(results: Mapping) -> str:
    """What the training cost, as `cost.jsonl` reports it."""
    found = rundir.flatten(results.get("cost") or {})
    rows = [[escaped(n.replace("_", " ").replace(".", ": ")), nested(v)] for n, v in found.items()]
    return folded("What the training cost", table(["", ""], rows, caption="Cost", kind="plain"))


def versions(results: Mapping) -> str:
    """The libraries and devices that the scores were made with."""
    rows = [[escaped(n), escaped(v)] for n, v in (results.get("versions") or {}).items()]
    return folded("Versions", table(["", ""], rows, caption="Versions", kind="plain"))
