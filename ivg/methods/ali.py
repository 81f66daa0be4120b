"""ALI: encoder and decoder learn from a discriminator that sees images beside their codes.

Dumoulin et al., "Adversarially Learned Inference", ICLR 2017 (the same game as BiGAN, Donahue et
al., ICLR 2017, but for the stochastic encoder).

Symbols: x real image, x_g = G(z) generated, z ~ N(0, I); q(z | x) Gaussian with independent
coordinates, z_hat a sample of it. Players: G (p(x | z), deterministic), E (q(z | x)), D, logits of
pairs of image and code.

D tells (x, z_hat) from (x_g, z); E and G, whose losses are those of a non-saturating GAN on both
kinds of pairs, make them alike. At the optimum the two joint distributions are one, so that q is
G's posterior. All three move at the same time, from one forward pass.

Departures, each with its reason:
- D has no dropout and no maxout, and the networks are a family's of `ivg.networks.FAMILIES`, with
  its weights at the start: ALI is compared with methods that have the same networks, and MNIST's
  are not in the released code.
- Images are in [-1, 1] and G ends in tanh; the released code has [0, 1], a logistic output and
  its bias at the log-odds of the mean image.
- Batches are those of the other methods here; 100 in the released code.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.distributions import Gaussian, gaussian
from ivg.losses import adversarial, information
from ivg.players import Code, Codes, Method, Metrics, Params, Phase, Player, descend, player


class ALI(NamedTuple):
    """The state: three players and the step number."""

    E: Player
    G: Player
    D: Player
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training: networks, optimisers, sizes."""

    E: net.Network
    G: net.Network
    D: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    dim_z: int


class Pairs(NamedTuple):
    """What D sees: real images with inferred codes, generated images with their own."""

    x: jax.Array
    z_hat: jax.Array
    x_g: jax.Array
    z: jax.Array


def discriminate(
    game: Game, s: ALI, w: Params, pairs: Pairs
) -> tuple[jax.Array, jax.Array, Params]:
    """Logits [B] of both kinds of pairs, and D's new batch statistics."""
    real, stats = game.D.train(w, s.D.stats, pairs.x, pairs.z_hat)
    fake, stats = game.D.train(w, stats, pairs.x_g, pairs.z)
    return real, fake, stats


def step(game: Game, s: ALI, xs: jax.Array, key: jax.Array) -> tuple[ALI, Metrics]:
    """One iteration of Algorithm 1: all players descend their losses at the same parameters."""
    x = xs[0]
    z_key, sample_key = jax.random.split(key)
    z = constrain(jax.random.normal(z_key, (len(x), game.dim_z)))

    def players_loss(phi, theta):
        heads, e_stats = game.E.train(phi, s.E.stats, x)
        q = Gaussian(*heads)
        x_g, g_stats = game.G.train(theta, s.G.stats, z)
        pairs = Pairs(x, gaussian.sample(sample_key, q), x_g, z)
        real, fake, _ = discriminate(game, s, s.D.params, pairs)
        # softplus(D(x, z_hat)) and softplus(-D(x_g, z)): each pair is to pass for the other kind.
        inference = jnp.mean(adversarial.discriminator_fake(real))
        generation = jnp.mean(adversarial.non_saturating(fake))
        parts = {
            "E/adversarial": inference,
            "G/adversarial": generation,
            "E/std": jnp.mean(jnp.exp(0.5 * q.log_var)),
        }
        return inference + generation, (pairs, e_stats, g_stats, parts)

    def discriminator_loss(w, pairs):
        real, fake, stats = discriminate(game, s, w, pairs)
        loss = jnp.mean(adversarial.discriminator_real(real))
        loss += jnp.mean(adversarial.discriminator_fake(fake))
        return loss, (stats, {"D/loss": loss, "D/real": jnp.mean(real), "D/fake": jnp.mean(fake)})

    (g_phi, g_theta), (pairs, e_stats, g_stats, parts) = jax.grad(
        players_loss, (0, 1), has_aux=True
    )(s.E.params, s.G.params)
    g_w, (d_stats, d_parts) = jax.grad(discriminator_loss, has_aux=True)(
        s.D.params, jax.lax.stop_gradient(pairs)
    )
    return ALI(
        E=descend(s.E, g_phi, game.tx["E"], e_stats),
        G=descend(s.G, g_theta, game.tx["G"], g_stats),
        D=descend(s.D, g_w, game.tx["D"], d_stats),
        t=s.t + 1,
    ), parts | d_parts


def init(game: Game, key: jax.Array) -> ALI:
    """All players at the start."""
    e_key, g_key, d_key = jax.random.split(key, 3)
    x, z = jnp.zeros((2, *game.image_shape)), jnp.zeros((2, game.dim_z))
    return ALI(
        E=player(*game.E.init(e_key, x), game.tx["E"]),
        G=player(*game.G.init(g_key, z), game.tx["G"]),
        D=player(*game.D.init(d_key, x, z), game.tx["D"]),
        t=jnp.int32(0),
    )


def posterior(game: Game, s: ALI, x: jax.Array) -> Gaussian:
    """q(z | x), `[B, dim_z]`, with running averages."""
    return Gaussian(*game.E.infer(s.E.params, s.E.stats, x))


def encode(game: Game, s: ALI, x: jax.Array) -> Codes:
    """Images to the means of q(z | x)."""
    return {"z": posterior(game, s, x).mean}


def generate(game: Game, s: ALI, codes: Codes) -> jax.Array:
    """Codes to images [B, H, W, C] in [-1, 1]."""
    return game.G.infer(s.G.params, s.G.stats, codes["z"])


def prior(game: Game, s: ALI, key: jax.Array, n: int) -> Codes:
    """Codes {z [n, dim_z]} from N(0, I)."""
    return {"z": jax.random.normal(key, (n, game.dim_z))}


def bounds(game: Game, s: ALI, key: jax.Array, n: int) -> dict[str, jax.Array]:
    """Log q(z | x_g) + H(z) for n images from the prior: a lower bound on I(z; x_g), `[n]`."""
    z = prior(game, s, key, n)["z"]
    q = posterior(game, s, generate(game, s, {"z": z}))
    entropy = information.normal_entropy(game.dim_z)
    return {"info_lower": information.gaussian_lower_bound(z, q, entropy)}


def rates(game: Game, s: ALI, x: jax.Array) -> jax.Array:
    """KL(q(z | x) || p(z)) of images, per dimension, nats `[B, dim_z]`."""
    return gaussian.kl_standard_per_dimension(posterior(game, s, x))


def ali(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 64,
) -> Method:
    """ALI. It has no bound on log p(x): G is deterministic, and D's ratio bounds nothing.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; every batch of latents has the size of the image batch.
        tx: an optimiser for each of "E", "G", "D".
        network: name of a family in `ivg.networks.FAMILIES` under "name", its options beside it.
        dim_z: size of the code; the released code has 64 for CIFAR-10, 256 for CelebA and SVHN.

    Raises:
        UserError: if the network family cannot take the image size.
    """
    del batch_size
    family = net.family(**network)
    family.check(image_shape)
    game = Game(
        E=family.encoder((dim_z, dim_z)),
        G=family.generator(image_shape),
        D=family.joint_discriminator(),
        tx=tx,
        image_shape=image_shape,
        dim_z=dim_z,
    )
    return Method(
        init=functools.partial(init, game),
        phases=(Phase(functools.partial(step, game), 1),),
        encode=functools.partial(encode, game),
        generate=functools.partial(generate, game),
        prior=functools.partial(prior, game),
        codes={"z": Code("continuous", dim_z, -2.0, 2.0)},
        bounds=functools.partial(bounds, game),
        rates=functools.partial(rates, game),
    )
