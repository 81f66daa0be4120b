"""The generative adversarial network.

Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014: a generator and a discriminator, the
generator with the non-saturating loss. Symbols: x real image, x_g = G(z), z ~ N(0, I). Players: G,
the discriminator D, and Q, which plays no part in the game.

A GAN infers nothing. To compare its z with other methods' codes (IB-GAN's Table 1 does not say how)
Q is fitted afterwards, by squared error, to recover z from images of the finished generator: after
`game_steps` steps G and D are frozen, and what is left of `num_steps` is spent on Q. With
`game_steps` 0 there is no second stage and no `encode`.

`noise_*` is instance noise, as in IB-GAN's released code; the paper does not have it. In the second
stage its last value stays.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.losses import adversarial, information, variational
from ivg.methods.noise import instance_noise, noise_schedule
from ivg.players import Code, Codes, Method, Metrics, Phase, Player, descend, player


class GAN(NamedTuple):
    """The state: three players and the step number."""

    G: Player
    D: Player
    Q: Player
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training: networks, optimisers, sizes, schedules."""

    G: net.Network
    D: net.Network
    q: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    batch_size: int
    dim_z: int
    noise: optax.Schedule


def step(game: Game, s: GAN, xs: jax.Array, key: jax.Array) -> tuple[GAN, Metrics]:
    """One iteration of the game: G and D descend their losses at the same parameters."""
    x = xs[0]
    z_key, fake_key, real_key = jax.random.split(key, 3)
    sigma = game.noise(s.t)
    z = constrain(jax.random.normal(z_key, (len(x), game.dim_z)))

    def generator_loss(theta):
        x_g, g_stats = game.G.train(theta, s.G.stats, z)
        seen = instance_noise(fake_key, x_g, sigma)
        (logits, _), _ = game.D.train(s.D.params, s.D.stats, seen)
        loss = jnp.mean(adversarial.non_saturating(logits))
        return loss, (seen, g_stats, {"G/adversarial": loss})

    def discriminator_loss(w, seen):
        (fake, _), stats = game.D.train(w, s.D.stats, seen)
        (real, _), stats = game.D.train(w, stats, instance_noise(real_key, x, sigma))
        loss = jnp.mean(adversarial.discriminator_fake(fake))
        loss += jnp.mean(adversarial.discriminator_real(real))
        return loss, (stats, {"D/loss": loss, "D/real": jnp.mean(real), "D/fake": jnp.mean(fake)})

    g_theta, (seen, g_stats, parts) = jax.grad(generator_loss, has_aux=True)(s.G.params)
    g_w, (d_stats, d_parts) = jax.grad(discriminator_loss, has_aux=True)(
        s.D.params, jax.lax.stop_gradient(seen)
    )
    return s._replace(
        G=descend(s.G, g_theta, game.tx["G"], g_stats),
        D=descend(s.D, g_w, game.tx["D"], d_stats),
        t=s.t + 1,
    ), parts | d_parts


def regression(game: Game, s: GAN, xs: jax.Array, key: jax.Array) -> tuple[GAN, Metrics]:
    """One step of Q towards the z of images that the frozen generator draws; data-free."""
    del xs
    z = constrain(jax.random.normal(key, (game.batch_size, game.dim_z)))
    x_g = generate(game, s, {"z": z})
    _, features = game.D.infer(s.D.params, s.D.stats, x_g)

    def loss(phi):
        (z_hat,), stats = game.q.train(phi, s.Q.stats, features)
        info = information.reconstruction_lower_bound(z, z_hat)
        return jnp.mean(variational.squared_error(z, z_hat)), (stats, jnp.mean(info))

    (error, (stats, info)), g_phi = jax.value_and_grad(loss, has_aux=True)(s.Q.params)
    parts = {"Q/squared_error": error, "Q/info_lower": info}
    return s._replace(Q=descend(s.Q, g_phi, game.tx["Q"], stats), t=s.t + 1), parts


def init(game: Game, key: jax.Array) -> GAN:
    """All players at the start."""
    g_key, d_key, q_key = jax.random.split(key, 3)
    x = jnp.zeros((2, *game.image_shape))
    w = game.D.init(d_key, x)
    _, features = jax.eval_shape(game.D.infer, *w, x)
    return GAN(
        G=player(*game.G.init(g_key, jnp.zeros((2, game.dim_z))), game.tx["G"]),
        D=player(*w, game.tx["D"]),
        Q=player(*game.q.init(q_key, jnp.zeros(features.shape)), game.tx["Q"]),
        t=jnp.int32(0),
    )


def encode(game: Game, s: GAN, x: jax.Array) -> Codes:
    """Real images to Q's regression of z."""
    _, features = game.D.infer(s.D.params, s.D.stats, x)
    (z_hat,) = game.q.infer(s.Q.params, s.Q.stats, features)
    return {"z": z_hat}


def generate(game: Game, s: GAN, codes: Codes) -> jax.Array:
    """Codes to images [B, H, W, C] in [-1, 1]."""
    return game.G.infer(s.G.params, s.G.stats, codes["z"])


def bounds(game: Game, s: GAN, key: jax.Array, n: int) -> dict[str, jax.Array]:
    """A lower bound on I(z; G(z)) in nats for n draws, `[n]`, by the fitted Q."""
    z = jax.random.normal(key, (n, game.dim_z))
    found = encode(game, s, generate(game, s, {"z": z}))["z"]
    return {"info_lower": information.reconstruction_lower_bound(z, found)}


def gan(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 16,
    game_steps: int = 0,
    noise_start: float = 0.0,
    noise_end: float = 0.0,
    noise_steps: int = 0,
) -> Method:
    """A GAN, and afterwards a regression of its z.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: latents per step of the second stage.
        tx: an optimiser for each of "G", "D", "Q".
        network: name of a family in `ivg.networks.CODE_FAMILIES` under "name", its options beside.
        dim_z: size of z.
        game_steps: steps of the game, after which Q is fitted; 0 for a game without end.
        noise_start, noise_end, noise_steps: instance noise, linear, then constant.

    Raises:
        UserError: if the network family cannot take the image size.
    """
    family = net.code_family(**network)
    family.check(image_shape)
    game = Game(
        G=family.generator(image_shape),
        D=family.discriminator(),
        q=family.reconstructor((dim_z,)),
        tx=tx,
        image_shape=image_shape,
        batch_size=batch_size,
        dim_z=dim_z,
        noise=noise_schedule(noise_start, noise_end, noise_steps),
    )
    phases = (Phase(functools.partial(step, game), 1, end=game_steps or None),)
    if game_steps:
        phases += (Phase(functools.partial(regression, game), 0),)
    return Method(
        init=functools.partial(init, game),
        phases=phases,
        encode=functools.partial(encode, game) if game_steps else None,
        generate=functools.partial(generate, game),
        prior=lambda s, key, n: {"z": jax.random.normal(key, (n, dim_z))},
        codes={"z": Code("continuous", dim_z, -2.0, 2.0)},
        bounds=functools.partial(bounds, game) if game_steps else None,
        encodes_after=game_steps,
    )
