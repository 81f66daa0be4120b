"""WGAN-GP.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved Training of Wasserstein GANs", NeurIPS
2017. A critic D whose score is kept 1-Lipschitz by a penalty on its gradient estimates the
Wasserstein distance (eq. 3, Algorithm 1), which the generator lowers. Symbols: x real image,
x_g = G(z), z ~ N(0, I), x_tilde on the line between a real and a generated image. Players: G and D.
Nothing is inferred from images.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.losses import adversarial
from ivg.players import Code, Codes, Method, Metrics, Phase, Player, descend, player


class WGANGP(NamedTuple):
    """The state: two players and the step number."""

    G: Player
    D: Player
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training: networks, optimisers, sizes, weights."""

    G: net.Network
    D: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    dim_z: int
    gp_weight: float


def critic_step(game: Game, s: WGANGP, x: jax.Array, key: jax.Array) -> tuple[WGANGP, Metrics]:
    """One critic update, lines 3 to 8 of Algorithm 1."""
    z_key, mix_key = jax.random.split(key)
    z = constrain(jax.random.normal(z_key, (len(x), game.dim_z)))
    x_g, _ = game.G.train(s.G.params, s.G.stats, z)
    x_tilde = adversarial.interpolate(mix_key, x, x_g)

    def critic_loss(w):
        def D(images):
            return game.D.train(w, s.D.stats, images)[0]

        distance = adversarial.wasserstein_critic(D(x), D(x_g))
        penalty = adversarial.gradient_penalty(D, x_tilde)
        parts = {"D/wasserstein": -jnp.mean(distance), "D/penalty": jnp.mean(penalty)}
        return jnp.mean(distance + game.gp_weight * penalty), parts

    g_w, parts = jax.grad(critic_loss, has_aux=True)(s.D.params)
    return s._replace(D=descend(s.D, g_w, game.tx["D"])), parts


def step(game: Game, s: WGANGP, xs: jax.Array, key: jax.Array) -> tuple[WGANGP, Metrics]:
    """One iteration of Algorithm 1: len(xs) critic updates, then one of the generator."""
    critic_key, z_key = jax.random.split(key)
    for x, x_key in zip(xs, jax.random.split(critic_key, len(xs)), strict=True):
        s, critic_parts = critic_step(game, s, x, x_key)
    z = constrain(jax.random.normal(z_key, (xs.shape[1], game.dim_z)))

    def generator_loss(theta):
        x_g, stats = game.G.train(theta, s.G.stats, z)
        score, _ = game.D.train(s.D.params, s.D.stats, x_g)
        return jnp.mean(adversarial.wasserstein_generator(score)), stats

    (loss, stats), g_theta = jax.value_and_grad(generator_loss, has_aux=True)(s.G.params)
    G = descend(s.G, g_theta, game.tx["G"], stats)
    return s._replace(G=G, t=s.t + 1), critic_parts | {"G/adversarial": loss}


def init(game: Game, key: jax.Array) -> WGANGP:
    """Both players at the start."""
    g_key, d_key = jax.random.split(key)
    return WGANGP(
        G=player(*game.G.init(g_key, jnp.zeros((2, game.dim_z))), game.tx["G"]),
        D=player(*game.D.init(d_key, jnp.zeros((2, *game.image_shape))), game.tx["D"]),
        t=jnp.int32(0),
    )


def generate(game: Game, s: WGANGP, codes: Codes) -> jax.Array:
    """Codes to images [B, H, W, C] in [-1, 1]."""
    return game.G.infer(s.G.params, s.G.stats, codes["z"])


def wgan_gp(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 128,
    num_critic: int = 5,
    gp_weight: float = 10.0,
) -> Method:
    """WGAN-GP; the defaults are its paper's.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "G" and "D".
        network: name of a family in `ivg.networks.FAMILIES` under "name", its options beside it.
        dim_z: size of z.
        num_critic: critic updates per generator update.
        gp_weight: the penalty's lambda.

    Raises:
        UserError: if the network family cannot take the image size.
    """
    del batch_size
    family = net.family(**network)
    family.check(image_shape)
    game = Game(
        G=family.generator(image_shape),
        D=family.critic(),
        tx=tx,
        image_shape=image_shape,
        dim_z=dim_z,
        gp_weight=gp_weight,
    )
    return Method(
        init=functools.partial(init, game),
        phases=(Phase(functools.partial(step, game), num_critic),),
        encode=None,
        generate=functools.partial(generate, game),
        prior=lambda s, key, n: {"z": jax.random.normal(key, (n, dim_z))},
        codes={"z": Code("noise", dim_z)},
    )
