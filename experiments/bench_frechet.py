"""Time and memory of the Frechet distance and its company, on features like Inception's.

  python -m experiments.bench_frechet
  python -m experiments.bench_frechet --images=10000 --parts=frechet --threads=1

Features are drawn (rectified, correlated, float32) and handed over in chunks, as a network would;
drawing them is not in the times. Each part runs in a process of its own, whose peak memory it is:
`frechet` streams both sets and takes the distance, `kid` and `precision_recall` hold both sets.
CPU seconds above the wall's: so many cores were busy. Writes bench_frechet.json and .md.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from experiments.options import names
from experiments.reporting import table
from ivg.errors import UserError
from ivg.metrics import frechet
from ivg.metrics.feature_scores import MANIFOLD_IMAGES
from ivg.metrics.kid import SUBSET_SIZE, SUBSETS, kernel_distance
from ivg.metrics.precision_recall import NEIGHBOURS, precision_recall

CHUNK = 500  # images that a network would see at once
HIDDEN = 64  # directions in which the features vary most
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Clock:
    """Wall and CPU seconds of what runs inside of `with`, added up."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> "Clock":
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]


def chunks(images: int, dims: int, seed: int) -> Iterator[np.ndarray]:
    """Features [n, dims] float32 of so many images, at least 0 and correlated."""
    mix = np.random.default_rng(0).normal(size=(HIDDEN, dims)).astype(np.float32) / 8
    rng = np.random.default_rng(seed)
    for start in range(0, images, CHUNK):
        n = min(CHUNK, images - start)
        own = rng.standard_normal((n, HIDDEN), np.float32) @ mix
        own += 0.3 * rng.standard_normal((n, dims), np.float32) + 0.01 * seed
        yield np.maximum(own, 0.0)


def streamed(images: int, dims: int, clock: Clock) -> float:
    """The distance of two sets of which a chunk at a time is in memory."""
    totals = []
    for seed in (1, 2):
        total = None
        for chunk in chunks(images, dims, seed):
            with clock:
                own = frechet.moments(chunk)
                total = own if total is None else frechet.merge(total, own)
        totals.append(total)
    with clock:
        return frechet.moments_distance(*totals)


def whole(images: int, dims: int, clock: Clock, score: Callable) -> float:
    """A score of two sets in memory."""
    sets = [np.concatenate(list(chunks(images, dims, seed))) for seed in (1, 2)]
    with clock:
        return score(*sets)[0]


def kid(images: int, dims: int, clock: Clock) -> float:
    """Kernel distance, 100 subsets of 1,000."""
    return whole(images, dims, clock, kernel_distance)


def manifolds(images: int, dims: int, clock: Clock) -> float:
    """Precision of as many images as are scored by default."""
    return whole(min(images, MANIFOLD_IMAGES), dims, clock, precision_recall)


PARTS = {"frechet": streamed, "kid": kid, "precision_recall": manifolds}
WORDS = {
    "frechet": "two means, two covariances, the distance",
    "kid": f"{SUBSETS} subsets of {SUBSET_SIZE:,}",
    "precision_recall": f"at most {MANIFOLD_IMAGES:,} of each set, k = {NEIGHBOURS}",
}


def measure(part: str, images: int, dims: int) -> dict:
    """A row, in this process."""
    clock = Clock()
    value = PARTS[part](images, dims, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "part": part,
        "images": images,
        "dims": dims,
        "wall_seconds": clock.wall,
        "cpu_seconds": clock.cpu,
        # Kibibytes, but bytes on a Mac.
        "peak_gib": peak / (2**30 if sys.platform == "darwin" else 2**20),
        "value": value,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


def in_child(part: str, options: argparse.Namespace) -> dict:
    """The same in a process of its own, with so many threads."""
    command = [sys.executable, "-m", "experiments.bench_frechet", f"--child={part}"]
    command += [f"--images={options.images}", f"--dims={options.dims}"]
    own = os.environ | dict.fromkeys(THREADS, str(options.threads))
    done = subprocess.run(command, env=own, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout) | {"threads": options.threads, "cores": os.cpu_count()}


def markdown(rows: list[dict]) -> str:
    """The page."""
    head = ("part", "images", "features", "threads", "wall s", "CPU s", "peak GiB", "what")
    cells = [
        (
            f"`{row['part']}`",
            f"2 x {row['images']:,}",
            f"{row['dims']:,}",
            row["threads"],
            f"{row['wall_seconds']:.1f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['peak_gib']:.2f}",
            WORDS[row["part"]],
        )
        for row in rows
    ]
    note = (
        "Scores of two sets of features, without the network that makes them; numpy and scipy in "
        "float64. `frechet` holds a chunk of features at a time, the others both sets."
    )
    return "\n".join(["# Frechet distance: time and memory", "", table(head, cells), "", note, ""])


def which(row: dict) -> tuple:
    """What a row is of: a new one replaces the old one of the same."""
    return list(PARTS).index(row["part"]), row["images"], row["dims"], row["threads"]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas")
    parser.add_argument("--images", type=int, default=50_000, help="of each set")
    parser.add_argument("--dims", type=int, default=2048, help="features of an image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("experiments/results"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.images, options.dims)))
        return
    path = options.out / "bench_frechet.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    for part in names("--parts", options.parts, PARTS):
        row = in_child(part, options)
        print(f"{part}: {row['wall_seconds']:.1f} s, {row['peak_gib']:.2f} GiB", flush=True)
        rows = [old for old in rows if which(old) != which(row)] + [row]
    rows.sort(key=which)
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n")
    (options.out / "bench_frechet.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
