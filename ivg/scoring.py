"""What a trained state knows of the true factors, and how much its codes say of its images."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ivg import data
from ivg.errors import UserError
from ivg.metrics import disentanglement
from ivg.players import Method

CHUNK = 1000  # images per device call
BOUND_SAMPLES = 10_000  # of the information bounds, as in IB-GAN's released code


def continuous(method: Method) -> list[str]:
    """Names of the method's continuous codes: its representation."""
    return [name for name, code in method.codes.items() if code.kind == "continuous"]


def has_factors(method: Method, dataset: data.Dataset) -> bool:
    """Whether the representation can be compared with true factors."""
    known = dataset.ground_truth is not None
    return known and method.encode is not None and bool(continuous(method))


def representation(
    method: Method, state, truth: data.GroundTruth
) -> disentanglement.Representation:
    """The means of all continuous codes, side by side, of images with given factors."""
    means = functools.partial(_means, method.encode, tuple(continuous(method)), state)
    source = disentanglement.from_encoder(
        lambda images: np.asarray(means(images)),
        truth.images,
        truth.sizes,
        truth.names,
        nuisance=truth.nuisance,
        batch_size=CHUNK,
    )
    few = math.prod(truth.sizes) <= disentanglement.LARGEST_TABLE
    return disentanglement.remembered(source) if truth.determined and few else source


@functools.partial(jax.jit, static_argnums=(0, 1))  # compiled once, not at every evaluation
def _means(encode: Callable, names: tuple[str, ...], state, images: jax.Array) -> jax.Array:
    codes = encode(state, images.astype(jnp.float32) / 127.5 - 1.0)
    return jnp.concatenate([codes[name] for name in names], axis=-1)


def metric_names(wanted: str) -> tuple[str, ...]:
    """The metrics that the config names: "fast", "all", "none", or names with commas.

    Raises:
        UserError: for a metric that does not exist.
    """
    groups = {"fast": disentanglement.FAST, "all": disentanglement.ALL, "none": ()}
    if wanted in groups:
        return groups[wanted]
    names = tuple(name.strip() for name in wanted.split(","))
    unknown = [name for name in names if name not in disentanglement.ALL]
    if unknown:
        raise UserError(
            f'disentanglement.metrics names "{unknown[0]}", which is no metric; use fast, all, '
            f"none or some of {', '.join(disentanglement.ALL)}."
        )
    return names


def disentanglement_scores(
    method: Method, state, dataset: data.Dataset, options: Mapping, *, seeds: Sequence[int]
) -> dict:
    """The disentanglement metrics of `options` (the config's section), with recipes."""
    names = metric_names(options["metrics"])
    if not names:
        return {}
    return disentanglement.evaluate(
        representation(method, state, dataset.ground_truth),
        metrics=names,
        seeds=seeds,
        num_train=options["train_votes"],
        num_test=options["eval_votes"],
    )


def quick_score(method: Method, state, dataset: data.Dataset, votes: int) -> float:
    """FactorVAE score with few votes, to be watched during training."""
    scores = disentanglement.evaluate(
        representation(method, state, dataset.ground_truth),
        metrics=("factor_vae",),
        num_train=votes,
        num_test=max(votes // 2, 1),
    )
    return scores["factor_vae"]["mean"]


def bounds(method: Method, state, key: jax.Array, n: int = BOUND_SAMPLES) -> dict:
    """Means over n generated images of the bounds on the codes' mutual information, nats.

    "info_lower", and where the method has them "info_upper" with its parts "kl" per dimension of
    the code.
    """
    draw = jax.jit(method.bounds, static_argnums=2)
    parts = [
        jax.device_get(draw(state, k, CHUNK)) for k in jax.random.split(key, max(n // CHUNK, 1))
    ]
    means = {name: np.mean([p[name].mean(axis=0) for p in parts], axis=0) for name in parts[0]}
    result = {"info_lower": float(means["info_lower"])}
    if "kl" in means:
        result["info_upper"] = float(means["kl"].sum())
        result["kl"] = [float(value) for value in means["kl"]]
    return result


def rates(method: Method, state, x: np.ndarray) -> list[float]:
    """KL(q(code | x) || prior) per dimension of the continuous codes, nats, mean over images x."""
    each = jax.device_get(jax.jit(method.rates)(state, x))
    return each.astype(np.float64).mean(axis=0).tolist()
