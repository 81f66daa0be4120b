"""From a config to the things it names: optimisers, data, method, mesh.

Beside `main` and `train` the only file that sees a config; below it everything takes plain
arguments.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import attribute_scores, data, devices, fields, frechet_scores, trackers
from ivg.data.attributes import describe, require_attributes
from ivg.errors import UserError
from ivg.fields import check_method
from ivg.methods import ATTRIBUTE_METHODS, METHODS
from ivg.players import Method
from ivg.rundir import Facts
from ivg.scoring import metric_names

# Precision of products of float32 matrices, and what networks compute in (None: float32).
PRECISIONS = {
    "default": ("default", None),
    "float32": ("float32", None),
    "tf32": ("tensorfloat32", None),
    "bf16": ("default", jnp.bfloat16),
}


class Run(NamedTuple):
    """What training, evaluation and sampling share."""

    method: Method
    dataset: data.Dataset
    mesh: jax.sharding.Mesh
    init_key: jax.Array  # the parameters' own root
    train_key: jax.Array  # step t uses fold_in(train_key, t)
    eval_key: jax.Array  # evaluation has its own root


def optimizer(
    name: str,
    learning_rate: float,
    *,
    milestone_factor: float = 1.0,
    epoch_steps: int = 1,
    **options: float,
) -> optax.GradientTransformation:
    """An optimiser from its config section, as PyTorch computes it: eps stays outside the root.

    Args:
        name: "adam" (b1, b2, eps) or "rmsprop" (decay, eps, momentum, centered; the learning rate
            comes after the momentum).
        learning_rate: per step, constant unless there is a factor.
        milestone_factor: multiplies the learning rate after 1, 2, 4, 8, ... epochs (Adam only).
        epoch_steps: steps in an epoch.
        **options: the optimiser's own.

    Raises:
        UserError: for another name.
    """
    known = {"adam": optax.adam, "rmsprop": _rmsprop}
    if name not in known:
        raise UserError(f'there is no optimizer "{name}"; use "adam" or "rmsprop".')
    if name == "rmsprop" and milestone_factor != 1.0 or milestone_factor <= 0.0:
        raise UserError(
            f"milestone_factor={milestone_factor} cannot be used with {name}; give adam a positive "
            "one, or set it to 1."
        )
    if milestone_factor != 1.0:
        learning_rate = milestones(learning_rate, milestone_factor, epoch_steps)
    try:
        return known[name](learning_rate, **options)
    except TypeError:
        raise UserError(
            f"the optimizer {name} does not take all of {', '.join(options)}; change its name "
            "back, or write its whole section into a config file of your own."
        ) from None


def milestones(learning_rate: float, factor: float, epoch_steps: int) -> optax.Schedule:
    """The learning rate times `factor` after 1, 2, 4, 8, ... epochs each: MMVAE's thesis."""
    ends = {epoch_steps * 2**i: factor for i in range(24) if epoch_steps * 2**i < 2**31}
    return optax.piecewise_constant_schedule(learning_rate, ends)


def _rmsprop(
    learning_rate: float,
    decay: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
) -> optax.GradientTransformation:
    scale = optax.scale_by_stddev if centered else optax.scale_by_rms
    return optax.chain(
        scale(decay, eps, initial_scale=0.0, eps_in_sqrt=False),
        optax.trace(momentum),
        optax.scale(-learning_rate),
    )


def make_method(
    name: str,
    *,
    image_shape,
    batch_size: int,
    hyper: Mapping,
    num_attributes: int = 1,
    num_images: int = 0,
    precision: str = "default",
) -> Method:
    """The method `name` with the hyper-parameters of its config section.

    Args:
        name: of `METHODS`.
        image_shape: (H, W, C).
        batch_size: images per minibatch.
        hyper: the method's section of the config.
        num_attributes: of the data, for those methods that learn from them.
        num_images: in an epoch, where a learning rate follows epochs.
        precision: of `PRECISIONS`; says here what the networks compute in.

    Raises:
        UserError: something in the section cannot be, or is not known.
    """
    hyper = dict(hyper)
    if unknown := sorted(hyper.keys() - fields.of_method(name)):
        raise UserError(
            f"the config has a field {unknown[0]} in its section {name} that this version of ivg "
            "does not know: take it out, or use the version that it was made for."
        )
    if (dtype := PRECISIONS[precision][1]) is not None:
        parts = [name for name in ("network", "discriminator") if name in hyper]
        hyper |= {name: {**hyper[name], "dtype": dtype} for name in parts}
    specs = hyper.pop("optimizer")
    epoch_steps = hyper.pop("epoch_steps", 0) or max(num_images // batch_size, 1)
    tx = {
        player: optimizer(**spec, epoch_steps=epoch_steps)
        if "milestone_factor" in spec
        else optimizer(**spec)
        for player, spec in specs.items()
    }
    if name in ATTRIBUTE_METHODS:
        hyper["num_attributes"] = num_attributes
    return METHODS[name](image_shape=image_shape, batch_size=batch_size, tx=tx, **hyper)


def facts(dataset: data.Dataset) -> Facts:
    """What of a data set `stored_method` needs."""
    return Facts(
        image_shape=tuple(dataset.image_shape),
        attributes=tuple(dataset.attribute_names),
        classes=tuple(dataset.class_names),
        num_images=len(dataset.train.images),
    )


def stored_method(config: Mapping, known: Facts) -> Method:
    """The method of a run's config, made without its data.

    Args:
        config: as in config.json, perhaps by another version of ivg.
        known: as in data.json.

    Raises:
        UserError: this version of ivg cannot make that method.
    """
    check_method(config)
    name = config["method"]
    read = ("method", "batch_size", "data", name)
    fields.check({part: config[part] for part in read if part in config})
    fields.check_complete(config, "load")
    precision = config.get("precision", "default")
    if precision not in PRECISIONS:
        raise UserError(f'this version of ivg does not know precision="{precision}".')
    return make_method(
        name,
        image_shape=known.image_shape,
        batch_size=config["batch_size"],
        hyper=config[name],
        num_attributes=len(known.attributes),
        num_images=known.num_images,
        precision=precision,
    )


def attribute_names(entries: Sequence[str]) -> tuple[str, ...]:
    """("Male,Eyeglasses",), as a command line makes it, or ("Male", "Eyeglasses"): the names."""
    return tuple(name.strip() for entry in entries for name in entry.split(",") if name.strip())


def load_data(config: Mapping) -> data.Dataset:
    """The data set of the config's `data` section."""
    section = config["data"]
    crop, in_memory = section["crop"], {"auto": "auto", "yes": True, "no": False}
    fields.check_value("data.in_memory", section["in_memory"], tuple(in_memory))
    return data.load(
        section["name"],
        data_dir=section["dir"] or None,
        image_size=section["image_size"] or None,
        crop=None if crop == "default" else int(crop) if crop.isdecimal() else crop,
        channels=section["channels"] or None,
        labels_file=section["labels"] or None,
        attributes=attribute_names(config["attributes"]),
        bad_images=section["bad_images"],
        test_fraction=section["test_fraction"],
        seed=0,  # the split belongs to the data set: runs with other seeds share it
        in_memory=in_memory[section["in_memory"]],
        memory_limit_gb=section["memory_limit_gb"],
        coloring=section["coloring"],
        num_images=section["num_images"],
        priors=section["priors"],
        correlations=section["correlations"],
    )


def build(config: Mapping) -> Run:
    """Everything that the config names, checked before anything is written.

    Args:
        config: the resolved config as plain dicts.

    Raises:
        UserError: for anything in it that cannot be.
    """
    check(config)
    jax.config.update("jax_default_matmul_precision", PRECISIONS[config["precision"]][0])
    mesh = devices.make_mesh(1) if spreads_runs(config) else devices.make_mesh()
    devices.check_batch_size(config["batch_size"], mesh)
    make = functools.partial(
        make_method,
        config["method"],
        batch_size=config["batch_size"],
        hyper=config[config["method"]],
        precision=config["precision"],
    )
    if size := config["data"]["image_size"]:
        # A size that does not fit the networks: say so before hours of decoding.
        make(image_shape=(size, size, 3))
    dataset = load_data(config)
    frechet_scores.check(dataset, config.get("frechet", frechet_scores.OFF))
    if config["method"] in ATTRIBUTE_METHODS:
        require_attributes(dataset, config["method"])
        attribute_scores.check(dataset, config["attribute_scores"]["max_images"])
        if dataset.name != "celeba_glasses":  # which says so itself
            print("\n".join(describe(dataset)))
    method = make(
        image_shape=dataset.image_shape,
        num_attributes=len(dataset.attribute_names),
        num_images=len(dataset.train.images),
    )
    return Run(method, dataset, mesh, *root_keys(config["seed"]))


def spreads_runs(config: Mapping) -> bool:
    """Whether each device trains runs of its own, not its part of every batch.

    Raises:
        UserError: it is neither.
    """
    parallel = config.get("parallel", "batch")  # runs made before there was a choice have none
    fields.check_value("parallel", parallel, fields.SHARED["parallel"])
    return parallel == "runs"


def root_keys(seed: int) -> jax.Array:
    """The roots of a seed's randomness, keys [3]: parameters, training, evaluation."""
    return jax.random.split(jax.random.key(seed), 3)


def check(config: Mapping) -> None:
    """Raises UserError for what is wrong with a config by itself, whatever its data are."""
    check_method(config)
    check_numbers(config)
    fields.check_complete(config, "score")
    metric_names(config["disentanglement"]["metrics"])


def check_numbers(config: Mapping) -> None:
    """Raises UserError for numbers that cannot be and for words that are no choice."""
    fields.check(config)
    trackers.check(config.get("tracker", ""))


def checkpoints(workdir: pathlib.Path) -> pathlib.Path:
    """Where a run keeps its checkpoints."""
    return workdir / "checkpoints"
