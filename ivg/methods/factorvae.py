"""FactorVAE.

Kim & Mnih, "Disentangling by Factorising", ICML 2018. A VAE whose aggregate posterior q(z) is
brought near the product of its marginals: a discriminator D tells codes from codes whose
coordinates are permuted over the batch, and its logits estimate the total correlation (eq. 3).

Symbols: x, z, q(z | x), p(x | z) as in `ivg.methods.vae`; z_bar the permuted codes; gamma the
weight. Players: E (q(z | x)), G (p(x | z)), D.

    E, G descend  -log p(x | z) + KL(q(z | x) || p(z)) + gamma log D(z) / (1 - D(z))
    D descends    1/2 [cross-entropy(z, class 0) + cross-entropy(z_bar, class 1)]

`permuted` says whose codes become z_bar: those of a "second" minibatch, as in algorithm 2, or of
the "same" one, as in disentanglement_lib.

Departure: all gradients are taken at the same parameters (disentanglement_lib too), where algorithm
2 moves the VAE first.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.distributions import Gaussian, gaussian
from ivg.errors import UserError
from ivg.losses import total_correlation
from ivg.methods import vae
from ivg.players import Method, Metrics, Player, descend, player


class FactorVAE(NamedTuple):
    """The state: encoder, decoder, discriminator and the step number."""

    E: Player
    G: Player
    D: Player
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training."""

    model: vae.Model
    D: net.Network
    gamma: float


def codes(game: Game, s: FactorVAE, x: jax.Array, key: jax.Array) -> jax.Array:
    """One z of q(z | x) for each image, `[B, dim_z]`, as in training."""
    q, _ = game.model.E.train(s.E.params, s.E.stats, x)
    return gaussian.sample(key, Gaussian(*q))


def step(game: Game, s: FactorVAE, xs: jax.Array, key: jax.Array) -> tuple[FactorVAE, Metrics]:
    """Algorithm 2: one update of encoder and decoder, one of the discriminator."""
    z_key, second_key, permutation_key = jax.random.split(key, 3)

    def autoencoder_loss(phi, theta):
        run = vae.autoencode(game.model, s, phi, theta, xs[0], z_key)
        logits, _ = game.D.train(s.D.params, s.D.stats, run.z)
        parts = vae.metrics(run)
        parts["E/total_correlation"] = jnp.mean(total_correlation.density_ratio(logits))
        loss = -parts["G/log_likelihood"] + parts["E/kl"]
        return loss + game.gamma * parts["E/total_correlation"], (run, parts)

    def discriminator_loss(w, z, z_bar):
        logits, stats = game.D.train(w, s.D.stats, z)
        logits_bar, stats = game.D.train(w, stats, z_bar)
        loss = jnp.mean(total_correlation.discriminator_loss(logits, logits_bar))
        right = jnp.mean(total_correlation.density_ratio(logits) > 0)
        right_bar = jnp.mean(total_correlation.density_ratio(logits_bar) < 0)
        return loss, (stats, {"D/loss": loss, "D/accuracy": 0.5 * (right + right_bar)})

    grads, (run, parts) = jax.grad(autoencoder_loss, (0, 1), has_aux=True)(s.E.params, s.G.params)
    second = codes(game, s, xs[1], second_key) if len(xs) == 2 else run.z
    z_bar = total_correlation.permute_dims(permutation_key, second)
    # The codes are values here: D's loss is a function of D's parameters alone.
    g_w, (d_stats, d_parts) = jax.grad(discriminator_loss, has_aux=True)(s.D.params, run.z, z_bar)
    after = vae.update(game.model, s, grads, run.stats)
    return after._replace(D=descend(s.D, g_w, game.model.tx["D"], d_stats)), parts | d_parts


def init(game: Game, key: jax.Array) -> FactorVAE:
    """All players at the start."""
    vae_key, d_key = jax.random.split(key)
    start, model = vae.init(game.model, vae_key), game.model
    w = game.D.init(d_key, jnp.zeros((2, model.dim_z)))
    return FactorVAE(E=start.E, G=start.G, D=player(*w, model.tx["D"]), t=start.t)


def factorvae(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 10,
    likelihood: str = "bernoulli",
    gamma: float = 10.0,
    permuted: str = "second",
    discriminator: Mapping | None = None,
) -> Method:
    """FactorVAE.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "E", "G", "D".
        network: name of a family in `ivg.networks.AUTOENCODER_FAMILIES` under "name", its options
            beside.
        dim_z: size of the code.
        likelihood: "bernoulli" or "gaussian", see `ivg.methods.likelihood`.
        gamma: weight of the total correlation.
        permuted: "second", codes of another minibatch are permuted, or "same".
        discriminator: options of `ivg.networks.code_discriminator`; None for its defaults.

    Raises:
        UserError: if the network family cannot take the image size, or there is no such likelihood
            or `permuted`.
    """
    del batch_size
    if permuted not in ("second", "same"):
        known = '"second" or "same"'
        raise UserError(f'permuted="{permuted}" is not a choice of factorvae; use {known}.')
    model = vae.make_model(image_shape, tx, network, dim_z, likelihood)
    game = Game(model, net.code_discriminator(**(discriminator or {})), gamma)
    return vae.make_method(
        model,
        functools.partial(step, game),
        start=functools.partial(init, game),
        num_batches=2 if permuted == "second" else 1,
    )
