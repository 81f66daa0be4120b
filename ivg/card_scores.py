"""The scores of a run in the words and tables of its model card, from results.json."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Table = Sequence[Sequence[str]]


def score_sections(
    results: Mapping[str, Any], run: Mapping[str, Any]
) -> Iterator[tuple[str, str, Table]]:
    """(title, recipe in words, table) for everything in a run's results.json."""
    limit = f"at most {count(run['eval_images'])} test images"
    if "clustering" in results:
        rows = [("", plain(results["method"]), "k-means (pixels)")]
        rows += [
            (plain(n), number(v), number(results["kmeans"][n]))
            for n, v in _of(results, "clustering")
        ]
        words = f"Clusters are the argmax of `d`, on {limit}; the many-to-one map is fitted on"
        yield "Clustering", f"{words} training images.", rows
    if "kmeans_codes" in results:
        rows = [("", "k-means (codes)"), *_numbers(results["kmeans_codes"])]
        yield "Clustering", f"k-means on the means of the continuous codes, on {limit}.", rows
    single = [(plain(n), number(v)) for n, v in results.items() if isinstance(v, float)]
    if single:
        words = (
            f"Means over {limit}. `reconstruction_mse` is per pixel and channel, images in "
            "[-1, 1]. Those of the log-likelihood are a lower bound and its parts, nats per image "
            "for the method's own likelihood: two likelihoods do not compare."
        )
        yield "Images", words, [("", "value"), *single]
    if results.get("disentanglement"):
        yield _disentanglement(results["disentanglement"])
    if "bounds" in results:
        rows = _numbers({n: v for n, v in results["bounds"].items() if isinstance(v, float)})
        words = "Bounds on the mutual information of codes and 10,000 generated images, nats."
        yield "Information", words, [("", "value"), *rows]
    for name in ("fid", "frechet_classifier"):
        if name in results:
            yield _frechet(name, results[name])
    if "attributes" in results:
        yield from _attributes(results["attributes"])


def _of(results: Mapping[str, Any], group: str) -> list[tuple[str, Any]]:
    return list(results[group].items())


def _numbers(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(plain(name), number(value)) for name, value in scores.items()]


def _disentanglement(scores: Mapping[str, Any]) -> tuple[str, str, Table]:
    rows = [("metric", "mean", "std over draws", "recipe")]
    for name, score in scores.items():
        recipe = code_span(score["reason"]) if "reason" in score else recipe_words(score["recipe"])
        rows.append((plain(name), number(score["mean"]), number(score["std"]), recipe))
    words = "Of the means of the continuous codes, against the true factors of the data."
    return "Disentanglement", words, rows


def _frechet(name: str, scores: Mapping[str, Any]) -> tuple[str, str, Table]:
    parts = ("distance", "kid_mean", "kid_std", "precision", "recall")
    recipe = {n: v for n, v in scores.items() if n not in parts}
    title = "FID" if name == "fid" else "Frechet distance (not the FID)"
    words = f"Generated images against training images: {recipe_words(recipe)}"
    return title, words, [("", "value"), *((part, number(scores[part])) for part in parts)]


def _attributes(scores: Mapping[str, Any]) -> Iterator[tuple[str, str, Table]]:
    bits = scores["information"]
    pairs = [(f"I({p})", bits[p]) for p in ("c;y", "z;y", "z;c")]
    rows = [(name, number(score["mean"]), number(score["std"])) for name, score in pairs]
    entropy = f"Bits, estimated by networks (MINE), H(y) = {number(bits['entropy_y'])}."
    words = f"{entropy} Recipe: {recipe_words(bits['recipe'])}"
    yield "Attributes: information", words, [("", "mean", "std of estimates"), *rows]
    rows = [("attribute", "swapped as told", "classifier's own accuracy")]
    for name, swap in scores["swap"].items():
        own = number(swap["classifier_accuracy"])
        rows.append((code_span(name), number(swap["accuracy"]), own))
    words = "How often a classifier, trained on real images, sees the attribute that was put in."
    yield "Attributes: swaps", words, rows
    if scores.get("leak"):
        rows = [("true factor", "measure", "chance", "from c", "from z")]
        for row in scores["leak"]:
            found = [number(row[code]["boosted"]) for code in ("c", "z")]
            rows.append(
                (code_span(row["name"]), plain(row["measure"]), number(row["chance"]), *found)
            )
        words = "What boosted trees read from samples of c and of z, on test rows."
        yield "Attributes: what c and z tell of the true factors", words, rows


# ---- words --------------------------------------------------------------------------------------


def code_span(value: object) -> str:
    """Any text as a code span that it cannot end and that no cell of a table is broken by."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "/")
    return f"`{text}`" if text else "(none)"


def plain(name: object) -> str:
    """A name as it is where it is one of ours; anything else as a code span."""
    return str(name) if re.fullmatch(r"[\w .;:()/+-]+", str(name)) else code_span(name)


def count(value: object) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}" if isinstance(value, int) else plain(value)


def number(value: object) -> str:
    """A score with four decimals; a dash where it is not defined."""
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """A recipe as it is recorded: `seeds=[0], train_votes=10000`."""
    pairs = [f"{name}={json.dumps(value)}" for name, value in recipe.items()]
    return code_span(", ".join(pairs).replace('"', ""))
