"""What the scripts of InfoVAEGAN's tables and figures share: presets, runs, options.

A run has the directory `<data>_<method>_<seed>` in --workdir; all scripts of a preset share one
--workdir, so that a run is trained once. Ye & Bors, "InfoVAEGAN", ICIP 2021.
"""

import argparse
import glob
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import options, running
from experiments.running import Preset, Run, Scores, Task
from ivg import rundir
from ivg.configs import digits, fashion_mnist, mnist
from ivg.errors import UserError

DATA = {"mnist": mnist, "digits": digits, "fashion_mnist": fashion_mnist}
METHODS = (
    "infovaegan",
    "infovaegan_invariant",
    "jointvae",
    "infogan",
    "ali",
    "vae",
    "mixture_vae",
)
NAMES = {
    "infovaegan": "InfoVAEGAN",
    "infovaegan_invariant": "InfoVAEGAN, invariant (ours)",
    "jointvae": "JointVAE",
    "infogan": "InfoGAN",
    "ali": "ALI",
    "vae": "VAE",
    "mixture_vae": "mixture VAE",
}
# preset -> method -> generator or training steps at 28x28; the digits' are their file's. "cpu" is
# five to eight minutes a run on one core, InfoVAEGAN and its variant about twice that.
STEPS: Mapping[str, Mapping[str, int]] = {
    "smoke": dict.fromkeys(METHODS, 20),
    "cpu": {
        "infovaegan": 3_000,
        "infovaegan_invariant": 6_500,
        "jointvae": 15_000,
        "infogan": 5_000,  # of 64
        "ali": 20_000,
        "vae": 20_000,
        "mixture_vae": 5_000,
    },
    "paper": {
        "infovaegan": 100_000,
        "infovaegan_invariant": 100_000,
        "jointvae": 94_000,  # 100 epochs of 64
        "infogan": 5_000,  # of 128
        "ali": 100_000,
        "vae": 94_000,
        "mixture_vae": 46_900,  # 100 epochs of 128
    },
}
# preset -> config fields for `running.apply`; the rest is the data set file's
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "smoke": {
        "batch_size": 16,
        "steps_per_dispatch": 1,
        "log_every": 5,
        "eval_every": 10,
        "checkpoint_every": 10,
        "eval_images": 50,
        "METHOD.agreement_steps": 10,
        "METHOD.agreement_batches": 2,
        "METHOD.num_critic": 1,
    },
    "cpu": {"log_every": 50, "eval_every": 1_000, "checkpoint_every": 500},
    "paper": {"log_every": 100, "eval_every": 5_000, "checkpoint_every": 2_500},
}
SMALL_WIDTH = 32  # hidden units of perceptrons in the preset "smoke"
# (preset, method) -> further fields at 28x28.
AT_28: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("cpu", "infogan"): {"METHOD.network.width": 0.5},
    ("paper", "infogan"): {"batch_size": 128},
    ("paper", "infovaegan"): {
        "METHOD.network.width": 1.0,
        "METHOD.num_critic": 5,
        "METHOD.optimizer.[GD].learning_rate": 1e-4,
        "METHOD.optimizer.q_*.learning_rate": 2e-4,
        "METHOD.optimizer.elbo.learning_rate": 2e-4,
    },
}
MATCHED = "accuracy_one_to_one"  # Hungarian matching


# ---- the command line ---------------------------------------------------------------------------


def parser_of(script: str, doc: str, presets: Mapping[str, Preset]) -> argparse.ArgumentParser:
    """A parser with what the tables of this paper take."""
    parser = options.parser_of(script, doc, presets, known=DATA, runs="infovaegan")
    parser.add_argument("--methods", help=f"with commas: {', '.join(METHODS)}")
    parser.add_argument("--data_dir", type=pathlib.Path, help="of MNIST: a tfds directory")
    parser.add_argument(
        "--folders",
        type=pathlib.Path,
        nargs="+",
        metavar="DIR",
        help="report these run directories and nothing else; trains nothing",
    )
    return parser


def settle(args: argparse.Namespace) -> argparse.Namespace:
    """The options with the preset's values where none were given.

    Each method has steps of its own; --num_steps is for all of them.

    Raises:
        UserError: for values that cannot be.
    """
    args = options.settle(args)
    own = args.presets[args.preset].choices
    args.methods = (
        own if args.methods is None else options.names("--methods", args.methods, METHODS)
    )
    if args.data_dir is not None and not args.data_dir.is_dir() and not args.table_only:
        raise UserError(f"--data_dir={args.data_dir} is no directory; name tfds' directory.")
    return args


# ---- what is wanted -----------------------------------------------------------------------------


def make_task(args: argparse.Namespace, data: str, method: str, seed: int) -> Task:
    """A run with the preset's settings.

    Args:
        args: of `settle`.
        data: of `DATA`.
        method: of `METHODS`.
        seed: of the run.
    """
    config = DATA[data].get_config(method)
    preset = args.preset
    fields = dict(SETTINGS[preset])
    if data != "digits":
        fields |= AT_28.get((preset, method), {})
    if preset == "smoke" and config[method].get("network", {}).get("name") == "mlp":
        fields["METHOD.network.width"] = SMALL_WIDTH
    network = fields.pop("METHOD.network", None)
    if network is not None:
        config[method].network = dict(network)
    running.apply(config, fields, method)
    config.seed, length = seed, config.num_steps
    if data != "digits" or preset == "smoke":
        config.num_steps = STEPS[preset][method]
    config.num_steps = args.num_steps or config.num_steps
    if method == "jointvae":  # the capacities rise over the same part of the run as in its paper
        ramp = config.jointvae.capacity_steps * config.num_steps / length
        config.jointvae.capacity_steps = max(1, round(ramp))
    if data != "digits" and args.data_dir is not None:
        config.data.dir = str(args.data_dir)
    return Task(f"{data}_{method}", data, method, seed, json.loads(config.to_json()))


def make_tasks(args: argparse.Namespace) -> list[Task]:
    """The runs of a table: every data set, method and seed."""
    return [
        make_task(args, data, method, seed)
        for data in args.data
        for method in args.methods
        for seed in range(args.seeds)
    ]


# ---- what is there ------------------------------------------------------------------------------


def read_runs(folders: Sequence[pathlib.Path]) -> list[Run]:
    """The runs in these directories, or in their subdirectories where they hold several seeds.

    Raises:
        UserError: a directory holds no run.
    """
    found = []
    for folder in folders:
        several = sorted(folder.glob("seed_*/config.json"))
        for own in [path.parent for path in several] or [folder]:
            config = rundir.read_config(own)
            data, method, seed = config["data"]["name"], config["method"], config["seed"]
            task = Task(f"{data}_{method}", data, method, seed, config)
            found.append(running.read_run(task, own, config))
    return found


def gather(args: argparse.Namespace, scores: Scores) -> list[Run]:
    """The runs to report: those of --folders, or all of --workdir, trained if missing.

    Raises:
        UserError: none has scores, or what `running.gather` raises.
    """
    if not args.folders:
        return running.gather(args, make_tasks(args), scores)
    runs = read_runs([pathlib.Path(p) for name in args.folders for p in expanded(name)])
    if not any(map(scores.present, runs)):
        raise UserError(f"none of the --folders has any {scores.words}; name other directories.")
    return runs


def expanded(name: pathlib.Path) -> list[str]:
    """What a shell makes of a pattern, in case that the shell has not."""
    return sorted(glob.glob(str(name))) or [str(name)]


def clusters(run: Run) -> Mapping[str, float] | None:
    """The clustering scores: of the class code, else of k-means on the continuous codes."""
    results = run.results or {}
    return results.get("clustering") or results.get("kmeans_codes")


def assignment(run: Run) -> str:
    """What tells the cluster of an image."""
    return "argmax of d" if (run.results or {}).get("clustering") else "k-means on the codes"


CLUSTERING = Scores("clustering accuracy", lambda run: bool(clusters(run)))
ANY = Scores("results", lambda run: run.results is not None)
