"""CSVAE: the attributes are taken out of z by an adversary that tries to read them there.

Klys, Snell & Zemel, "Learning Latent Subspaces in Variational Autoencoders", NeurIPS 2018, in the
form and with the networks of Kim's MMVAE thesis (2019): r-CVAE, and a predictor q_y = q(y | z) that
minimises its cross-entropy while the encoder makes its predictions as uncertain as it can. Symbols,
distributions and networks as in `ivg.methods.r_cvae`; one more player, q_y (delta).

Choices where the thesis is silent: the entropy term has weight 1, as beta and gamma of MMVAE; the
predictor has the architecture of the mutual information networks, so that what differs between the
methods is the objective; it moves first in each step, as MMVAE's networks do.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.losses import information
from ivg.methods import r_cvae, vae
from ivg.players import Labelled, Method, Metrics, Phase, Player, descend, player


class CSVAE(NamedTuple):
    """The state: encoder, decoder, predictor."""

    E: Player
    G: Player
    q_y: Player
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training."""

    model: r_cvae.Model
    q_y: net.Network
    weight_entropy: float


def predictor_step(game: Game, s: CSVAE, z: jax.Array, y: jax.Array) -> tuple[CSVAE, Metrics]:
    """One update of q_y alone: descend -log q(y | z) on codes that carry no gradient."""
    z = jax.lax.stop_gradient(z)

    def cross_entropy(delta):
        logits, _ = game.q_y.train(delta, s.q_y.stats, z)
        correct = jnp.mean((logits > 0) == (y > 0.5))
        return jnp.mean(information.label_cross_entropy(y, logits)), correct

    (loss, correct), g_delta = jax.value_and_grad(cross_entropy, has_aux=True)(s.q_y.params)
    parts = {"q_y/cross_entropy": loss, "q_y/accuracy": correct}
    return s._replace(q_y=descend(s.q_y, g_delta, game.model.tx["q_y"])), parts


def step(game: Game, s: CSVAE, xs: Labelled, key: jax.Array) -> tuple[CSVAE, Metrics]:
    """The predictor's update, then that of encoder and decoder against it."""
    model, batch = game.model, r_cvae.first(xs)
    latents, _ = r_cvae.infer(model, s.E.params, s.E.stats, batch, key)
    s, predictor_parts = predictor_step(game, s, latents.z, batch.y)

    def loss(phi, theta):
        latents, e_stats = r_cvae.infer(model, phi, s.E.stats, batch, key)
        value, (g_stats, parts) = r_cvae.negative_elbo(model, theta, s.G.stats, s.t, batch, latents)
        logits, _ = game.q_y.train(s.q_y.params, s.q_y.stats, latents.z)
        negentropy = jnp.mean(information.label_negentropy(logits))
        parts = parts | {"E/label_negentropy": negentropy}
        return value + game.weight_entropy * negentropy, (e_stats, g_stats, parts)

    grads, (e_stats, g_stats, parts) = jax.grad(loss, (0, 1), has_aux=True)(s.E.params, s.G.params)
    s = vae.update(model, s, grads, (e_stats, g_stats))
    return s, parts | predictor_parts


def init(game: Game, key: jax.Array) -> CSVAE:
    """All players at the start."""
    model_key, predictor_key = jax.random.split(key)
    s = r_cvae.init(game.model, model_key)
    weights = game.q_y.init(predictor_key, jnp.zeros((2, game.model.dim_z)))
    return CSVAE(E=s.E, G=s.G, q_y=player(*weights, game.model.tx["q_y"]), t=s.t)


def csvae(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    num_attributes: int,
    dim_z: int = 512,
    image_std: float = 2.0,
    kl_c_start: float = 1.0,
    kl_c_steps: int = 0,
    weight_entropy: float = 1.0,
    statistics: Mapping[str, int] | None = None,
) -> Method:
    """CSVAE; the defaults are the thesis'.

    Args:
        image_shape, batch_size, network, num_attributes, dim_z, image_std, kl_c_start, kl_c_steps:
            as of `r_cvae.r_cvae`.
        tx: an optimiser for each of "E", "G", "q_y".
        weight_entropy: weight of the predictor's negative entropy in the encoder's objective.
        statistics: width and depth of the predictor; None for 512 and 7.

    Raises:
        UserError: if the network family cannot take the image size.
    """
    del batch_size
    model = r_cvae.make_model(
        image_shape=image_shape,
        tx=tx,
        network=network,
        dim_z=dim_z,
        num_attributes=num_attributes,
        image_std=image_std,
        kl_c_start=kl_c_start,
        kl_c_steps=kl_c_steps,
    )
    q_y = net.label_network(num_attributes, **(statistics or {}))
    game = Game(model, q_y, weight_entropy)
    phase = Phase(functools.partial(step, game), 1)
    return r_cvae.make_method(model, init=functools.partial(init, game), phase=phase)
