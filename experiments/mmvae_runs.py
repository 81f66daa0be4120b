"""What the scripts of MMVAE's line share: presets, runs, the thesis' numbers, estimates over seeds.

A run has the directory `<data>_<method>_<seed>` in --workdir; in the sweep over the weights it is
`<data>_mmvae_zy<beta>_zc<gamma>_<seed>`. All scripts of a preset share one --workdir, so that a run
is trained once. Kim, "MMVAE", thesis, 2019: Tables 2 and 3, Figures 11 to 13.
"""

import argparse
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import options, reporting, running
from experiments.running import Preset, Run, Scores, Task
from ivg.configs import celeba_glasses, faces
from ivg.errors import UserError

METHODS = ("r_cvae", "csvae", "mmvae")
DATA = {"faces": faces, "celeba_glasses": celeba_glasses}
PAIRS = ("c;y", "z;y", "z;c")  # in the order of the thesis' Table 2
# preset -> config fields for `running.apply`; the rest is the data set file's
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "smoke": {
        "batch_size": 16,
        "log_every": 5,
        "eval_every": 10,
        "checkpoint_every": 10,
        "eval_images": 50,
        "data.num_images": 200,
        "METHOD.network.width": 0.125,
        "METHOD.dim_z": 8,
        "METHOD.statistics.width": 16,
        "METHOD.statistics.depth": 2,
        "attribute_scores.estimates": 2,
        "attribute_scores.mine_width": 16,
        "attribute_scores.mine_depth": 2,
        "attribute_scores.mine_batch_size": 32,
        "attribute_scores.mine_steps": 20,
        "attribute_scores.quick_steps": 10,
        "attribute_scores.classifier_steps": 10,
    },
    # An eightieth of the thesis' steps: a hundred times its 1e-5 for who estimates information, the
    # learning rate's epochs of as many steps as on the rendered faces, and a start near p(c|y).
    "cpu": {
        "batch_size": 64,
        "log_every": 50,
        "eval_every": 500,
        "checkpoint_every": 1_000,
        "METHOD.network.width": 0.25,
        "METHOD.dim_z": 64,
        "METHOD.epoch_steps": 625,
        "METHOD.kl_c_start": 10.0,
        "METHOD.kl_c_steps": 1_000,
        "METHOD.statistics.width": 128,
        "METHOD.statistics.depth": 3,
        "METHOD.optimizer.T_*.learning_rate": 1e-3,
        "METHOD.optimizer.q_y.learning_rate": 1e-3,
        "attribute_scores.mine_width": 128,
        "attribute_scores.mine_depth": 3,
        "attribute_scores.mine_learning_rate": 1e-3,
        "attribute_scores.mine_steps": 2_000,
        "attribute_scores.quick_steps": 300,
    },
    "paper": {
        "batch_size": 128,
        "log_every": 100,
        "eval_every": 5_000,
        "checkpoint_every": 5_000,
        "METHOD.network.width": 1.0,
        "METHOD.dim_z": 512,
        "METHOD.kl_c_start": 1.0,
        "METHOD.kl_c_steps": 0,
        "METHOD.statistics.width": 512,
        "METHOD.statistics.depth": 7,
        "METHOD.optimizer.T_*.learning_rate": 1e-5,
        "METHOD.optimizer.q_y.learning_rate": 1e-5,
        "attribute_scores.mine_width": 512,
        "attribute_scores.mine_depth": 7,
        "attribute_scores.mine_learning_rate": 1e-4,
        "attribute_scores.mine_steps": 5_000,
        "attribute_scores.quick_steps": 2_000,
        "attribute_scores.classifier_steps": 2_000,
    },
}
# data -> steps of 1,000 epochs and number of seeds of the preset "paper"
PAPER_LENGTH = {"faces": (312_500, 3), "celeba_glasses": (234_000, 1)}
PAPER_DATA = "celeba_glasses"
PAPER_STEPS, PAPER_BATCH, PAPER_DIM_Z, PAPER_SEEDS = 234_000, 128, 512, 1
PAPER_NETWORK, PAPER_RATE, PAPER_ESTIMATES = (512, 7), 1e-5, 5
PAPER_ENTROPY = 0.918  # H(y), bits
# Table 2: method -> pair -> mean and standard deviation of five estimates, bits
PAPER_BITS = {
    "r_cvae": {"c;y": (0.895, 0.014), "z;y": (0.245, 0.005), "z;c": (1.391, 0.044)},
    "csvae": {"c;y": (0.909, 0.012), "z;y": (0.210, 0.018), "z;c": (0.498, 0.051)},
    "mmvae": {"c;y": (0.908, 0.016), "z;y": (0.175, 0.017), "z;c": (0.400, 0.025)},
}


# ---- the command line ---------------------------------------------------------------------------


def parser_of(
    script: str, doc: str, presets: Mapping[str, Preset], *, methods: bool = True
) -> argparse.ArgumentParser:
    """A parser with what all scripts of this line take; a sweep takes no --methods."""
    parser = options.parser_of(script, doc, presets, known=DATA, runs="mmvae")
    parser.add_argument(
        "--data_dir", type=pathlib.Path, help="of celeba_glasses: a tfds directory, zip or folder"
    )
    parser.add_argument(
        "--kl_c_start", type=float, help="of c's divergence instead of the preset's; 1: as later"
    )
    if methods:
        parser.add_argument("--methods", help=f"with commas: {', '.join(METHODS)}")
    return parser


def settle(args: argparse.Namespace) -> argparse.Namespace:
    """The options with the preset's values where none were given; one data set at a time.

    Raises:
        UserError: for values that cannot be.
    """
    data = options.names("--data", args.data, DATA) if args.data is not None else ("faces",)
    if len(data) > 1:
        raise UserError(f"--data={args.data} names {len(data)} data sets; use one at a time.")
    steps, seeds = PAPER_LENGTH[data[0]]
    thesis = args.presets["paper"]
    # A sweep of the preset has fewer seeds than the tables.
    thesis = thesis._replace(num_steps=steps, seeds=min(seeds, thesis.seeds))
    args.presets = dict(args.presets) | {"paper": thesis}
    args = options.settle(args)
    if hasattr(args, "methods"):
        own = args.presets[args.preset].choices
        args.methods = (
            own if args.methods is None else options.names("--methods", args.methods, METHODS)
        )
    if args.kl_c_start is not None and args.kl_c_start < 0:
        raise UserError(f"--kl_c_start={args.kl_c_start} must be at least 0.")
    if args.data_dir is not None and not args.data_dir.exists() and not args.table_only:
        raise UserError(f"--data_dir={args.data_dir} does not exist; name CelebA's zip or folder.")
    return args


def stem(args: argparse.Namespace) -> str:
    """The name of what the script writes: its own, the data set's unless that is faces, options."""
    name = args.script if args.data == ("faces",) else f"{args.script}_{args.data[0]}"
    return name + start_words(args)


def start_words(args: argparse.Namespace) -> str:
    """What --kl_c_start adds to the names of files and directories."""
    return "" if args.kl_c_start is None else f"_klc{args.kl_c_start:g}"


def make_task(
    args: argparse.Namespace,
    data: str,
    method: str,
    seed: int,
    weights: tuple[float, float] | None = None,
) -> Task:
    """A run with the preset's settings.

    Args:
        args: of `settle`.
        data: of `DATA`.
        method: of `METHODS`.
        seed: of the run.
        weights: (weight_zy, weight_zc) of an MMVAE, named in the directory.
    """
    config = DATA[data].get_config(method)
    running.apply(config, SETTINGS[args.preset], method)
    config.seed, config.num_steps = seed, args.num_steps
    if data == "celeba_glasses" and args.data_dir is not None:
        config.data.dir = str(args.data_dir)
    group = f"{data}_{method}{start_words(args)}"
    if args.kl_c_start is not None:
        config[method].kl_c_start = args.kl_c_start
    if weights is not None:
        config[method].weight_zy, config[method].weight_zc = map(float, weights)
        group += f"_zy{weights[0]:g}_zc{weights[1]:g}"
    return Task(group, data, method, seed, json.loads(config.to_json()))


def make_tasks(args: argparse.Namespace) -> list[Task]:
    """The runs of a table: every method and seed."""
    return [
        make_task(args, data, method, seed)
        for data in args.data
        for method in args.methods
        for seed in range(args.seeds)
    ]


# ---- what a run holds ---------------------------------------------------------------------------


def attributes(run: Run) -> Mapping[str, Any]:
    """The scores of attributes; {} where there are none."""
    return (run.results or {}).get("attributes") or {}


INFORMATION = Scores("estimate of information", lambda run: "information" in attributes(run))
SWAP = Scores("swap accuracy", lambda run: bool(attributes(run).get("swap")))


def number(value: float | None) -> float:
    """A float; NaN for JSON's null."""
    return math.nan if value is None else float(value)


def grouped(runs: Sequence[Run], key: Any) -> dict[tuple, list[Run]]:
    """Runs by `key(run)`, which begins with the method; methods in the thesis' order."""
    groups: dict[tuple, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.task.seed):
        groups.setdefault(key(run), []).append(run)
    return dict(sorted(groups.items(), key=lambda item: (METHODS.index(item[0][0]), item[0][1:])))


def measured_with(run: Run) -> str:
    """The estimates' recipe, as a key."""
    found = attributes(run)["information"]
    # Of runs that were scored before several draws could be taken, one was.
    recipe = {"draws": 1} | (found.get("recipe") or {})
    return json.dumps([recipe, len(found["c;y"]["values"])], sort_keys=True)


def estimates(runs: Sequence[Run], pair: str) -> dict[str, Any]:
    """I of one pair in bits: over the seeds' means, and over the estimates within a seed.

    "mean", "std", "values" are those of the seeds' means, "std_estimates" is the root mean square
    of the sample standard deviations within the seeds, "each" holds every estimate of every seed.
    """
    own = [
        reporting.summary(map(number, attributes(run)["information"][pair]["values"]))
        for run in runs
    ]
    within = [s["std"] ** 2 for s in own if s["std"] is not None]
    return reporting.summary(number(s["mean"]) for s in own) | {
        "std_estimates": math.sqrt(sum(within) / len(within)) if within else None,
        "each": [s["values"] for s in own],
    }


def information(runs: Sequence[Run]) -> dict[str, Any]:
    """H(y) and all pairs, with the recipe of the estimates."""
    found = attributes(runs[0])["information"]
    entropies = [number(attributes(run)["information"].get("entropy_y")) for run in runs]
    return {
        "entropy_y": reporting.summary(entropies)["mean"],
        "pairs": {pair: estimates(runs, pair) for pair in PAIRS},
        "recipe": found.get("recipe") or {},
    }


# ---- words --------------------------------------------------------------------------------------


def bits(found: Mapping[str, Any]) -> str:
    """As in "0.895 +- 0.010 (seeds), 0.014 (estimates)"."""
    text = reporting.spread(found, 3)
    if found["mean"] is None or found["std_estimates"] is None:
        return text
    if found["std"] is None:
        return f"{text} +- {found['std_estimates']:.3f} (estimates)"
    return f"{text} (seeds), {found['std_estimates']:.3f} (estimates)"


def paper_words(pair: tuple[float, float] | None, digits: int = 3) -> str:
    """The thesis' number."""
    return "" if pair is None else f"{pair[0]:.{digits}f} +- {pair[1]:.{digits}f}"


def data_words(run: Run) -> str:
    """Which images."""
    section = run.config["data"]
    if run.task.data == "faces":
        given = [f"{name} {section[name]}" for name in ("priors", "correlations") if section[name]]
        return ", ".join(["rendered faces", *given])
    where = pathlib.Path(section["dir"]).name
    return f"CelebA-Glasses from {where}" if where else "CelebA-Glasses"


def protocol(runs: Sequence[Run]) -> str:
    """How runs that differ in their seed only were trained and measured, where not as the thesis'.

    Its batch is not known (128 is ours), nor how its estimates' networks were trained.
    """
    words = [*training(runs[0]), *mine(runs[0])]
    return "; ".join(words) or "as far as it is known, the same"


def training_words(runs: Sequence[Run]) -> str:
    """As `protocol`, without the estimates."""
    return "; ".join(training(runs[0])) or "as far as it is known, the same"


def training(run: Run) -> list[str]:
    """Where the training differs from the thesis'."""
    config, own, step = run.config, run.config[run.task.method], (run.results or {}).get("step", 0)
    words = []
    if run.task.data != PAPER_DATA or config["data"]["dir"]:
        words.append(data_words(run))
    if (step, config["batch_size"]) != (PAPER_STEPS, PAPER_BATCH):
        words.append(f"{step:,} steps of {config['batch_size']}, not {PAPER_STEPS:,} of 128")
    if (width := own["network"].get("width", 1.0)) != 1.0:
        words.append(f"network width {width:g}")
    if own["dim_z"] != PAPER_DIM_Z:
        words.append(f"dim z {own['dim_z']}, not {PAPER_DIM_Z}")
    if own.get("kl_c_steps") and own["kl_c_start"] != 1.0:
        start, steps = own["kl_c_start"], own["kl_c_steps"]
        words.append(f"weight of c's KL from {start:g} to 1 over {steps:,} steps, not 1")
    # MMVAE's three networks and CSVAE's predictor
    if (layers := own.get("statistics")) and (layers["width"], layers["depth"]) != PAPER_NETWORK:
        words.append(f"adversary {layers['depth']} x {layers['width']}, not 7 x 512")
    rates = {v["learning_rate"] for k, v in own["optimizer"].items() if k[:2] in ("T_", "q_")}
    if rates - {PAPER_RATE}:
        given = "/".join(f"{rate:g}" for rate in sorted(rates))
        words.append(f"its learning rate {given}, not {PAPER_RATE:g}")
    return words


def mine(run: Run) -> list[str]:
    """Where the estimates' networks differ from the thesis'."""
    found, words = attributes(run)["information"], []
    recipe = found.get("recipe") or {}
    if (recipe.get("width", 512), recipe.get("depth", 7)) != PAPER_NETWORK:
        words.append(f"MINE {recipe['depth']} x {recipe['width']}")
    if (count := len(found["c;y"]["values"])) != PAPER_ESTIMATES:
        words.append(f"{count} estimates, not {PAPER_ESTIMATES}")
    return words
