"""The words and tables of `experiments.bench_step`."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.bench_step_cases import AIMS
from experiments.reporting import table

TITLES = {"ours": "ours", "torch": "PyTorch", "torch_compile": "torch.compile"}
# On a GPU, at 64x64 only.
GPU_AIMS = {"torch": 3.0, "torch_compile": 1.5}
NOTES = {
    "turns": "Medians over {rounds} rounds, in which the sides take turns; in brackets the "
    "smallest and the largest ratio of a round. Batch {batch} throughout; both sides have the same "
    "trainable parameters, player by player.",
    "work": "PyTorch's step does no dead work: generated images are detached, and a player that "
    "does not move gets no weight gradients. Ours also computes what training logs (each code "
    "dimension's divergence, whether all parameters are finite).",
    "flops": "FLOPs of a step: ours as the compiler counts {counted} (element-wise work is in it, "
    "products with padding are not; our sub-pixel forms of strided convolutions on a CPU have a "
    "count of their own), PyTorch's by its counter (convolutions and matrix products, 2 for a "
    "multiply-add, padding in it). GFLOP/s and the shares of the peak are those of {common} on "
    "both sides, so that they compare as the speeds do.",
    "memory": "Peak memory: ours is arguments, results and temporary arrays of the compiled call; "
    "PyTorch's is {theirs}. Both with {images:,} images.",
    "cpu": "CPU seconds are those of the whole process, all threads, while a side has its turn.",
}
COUNTED = {"cpu": "its compiled program", "gpu": "the program that it is given"}
THEIR_MEMORY = {
    "cpu": "parameters, optimisers, images and all that its allocator handed out in one step, "
    "without oneDNN's own",
    "gpu": "its allocator's peak in one step",
}


def middle(side: Mapping[str, Any], name: str = "steps_per_second") -> float:
    """Median over the rounds."""
    return statistics.median(side[name])


def spread(values: Sequence[float]) -> str:
    """As in "1.32 (1.25 to 1.40)"."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def aim(row: Mapping[str, Any], side: str, backend: str) -> float | None:
    """The ratio that is aimed at, if any."""
    if backend == "cpu":
        return AIMS[row["family"]]
    large = row["family"] == "gan" and row["image_shape"][0] == 64
    return GPU_AIMS[side] if large else None


def verdict(row: Mapping[str, Any], side: str, backend: str) -> str:
    """As in "1.3, met", by the median."""
    wanted = aim(row, side, backend)
    if wanted is None:
        return ""
    met = statistics.median(row["ratios"][side]) >= wanted
    return f"{wanted:.1f}, {'met' if met else 'missed'}"


def sides_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sides of a bench, ours first."""
    return [side for side in TITLES if all(side in row["sides"] for row in rows)]


def speed_table(content: Mapping[str, Any]) -> str:
    """Steps a second, ratios, CPU seconds."""
    rows, backend = content["rows"], content["backend"]
    sides = sides_of(rows)
    head = ["case", *(f"{TITLES[side]} steps/s" for side in sides)]
    for side in sides[1:]:
        head += [f"ours / {TITLES[side]}", "aim"]
    head.append(f"CPU s a step, {' / '.join(TITLES[side] for side in sides)}")
    lines = []
    for row in rows:
        own = [row["sides"][side] for side in sides]
        cells = [f"`{row['case']}`", *(f"{middle(side):.3g}" for side in own)]
        for side in sides[1:]:
            cells += [spread(row["ratios"][side]), verdict(row, side, backend)]
        lines.append([*cells, " / ".join(f"{middle(side, 'cpu_seconds'):.3g}" for side in own)])
    return table(head, lines)


def count_table(content: Mapping[str, Any]) -> str:
    """FLOPs, their rate, the share of the peak, memory, seconds to compile."""
    rows, peak = content["rows"], max(content["matmul_peak"].values())
    sides = sides_of(rows)
    names = " / ".join(TITLES[side] for side in sides)
    head = ["case", "GFLOP a step, ours / PyTorch" if len(sides) > 1 else "GFLOP a step"]
    head += [f"GFLOP/s, {names}", f"share of peak, {names}", f"peak MiB, {names}"]
    head += ["our compile s", "first call s of the others"][: 2 if len(sides) > 1 else 1]
    head.append("parameters")
    lines = []
    for row in rows:
        own = [row["sides"][side] for side in sides]
        rates = [common_flops(row) * middle(side) for side in own]
        cells = [
            f"`{row['case']}`",
            " / ".join(f"{side['flops'] / 1e9:.3g}" for side in own[:2]),
            " / ".join(f"{rate / 1e9:.3g}" for rate in rates),
            " / ".join(f"{rate / peak:.0%}" for rate in rates),
            " / ".join(mebibytes(side["memory_bytes"]) for side in own),
            f"{own[0]['compile_seconds']:.1f}",
        ]
        if len(sides) > 1:
            cells.append(" / ".join(f"{side['first_call_seconds']:.1f}" for side in own[1:]))
        lines.append([*cells, f"{sum(row['parameters'].values()):,}"])
    return table(head, lines)


def common_flops(row: Mapping[str, Any]) -> float:
    """The one count that both sides' FLOP/s are taken of: PyTorch's where there is one."""
    return (row["sides"].get("torch") or row["sides"]["ours"])["flops"]


def mebibytes(count: float | None) -> str:
    """Bytes in MiB."""
    return "unknown" if count is None else f"{count / 2**20:,.0f}"


def peak_line(content: Mapping[str, Any]) -> str:
    """What products of square matrices reach."""
    found = (f"{TITLES[n]} {p / 1e9:,.0f}" for n, p in content["matmul_peak"].items())
    cores = "" if content["cores"] is None else f", {content['cores']} cores"
    return f"{content['device']}{cores}: matrix products at {', '.join(found)} GFLOP/s"


def progress(row: Mapping[str, Any]) -> str:
    """A case in one line."""
    own = row["sides"]
    speeds = ", ".join(f"{TITLES[side]} {middle(values):.3g}" for side, values in own.items())
    found = "; ".join(f"ours / {TITLES[n]} {spread(r)}" for n, r in row["ratios"].items())
    players = ", ".join(f"{name} {count:,}" for name, count in row["parameters"].items())
    return f"{row['case']}: steps/s {speeds}; {found or 'no ratio'}; parameters {players}"


def page(content: Mapping[str, Any]) -> str:
    """The whole page."""
    rows = content["rows"]
    both = "torch" in sides_of(rows)
    words = {
        "rounds": content["rounds"],
        "batch": rows[0]["batch_size"],
        "common": "PyTorch's count" if both else "the compiler's count",
        "counted": COUNTED[content["backend"]],
        "theirs": THEIR_MEMORY[content["backend"]],
        "images": content["num_images"],
    }
    made = content["versions"]
    libraries = ", ".join(f"{n} {made[n]}" for n in ("jax", "jaxlib", "torch") if n in made)
    commit = made.get("commit", "unknown")[:7] + " with changes" * bool(made.get("dirty"))
    parts = [
        "# A training step of ours and of PyTorch",
        speed_table(content),
        count_table(content),
        "\n".join(f"- `{row['case']}`: {row['words']}" for row in rows),
        *(NOTES[name].format(**words) for name in (NOTES if both else ("cpu",))),
        f"{peak_line(content)}; the larger one is the peak. Precision `{content['precision']}`. "
        f"{libraries}; commit {commit}. Made by `{content['command']}`.",
    ]
    return "\n\n".join(parts) + "\n"
