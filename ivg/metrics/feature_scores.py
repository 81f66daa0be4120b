"""All scores of two sets of features: Frechet distance, kernel distance, precision and recall.

The command `python -m ivg.metrics.frechet real.npz fake.npz` prints them for features in files.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ivg import command_line, npz
from ivg.errors import UserError
from ivg.metrics import frechet
from ivg.metrics.disentanglement.checks import at_least
from ivg.metrics.kid import SUBSET_SIZE, SUBSETS, kernel_distance
from ivg.metrics.precision_recall import NEIGHBOURS, precision_recall

MANIFOLD_IMAGES = 10_000  # of each set: time grows with their square


def compare(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    kid_subsets: int = SUBSETS,
    manifold_images: int = MANIFOLD_IMAGES,
    seed: int = 0,
) -> dict[str, Any]:
    """Every score of two sets of features of one network.

    Args:
        real, generated: `[N, D]` and `[M, D]`, more than three rows each.
        kid_subsets: of the kernel distance.
        manifold_images: precision and recall take so many rows of each set at most, the same
            number of both, drawn at random.
        seed: of all draws.

    Returns:
        Numbers by name, with the counts that they are of.

    Raises:
        UserError: features are not finite, differ in length, or there are too few.

    Examples:
        >>> from ivg.metrics.feature_scores import compare
        >>> features = np.random.default_rng(0).normal(size=(50, 4))
        >>> scores = compare(features, features, kid_subsets=3)
        >>> round(scores["distance"], 6), scores["precision"], scores["counts"]["generated"]
        (0.0, 1.0, 50)
    """
    real, generated = frechet.together(real, generated)
    at_least(1, manifold_images=manifold_images)
    kid = kernel_distance(real, generated, subsets=kid_subsets, seed=seed)
    rng = np.random.default_rng(seed)
    rows = min(manifold_images, len(real), len(generated))
    drawn = [s[rng.permutation(len(s))[:rows]] for s in (real, generated)]
    shares = precision_recall(*drawn)
    return {
        "distance": frechet.distance(real, generated),
        "kid_mean": kid.mean,
        "kid_std": kid.std,
        "precision": shares.precision,
        "recall": shares.recall,
        "counts": {
            "real": len(real),
            "generated": len(generated),
            "dims": real.shape[1],
            "kid_subsets": kid.subsets,
            "kid_subset_size": kid.subset_size,
            "precision_recall": rows,
            "neighbours": shares.neighbours,
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores the files that the arguments name; returns the exit code."""
    try:
        flags = _flags(arguments)
        sets = [read(pathlib.Path(name)) for name in (flags.real, flags.generated)]
        scores = compare(*sets, seed=flags.seed)
        if flags.json:
            write(pathlib.Path(flags.json), scores)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(scores))
    return 0


def read(path: pathlib.Path) -> np.ndarray:
    """The array `features` of an npz file.

    Raises:
        UserError: there is no such file, it is no npz file, or it has no such array.
    """
    arrays = read_arrays(path, ("features", "images"))
    if "features" not in arrays:
        raise UserError(
            f"{path} has images but no features: python -m ivg.frechet_scores {path} ... makes "
            "features of images, with --weights=FILE"
        )
    return arrays["features"]


def read_arrays(path: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the named arrays that an npz file has, at least one.

    Raises:
        UserError: there is no such file, it is no npz file of plain arrays, or it has none of them.
    """
    arrays, there = npz.read(path, names)
    if not arrays:
        found = ", ".join(there) or "nothing"
        raise UserError(f"{path} has no array {' or '.join(map(repr, names))}, only {found}")
    return arrays


def table(scores: Mapping[str, Any]) -> str:
    """A line per score, with what it is of."""
    n = scores["counts"]
    subsets = f"{n['kid_subsets']} subsets of {n['kid_subset_size']}"
    manifold = f"{n['precision_recall']} images each, {n['neighbours']} neighbours"
    rows = (
        ("Frechet distance", scores["distance"], f"{n['real']} and {n['generated']} images"),
        ("KID, mean", scores["kid_mean"], subsets),
        ("KID, std", scores["kid_std"], subsets),
        ("precision", scores["precision"], manifold),
        ("recall", scores["recall"], manifold),
    )
    return "\n".join(f"{name:<18}{value:14.6f}  {words}" for name, value, words in rows)


def write(path: pathlib.Path, scores: Mapping[str, Any]) -> None:
    """Scores as a JSON file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.write_text(json.dumps(scores, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ivg.metrics.frechet",
        description="Frechet distance, KID, precision and recall of two sets of features\n"
        f"(k = {NEIGHBOURS}, subsets of {SUBSET_SIZE}).",
        epilog="  python -m ivg.metrics.frechet real.npz generated.npz --json=scores.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("real", help="npz file with an array features [N, D]")
    parser.add_argument("generated", help="npz file with an array features [M, D]")
    parser.add_argument("--seed", type=int, default=0, help="of the random subsets")
    parser.add_argument("--json", help="file for all scores")
    return command_line.parse(parser, arguments)
