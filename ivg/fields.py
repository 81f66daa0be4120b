"""What the fields of a config may hold: one table, and the checks that it stands for.

A config comes from a file and a command line, or from a run directory's config.json, which somebody
may have edited. What one field alone can tell is checked here, before anything is loaded; what
depends on images, networks or other fields is checked by whoever uses it. The upper ends are no
recommendations: beyond them counters overflow, loops that are unrolled take hours to trace, or no
machine has the memory.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ivg.configs import base
from ivg.errors import UserError
from ivg.rundir import flatten

LONGEST = 2_000_000_000  # steps and images are counted in int32
HUGE = 1e38  # near float32's largest number
WIDE = 65_536  # units of a layer, dimensions of a code
LONG = 4_000  # characters: paths, lists of names
DEEP = 100  # layers and updates that are unrolled


class Number(NamedTuple):
    """From `least` to `most`; `above` and `below`: without these ends themselves."""

    least: float
    most: float
    whole: bool
    above: bool = False
    below: bool = False


def whole(least: int, most: int = LONGEST) -> Number:
    """A whole number."""
    return Number(least, most, whole=True)


def real(
    least: float = 0.0, most: float = HUGE, *, above: bool = False, below: bool = False
) -> Number:
    """A finite number."""
    return Number(least, most, whole=False, above=above, below=below)


COUNT, COUNT_OR_NONE = whole(1), whole(0)
SIZE, WEIGHT, POSITIVE = whole(1, WIDE), real(), real(above=True)
DECAY = real(0.0, 1.0, below=True)
TEXT = str
Wanted = Number | tuple[str | int, ...] | type  # a tuple: the choices

# By full name: what every config has.
SHARED: Mapping[str, Wanted] = {
    "method": TEXT,
    "seed": whole(0, 2**32 - 1),  # keys take no more: seed 2**32 would be seed 0 again
    "num_runs": COUNT,
    "runs_at_once": COUNT,
    "parallel": ("batch", "runs"),
    "num_steps": COUNT,
    "batch_size": whole(1, 2**20),
    "precision": ("default", "float32", "tf32", "bf16"),
    "steps_per_dispatch": whole(0, 1_000_000),
    "log_every": COUNT,
    "eval_every": COUNT_OR_NONE,
    "checkpoint_every": COUNT,
    "keep_checkpoints": COUNT,
    "on_nan": ("stop", "rollback"),
    "max_rollbacks": COUNT_OR_NONE,
    "tracker": TEXT,
    "profile_steps": COUNT_OR_NONE,
    "eval_images": COUNT,
    "attributes": list,
    "attribute_scores.estimates": whole(1, 1_000),
    "attribute_scores.mine_width": SIZE,
    "attribute_scores.mine_depth": whole(1, DEEP),
    "attribute_scores.mine_learning_rate": POSITIVE,
    "attribute_scores.mine_batch_size": COUNT,
    "attribute_scores.mine_steps": COUNT,
    "attribute_scores.quick_steps": COUNT_OR_NONE,
    "attribute_scores.classifier_steps": COUNT,
    "attribute_scores.max_images": COUNT,
    "attribute_scores.leak": ("all", "none"),
    "disentanglement.metrics": TEXT,
    "disentanglement.seeds": whole(1, 1_000),
    "disentanglement.train_votes": COUNT,
    "disentanglement.eval_votes": COUNT,
    "disentanglement.quick_votes": COUNT_OR_NONE,
    "frechet.num_images": COUNT_OR_NONE,
    "frechet.reference_images": COUNT,
    "frechet.weights": TEXT,
    "frechet.classifier_steps": COUNT,
    "data.name": TEXT,
    "data.dir": TEXT,
    "data.image_size": whole(0, 4_096),
    "data.crop": TEXT,
    "data.channels": (0, 1, 3),
    "data.labels": TEXT,
    "data.bad_images": ("error", "skip"),
    "data.test_fraction": real(0.0, 1.0, above=True, below=True),
    "data.in_memory": ("auto", "yes", "no"),
    "data.memory_limit_gb": WEIGHT,
    "data.num_images": COUNT,
    "data.priors": TEXT,
    "data.correlations": TEXT,
    "data.coloring": TEXT,
}
# By the name within a method's section; that of one method alone has its name before it. What is a
# choice there is known to the method or the network family, which refuses other words.
OWN: Mapping[str, Wanted] = {
    "network.name": TEXT,
    "network.width": real(0.0, WIDE, above=True),
    "network.ngf": SIZE,
    "network.ndf": SIZE,
    "network.trunk": TEXT,
    "network.init": TEXT,
    "network.generator_norm": TEXT,
    "network.encoder_norm": TEXT,
    "optimizer.name": TEXT,
    "optimizer.learning_rate": WEIGHT,
    "optimizer.b1": DECAY,
    "optimizer.b2": DECAY,
    "optimizer.decay": DECAY,
    "optimizer.momentum": DECAY,
    "optimizer.eps": POSITIVE,
    "optimizer.milestone_factor": POSITIVE,
    "optimizer.centered": bool,
    "discriminator.width": SIZE,
    "discriminator.depth": whole(1, DEEP),
    "statistics.width": SIZE,
    "statistics.depth": whole(1, DEEP),
    "dim_z": SIZE,
    "dim_r": SIZE,
    "dim_c": SIZE,
    "num_classes": SIZE,
    "infogan.dim_z": whole(0, WIDE),  # InfoGAN may do without some of its codes
    "infogan.dim_c": whole(0, WIDE),
    "infogan.num_classes": whole(0, WIDE),
    "num_critic": whole(1, DEEP),
    "num_components": whole(2, 1_000),
    "num_heads": whole(1, 1_000),
    "generator_steps": whole(1, DEEP),
    "agreement_batches": whole(1, 1_000),
    "agreement_steps": COUNT_OR_NONE,
    "game_steps": COUNT_OR_NONE,
    "generation_steps": COUNT_OR_NONE,
    "epoch_steps": COUNT_OR_NONE,
    "noise_steps": COUNT_OR_NONE,
    "beta_steps": COUNT_OR_NONE,
    "capacity_steps": COUNT_OR_NONE,
    "cr_start": COUNT_OR_NONE,
    "gap_steps": COUNT_OR_NONE,
    "info_warmup": COUNT_OR_NONE,
    "kl_c_steps": COUNT_OR_NONE,
    "style_warmup": COUNT_OR_NONE,
    "agreement_balance": WEIGHT,
    "beta": WEIGHT,
    "capacity": WEIGHT,
    "capacity_d": WEIGHT,
    "capacity_z": WEIGHT,
    "cr_weight": WEIGHT,
    "dhsic_weight": WEIGHT,
    "dropout_weight": WEIGHT,
    "gamma": WEIGHT,
    "gap": real(0.0, 2.0, below=True),  # the codes' range
    "gp_weight": WEIGHT,
    "image_std": POSITIVE,
    "info_c_weight": WEIGHT,
    "info_weight": WEIGHT,
    "kl_c_start": WEIGHT,
    "kl_weight": WEIGHT,
    "kl_weight_c": WEIGHT,
    "kl_weight_d": WEIGHT,
    "kl_weight_w": WEIGHT,
    "kl_weight_z": WEIGHT,
    "noise_end": WEIGHT,
    "noise_start": WEIGHT,
    "real_label_high": WEIGHT,
    "real_label_low": WEIGHT,
    "rotation": real(0.0, 180.0),
    "scale": WEIGHT,
    "shear": WEIGHT,
    "temperature": POSITIVE,
    "translation": WEIGHT,
    "weight_cy": WEIGHT,
    "weight_diagonal": WEIGHT,
    "weight_entropy": WEIGHT,
    "weight_off_diagonal": WEIGHT,
    "weight_zc": WEIGHT,
    "weight_zy": WEIGHT,
    "z_scale": WEIGHT,
    "code_prior": TEXT,
    "dropout": TEXT,
    "estimator": TEXT,
    "gradient": TEXT,
    "likelihood": TEXT,
    "permuted": TEXT,
    "product": TEXT,
    "schedule": TEXT,
    "variant": TEXT,
}
# Runs that were made before there were these have none; what reads them knows their default.
LATER = ("parallel", "tracker", "on_nan", "max_rollbacks")
# What training alone reads: a finished run is scored without them.
OF_TRAINING = ("num_runs", "runs_at_once", "num_steps", "steps_per_dispatch", "log_every")
OF_TRAINING += ("eval_every", "checkpoint_every", "keep_checkpoints", "profile_steps")
SECTIONS = ("data", "disentanglement", "attribute_scores", "frechet")
OWN_SECTIONS = ("network", "optimizer", "discriminator", "statistics")


def wanted(name: str, method: str) -> Wanted | None:
    """What a field may hold; None where the table does not say.

    Args:
        name: with dots, as in "vae.optimizer.G.b1".
        method: the config's.
    """
    section, _, own = name.partition(".")
    if section != method:
        return SHARED.get(name)
    if own.startswith("optimizer."):
        return OWN.get("optimizer." + ".".join(own.split(".")[2:]))
    return OWN.get(f"{method}.{own}", OWN.get(own))


def check_method(config: Mapping) -> None:
    """Raises UserError for a method that does not exist, or whose section is not in the config."""
    name = config.get("method")
    if name is None:
        raise UserError(
            "the config has no field method, which names one of ivg's; --list has their names."
        )
    if not isinstance(name, str) or name not in base.METHODS:
        near = difflib.get_close_matches(str(name), base.METHODS, n=1, cutoff=0.4)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise UserError(
            f"there is no method {shown(name)}; {hint}The methods are: {', '.join(base.METHODS)}."
        )
    if name not in config:
        raise UserError(
            f"the config has no section {name}; name the method after the config file, as in "
            f"--config=ivg:digits:{name}."
        )


def check(config: Mapping) -> None:
    """Checks every field that is there.

    Args:
        config: as plain dicts, with a method that exists and its section.

    Raises:
        UserError: for the first that cannot be; says what it may be.
    """
    method = config["method"]
    sections = [(name, config.get(name, {})) for name in (*SECTIONS, method)]
    sections += [(f"{method}.{n}", config[method][n]) for n in OWN_SECTIONS if n in config[method]]
    for name, value in sections:
        if not isinstance(value, Mapping):
            raise UserError(f"{name}={shown(value)} must be a section with fields of its own.")
    for player, own in config[method].get("optimizer", {}).items():
        if not isinstance(own, Mapping) or not {"name", "learning_rate"} <= own.keys():
            raise UserError(
                f"{method}.optimizer.{player} must be a section with a name and a learning_rate."
            )
    for name, value in _leaves(config):
        above = name.rpartition(".")[0]
        if wanted(above, method) is not None:
            raise UserError(f"{above} is a field, not a section; there is no {shown(name)}.")
        check_value(name, value, wanted(name, method))
    own = config[method]
    low, high = own.get("real_label_low", 0.0), own.get("real_label_high", HUGE)
    if low > high:
        raise UserError(
            f"{method}.real_label_low={low} must be at most {method}.real_label_high, {high}."
        )


def _leaves(section: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The fields by their full names, empty sections among them."""
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_value(name: str, value: object, known: Wanted | None) -> None:
    """Raises UserError for a value that is not what its field may hold."""
    if isinstance(known, Number):
        if problem := _problem(value, known):
            raise UserError(f"{name}={shown(value)} must be {problem}.")
    elif isinstance(known, tuple):
        if value not in known or isinstance(value, bool):
            raise UserError(f"{name}={shown(value)} is not a choice; use {_either(known)}.")
    elif known is bool:
        if not isinstance(value, bool):
            raise UserError(f"{name}={shown(value)} must be true or false.")
    elif known is str:
        if not isinstance(value, str) or "\0" in value or len(value) > LONG:
            raise UserError(f"{name}={shown(value)} must be a text of at most {LONG} characters.")
    elif known is list:
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise UserError(f"{name}={shown(value)} must be names, as in --config.{name}=a,b.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={shown(value)} must be a finite number.")
    elif not isinstance(value, str | int | float | list | tuple | None):
        raise UserError(f"{name}={shown(value)} must be a number, a text or a list of them.")


def _problem(value: object, known: Number) -> str:
    """What a value must be and is not, "" where it is."""
    what = "whole number" if known.whole else "number"
    if isinstance(value, bool) or not isinstance(value, int | (int if known.whole else float)):
        return f"a {what}"
    if not known.whole and not math.isfinite(value):
        return "a finite number"
    if value < known.least or known.above and value == known.least:
        return f"{'above' if known.above else 'at least'} {known.least:g}"
    if value > known.most or known.below and value == known.most:
        most = known.most if known.whole else f"{known.most:g}"
        return f"{'below' if known.below else 'at most'} {most}"
    return ""


def shown(value: object, most: int = 60) -> str:
    """A value as a sentence has it, on one line and not too long."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4_000:
        return f"a number of about {value.bit_length() * 3 // 10} digits"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 10]}...{text[-7:]}"


def _either(choices: Iterable) -> str:
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}"


def check_complete(config: Mapping, purpose: str) -> None:
    """Checks that no field is missing that something reads.

    Args:
        config: as plain dicts, with a method that exists and its section.
        purpose: "train", "score", which reads less, or "load", which needs the method alone.

    Raises:
        UserError: for the first that is missing; says what to do.
    """
    method = config["method"]
    present, players = flatten(config).keys(), base.METHODS[method]()["optimizer"]
    unread = LATER if purpose == "train" else LATER + OF_TRAINING
    needed = [name for name in SHARED if name not in unread]
    if purpose == "load":
        needed = ["batch_size", "data.name"]
    if "frechet" not in config:  # made before there was that section
        needed = [name for name in needed if not name.startswith("frechet.")]
    needed += [f"{method}.network.name"]
    needed += [f"{method}.optimizer.{player}.name" for player in players]
    for name in needed:
        if name not in present:
            raise UserError(
                f"the config has no field {name}, which this version of ivg needs: add it with the "
                "value that ivg.configs has."
            )


def check_known(config: Mapping) -> None:
    """Checks that no field is there that nothing would read.

    Options of networks and optimisers are left to these.

    Args:
        config: as plain dicts, with a method that exists and its section.

    Raises:
        UserError: for the first such field; has the nearest name.
    """
    method = config["method"]
    own = base.METHODS[method]()
    free = (f"{method}.network.", *(f"{method}.optimizer.{name}." for name in own["optimizer"]))
    known = [*SHARED, *flatten({method: own})]
    for name in flatten(config):
        if name not in known and not name.startswith(free):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = f'did you mean "{near[0]}"? ' if near else ""
            raise UserError(
                f'the config has a field "{name}", which nothing reads; {hint}Take it out, or '
                "correct its name."
            )


def of_method(method: str) -> set[str]:
    """Names of the fields and sections within a method's section."""
    return set(base.METHODS[method]())
