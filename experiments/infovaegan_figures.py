"""InfoVAEGAN's Fig. 2 and Fig. 4 from run directories: reconstructions and traversals side by side.

  python -m experiments.infovaegan_figures --workdir=runs/infovaegan_cpu
  python -m experiments.infovaegan_figures --workdir=runs/bench_cpu --data=sprites
  python -m experiments.infovaegan_figures --folders runs/a_run runs/another_run

Fig. 2: the same test images as ALI, InfoGAN and InfoVAEGAN reconstruct them, one block under
another, the originals on top, the mean squared error per pixel beside each name; InfoGAN infers no
z, which is 0. Fig. 4: c1 and c2 moving alone in InfoVAEGAN and InfoGAN, a row per class d, all else
at 0, or, in a run without classes, a row per test image. Trains nothing: the runs are those of
infovaegan_table1, or any run directories. Writes infovaegan_fig2_DATA.png, infovaegan_fig4_DATA.png
and, with the errors, infovaegan_figures_DATA.json.
Ye & Bors, "InfoVAEGAN", ICIP 2021.
"""

import argparse
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import infovaegan_runs, options, reporting
from experiments.infovaegan_runs import NAMES
from experiments.running import Run
from ivg import examples, pictures, plots, rundir, runs
from ivg.configs import base
from ivg.data import Dataset
from ivg.errors import UserError
from ivg.players import Method

RECONSTRUCTIONS = ("ali", "infogan", "infovaegan", "infovaegan_invariant")  # Fig. 2, and ours
TRAVERSALS = ("infovaegan", "infogan", "infovaegan_invariant")  # Fig. 4, and ours
METHODS = tuple(dict.fromkeys((*RECONSTRUCTIONS, *TRAVERSALS)))
CODE, AXES, COLUMNS = "c", (0, 1), 10
ROWS = 4  # test images in a traversal of a run without classes


class Trained(NamedTuple):
    """A run with its last checkpoint."""

    run: Run
    method: Method
    state: Any
    dataset: Dataset
    step: int
    key: jax.Array  # the evaluation's root

    @property
    def name(self) -> str:
        """The method's, as papers write it."""
        return NAMES.get(self.run.task.method, self.run.task.method)


def load(run: Run, data_dir: pathlib.Path | None) -> Trained:
    """Restores a run.

    Raises:
        UserError: there is no checkpoint, or its data are not there.
    """
    config = complete(run.config)
    if data_dir is not None and run.task.data != "digits":
        config["data"]["dir"] = str(data_dir)
    built, state, step = runs.last_state(config, run.folder)
    return Trained(run, built.method, state, built.dataset, step, built.eval_key)


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with today's values of the fields that the run's version did not have yet."""
    new = json.loads(base.get_config(config["method"]).to_json())
    return {
        name: new.get(name, {}) | dict(value) if isinstance(value, Mapping) else value
        for name, value in (new | dict(config)).items()
    }


# ---- Fig. 2 -------------------------------------------------------------------------------------


class Reconstructed(NamedTuple):
    """Test images as one run reconstructs them."""

    title: str
    images: np.ndarray  # [n, H, W, C] in [-1, 1]
    numbers: dict[str, Any]


def reconstruct(trained: Trained, x: np.ndarray) -> Reconstructed:
    """Reconstructs x [n, H, W, C] in [-1, 1].

    Raises:
        UserError: the run's images have another size.
    """
    own = trained.dataset.test.images.shape[1:]
    if tuple(own) != x.shape[1:]:
        raise UserError(
            f"{trained.run.folder} has images of {own[0]}x{own[1]}, not {x.shape[1]}x{x.shape[2]} "
            "as the first run; leave it out."
        )
    x_hat = jax.jit(lambda s, x: pictures.reconstruct(trained.method, s, x))(trained.state, x)
    shown = float(np.mean((np.asarray(x_hat) - x) ** 2))
    results = trained.run.results or {}
    scored = results.get("reconstruction_mse") if results.get("step") == trained.step else None
    numbers = {
        "method": trained.run.task.method,
        "seed": trained.run.task.seed,
        "step": trained.step,
        "error_of_the_images_shown": shown,
        "error_of_the_test_images": scored,
        "run": trained.run.folder.name,
    }
    words = "" if scored is None else f" on these, {scored:.4f} on all test images"
    title = f"{trained.name}, {trained.step:,} steps: squared error {shown:.4f}{words}"
    return Reconstructed(title, np.asarray(x_hat), numbers)


def reconstructions(x: np.ndarray, found: Sequence[Reconstructed]) -> np.ndarray:
    """The originals, then a block of images for each method."""
    blocks = [plots.grid(x, COLUMNS, title="test images")]
    blocks += [plots.grid(own.images, COLUMNS, title=own.title) for own in found]
    return stacked(blocks)


# ---- Fig. 4 -------------------------------------------------------------------------------------


def traversal(trained: Trained, axis: int) -> np.ndarray:
    """One block: c's dimension `axis` from its low to its high end."""
    code = trained.method.codes[CODE]
    values = np.linspace(code.low, code.high, COLUMNS)
    if "d" in trained.method.codes:
        rows = pictures.class_traversal(
            trained.method, trained.state, trained.key, CODE, axis, values
        )
        labels = [f"d={i}" for i in range(len(rows))]
        what = "rows: class d"
    else:
        rows = image_traversal(trained, axis, values)
        labels = [f"image {i + 1}" for i in range(len(rows))]
        what = "rows: test images"
    title = f"{trained.name}, {trained.step:,} steps: {CODE}{axis + 1}; {what}"
    columns = [f"{value:+.1f}" for value in values]
    return plots.traversal(rows, row_labels=labels, column_labels=columns, title=title)


def image_traversal(trained: Trained, axis: int, values: np.ndarray) -> np.ndarray:
    """Images [ROWS, len(values), H, W, C]: the codes of test images, one code moving."""
    x = test_images(trained, ROWS)
    codes = trained.method.encode(trained.state, jnp.asarray(x))
    codes = {name: jnp.repeat(value, len(values), axis=0) for name, value in codes.items()}
    moving = jnp.tile(jnp.asarray(values), len(x))
    codes[CODE] = codes[CODE].at[:, axis].set(moving)
    x_g = np.asarray(trained.method.generate(trained.state, codes))
    return x_g.reshape(len(x), len(values), *x_g.shape[1:])


def traversals(found: Sequence[Trained]) -> np.ndarray:
    """A line for each run: c1 and c2 side by side."""
    lines = []
    for trained in found:
        axes = [axis for axis in AXES if axis < trained.method.codes[CODE].size]
        lines.append(beside([traversal(trained, axis) for axis in axes]))
    return stacked(lines)


def has_code(run: Run) -> bool:
    """Whether there is a c to move."""
    return run.config[run.task.method].get("dim_c", 0) > 0


# ---- pictures -----------------------------------------------------------------------------------


def test_images(trained: Trained, n: int) -> np.ndarray:
    """The first test images, or some drawn from a grid of factors, in [-1, 1]."""
    numbers = examples.chosen(trained.dataset, n)
    return examples.inputs(trained.method, trained.dataset.test, numbers)


def stacked(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [H, W, 3] one under another, on white."""
    width = max(block.shape[1] for block in blocks)
    return np.concatenate([_padded(block, block.shape[0], width) for block in blocks])


def beside(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [H, W, 3] side by side, on white."""
    height = max(block.shape[0] for block in blocks)
    return np.concatenate([_padded(block, height, block.shape[1]) for block in blocks], axis=1)


def _padded(block: np.ndarray, height: int, width: int) -> np.ndarray:
    room = ((0, height - block.shape[0]), (0, width - block.shape[1]), (0, 0))
    return np.pad(block, room, constant_values=255)


# ---- the command --------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        UserError: for values that cannot be.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.infovaegan_figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.error = options.wrong
    parser.add_argument("--workdir", type=pathlib.Path, default="runs/infovaegan_cpu")
    parser.add_argument("--out", type=pathlib.Path, default="experiments/results")
    parser.add_argument("--data", default="mnist", help="the runs are DATA_METHOD_SEED")
    parser.add_argument("--methods", help=f"with commas: {', '.join(METHODS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=20, help="test images in Fig. 2")
    parser.add_argument("--data_dir", type=pathlib.Path, help="instead of the runs' own")
    parser.add_argument(
        "--folders", type=pathlib.Path, nargs="+", metavar="DIR", help="these run directories"
    )
    args = parser.parse_args(argv)
    args.methods = (
        METHODS if args.methods is None else options.names("--methods", args.methods, METHODS)
    )
    if args.images < 1:
        raise UserError(f"--images={args.images} must be at least 1.")
    return args


def find(args: argparse.Namespace) -> list[Run]:
    """The runs of the figures.

    Raises:
        UserError: there is none, or they are of several data sets.
    """
    names = [f"{args.data}_{method}_{args.seed}" for method in args.methods]
    folders = args.folders or [args.workdir / n for n in names if (args.workdir / n).is_dir()]
    found = infovaegan_runs.read_runs(folders)
    if not found:
        raise UserError(
            f"{args.workdir} has none of {', '.join(names)}; train them with "
            "experiments.infovaegan_table1, or name run directories with --folders."
        )
    found = [run for run in found if run.task.method in METHODS]
    if not found:
        raise UserError(
            f"none of these runs belongs in a figure; the methods are {', '.join(METHODS)}."
        )
    data = list(dict.fromkeys(run.task.data for run in found))
    if len(data) > 1:
        raise UserError(f"the runs are of {', '.join(data)}; name those of one data set.")
    return found


def write(args: argparse.Namespace, found: Sequence[Run]) -> None:
    """Both figures and the numbers."""
    data = found[0].task.data
    content: dict[str, Any] = {"data": data, "figures": []}
    trained = {run.folder: load(run, args.data_dir) for run in found}
    fig2 = [run for run in found if run.task.method in RECONSTRUCTIONS]
    fig4 = [run for run in found if run.task.method in TRAVERSALS and has_code(run)]
    if fig2:
        fig2.sort(key=lambda run: RECONSTRUCTIONS.index(run.task.method))
        x = test_images(trained[fig2[0].folder], args.images)
        made = [reconstruct(trained[run.folder], x) for run in fig2]
        save(args.out / f"infovaegan_fig2_{data}.png", reconstructions(x, made), content)
        content["reconstructions"] = [own.numbers for own in made]
        print("\n".join(own.title for own in made))
    if fig4:
        fig4.sort(key=lambda run: TRAVERSALS.index(run.task.method))
        picture = traversals([trained[run.folder] for run in fig4])
        save(args.out / f"infovaegan_fig4_{data}.png", picture, content)
        content["traversals"] = [run.folder.name for run in fig4]
    content["made_with"] = reporting.made_with(found, infovaegan_runs.ANY)
    rundir.write_json(args.out / f"infovaegan_figures_{data}.json", content)


def save(path: pathlib.Path, picture: np.ndarray, content: Mapping[str, Any]) -> None:
    """Writes a figure and notes its name."""
    content["figures"].append(plots.save(path, picture).name)
    print(f"  {path}")


def main(argv: Sequence[str]) -> None:
    """Reads the runs, draws, writes."""
    args = parse(argv)
    found = find(args)
    args.out.mkdir(parents=True, exist_ok=True)
    write(args, found)


if __name__ == "__main__":
    options.command(main)
